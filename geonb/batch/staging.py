"""A run that is worked on in a node's own scratch folder, and brought back to where it lives.

What a run writes in thousands of small files (chunks of predictions, working stores of maps) goes to the node's disk and from there, each
file whole, to the run folder: after each step, and when the job ends or is stopped in time. The checkpoints of a training, its log and
its pictures are brought back every minute, so that a node that fails costs the training a minute and another step what it had done.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from geonb.base import files
from geonb.runs import run as runs_run
from geonb.runs import runner

EVERY_S = 60.0
ROOM_BYTES = 2**30  # on the scratch disk, beyond what the run has so far
INFO, JOBS = "run.json", "jobs"  # jobs/ stays where it is: who follows reads it there


@dataclass
class Place:
    """Where a job works on a run: `root` is the project's there, which is the project itself where nothing is staged.

    `known` are the files that were here: of others at home, which somebody put there meanwhile, nothing is removed.
    """

    run: runs_run.Run
    home: runs_run.Run
    root: Path
    known: set[str] = field(default_factory=set)

    @property
    def staged(self) -> bool:
        return self.run.path != self.home.path

    def named(self, text: str) -> str:
        """A text with paths as they are at home."""
        return text.replace(str(self.root), str(runs_run.root_of(self.home.path))) if self.staged else text

    def out(self, stream: TextIO) -> TextIO:
        return cast(TextIO, _Named(self, stream)) if self.staged else stream

    def bring_back(self) -> None:
        """Bring back what is new; then, at home, remove what was removed here. ``run.json``, which tells of it, comes last."""
        if not self.staged:
            return
        here = _files(self.run.path)
        for name in sorted(here - {INFO}):
            _bring(self.run.path / name, self.home.path / name)
        for name in sorted(self.known - here):
            (self.home.path / name).unlink(missing_ok=True)
            for folder in (self.home.path / name).parents:
                if folder.exists() and (folder == self.home.path or any(folder.iterdir())):
                    break
                folder.rmdir()
        self.known = here
        _bring(self.run.path / INFO, self.home.path / INFO)

    def bring_training(self) -> None:
        """Bring back how far a training is, while it goes on.

        What is written last is brought first, so that nothing comes home that tells of what is not there yet, as after a kill here.
        """
        folder = self.run.checkpoints
        last = [folder / "last.ckpt"] if (folder / "last.ckpt").is_file() else []
        others = sorted(set(folder.glob("*.ckpt")) - set(last))
        beside = [
            path
            for path in (folder / "training.txt", self.run.path / "log.csv", self.run.path / INFO)
            if path.is_file()
        ]
        for file in [*last, *others, *sorted((self.run.path / "epochs").glob("*")), *beside]:
            _bring(file, self.home.path / file.relative_to(self.run.path))


class _Named:
    """A stream that names paths as they are at home."""

    def __init__(self, place: Place, stream: TextIO) -> None:
        self.place, self.stream = place, stream

    def write(self, text: str) -> int:
        return self.stream.write(self.place.named(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def staged(run: runs_run.Run, scratch: str | None) -> Iterator[Place]:
    """Work on a run in a folder of this node; None: where it lives.

    Parameters
    ----------
    scratch : str
        A folder, with variables of the node's environment, as ``$TMPDIR``.

    Raises
    ------
    ValueError
        If it is no folder on this node that one may write in, or has too little room; if another process has the run.
    OSError
        If something cannot be brought back; it stays on the node then, and the message says where.
    """
    home = runs_run.root_of(run.path)
    if scratch is None:
        yield Place(run, run, home)
        return
    folder = _checked(scratch, run)
    os.environ.setdefault("GEONB_SCRATCH", str(folder))  # the memory maps of samples go there too
    with runner.locked(run):
        root = Path(tempfile.mkdtemp(prefix=f"geonb-{run.name}-", dir=folder))
        try:
            own = _lay_out(run, home, root)
            place = Place(own, run, root, _files(own.path))
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        files.say(f"Works in {root} on {runs_run.this_process()['host']}, and brings back what it makes.")
        with _minute_by_minute(place):
            try:
                yield place
            finally:
                try:
                    place.bring_back()
                except OSError as error:
                    told = f"{error.strerror}. What could not be brought back lies in {place.run.path} on {runs_run.this_process()['host']}"
                    raise OSError(error.errno, told, str(run.path)) from error
                shutil.rmtree(root, ignore_errors=True)


def _checked(scratch: str, run: runs_run.Run) -> Path:
    folder, host = Path(os.path.expandvars(scratch)).expanduser(), runs_run.this_process()["host"]
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"scratch={scratch} is {folder} on {host}, and no folder there that one may write in. Name one that the nodes have "
            "(the site's documentation says which: $TMPDIR, $SLURM_TMPDIR, /scratch/...), or leave it out"
        )
    need = sum((run.path / name).stat().st_size for name in _files(run.path)) + ROOM_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise ValueError(
            f"scratch={scratch}: {folder} on {host} has {free / 1e9:.1f} GB free, and this run has {need / 1e9:.1f} GB with what it still "
            "needs to begin. Free some space there, name another folder, or leave it out to work where the run lives"
        )
    return folder.resolve()


def _lay_out(run: runs_run.Run, home: Path, root: Path) -> runs_run.Run:
    """The project as it looks from the node: links to all that it holds, but this run, which is copied."""
    (home / "data").mkdir(exist_ok=True)  # samples are made at home, where other runs find them
    own = root / run.path.relative_to(home)
    own.mkdir(parents=True)
    for folder in (home, home / "runs", run.path.parent):
        for entry in folder.iterdir():
            here = root / entry.relative_to(home)
            if not here.exists():
                here.symlink_to(entry.resolve())
    (run.path / JOBS).mkdir(exist_ok=True)
    (own / JOBS).symlink_to(run.path / JOBS)
    for folder in run.path.rglob("*"):
        if folder.is_dir():
            (own / folder.relative_to(run.path)).mkdir(exist_ok=True)
    for name in _files(run.path):
        _bring(run.path / name, own / name)
    return runs_run.Run(own)


@contextmanager
def _minute_by_minute(place: Place) -> Iterator[None]:
    over = threading.Event()

    def go() -> None:
        while not over.wait(EVERY_S):
            try:
                place.bring_training()
            except OSError as error:  # told, and tried again; what is decisive comes at the end
                files.say(f"Not brought back to {place.home.path}, tried again in {EVERY_S:.0f} s: {error}")

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _files(folder: Path) -> set[str]:
    """What a run folder holds, by its path in it: without its jobs, locks, and what is half-written."""
    found = set()
    for path, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not (name.endswith(".partial") or (name == JOBS and Path(path) == folder))
        ]
        found |= {
            str((Path(path) / name).relative_to(folder))
            for name in names
            if ".partial" not in name and not name.endswith(".lock")
        }
    return found


def _bring(file: Path, there: Path) -> None:
    """Copy a file, with its times, unless it is there; one that goes meanwhile is not there to be copied."""
    try:
        new, old = file.stat(), there.stat() if there.is_file() else None
        if old and (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns):
            return
        there.parent.mkdir(parents=True, exist_ok=True)
        with files.whole_file(there) as partial:
            shutil.copy2(file, partial)
    except FileNotFoundError:
        if file.exists():
            raise
