"""Which samples of an index may answer: by time, labels, area, source and id, and what there is where nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geonb.embeddings.about import Table, as_geometry


@dataclass(frozen=True)
class Within:
    """A filter; what is None does not filter, and the rest must all hold.

    Attributes
    ----------
    time : (start, end), UTC
        Both included, either may be None; a text stands for all of its day, month or year ("2024-03"). Samples without a time never match.
    labels : texts
        Samples with at least one of them; with `every`, with all.
    area : (west, south, east, north) in degrees, or a shapely geometry in longitude and latitude
        Samples whose footprint meets it.
    sources, ids : texts
    """

    time: tuple[Any, Any] | None = None
    labels: Sequence[str] | None = None
    every: bool = False
    area: Any = None
    sources: Sequence[str] | None = None
    ids: Sequence[str] | None = None

    def mask(self, table: Table, live: np.ndarray) -> np.ndarray:
        """Which of the samples `live` are kept: bool (sample,).

        Raises
        ------
        ValueError
            If none is; says what each part of the filter kept, and what there is instead.
        """
        kept, told = live.copy(), []
        for name, mask in self._parts(table):
            kept &= mask
            told.append(f"{name} keeps {int((mask & live).sum()):,}")
        if not kept.any():
            what = (
                f"the filter keeps none of {int(live.sum()):,} samples: {', '.join(told)}"
                if told
                else "all samples were removed"
            )
            raise ValueError(f"Nothing can answer: {what}. {self._instead(table, live)}".rstrip())
        return kept

    def _parts(self, table: Table) -> list[tuple[str, np.ndarray]]:
        parts = []
        if self.time is not None:
            parts.append((f"time {self.time[0]} to {self.time[1]}", _in_time(table, *self.time)))
        if self.labels is not None:
            names = [self.labels] if isinstance(self.labels, str) else list(self.labels)
            word = " and " if self.every else " or "
            parts.append((f"labels {word.join(names)}", _labelled(table, names, self.every)))
        if self.area is not None:
            parts.append(("area", table.meets(as_geometry(self.area))))
        for name, column, given in (("sources", "source", self.sources), ("ids", "id", self.ids)):
            if given is not None:
                parts.append((name, _is_in(table, column, [given] if isinstance(given, str) else given)))
        return parts

    def _instead(self, table: Table, live: np.ndarray) -> str:
        import pyarrow.compute as pc

        told = []
        if self.time is not None:
            times = _times(table)[live]
            known = times[~np.isnat(times)]
            told.append(f"Times: {known.min()} to {known.max()}." if len(known) else "None of the samples has a time.")
        if self.labels is not None:
            counts = pc.value_counts(table.column("labels").flatten()).to_pylist()
            most = sorted(counts, key=lambda one: -one["counts"])[:12]
            told.append(
                "Labels: " + (", ".join(f"{one['values']} ({one['counts']:,})" for one in most) or "none") + "."
            )
        if self.area is not None:
            told.append(table.extent())
        if self.sources is not None:
            names = pc.unique(table.column("source")).to_pylist()
            told.append(f"Sources: {', '.join(map(str, names[:12]))}.")
        return " ".join(told)


EVERYWHERE = Within()


def _times(table: Table) -> np.ndarray:
    return table.column("time").to_numpy(zero_copy_only=False).astype("datetime64[us]")


def _in_time(table: Table, start: Any, end: Any) -> np.ndarray:
    times = _times(table)
    out = ~np.isnat(times)
    if start is not None:
        out &= times >= _moment(start, last=False)
    if end is not None:
        out &= times <= _moment(end, last=True)
    return out


def _moment(given: Any, last: bool) -> np.datetime64:
    import pandas as pd

    try:
        if isinstance(given, str):
            moment = pd.Timestamp(given)
            if moment.tzinfo is None:
                period = pd.Period(given)
                moment = period.end_time if last else period.start_time
        else:
            moment = pd.Timestamp(given)
    except ValueError as error:
        raise ValueError(f"{given!r} is no time ({error}): write 2024-03-31, or 2024-03 for the month") from None
    if moment.tzinfo is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    return np.datetime64(moment, "us")


def _labelled(table: Table, names: Sequence[str], every: bool) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column("labels")
    parents = pc.list_parent_indices(column).to_numpy()
    flat = column.flatten()
    masks = []
    for name in dict.fromkeys(names):
        mask = np.zeros(len(column), bool)
        mask[parents[pc.equal(flat, pa.scalar(name, flat.type)).to_numpy(zero_copy_only=False).astype(bool)]] = True
        masks.append(mask)
    if not masks:
        raise ValueError("labels is an empty list: name at least one, or leave it None")
    return np.logical_and.reduce(masks) if every else np.logical_or.reduce(masks)


def _is_in(table: Table, name: str, given: Sequence[str]) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    return pc.is_in(column, pa.array([str(one) for one in given], column.type)).to_numpy(zero_copy_only=False)
