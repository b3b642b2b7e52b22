"""Answers that somebody marked as right or wrong: searched again with, kept, undone, and given out as labels.

The model is linear, of a closed form (ridge regression of right = 1, wrong = -1), so that it is there in milliseconds, and a score is one
product with each vector. Some samples drawn at random stand in as weakly wrong: most of an area is not what is looked for, and without
them, or with right ones only, the model would not know what to keep away from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import refuse
from geonb.base.files import locked, read_json, whole_file, write_json
from geonb.embeddings.within import EVERYWHERE, Within

if TYPE_CHECKING:
    import geopandas as gpd

    from geonb.embeddings.search import Index

DRAWN, WEIGHT = 1000, 0.5  # weakly wrong samples, and what they weigh together beside the right ones
RIDGE = 0.05  # of the mean square of the vectors: keeps the model near the direction from wrong to right


class Marks:
    """Marks on the samples of an index under one name, in a small file.

    Parameters
    ----------
    index : Index
    name : str
        What is looked for: ``"quarry"``; it is the label that goes out.
    file : path, optional
        By default beside the index's files: ``marks.json``, which holds those of every name.
    """

    def __init__(self, index: Index, name: str, file: str | Path | None = None) -> None:
        if not name.strip():
            raise ValueError("Marks need a name: what is looked for, as 'quarry'")
        self.index, self.name = index, name
        self.file = Path(file) if file else index.folder / "marks.json"

    @property
    def steps(self) -> list[dict[str, list[str]]]:
        """What was marked, step by step: ``right`` and ``wrong``, lists of ids."""
        return self._all().get(self.name, [])

    @property
    def marked(self) -> dict[str, bool]:
        """Id -> whether it is right; who was marked twice is what was said last."""
        out: dict[str, bool] = {}
        for step in self.steps:
            for right in (True, False):
                for one in step["right" if right else "wrong"]:
                    out.pop(one, None)
                    out[one] = right
        return out

    def mark(self, right: Sequence[str] = (), wrong: Sequence[str] = ()) -> Marks:
        """Mark samples by their ids, and keep that.

        Raises
        ------
        KeyError
            An id that is not in the index.
        ValueError
            One that is said to be both, or nothing marked at all.
        """
        right, wrong = ([one] if isinstance(one, str) else list(map(str, one)) for one in (right, wrong))
        if not right and not wrong:
            raise ValueError("Nothing was marked: give ids of answers that are right, or wrong")
        refuse("These are marked as right and as wrong; say one", sorted(set(right) & set(wrong)))
        self.index.rows([*right, *wrong])
        self._write(lambda steps: [*steps, {"right": right, "wrong": wrong}])
        return self

    def undo(self) -> Marks:
        """Take the last step back."""
        if not self.steps:
            raise ValueError(f"Nothing is marked as {self.name!r}: there is nothing to undo")
        self._write(lambda steps: steps[:-1])
        return self

    def search(
        self, count: int = 10, within: Within = EVERYWHERE, *, marked: bool = False, seed: int = 0
    ) -> gpd.GeoDataFrame:
        """What is most like the right ones and least like the wrong ones.

        Every sample is scored: no graph, nothing missed.

        Parameters
        ----------
        count, within
            As of :meth:`geonb.embeddings.search.Index.search`.
        marked : bool
            Whether samples that are marked already may answer.
        seed : int
            Of the samples that stand in as weakly wrong.

        Returns
        -------
        As of the search; ``score`` is the model's (about 1 for right, -1 for wrong), not a cosine

        Raises
        ------
        ValueError
            If none is marked as right, or a filter keeps nothing.
        """
        weights, offset = self.model(seed)
        allowed = within.mask(self.index.table, self.index.live)
        if not marked:
            allowed[[row for row in self._rows(self.marked)]] = False
        if not allowed.any():
            raise ValueError("Only marked samples are left to answer: widen the filter, or set marked=True")
        rows = None if allowed.sum() * 2 > len(allowed) else np.flatnonzero(allowed)
        vectors = self.index.vectors
        scores = (np.asarray(vectors) if rows is None else vectors[rows]) @ weights + offset
        if rows is None:
            scores[~allowed] = -np.inf
        count = min(count, int(allowed.sum()))
        best = np.argpartition(-scores, count - 1)[:count]
        best = best[np.argsort(-scores[best], kind="stable")]
        return self.index.answers((best if rows is None else rows[best])[None], scores[best][None])

    def model(self, seed: int = 0) -> tuple[np.ndarray, float]:
        """The weights (dim,) and the offset of the score."""
        said = self.marked
        right, wrong = (self._rows([one for one, what in said.items() if what is kind]) for kind in (True, False))
        if not len(right):
            raise ValueError(
                f"No sample is marked as right for {self.name!r}: mark at least one, or search by likeness first"
            )
        live = np.flatnonzero(self.index.live)
        drawn = np.random.default_rng([seed, 0x3A4]).choice(live, min(DRAWN, len(live)), replace=False)
        drawn = np.setdiff1d(drawn, np.concatenate([right, wrong]))
        return fitted(*(self.index.vectors[rows] for rows in (right, wrong, drawn)))

    def table(self) -> gpd.GeoDataFrame:
        """What is marked, as labels: ``label`` (the name), ``right``, and what the index says of each sample; removed ones are left out."""
        said = self.marked
        rows = self._rows(said)
        out = self.index.table.take(rows)
        out.insert(1, "label", self.name)
        out.insert(2, "right", [said[one] for one in out["id"]])
        return out

    def export(self, file: str | Path) -> Path:
        """Write `table` as .csv (with the bounds), .geojson, .gpkg or .parquet, whole or not at all."""
        file, table = Path(file), self.table()
        writers: dict[str, Any] = {
            ".csv": lambda path: _flat(table).to_csv(path, index=False),
            ".geojson": lambda path: table.to_file(path, driver="GeoJSON", RFC7946="YES"),
            ".gpkg": lambda path: _listed(table).to_file(path, driver="GPKG", layer=file.stem),
            ".parquet": lambda path: table.to_parquet(path),
        }
        if file.suffix.lower() not in writers:
            raise ValueError(f"{file.name}: labels are written as {', '.join(writers)}")
        with whole_file(file, file.suffix.lower()) as partial:
            writers[file.suffix.lower()](partial)
        return file

    def _rows(self, ids: Any) -> np.ndarray:
        """Rows of the marked that are still there."""
        rows = self.index.table.rows_of(list(ids))
        rows = rows[rows >= 0]
        return rows[self.index.live[rows]]

    def _all(self) -> dict[str, list[dict[str, list[str]]]]:
        return read_json(self.file) if self.file.is_file() else {}

    def _write(self, change: Any) -> None:
        with locked(self.file.with_name(f".{self.file.name}.lock")):
            write_json(self.file, self._all() | {self.name: change(self.steps)})


def fitted(right: np.ndarray, wrong: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, float]:
    """The linear model of vectors (sample, dim) that are right, wrong, and drawn at random: weights (dim,) and offset of the score.

    About 1 for right, -1 for wrong. Each of the three weighs as one, the drawn ones together WEIGHT, however many there are.
    """
    parts = [part for part in ((right, 1.0, 1.0), (wrong, -1.0, 1.0), (drawn, -1.0, WEIGHT)) if len(part[0])]
    x = np.concatenate([vectors for vectors, _, _ in parts]).astype(np.float64)
    y = np.concatenate([np.full(len(vectors), truth) for vectors, truth, _ in parts])
    w = np.concatenate([np.full(len(vectors), weight / len(vectors)) for vectors, _, weight in parts])
    w /= w.sum()
    centre, middle = w @ x, w @ y
    x -= centre
    square = (x * w[:, None]).T @ x
    ridge = RIDGE * np.trace(square) * np.eye(len(square)) + 1e-9 * np.eye(len(square))
    weights = np.linalg.solve(square + ridge, x.T @ (w * (y - middle)))
    return weights.astype(np.float32), float(middle - centre @ weights)


def _listed(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return table.assign(labels=[", ".join(one) for one in table["labels"]])


def _flat(table: gpd.GeoDataFrame) -> Any:
    bounds = table.geometry.bounds.set_axis(["west", "south", "east", "north"], axis=1)
    return _listed(table).drop(columns="geometry").join(bounds)
