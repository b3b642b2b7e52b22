"""Training by several processes: begun here, each an interpreter of its own, watched, and ended together.

Fresh interpreters, not forks of a notebook's kernel: what a kernel holds (a GPU's context, threads) does not survive a fork. Those of
one machine are its children, those of several nodes are begun by ``srun`` inside a job of Slurm; all run :func:`main`. The first tells
of the training on its standard output, line by line. They end when this process ends, however it does, as their standard input does
then; and all of them when one dies.
"""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from geonb.base.threads import cores
from geonb.training.dealing import Rank
from geonb.training.devices import Devices
from geonb.training.fit import epochs_of, fit, interruptible, usable
from geonb.training.progress import Display, Heard, Teller

if TYPE_CHECKING:
    from geonb.base.run_folder import RunFolder
    from geonb.store.store import Store
    from geonb.training.task import Trainable

GIVEN, FOUND = "given.pickle", "found.pt"  # in a folder that goes with the training
RANKS = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "NODE_RANK": "SLURM_NODEID",
}  # else srun says which it is
OFTEN_S = 0.2


def check_share(devices: Devices, batch: int, windows: dict[str, int]) -> None:
    """Refuse a training of which some process would have nothing to do.

    Parameters
    ----------
    windows : split -> number

    Raises
    ------
    ValueError
    """
    least = min(batch, windows["train"], windows["val"])
    if devices.processes > least:
        raise ValueError(
            f"{devices.processes} processes cannot share batches of {batch} windows of {windows['train']} for training and "
            f"{windows['val']} for validation: each needs one at least. Give `devices` for {least} or fewer, or a larger `batch`."
        )


def fit_together(
    devices: Devices,
    task: Trainable,
    learnt: dict[str, Any],
    run: RunFolder,
    store: Store,
    training: dict[str, Any],
    workers: int,
    lower: bool,
    watch: Callable[[Path], Any] | None,
    beside: Sequence[Any],
) -> dict[str, Any]:
    """Fit a task by a process for each device; parameters and what it gives as for :func:`geonb.training.fit.fit`.

    Parameters
    ----------
    learnt : what the task's card remembers of :meth:`geonb.training.task.Trainable.prepare`

    Raises
    ------
    RuntimeError
        If a process died: says which, where, what is kept, and how to go on.
    KeyboardInterrupt
        If it was interrupted; says that, too.

    Whatever a process raised, a ValueError of a loss that became NaN for one.
    """
    folder = Path(run.checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".ranks-*"):  # by a training whose process was killed
        shutil.rmtree(left, ignore_errors=True)
    last, heard = usable(folder, task.card), Heard(Display(watch))
    state = {name: value.numpy() for name, value in task.state_dict().items()}
    given = {
        "made": (type(task), task.card, learnt, state),  # a network's and a loss's functions are no data
        "fit": {"run": run, "store": store, "training": training, "workers": workers, "lower": lower},
        "beside": beside, "devices": devices, "last": last, "live": heard.display.live,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=folder) as private:
        with (Path(private) / GIVEN).open("wb") as out:
            pickle.dump(given, out)
        with interruptible(heard, folder, training["epochs"]), _begun(devices, Path(private)) as processes:
            _attend(processes, heard, Path(private), folder, training["epochs"])
        return torch.load(Path(private) / FOUND, weights_only=True, map_location="cpu")


@contextmanager
def _begun(devices: Devices, private: Path) -> Iterator[list[subprocess.Popen]]:
    """The processes, ended on the way out."""
    own = None if "GEONB_CORES" in os.environ else os.environ.get("OMP_NUM_THREADS")  # of a job, it is for one process
    told = {
        "PYTHONPATH": os.pathsep.join(str(Path(place or ".").resolve()) for place in sys.path),
        "OMP_NUM_THREADS": own or str(max(1, cores() // devices.each)),
        "MASTER_ADDR": socket.gethostname() if devices.nodes > 1 else "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    command = [sys.executable, "-u", "-m", "geonb.training.ranks", str(private)]
    if devices.nodes > 1:
        processes = [_start([*_srun(devices), *command], told, private / "stderr-0")]
    else:
        each = [told | {"RANK": str(n), "LOCAL_RANK": str(n), "NODE_RANK": "0"} for n in range(devices.each)]
        processes = [_start(command, env, private / f"stderr-{n}") for n, env in enumerate(each)]
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _stop) if here else None
    try:
        yield processes
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        for process in processes:
            # srun ends what it began where it is asked to
            process.terminate() if devices.nodes > 1 else process.kill()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


def _srun(devices: Devices) -> list[str]:
    """What begins a command for each process on the nodes of the job that we are in; as on one machine, there may be fewer cores."""
    number = [f"--nodes={devices.nodes}", f"--ntasks={devices.processes}", f"--ntasks-per-node={devices.each}"]
    return ["srun", *number, "--kill-on-bad-exit=1", "--overlap", "--overcommit", "--cpu-bind=none"]


def _stop(signum: int, frame: Any) -> None:
    raise SIGTERMException


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]


def _start(command: list[str], told: dict[str, str], errors: Path) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if name not in RANKS} | told
    with errors.open("wb") as stderr:
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)


def _attend(processes: list[subprocess.Popen], heard: Heard, private: Path, folder: Path, epochs: int) -> None:
    """Pass on what the first process says until all have ended well; raise when one has not."""
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(processes[0].stdout, lines), daemon=True)
    reader.start()
    while True:
        codes = [process.poll() for process in processes]
        done = all(code == 0 for code in codes)
        if done or any(codes):
            reader.join(OFTEN_S * 5)
        with suppress(queue.Empty):
            heard.hear(lines.get(timeout=OFTEN_S))
            while True:
                heard.hear(lines.get_nowait())
        if any(codes):
            time.sleep(OFTEN_S)  # others may have died before: of a signal, which they were not asked about
            _raise([process.poll() for process in processes], heard, private, folder, epochs)
        if done and not reader.is_alive() and lines.empty():
            return


def _read(stdout: Any, lines: queue.Queue[str]) -> None:
    for line in stdout:
        lines.put(line.decode(errors="replace").rstrip("\n"))


def _raise(codes: list[int | None], heard: Heard, private: Path, folder: Path, epochs: int) -> None:
    """The error of the process that was the first to have one; one that was killed comes before what the others made of it."""
    killed = [n for n, code in enumerate(codes) if code is not None and code < 0]
    errors = sorted(private.glob("error-*.pickle"), key=lambda file: file.stat().st_mtime_ns)
    if errors and not killed:
        raise pickle.loads(errors[0].read_bytes())
    number = killed[0] if killed else next(n for n, code in enumerate(codes) if code)
    code = codes[number] or 0
    how = f"was killed by signal: {-code}" if code < 0 else f"ended with exit code {code}"
    cause = " (most likely memory ran out)" if code == -signal.SIGKILL else ""
    kept = epochs_of(folder / "last.ckpt")
    on = (
        f"Kept is epoch {kept} of {epochs}: run this again with the same settings to go on from there, on as many `devices` or on others."
        if kept
        else "No epoch had ended, so nothing is kept: run again, it begins anew."
    )
    said = (private / f"stderr-{number}").read_text(errors="replace").strip().splitlines()[-5:]
    told = f"\nIts last words: {' | '.join(said)}" if said else ""
    which = f"Process {number + 1} of {len(codes)}" if len(codes) > 1 else "A process"
    raise RuntimeError(
        f"{which} of the training {how}{cause}, in {heard.at or 'its beginning'}; the others were ended. {on}{told}"
    )


def main(private: Path) -> None:
    """One rank: what it is comes by the environment, what it does by the folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began it decides
    for name, other in RANKS.items():
        os.environ.setdefault(name, os.environ.get(other, "0"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    number, speaker = int(os.environ["RANK"]), sys.stdout
    if number:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        given = pickle.loads((private / GIVEN).read_bytes())
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        beside = () if number else given["beside"]
        rank = Rank(number, given["devices"], given["last"])
        teller = Teller(None if number else speaker, given["live"])
        found = fit(_made(*given["made"]), **given["fit"], beside=beside, rank=rank, display=teller)
        if number == 0:
            partial = private / f"{FOUND}.partial"
            torch.save(found, partial)
            partial.replace(private / FOUND)
        torch.distributed.barrier()
    except BaseException as error:
        _leave(private / f"error-{number}.pickle", error)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to be done; at an exit in turn, whoever is late finds the others gone


def _made(kind: type[Trainable], card: dict[str, Any], learnt: dict[str, Any], state: dict[str, Any]) -> Trainable:
    """The task as it was before its first step, built as a trained one is."""
    task = kind(card | learnt, weights=False)
    task.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    task.card = card
    return task


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(4)


def _leave(file: Path, error: BaseException) -> None:
    """Leave an error for whoever began this process, with where it came from."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        text = pickle.dumps(error)
        pickle.loads(text)
    except Exception:  # of a library, with arguments of its own
        text = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    partial = file.with_suffix(".partial")
    partial.write_bytes(text)
    partial.replace(file)
    sys.stdout.flush()
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
