"""What a watch tells, in files that grow for months: rows of numbers, a file a UTC day; and entries, of which the settled stay.

What it takes to go on, or to change what is told, hardly depends on how much was told long ago.
"""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from geonb.base.files import whole_file

LEAD = ("station", "step", "time")  # of a row, before its numbers
Rows = dict[int, tuple[float, ...]]  # by step


def add(folder: Path, columns: Sequence[str], step_s: float, rows: Iterable[tuple[str, int, Sequence[float]]]) -> None:
    """Append rows to the file of their UTC day, ``folder/2024-03-01.csv``.

    Parameters
    ----------
    columns : names of the numbers of a row
    step_s : float, s
        Step k is k * step_s seconds after 1970 began, UTC.
    rows : (station, step, numbers), NaN where nothing is known
    """
    days: dict[str, list[str]] = {}
    for station, k, row in rows:
        when = _time(k * step_s)
        numbers = ("" if np.isnan(value) else f"{value:.7g}" for value in row)
        days.setdefault(when[:10], []).append(",".join([station, str(k), when, *numbers]) + "\n")
    for day, lines in days.items():
        folder.mkdir(exist_ok=True)
        with (folder / f"{day}.csv").open("a") as file:
            file.write("".join([",".join([*LEAD, *columns]) + "\n"] * (file.tell() == 0) + lines))


def read(folder: Path, columns: Sequence[str], begin_s: float = -math.inf, end_s: float = math.inf) -> dict[str, Rows]:
    """Rows by station and step: of those of one step the last counts, and what a kill left of a line does not.

    Parameters
    ----------
    begin_s, end_s : float, s since 1970
        Files of days that can have nothing from then to then are not read; of the others all rows are given.
    """
    import pandas as pd

    parts = []
    for path in _files(folder, begin_s, end_s):
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        parts += [pd.read_csv(io.BytesIO(whole + newline), dtype={"station": str})] * bool(newline)
    found: dict[str, Rows] = {}
    if parts:
        table = pd.concat(parts, ignore_index=True).drop_duplicates(["station", "step"], keep="last")
        for station, mine in table.groupby("station"):
            numbers = mine[list(columns)].astype(float).itertuples(index=False, name=None)
            found[str(station)] = dict(zip(mine["step"].astype(int).tolist(), numbers, strict=True))
    return found


def mend(folder: Path) -> None:
    """Make files fit to be appended to: half a line goes, and one file of all days, ``folder.csv``, becomes that of its first day."""
    for path in _files(folder):
        with path.open("rb") as file:
            lines = file.readline(), file.readline()
            file.seek(max(0, path.stat().st_size - 4096))
            last = file.read()
        os.truncate(path, path.stat().st_size - len(last) + last.rfind(b"\n") + 1)
        if path.parent != folder:
            folder.mkdir(exist_ok=True)
            day = lines[1].decode().split(",")[2:3]
            path.replace(folder / f"{day[0][:10]}.csv") if day else path.unlink()


def newest_s(folder: Path) -> float:
    """When the newest day of which there are rows began, s since 1970; -inf if there is none."""
    days = [path.stem for path in _files(folder) if path.parent == folder]
    return float(np.datetime64(days[-1], "s").astype(int)) if days else -math.inf


def _time(seconds: float) -> str:
    return str(np.datetime64(round(seconds * 1000), "ms"))


def _files(folder: Path, begin_s: float = -math.inf, end_s: float = math.inf) -> list[Path]:
    """In the order of time; one reaches from the day of its name into that of the next, as before there was one file of all days."""
    first, last = (_time(t)[:10] if math.isfinite(t) else "" for t in (begin_s, end_s))
    days = sorted(folder.glob("*.csv"))
    wanted = [
        path
        for path, later in zip_longest(days, days[1:])
        if (later is None or later.stem >= first) and (not last or path.stem <= last)
    ]
    return [path for path in [folder.with_suffix(".csv")] if path.exists()] + wanted


class Growing:
    """A file of entries that is replaced whole at each change; of its beginning, which is settled, the bytes are copied.

    Parameters
    ----------
    head, tail : bytes
        Before and after all entries.
    settled : int
        Bytes of the file that is there, from its beginning, that do not change any more; see `whole`.
    """

    def __init__(self, path: Path, head: bytes, tail: bytes = b"", settled: int = 0) -> None:
        self.path, self.head, self.tail, self.settled = path, head, tail, settled

    @property
    def whole(self) -> bool:
        """Whether the file begins as it should, and holds all that is settled."""
        if not self.settled:
            return True
        if not self.path.exists() or self.path.stat().st_size < self.settled + len(self.tail):
            return False
        with self.path.open("rb") as file:
            return file.read(len(self.head)) == self.head

    def rest(self) -> bytes:
        """What stands in the file after that which is settled."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(self.settled)
            return file.read()

    def write(self, entries: Iterable[bytes]) -> None:
        """Replace what is not settled by these entries; whole or not at all."""
        with whole_file(self.path) as partial:
            if self.settled:
                shutil.copyfile(self.path, partial)
            with partial.open("r+b" if self.settled else "wb") as file:
                file.truncate(self.settled)
                file.seek(self.settled)
                file.write(b"".join([b"" if self.settled else self.head, *entries, self.tail]))

    def settle(self, entries: Iterable[bytes]) -> None:
        """The first of those that were just written do not change any more: they must not be given again."""
        self.settled = (self.settled or len(self.head)) + sum(map(len, entries))
