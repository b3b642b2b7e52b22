"""An index of embeddings on disk: built, opened in a moment, added to, removed from, and asked what looks alike.

A folder holds ``vectors.npy`` (float32, length one, mapped and not read), ``about.*.parquet`` (GeoParquet, one row a sample, in the
order of the vectors), the graph of usearch where there are many, and ``index.json``, which is written last and says which of them
count. What is added goes behind the vectors and into new files, so that whoever is killed half-way leaves the index of before; what
was removed is listed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import VERSION, refuse
from geonb.base.files import enough_space, locked, whole_file, whole_folder
from geonb.embeddings import about, exact
from geonb.embeddings.index_files import (
    CURE,
    EFFORT,
    append,
    check_model,
    commit,
    empty_graph,
    header_bytes,
    read_info,
    tell_count,
    unit,
    write_graph,
    write_vectors,
)
from geonb.embeddings.within import EVERYWHERE, Within

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

KINDS = ("auto", "exact", "ann")
LARGE = 500_000  # vectors from which `auto` takes the graph
FEW = 50_000  # as many as a filter may keep for them to be compared one by one: a few milliseconds
SPARE = 3  # candidates of the graph for each answer: it holds a byte a number, float32 orders them


class Index:
    """An index that was opened; see :func:`open_index`.

    Attributes
    ----------
    folder : Path
    info : dict
        What its index.json says: ``model``, ``dims``, ``count``, ``kind``, ...
    vectors : float32 array (sample, dim), of length one, mapped; removed ones too
    table : about.Table
        What each sample is.
    live : bool array (sample,)
        False where a sample was removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._load()

    def _load(self) -> None:
        self.info = read_info(self.folder)
        count, dims = self.info["count"], self.info["dims"]
        self.vectors = np.memmap(self.folder / "vectors.npy", np.float32, "r", header_bytes(self.folder), (count, dims))
        self.table = about.Table([self.folder / name for name in self.info["about"]])
        self.live = np.ones(count, bool)
        if self.info["removed"]:
            self.live[np.load(self.folder / self.info["removed"])] = False
        self._graph: Any = None
        self._half: exact.Halves | None = None

    def __len__(self) -> int:
        return int(self.live.sum())

    def __repr__(self) -> str:
        model = self.info["model"] or "unknown"
        return f"Index {self.folder.name}: {len(self):,} x {self.info['dims']}, {self.info['kind']}, model {model}"

    def search(
        self, query: Any, count: int = 10, within: Within = EVERYWHERE, *, by: str = "mean", itself: bool = False
    ) -> gpd.GeoDataFrame:
        """What looks most like a query.

        Parameters
        ----------
        query : id or list of ids; vector (dim,) or vectors (query, dim); a place
            A place is a point (lon, lat), a box (west, south, east, north) or a shapely geometry, degrees: it
            stands for the samples whose footprints meet it.
        count : int
            Answers (to each vector, of several). Fewer come only where fewer are left to answer.
        within : Within
            Which samples may answer; see :class:`geonb.embeddings.within.Within`.
        by : mean or best
            Of several ids, or several samples at a place: what is most like their mean (one thing seen several times), or like any one of
            them (each a thing of its own).
        itself : bool
            Whether samples that ask may answer, too.

        Returns
        -------
        GeoDataFrame in OGC:CRS84 with ``rank`` (from 1), ``id, name, score`` (cosine similarity, -1..1), ``time, labels, source,
        group``, further columns of the index, ``geometry``; of several vectors also ``query`` (from 0)

        Raises
        ------
        KeyError
            An id that is not in the index.
        ValueError
            A vector of another length, or that is NaN or zero; a place where there is no sample; a filter that keeps nothing: what there is
            instead.
        """
        if by not in ("mean", "best"):
            raise ValueError(f"by = {by!r}: it is mean or best")
        if not 1 <= count <= max(1, self.info["count"]):
            raise ValueError(
                f"{count} answers were asked for; the index holds {len(self):,} samples: ask for 1 to {len(self):,}"
            )
        asked, rows = self._asked(query)
        allowed = self._allowed(within)
        if len(rows) and not itself:
            allowed[rows] = False
            if not allowed.any():
                raise ValueError(
                    f"Only the samples that ask are left to answer ({len(rows)}): widen the filter, or set itself=True"
                )
        if len(rows) and by == "mean":
            asked = unit(asked.mean(axis=0, keepdims=True), "The mean of the samples that ask")
        found, scores = self.nearest(asked, count, allowed)
        if len(rows) and by == "best" and len(asked) > 1:
            found, scores = _best_of(found, scores, count)
        return self.answers(found, scores, several=len(found) > 1)

    def _asked(self, query: Any) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of a query, and the rows of the samples that it stands for, if it does."""
        if isinstance(query, np.ndarray) and query.dtype.kind == "f":
            return unit(self._fitting(np.atleast_2d(query)), "The query"), np.empty(0, int)
        if isinstance(query, str):
            rows = self.rows(query)
        elif isinstance(query, Sequence | np.ndarray) and len(query) and isinstance(query[0], str):
            rows = self.rows([str(one) for one in query])
        else:
            rows = self.rows_at(query)
        return np.array(self.vectors[rows]), rows

    def _fitting(self, vectors: np.ndarray) -> np.ndarray:
        if vectors.ndim != 2 or vectors.shape[1] != self.info["dims"]:
            raise ValueError(
                f"Vectors of {vectors.shape[-1]} numbers do not fit {self.folder}, which has {self.info['dims']}: they are of "
                f"another model than {self.info['model'] or 'the one of the index'}. Embed with that one, or build an index of these."
            )
        return vectors

    def rows(self, ids: str | Sequence[str]) -> np.ndarray:
        """The rows of samples by their ids; KeyError if there is none, or it was removed."""
        wanted = [ids] if isinstance(ids, str) else list(ids)
        rows = self.table.rows_of(wanted)
        gone = [i for i, row in zip(wanted, rows, strict=True) if row < 0 or not self.live[row]]
        if gone:
            some = ", ".join(self.table.column("id").slice(0, 3).to_pylist())
            raise KeyError(
                f"No sample {', '.join(map(repr, gone[:5]))} in {self.folder} ({len(gone)} unknown or removed). Ids look like {some}"
            )
        return rows

    def rows_at(self, place: Any) -> np.ndarray:
        """The rows of the samples whose footprints meet a point, a box or a geometry, degrees."""
        area = about.as_geometry(place)
        rows = np.flatnonzero(self.table.meets(area) & self.live)
        if not len(rows):
            raise ValueError(f"No sample lies at {area.wkt[:80]}. {self.table.extent()}")
        return rows

    def _allowed(self, within: Within) -> np.ndarray:
        """Which samples may answer: bool (sample,)."""
        return within.mask(self.table, self.live)

    def nearest(
        self, asked: np.ndarray, count: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows most like each vector, without what they are: for many at once.

        Parameters
        ----------
        asked : float32 array (query, dim), of length one
        allowed : bool array (sample,), optional
            Which may answer; by default all that were not removed.

        Returns
        -------
        rows, scores : arrays (query, answer), best first; -1 and -inf where there are no more
        """
        allowed = self.live if allowed is None else allowed
        kept = int(np.count_nonzero(allowed))
        count = min(count, kept)
        if self.info["kind"] == "exact" or kept <= FEW:
            if len(asked) >= exact.MANY and 2 * kept > len(allowed) and self._half is None and exact.is_fast():
                self._half = exact.halves(self.vectors)
            return exact.top(self.vectors, asked, count, allowed, self._half)
        want = int(np.ceil((SPARE * count + 16) * len(allowed) / kept))
        found, scores = self._of_graph(asked, count, want, allowed)
        short = np.flatnonzero(found[:, -1] < 0)  # all that is near was filtered out
        if len(short):
            found[short], scores[short] = exact.top(self.vectors, asked[short], count, allowed)
        return found, scores

    def _of_graph(self, asked: np.ndarray, count: int, want: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        graph = self._opened_graph()
        graph.expansion_search = max(EFFORT, want)
        keys = np.atleast_2d(graph.search(asked if len(asked) > 1 else asked[0], want).keys)
        at = keys.astype(np.int64)
        there = at < len(allowed)  # usearch fills up with the largest number
        at = np.where(there, at, 0)
        there &= allowed[at]
        # of more than these the graph's own order says that they are none
        place = np.argsort(~there, axis=1, kind="stable")[:, : SPARE * count]
        at, there = np.take_along_axis(at, place, 1), np.take_along_axis(there, place, 1)
        scores = np.matmul(self.vectors[at], asked[:, :, None])[..., 0]
        scores[~there] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        scores = np.take_along_axis(scores, order, 1)
        if (lacking := count - order.shape[1]) > 0:  # a graph may find fewer than there are
            order = np.pad(order, ((0, 0), (0, lacking)))
            scores = np.pad(scores, ((0, 0), (0, lacking)), constant_values=-np.inf)
        return np.where(np.isneginf(scores), -1, np.take_along_axis(at, order, 1)), scores

    def _opened_graph(self) -> Any:
        if self._graph is None:
            file = self.folder / self.info["graph"]
            try:
                self._graph = empty_graph(self.info["dims"])
                self._graph.view(str(file))
            except Exception as error:  # usearch has errors of its own
                raise ValueError(f"{file} cannot be read ({error}). {CURE}") from error
        return self._graph

    def answers(self, found: np.ndarray, scores: np.ndarray, several: bool = False) -> gpd.GeoDataFrame:
        """A table of answers from rows and scores (query, count), where a row of -1 is none."""
        at = found >= 0
        table = self.table.take(found[at])
        table.insert(0, "rank", np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape)[at])
        table.insert(3, "score", scores[at])
        if several:
            table.insert(0, "query", np.broadcast_to(np.arange(len(found))[:, None], found.shape)[at])
        return table

    def changes(
        self, by: str, within: Within = EVERYWHERE, *, of: str | None = None, count: int = 100
    ) -> gpd.GeoDataFrame:
        """What changed most: samples of the same place, seen at another time or by another source, in pairs.

        Parameters
        ----------
        by : str
            Column that names the place: ``quadkey``, say.
        of : id, optional
            Only this sample against every other of its place; by default each against the next one in time.

        Returns
        -------
        GeoDataFrame with ``rank``, the place, ``distance`` (1 - cosine similarity, 0..2; the largest first), ``id_before, id_after``,
        ``time_before, time_after``, ``source_before, source_after``, ``geometry``; in its attrs `notes`: how many samples have no
        date, and so no before and after, and were left out

        Raises
        ------
        ValueError
            If no place was seen twice at known times.
        """
        from geonb.embeddings.changes import pairs

        return pairs(self, by, self._allowed(within), of, count)

    def add(self, vectors: np.ndarray, samples: pd.DataFrame, *, model: str = "") -> None:
        """Add samples; whoever is killed half-way leaves the index of before.

        Parameters
        ----------
        vectors, samples, model
            As :func:`build_index` takes them.

        Raises
        ------
        ValueError
            Ids that are there already (remove them first), a vector of another length, another model.
        """
        with _alone(self.folder):
            self._load()
            check_model(self.info, model, self.folder)
            table = about.checked(samples, len(vectors))
            twice = [
                i
                for i, row in zip(table["id"], self.table.rows_of(list(table["id"])), strict=True)
                if row >= 0 and self.live[row]
            ]
            refuse(f"{self.folder} has these samples already: remove them first, or give others", twice)
            values, count = unit(self._fitting(np.asarray(vectors)), "The vectors"), self.info["count"]
            turn = self.info["turn"] + 1
            with enough_space(self.folder, values.nbytes * 2):
                append(self.folder / "vectors.npy", values, count)
                name = f"about.{turn}.parquet"
                about.write(table, self.folder / name)
                info = self.info | {"count": count + len(values), "about": [*self.info["about"], name], "turn": turn}
                if self.info["graph"]:
                    info["graph"] = f"graph.{turn}.usearch"
                    graph = empty_graph(self.info["dims"])
                    graph.load(str(self.folder / self.info["graph"]))
                    write_graph(graph, values, count, self.folder / info["graph"])
                commit(self.folder, info)
                tell_count(self.folder / "vectors.npy", info["count"], self.info["dims"])
            self._load()

    def remove(self, ids: str | Sequence[str]) -> None:
        """Remove samples by their ids: they answer no more, also when the index is opened again.

        Raises
        ------
        KeyError
            An id that is not there.
        """
        with _alone(self.folder):
            self._load()
            gone = np.union1d(np.flatnonzero(~self.live), self.rows(ids))
            turn = self.info["turn"] + 1
            name = f"removed.{turn}.npy"
            with whole_file(self.folder / name, ".npy") as partial:
                np.save(partial, gone)
            commit(self.folder, self.info | {"removed": name, "turn": turn})
            self._load()


def build_index(
    folder: str | Path,
    vectors: np.ndarray,
    samples: pd.DataFrame,
    *,
    model: str = "",
    kind: str = "auto",
    notes: Sequence[str] = (),
) -> Index:
    """Build an index, which appears whole or not at all; one of that name is replaced, its users' marks stay.

    Parameters
    ----------
    folder : path
    vectors : array (sample, dim), finite, of any length but zero
    samples : DataFrame or GeoDataFrame, a row a vector
        ``id`` (text, each once); as far as they are known ``name``, ``time`` (UTC), ``source`` (or catalogue id), ``labels`` (a list of
        texts), ``group`` (parent tile), ``geometry`` (any CRS). Further columns are kept.
    model : str
        Fingerprint of what made the vectors: vectors of another one are refused.
    kind : auto, exact or ann
        Compare with every vector, or walk a graph of near ones, which misses some; auto: the graph from 500,000 vectors on.
    notes : texts that are kept with it

    Raises
    ------
    ValueError
        Vectors that are NaN or zero, ids twice, a table of another length, geometry without CRS.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: it is one of {', '.join(KINDS)}")
    folder = Path(folder)
    table = about.checked(samples, len(vectors))
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"The vectors have the shape {vectors.shape}: give (sample, dim), at least one")
    kind = ("ann" if len(vectors) >= LARGE else "exact") if kind == "auto" else kind
    with _alone(folder), enough_space(folder.parent, vectors.nbytes * 2), whole_folder(folder) as partial:
        write_vectors(partial / "vectors.npy", vectors)
        about.write(table, partial / "about.0.parquet")
        info = {
            "format": 1, "geonb": VERSION, "model": model, "dims": vectors.shape[1], "count": len(vectors), "kind": kind, "turn": 0,
            "notes": list(notes), "about": ["about.0.parquet"], "removed": None, "graph": None,
        }  # fmt: skip
        if kind == "ann":
            info["graph"] = "graph.0.usearch"
            written = np.load(partial / "vectors.npy", mmap_mode="r")
            write_graph(empty_graph(vectors.shape[1]), written, 0, partial / info["graph"])
        for kept in folder.glob("marks*.json"):  # somebody's eyes made them: of ids, whatever the vectors
            shutil.copy2(kept, partial)
        commit(partial, info)
    return Index(folder)


def _alone(folder: Path) -> AbstractContextManager[None]:
    """The lock of whoever builds an index or changes it: beside its folder, which a build replaces."""
    folder = folder.resolve()  # "." has no name, and one that is reached by two is one
    return locked(folder.with_name(f".{folder.name}.lock"))


def open_index(folder: str | Path, model: str = "") -> Index:
    """Open an index: nothing is read but what it says of itself.

    Parameters
    ----------
    model : str, optional
        Fingerprint of the model that will ask.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is of another model, or a file of it is gone or cut short; names the file.
    """
    index = Index(Path(folder))
    check_model(index.info, model, index.folder)
    return index


def _best_of(found: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers to several queries as one: each once, with its best score."""
    at = np.argsort(-scores, axis=None, kind="stable")
    rows = found.ravel()[at]
    _, first = np.unique(rows, return_index=True)
    kept = at[np.sort(first)]
    kept = kept[found.ravel()[kept] >= 0][:count]
    return found.ravel()[kept][None], scores.ravel()[kept][None]


def write_geojson(answers: gpd.GeoDataFrame, file: str | Path) -> Path:
    """Write answers as GeoJSON (RFC 7946: longitude and latitude, no CRS member), whole or not at all."""
    with whole_file(Path(file), ".geojson") as partial:
        answers.to_file(partial, driver="GeoJSON", engine="pyogrio", RFC7946="YES")
    return Path(file)
