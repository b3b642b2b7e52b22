"""How good a search by likeness is: do the nearest samples share labels with the one that asks, and more so than by other vectors?

Vectors of several kinds are asked side by side, and compared over the same draws of groups (parent tiles): what lies beside each other
is alike anyway, and does not count as many samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from geonb.base.conventions import refuse
from geonb.scores.bootstrap import SALT, resampled

METRICS = ("mAP", "nDCG")
BATCH = 256  # queries at once


def score_retrieval(
    vectors: Mapping[str, np.ndarray], labels: Sequence[Sequence[str]], groups: Sequence[str], *,
    k: int = 10, queries: np.ndarray | None = None, own_group: bool = False, most: int = 5000, draws: int = 1000, seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """Score how well neighbours by cosine similarity share labels.

    A sample is relevant if it shares at least one label with the query. Average precision at k is the mean of the precision at each
    relevant one of the first k answers, over as many as could be there (min(k, relevant samples)); nDCG counts the labels shared
    [Järvelin and Kekäläinen 2002].

    Parameters
    ----------
    vectors : name -> array (sample, dim), any length
        The first is what it is about; it is compared with each other one.
    labels : list of texts of each sample
    groups : text of each sample
        Parent tile, say: what is drawn for the intervals.
    k : int
        Answers that count.
    queries : bool array (sample,), optional
        Which samples ask (the test split, say); all samples answer.
    own_group : bool
        Whether samples of the query's own group may answer; by default they may not, for they lie beside it.
    most : int
        At most so many queries, drawn at random.

    Returns
    -------
    Dataset with ``score (model, metric)`` and ``gain`` (the first model minus each), each with ``_low`` and ``_high`` (95 % block
    bootstrap over groups); attributes ``k``, ``queries``, ``groups``, ``without`` (queries to which nothing is relevant, left out),
    ``chance`` (the mean share of relevant samples: the precision of a random order)

    Raises
    ------
    ValueError
        Lists of unlike lengths, NaN, no query to which anything is relevant.
    """
    count = len(labels)
    found = [f"{name} has {len(v):,} vectors for {count:,} samples" for name, v in vectors.items() if len(v) != count]
    found += [f"{name} holds NaN or infinity" for name, v in vectors.items() if not np.isfinite(v).all()]
    if len(groups) != count:
        found.append(f"{len(groups):,} groups for {count:,} samples")
    if k < 1:
        found.append(f"k = {k}: it is 1 or more")
    refuse("Neighbours cannot be scored", found)
    shared = _indicators(labels)
    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    asking = np.flatnonzero(np.ones(count, bool) if queries is None else queries)
    asking = np.sort(np.random.default_rng([seed, SALT]).permutation(asking)[:most])
    relevant = (
        np.concatenate([_gains(shared, group, part, own_group) > 0 for part in _parts(asking)]).sum(1)
        if len(asking)
        else asking
    )
    answerable = _answerable(group, asking, own_group)
    counted = asking[relevant > 0]
    if not len(counted):
        raise ValueError(
            f"Nothing to score: none of {len(asking):,} queries shares a label with a sample{'' if own_group else ' of another group'}. "
            "Give more labels, more groups, or own_group=True."
        )
    values = np.stack(
        [_scored(v, shared, group, counted, k, own_group) for v in vectors.values()]
    )  # (model, query, metric)
    blocks, block = np.unique(group[counted], return_inverse=True)
    table = np.zeros((len(values), len(blocks), len(METRICS) + 1))
    for column, one in enumerate([*np.moveaxis(values, -1, 0), np.ones(values.shape[:2])]):
        for model in range(len(values)):
            table[model, :, column] = np.bincount(block, one[model], len(blocks))
    made = resampled(table, lambda sums: {"score": sums[..., :-1] / sums[..., -1:]}, draws, [seed, SALT])
    chance = float((relevant / np.maximum(answerable, 1))[relevant > 0].mean())
    return xr.Dataset(
        {name: (("model", "metric"), value) for name, value in made.items()},
        {"model": list(vectors), "metric": [f"{name}@{k}" for name in METRICS]},
        {
            "k": k,
            "queries": len(counted),
            "groups": len(blocks),
            "without": len(asking) - len(counted),
            "chance": chance,
        },
    )


def told(scores: xr.Dataset) -> str:
    """What `score_retrieval` found, in sentences."""
    metric = str(scores["metric"].values[0])
    first, *others = scores["model"].values
    at = scores.sel(metric=metric)

    def value(name: str, model: str) -> str:
        low, high = (float(at[f"{name}_{end}"].sel(model=model)) for end in ("low", "high"))
        return f"{float(at[name].sel(model=model)):{'+' * (name == 'gain')}.3f} [{low:.3f}, {high:.3f}]"

    words = [f"{metric} of {first}: {value('score', first)} ({scores.attrs['queries']:,} queries, {scores.attrs['groups']} groups; "
             f"{scores.attrs['chance']:.3f} of all samples share a label)"]  # fmt: skip
    words += [f"{value('gain', other)} against {other} ({float(at['score'].sel(model=other)):.3f})" for other in others]
    return "; ".join(words) + "."


def _indicators(labels: Sequence[Sequence[str]]) -> np.ndarray:
    """Whether each sample has each label: float32 (sample, label)."""
    names = {name: i for i, name in enumerate(sorted({name for one in labels for name in one}))}
    out = np.zeros((len(labels), len(names)), np.float32)
    for row, one in enumerate(labels):
        out[row, [names[name] for name in one]] = 1
    return out


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _gains(shared: np.ndarray, group: np.ndarray, rows: np.ndarray, own_group: bool) -> np.ndarray:
    """How many labels each sample shares with some queries, (query, sample); -1 where it may not answer."""
    gains = shared[rows] @ shared.T
    if not own_group:
        gains[group[rows][:, None] == group] = -1
    gains[np.arange(len(rows)), rows] = -1
    return gains


def _answerable(group: np.ndarray, rows: np.ndarray, own_group: bool) -> np.ndarray:
    """How many samples may answer each query."""
    return np.full(len(rows), len(group) - 1) if own_group else len(group) - np.bincount(group)[group[rows]]


def _scored(
    vectors: np.ndarray, shared: np.ndarray, group: np.ndarray, rows: np.ndarray, k: int, own_group: bool
) -> np.ndarray:
    """Average precision and nDCG at k of some queries: (query, metric)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    unit, out = unit.astype(np.float32), []
    discount = 1 / np.log2(np.arange(2, k + 2))
    for part in _parts(rows):
        gains = _gains(shared, group, part, own_group)
        similar = np.where(gains < 0, -np.inf, unit[part] @ unit.T)
        order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        got = np.take_along_axis(gains, order, 1).clip(0)
        hits, first = got > 0, discount[: order.shape[1]]
        precision = np.cumsum(hits, 1) / np.arange(1, order.shape[1] + 1)
        possible = np.minimum((gains > 0).sum(1), k)
        ideal = np.sort(gains, axis=1)[:, ::-1][:, :k].clip(0)
        out.append(np.stack([(precision * hits).sum(1) / possible, (got @ first) / (ideal @ first)], 1))
    return np.concatenate(out)
