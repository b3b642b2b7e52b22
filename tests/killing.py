"""Kills at chosen and at random moments, and what must be true after each. The tests that use this are called test_kills.py.

Steps and commands run in processes that are forked from one that has everything imported, so that a kill costs what the step had done
by then. A moment is the n-th time that a process is about to change something of a kind: to open a file for writing, to rename, to
remove, to make a folder. Python tells of each (its audit events), so that one seed means the same moments in every run. What GDAL,
HDF5 and Arrow write past Python is written under a partial name, and its renaming is seen; kills at random times fall in between.

    GEONB_KILL_SEED=7 GEONB_KILLS=200 pytest tests -k kill      other moments, and more: so many in every step
"""

import csv
import fcntl
import functools
import json
import multiprocessing
import os
import pkgutil
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import geonb

SEED = int(os.environ.get("GEONB_KILL_SEED", 0))
KILLS = int(os.environ.get("GEONB_KILLS", 4))  # of each step of each workload: a dozen a kind of step
IN_A_ROW = 3  # kills before something may come to its end
TIMEOUT_S = 600 + 40 * KILLS
HANGS_S = 120.0  # who takes longer than this hangs
EVENTS = ("open", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PRODUCTS = (
    "checkpoints/best*.safetensors",
    "log.csv",
    "predictions.zarr",
    "maps/*",
    "scores.*",
    "embeddings.zarr",
    "transforms/*",
)
# what a step of the command line leaves when it is in the middle, for half of the kills; the others come at random times
FIRST = {"01": "data/*/.arrays/*.partial", "02": "{run}/checkpoints/last.ckpt", "03": "{run}/predictions.zarr.done.json",
         "04": "{run}/scores.nc*", "05": "{run}/embeddings.zarr*", "06": "nothing"}  # fmt: skip
BEGUN = re.compile(rb"^=== (\d+)[^\n]*\n[^=]*?^--- cell 1", re.MULTILINE)  # in log.txt
TOKEN = "GEONB_KILLED"  # in the environment of all that a killed process started
HEAVY = ("cartopy.crs", "cartopy.feature", "geopandas", "h5netcdf", "holoviews", "ipywidgets", "matplotlib.pyplot", "pyarrow.parquet",
         "pyogrio", "rioxarray", "scipy.cluster.hierarchy", "segmentation_models_pytorch", "sklearn.cluster", "sklearn.decomposition",
         "sklearn.linear_model", "timm", "torchmetrics.classification", "xarray.backends.zarr")  # fmt: skip


class Moment(NamedTuple):
    """Before the n-th change of a kind, from 1; what happens then."""

    kind: str
    number: int
    signal: int = signal.SIGKILL


class _Watch:
    """Counts what is about to change in a folder; kills at the moment."""

    def __init__(self, root: Path, moment: Moment | None) -> None:
        self.root, self.moment, self.cell = f"{root}/", moment, 0
        self.counts: Counter[str] = Counter()
        self.seen: list[tuple[str, int]] = []

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or (event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES)):
            return
        path = arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0]
        if isinstance(path, int):
            return
        folder = arguments[-1] if event in ("os.remove", "os.rmdir") and arguments[-1] >= 0 else None
        path = str((Path.cwd() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()) / os.fsdecode(path))
        needless = (event == "os.mkdir") if Path(path).exists() else event in ("os.remove", "os.rmdir")
        if needless or not path.startswith(self.root):
            return
        kind = f"{event} {kind_of(path.removeprefix(self.root))}"
        self.counts[kind] += 1
        self.seen.append((kind, self.cell))
        if self.moment and self.moment[:2] == (kind, self.counts[kind]):
            os.kill(os.getpid(), self.moment.signal)


def kind_of(path: str) -> str:
    """A path without what differs from process to process; in a Zarr only whether it is a description or a chunk.

    >>> kind_of("runs/toy/2026-11-28_calm-heron/scores.nc.4711.partial")
    'scores.nc.#.partial'
    >>> kind_of("runs/toy/2026-11-28_calm-heron/predictions.zarr/image/label/c/0/0.0123456789abcdef0123456789abcdef.partial")
    'predictions.zarr/chunk.partial'
    """
    path = re.sub(r"^runs/[^/]+/[^/]+(/|$)", "", path)
    zarr = re.match(r"(.*?\.zarr(?:\.partial)?)/(.+)", path)
    if zarr:
        name = zarr[2].rpartition("/")[2]
        what = "description" if name.startswith((".z", "zarr.")) else "chunk"
        path = f"{zarr[1]}/{what}" + (".partial" if name.endswith(".partial") else "")
    return re.sub(r"(?<=\.)[0-9a-z_]{8}(?=\.partial)|[0-9a-f]{8,}|\d+", "#", path)


@functools.cache
def _forking() -> Any:
    """Where processes are forked from: one that has imported what any step imports, and done nothing."""
    context = multiprocessing.get_context("forkserver")
    own = [m.name for m in pkgutil.walk_packages(geonb.__path__, "geonb.")]
    context.set_forkserver_preload([*own, *HEAVY])
    return context


class Killable:
    """A folder in which processes are run and killed.

    Parameters
    ----------
    root : of the project; everything that is watched lies in it
    keep : folder for what is not watched: copies of the project, what processes printed
    """

    def __init__(self, root: Path, keep: Path, **environment: str) -> None:
        self.root, self.keep, self.token = root, keep, uuid.uuid4().hex
        self.log, self.record = keep / "printed.txt", keep / "seen.json"
        self.environment = {"GEONB_ROOT": str(root), "GEONB_SCRATCH": str(root / "scratch"), "GEONB_HEADLESS": "1",
                            "MPLBACKEND": "agg", TOKEN: self.token} | environment  # fmt: skip
        keep.mkdir(parents=True, exist_ok=True)

    def run(self, work: Callable, *arguments: Any, at: Moment | None = None, after_s: float | None = None) -> int:
        """Run a function in a process of its own; kill it at a moment, or after some seconds. Gives the exit code, -9 if it was killed."""
        given = self.root, self.environment, at, self.log, self.record, work, arguments
        process = _forking().Process(target=_work, args=given)
        process.start()
        process.join(HANGS_S if after_s is None else after_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert after_s is not None, f"it hangs\n{self.printed()}"
        return process.exitcode

    def printed(self) -> str:
        """What processes printed last."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def seen(self) -> list[tuple[str, int]]:
        """What the last process that was not killed changed: (kind, cell)."""
        return [tuple(pair) for pair in json.loads(self.record.read_text())]

    def save(self, name: str) -> Path:
        """Keep a copy of the folder."""
        return Path(shutil.copytree(self.root, self.keep / name, symlinks=True))

    def restore(self, name: str) -> None:
        """Bring a copy back."""
        shutil.rmtree(self.root)
        shutil.copytree(self.keep / name, self.root, symlinks=True)

    def check_nothing_is_left(self, seconds: float = 10.0) -> None:
        """No process that a killed one started, no lock that blocks."""
        deadline = time.monotonic() + seconds
        while left := [*_living(self.token), *_blocking(self.root)]:
            assert time.monotonic() < deadline, f"left behind: {left}\n{self.printed()}"
            time.sleep(0.05)


def _living(token: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except psutil.Error:
            continue
    return found


def _blocking(root: Path) -> list[str]:
    found = []
    for path in [*root.glob("*/**/*.lock"), *root.glob("*/**/.*.lock")]:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found.append(str(path))
    return found


_watch: _Watch | None = None


def _work(
    root: Path, environment: dict[str, str], moment: Moment | None, log: Path, record: Path, work: Callable, arguments: tuple
) -> None:  # fmt: skip
    """What a forked process does."""
    global _watch
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.environ.update(environment)
    os.chdir(root)
    _watch = _Watch(root, moment)
    sys.addaudithook(_watch)
    code = 1
    try:
        code = work(*arguments) or 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        record.write_text(json.dumps(_watch.seen))
        sys.stdout.flush()
    sys.exit(code)


def run_cells(cells: Sequence[tuple[str, dict | None]], folder: Path) -> None:
    """Run a notebook's code, cell by cell; beside the parameters' cell stand the values that are given."""
    os.chdir(folder)
    space: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown: None}
    for number, (source, values) in enumerate(cells):
        if _watch:
            _watch.cell = number
        exec(compile(source, f"cell {number}", "exec"), space)
        space.update(values or {})


def command(*arguments: str) -> int:
    """`geonb ...`"""
    from geonb import cli

    return cli.main(list(arguments))


def label(run: Path, files: list[Path], folder: Path, workers: int) -> None:
    """Predict rasters in bands, over Dask workers or in here."""
    from geonb.prediction import workers as prediction_workers

    prediction_workers.SMALL_MPX = 0.0
    geonb.predict_rasters(run, files, folder, workers=workers, polygons=0, precision="float32")


class Chain(Killable):
    """A workload's notebooks on small data: run once in peace, a copy kept before each; then to be disturbed.

    Attributes
    ----------
    steps : names of the notebooks
    finished : the run folder as it is at the end, and the project around it
    """

    def __init__(self, workload: str, settings: dict[str, Any], root: Path, keep: Path) -> None:
        from geonb.runs import plan

        super().__init__(root, keep)
        self.workload, self.settings = workload, settings | {"precision": "float32"}
        planned = plan.prepare(workload, self.settings, root=root)
        self.run_folder = planned.run.path
        self.steps = [step.name for step in planned.steps]
        self.cells, self.moments, self.seconds, self.last = {}, {}, {}, {}
        self.run(command, "--version")  # what processes are forked from has imported all by then
        for step in planned.steps:
            given = {"workload": workload, "run": planned.run.name}
            values = step.values | {name: value for name, value in given.items() if name in step.declared}
            self.cells[step.name] = _cells(step.notebook, values)
            self.save(f"before {step.name}")
            begun = time.monotonic()
            assert self.run(run_cells, self.cells[step.name], root / "notebooks") == 0, self.printed()
            self.seconds[step.name] = time.monotonic() - begun
            seen = self.seen()
            self.moments[step.name] = Counter(kind for kind, _ in seen)
            # what comes after the last change on disk need not run each time
            self.last[step.name] = max((cell for _, cell in seen), default=0)
            self.save(f"after {step.name}")

    @property
    def finished(self) -> Path:
        """The copy of the project at the end."""
        return self.keep / f"after {self.steps[-1]}"

    def in_place(self, name: str) -> list[str]:
        """What a step opened for writing under the name that others read, instead of a partial one."""
        kinds = [kind.removeprefix("open ") for kind in self.moments[name] if kind.startswith("open ")]
        return [kind for kind in kinds if ".partial" not in kind and not kind.endswith(".lock")]

    def step(self, name: str, **kill: Any) -> int:
        """Run a step as far as it writes; see `run`."""
        return self.run(run_cells, self.cells[name][: self.last[name] + 1], self.root / "notebooks", **kill)

    def disturb(self, name: str, kills: int = KILLS) -> None:
        """Kill a step at moments of every kind and at random times, some in a row; then it ends as if left in peace."""
        draw, number = random.Random(f"{SEED} {self.workload} {name}"), 0
        kinds = _shuffled_again_and_again(draw, sorted(self.moments[name]))
        while number < kills:
            self.restore(f"before {name}")
            told, begun = [], time.time()
            for i in range(min(IN_A_ROW, kills - number)):
                if i == 1:
                    kill = {"after_s": round(draw.uniform(0, self.seconds[name]), 2)}
                else:
                    kind = next(kinds)
                    kill = {"at": Moment(kind, draw.randint(1, self.moments[name][kind]))}
                told.append(kill)
                code = self.step(name, **kill)
                if code == 0:  # there was less to do than in the run that was left in peace
                    break
                number += 1
                assert code == -signal.SIGKILL, f"seed {SEED}, {name}, killed at {told}\n{self.printed()}"
                self.check_nothing_is_left()
                check_whole(self.root, since=begun)
                age(self.root)
            assert self.step(name) == 0, f"seed {SEED}, {name}, killed at {told}\n{self.printed()}"
            try:
                self.check_same(self.keep / f"after {name}", self.run_folder)
                assert partials(self.root) == []
            except AssertionError as error:
                raise AssertionError(f"seed {SEED}, {name}, killed at {told}: {error}") from error

    def disturb_command_line(self, signals: Sequence[int], rounds: int = max(1, KILLS // 6)) -> None:
        """Break off every step of `geonb run` by a signal, go on by --resume; it ends as the steps that were left in peace."""
        draw = random.Random(f"{SEED} {self.workload}")
        self.restore(f"before {self.steps[0]}")
        arguments = [part for key, value in self.settings.items() for part in ("-p", f"{key}={value}")]
        run, told = None, []
        for step, _ in product(self.steps, range(rounds)):
            signum = signals[len(told) % len(signals)]
            with self._geonb("run", self.workload, *arguments) as process:
                run = self._in_the_middle(process, step, draw.uniform(0, self.seconds[step] + 2))
                process.send_signal(signum)
                code = process.wait(HANGS_S)
            told.append((step, signal.Signals(signum).name, code))
            self.check_nothing_is_left()
            check_whole(self.root)
            age(self.root)
            said = f"seed {SEED}, {told}\n{self.printed()}"
            if code == 0:  # it came with the last word
                assert step in self.steps[-2:] and _state(run) == "done", said
            else:
                assert code == (-signum if signum == signal.SIGKILL else 5), said
                assert signum == signal.SIGKILL or _state(run) == "stopped", said
            arguments = ["--resume", run.name]
        with self._geonb("run", self.workload, *arguments) as process:
            assert process.wait(5 * HANGS_S) == 0, f"seed {SEED}, {told}\n{self.printed()}"
        self.check_nothing_is_left()
        self.check_same(self.finished, run)
        assert partials(run) == [], told
        geonb.check_run(run, deep=True)

    @contextmanager
    def _geonb(self, *arguments: str) -> Iterator[subprocess.Popen]:
        command = [str(Path(sys.executable).with_name("geonb")), *arguments]
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _in_the_middle(self, process: subprocess.Popen, step: str, delay_s: float) -> Path:
        """Wait until a step, or one after it, has begun its cells, then for what it makes first, so many seconds at most; gives the run."""
        deadline, until, folders = time.monotonic() + HANGS_S, None, []
        before = {p: p.stat().st_size for p in self.run_folder.parent.glob("*/log.txt")}
        while process.poll() is None and time.monotonic() < min(deadline, until or deadline):
            logs = [p for p in self.run_folder.parent.glob("*/log.txt") if p.parent != self.run_folder]
            folders = [log.parent for log in logs]
            if logs and until is None:
                begun = BEGUN.findall(logs[0].read_bytes()[before.get(logs[0], 0) :])
                until = time.monotonic() + delay_s if any(number >= step[:2].encode() for number in begun) else None
            if until and any(self.root.glob(FIRST[step[:2]].format(run=folders[0].relative_to(self.root)))):
                break
            time.sleep(0.01)
        assert folders, f"no run was begun\n{self.printed()}"
        return folders[0]

    def check_same(self, copy: Path, run: Path) -> None:
        """The stores and what the run holds are as in a copy of the project."""
        check_same(_sealed(copy / "data"), _sealed(self.root / "data"))
        check_same(products(copy / self.run_folder.relative_to(self.root)), products(run))


def chain(workload: str, settings: dict[str, Any], folder: Path, inputs: Callable[[Path], Any]) -> Chain:
    """A chain in a project of its own below a folder; `inputs` writes what it reads."""
    root = folder / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("")
    (root / "notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    inputs(root)
    return Chain(workload, settings, root, folder / "kept")


def _state(run: Path) -> str:
    return json.loads((run / "run.json").read_text())["state"]


def _cells(notebook: Path, values: dict[str, Any]) -> list[tuple[str, dict | None]]:
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    return [("".join(c["source"]), values if "parameters" in c["metadata"].get("tags", []) else None) for c in cells]


def _shuffled_again_and_again(draw: random.Random, kinds: list[str]) -> Iterator[str]:
    while True:
        draw.shuffle(kinds)
        yield from kinds


# --- what must be true -----------------------------------------------------------------------------------------------


def check_whole(root: Path, since: float = 0.0) -> None:
    """No file under its own name is half there: what is being written bears a partial name."""
    for path in root.glob("*/**/*"):
        read = _READ.get(path.suffix)
        if read and ".partial" not in str(path.relative_to(root)) and path.is_file() and path.stat().st_mtime >= since:
            try:
                read(path)
            except Exception as error:
                raise AssertionError(f"{path.relative_to(root)} is half-written: {error}") from error


def age(folder: Path) -> None:
    """What was left half-written was left two days ago: whoever writes the same again then sweeps it."""
    for path in folder.glob("*/**/*"):
        if ".partial" in path.name:
            os.utime(path, (time.time() - 172_800,) * 2, follow_symlinks=False)


def partials(folder: Path) -> list[str]:
    """What is left of files and folders that were never finished."""
    return [str(p.relative_to(folder)) for p in folder.glob("**/*") if ".partial" in p.name]


def products(run: Path) -> dict[str, Path]:
    """What a run made, by its name in the run folder."""
    return {str(p.relative_to(run)): p for pattern in PRODUCTS for p in run.glob(pattern) if ".partial" not in p.name}


def _sealed(data: Path) -> dict[str, Path]:
    folders = [p.parent for p in data.glob("*/*/store.json") if ".partial" not in p.parent.name]
    names = ("store.json", "index.parquet", "arrays.zarr")
    return {f"{folder.relative_to(data)}/{name}": folder / name for folder in folders for name in names}


def check_same(expected: dict[str, Path], found: dict[str, Path]) -> None:
    """The same products, with the same values to the last bit."""
    assert sorted(expected) == sorted(found)
    for name, path in expected.items():
        read = _READ.get(path.suffix)
        if read:
            _equal(name, read(path), read(found[name]))


def _equal(name: str, one: Any, two: Any) -> None:
    import numpy as np
    import pandas as pd
    import xarray as xr

    if isinstance(one, dict):
        assert one.keys() == two.keys(), name
        for key, value in one.items():
            _equal(f"{name}, {key}", value, two[key])
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, two, err_msg=name)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two, obj=name)
    elif isinstance(one, xr.Dataset | xr.DataTree):
        xr.testing.assert_equal(one, two)
    else:
        assert one == two, name


def _json(path: Path) -> Any:
    told = json.loads(path.read_text())
    return {k: v for k, v in told.items() if k != "run"} if isinstance(told, dict) else told  # whose colours they are


def _csv(path: Path) -> Any:
    with path.open(newline="") as file:
        # in a report how long it took, whether maps were there already, and in which run's folder they lie
        told = [{k: v for k, v in row.items() if k not in ("seconds", "state")} for row in csv.DictReader(file)]
        return [{k: v.rpartition("/")[2] for k, v in row.items()} for row in told]


def _netcdf(path: Path) -> Any:
    import xarray as xr

    with xr.open_dataset(path, engine="h5netcdf") as data:
        return data.load()


def _tif(path: Path) -> Any:
    import rasterio

    with rasterio.open(path) as data:
        return data.read()


def _gpkg(path: Path) -> Any:
    import geopandas as gpd

    return gpd.read_file(path).to_wkt()


def _parquet(path: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(path)


def _weights(path: Path) -> Any:
    from safetensors.numpy import load_file

    return load_file(path)


def _checkpoint(path: Path) -> Any:
    import torch

    return {k: v.numpy() for k, v in torch.load(path, weights_only=True, map_location="cpu")["state_dict"].items()}


def _zarr(path: Path) -> Any:
    import xarray as xr

    return xr.open_datatree(path, engine="zarr", consolidated=False).load()


_READ: dict[str, Callable[[Path], Any]] = {
    ".json": _json, ".csv": _csv, ".nc": _netcdf, ".tif": _tif, ".gpkg": _gpkg, ".parquet": _parquet,
    ".safetensors": _weights, ".ckpt": _checkpoint, ".zarr": _zarr,
}  # fmt: skip
