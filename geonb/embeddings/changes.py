"""What changed: the same place at another time, or seen by another source, by how unlike it has become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd

    from geonb.embeddings.search import Index


def pairs(index: Index, by: str, allowed: np.ndarray, of: str | None, count: int) -> gpd.GeoDataFrame:
    """See :meth:`geonb.embeddings.search.Index.changes`."""
    import pyarrow.compute as pc

    codes = pc.dictionary_encode(index.table.column(by)).indices.fill_null(-1).to_numpy()
    times = index.table.column("time").to_numpy(zero_copy_only=False).astype("datetime64[us]")
    here = allowed & (codes >= 0)
    rows, undated = np.flatnonzero(here & ~np.isnat(times)), int((here & np.isnat(times)).sum())
    note = f"{undated:,} of {int(here.sum()):,} samples have no date, so that nobody knows before and after: left out."
    if of is not None:
        own = int(index.rows(of)[0])
        if np.isnat(times[own]):
            raise ValueError(
                f"{of} has no date: nobody knows what was before it and what after. Give dates when the index is built"
            )
        other = rows[(codes[rows] == codes[own]) & (rows != own)]
        ordered = np.array([sorted((own, row), key=lambda r: (times[r], r)) for row in other], np.int64).reshape(-1, 2)
    else:
        rows = rows[np.lexsort((rows, times[rows], codes[rows]))]
        ordered = np.stack([rows[:-1], rows[1:]], 1)[codes[rows[:-1]] == codes[rows[1:]]]
    if not len(ordered):
        where = f"the place of {of}" if of is not None else f"any place (column {by!r})"
        times_seen = "at no two known times" if undated else "once only"
        raise ValueError(
            f"Nothing to compare: {where} was seen {times_seen} among {int(allowed.sum()):,} samples. "
            "Add images of another date, or widen the filter." + f" {note}" * bool(undated)
        )
    before, after = ordered.T
    distance = np.empty(len(before), np.float32)
    for start in range(0, len(before), 65536):
        part = slice(start, start + 65536)
        distance[part] = 1 - np.einsum("nd,nd->n", index.vectors[before[part]], index.vectors[after[part]])
    order = np.argsort(-distance, kind="stable")[:count]
    first, second = index.table.take(before[order]), index.table.take(after[order])
    table = second[[by, "geometry"]].copy()
    for name in ("source", "time", "id"):
        table.insert(1, f"{name}_after", second[name])
        table.insert(1, f"{name}_before", first[name])
    table.insert(1, "distance", distance[order])
    table.insert(0, "rank", np.arange(1, len(order) + 1))
    table.attrs["notes"] = [note] * bool(undated)
    return table
