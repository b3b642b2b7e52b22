"""Ward's tree of samples, exact or over weighted groups of them, and what is cut from it: kinds with letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import pandas as pd

LETTERS = "ABCDEFGHIJKLMN"
NOISE = "-"  # the letter of samples that belong to no kind
EXACT = 5000  # samples up to which the tree is exact, and groups that stand for more of them
CELL = 2000  # samples: more than so many are first parted into cells, and groups are made inside each
PAIRS = 200_000  # of samples, on which two trees' heights are compared
DENSE_DIMS = 10  # principal components in which HDBSCAN looks for dense groups
GROUPINGS = ("ward", "kmeans", "hdbscan")


@dataclass(frozen=True)
class Tree:
    """A tree over leaves, each a sample or a group of samples.

    Attributes
    ----------
    linkage : array (leaf - 1, 4)
        As scipy gives it; the last column counts leaves.
    leaf : int array (sample,)
        The leaf of each sample, -1 where it belongs to none (noise of HDBSCAN).
    grouping : str
        "ward", "kmeans" or "hdbscan".
    agreement : dict, optional
        Where leaves stand for many samples, see `agreement`.
    """

    linkage: np.ndarray
    leaf: np.ndarray
    grouping: str = "ward"
    agreement: dict[str, Any] | None = None

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return len(self.linkage) + 1

    @property
    def exact(self) -> bool:
        """Is each leaf a sample of its own?"""
        return self.leaves == len(self.leaf)


def link(embeddings: xr.Dataset, grouping: str = "ward", clusters: int = 8, seed: int = 0) -> Tree:
    """Join samples, most alike first (Ward 1963), on the embedding as it is.

    Parameters
    ----------
    embeddings : Dataset with ``embedding`` (sample, dim)
    grouping : str
        "ward": the whole tree; exact up to `EXACT` samples, above that over as many groups, each weighted by its samples.
        "kmeans": `clusters` centres (Lloyd 1982), and the tree of those, weighted. "hdbscan": as many dense groups as there are in
        the first ten principal components (Campello et al. 2013), samples in none of them being noise, and the tree of those;
        `clusters` is then only the most.
    clusters : int
        What the tree is to be cut into.

    Raises
    ------
    ValueError
        If the grouping is unknown, more clusters are asked for than there are samples, or HDBSCAN finds fewer than two groups.
    """
    check_grouping(grouping)
    values = values_of(embeddings)
    check_clusters(clusters, len(values))
    if grouping == "ward":
        if len(values) <= EXACT:
            return as_tree(_exact(values))
        leaf = condense(values, EXACT, seed)
        tree = Tree(_scipy_form(*ward(*weighted_centres(values, leaf))), leaf)
        return Tree(tree.linkage, leaf, "ward", agreement(tree, values, clusters, seed))
    leaf = _kmeans(values, clusters, seed) if grouping == "kmeans" else _hdbscan(values)
    if leaf.max() < 1:
        raise ValueError(
            f"k-means finds one group only: the {len(values)} embeddings are all the same, so the network tells nothing apart. "
            "Look at its training in notebook 02; a smaller `lr` often helps."
        )
    return Tree(_scipy_form(*ward(*weighted_centres(values, leaf))), leaf, grouping)


def as_tree(linkage: np.ndarray | Tree) -> Tree:
    """A scipy linkage over samples as a `Tree`; a tree is given back as it is."""
    return linkage if isinstance(linkage, Tree) else Tree(np.asarray(linkage), np.arange(len(linkage) + 1))


def check_grouping(grouping: str) -> str:
    """Refuse a grouping that there is not."""
    if grouping not in GROUPINGS:
        raise ValueError(f"grouping = {grouping!r} is unknown. Give one of {', '.join(GROUPINGS)}.")
    return grouping


def check_clusters(clusters: int, samples: int) -> None:
    """Refuse more clusters than samples, before anything long begins."""
    if not 1 <= clusters <= samples:
        raise ValueError(
            f"clusters = {clusters} is not between 1 and the {samples} samples there are. Ask for fewer `clusters`, or embed "
            "more `samples`."
        )


def cluster(tree: Tree | np.ndarray, clusters: int) -> np.ndarray:
    """Cut a tree into so many clusters (fewer, where it has fewer leaves) by undoing its last joins.

    Returns
    -------
    int array (sample,), 0-based, numbered as the leaves stand in the dendrogram from left to right; -1 for noise

    Raises
    ------
    ValueError
        If more clusters are asked for than there are samples.
    """
    from scipy.cluster.hierarchy import leaves_list

    tree = as_tree(tree)
    check_clusters(clusters, len(tree.leaf))
    joins = tree.linkage[: max(0, tree.leaves - clusters), :2].astype(int)
    group = _roots(joins, tree.leaves)
    along = group[leaves_list(tree.linkage)] if len(tree.linkage) else group
    _, first = np.unique(along, return_index=True)
    number = np.argsort(np.argsort(first))
    return np.where(tree.leaf < 0, -1, number[group][tree.leaf])


def letters_of(numbers: np.ndarray) -> np.ndarray:
    """Letters (sample,) of cluster numbers: A for 0, ...; - for -1."""
    return np.array([*LETTERS, NOISE])[np.asarray(numbers, int)]


def ward(centres: np.ndarray, weights: np.ndarray, stop: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Ward's method for points that each stand for a number of samples, down to `stop` groups.

    Two groups of weights u and v with centres a and b are ``sqrt(2 u v / (u + v)) |a - b|`` apart: what scipy's linkage, over every
    sample, gives for groups whose samples all lie at their centre. All pairs that are each other's nearest are joined at once,
    which leads to the same tree, since no union comes nearer to a third group than its parts were; no matrix of distances is
    held.

    Parameters
    ----------
    centres : array (n, dim)
    weights : array (n,), above 0

    Returns
    -------
    pairs : int array (n - stop, 2)
        What was joined; the k-th pair becomes n + k.
    heights : array (n - stop,)
        Not sorted.

    References
    ----------
    Murtagh and Legendre 2014, Ward's hierarchical agglomerative clustering method (10.1007/s00357-014-9161-z), for the distance;
    Murtagh 1983, A survey of recent advances in hierarchical clustering algorithms, for reciprocal nearest neighbours.
    """
    centres, weights = centres - centres.mean(0), np.asarray(weights, centres.dtype).copy()
    ids, made = np.arange(len(centres)), len(centres)
    near, apart = np.zeros(len(ids), int), np.zeros(len(ids), centres.dtype)
    stale, pairs, heights = np.arange(len(ids)), [], []
    while len(ids) > stop:
        near[stale], apart[stale] = _nearest(centres, weights, stale)
        one = np.flatnonzero((near[near] == np.arange(len(ids))) & (np.arange(len(ids)) < near))
        one = one if len(one) else np.array([apart.argmin()])  # rounding can break a tie in a circle
        one = one[np.argsort(apart[one], kind="stable")[: len(ids) - stop]]
        two = near[one]
        pairs.append(np.stack([ids[one], ids[two]], 1))
        heights.append(np.sqrt(apart[one]))
        both = weights[one] + weights[two]
        centres[one] = (centres[one] * weights[one, None] + centres[two] * weights[two, None]) / both[:, None]
        weights[one], ids[one] = both, np.arange(made, made + len(one))
        made += len(one)
        changed, kept = np.zeros(len(ids), bool), np.ones(len(ids), bool)
        changed[one] = changed[two] = True
        kept[two] = False
        stale = np.flatnonzero((changed | changed[near])[kept])
        near = (np.cumsum(kept) - 1)[near][kept]
        centres, weights, ids, apart = centres[kept], weights[kept], ids[kept], apart[kept]
    if not pairs:
        return np.zeros((0, 2), int), np.zeros(0)
    return np.concatenate(pairs), np.concatenate(heights).astype(np.float64)


def _nearest(centres: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other group of each of some, and its squared distance (Ward); blocks of rows, so that memory stays small."""
    squared = np.einsum("ij,ij->i", centres, centres)
    near, apart = np.empty(len(rows), int), np.empty(len(rows), centres.dtype)
    block = max(1, 4_000_000 // len(centres))
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        distance = centres[here] @ centres.T
        distance *= -2
        distance += squared[here, None]
        distance += squared
        np.maximum(distance, 0, out=distance)
        distance *= 2 / (1 / weights[here, None] + 1 / weights)
        distance[np.arange(len(here)), here] = np.inf
        best = distance.argmin(1)
        near[start : start + block], apart[start : start + block] = best, distance[np.arange(len(here)), best]
    return near, apart


def _exact(values: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import linkage

    return linkage(values.astype(np.float64), method="ward")


def _scipy_form(pairs: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Joins in any order -> scipy's linkage: sorted by height, a group joined after its parts, leaves counted."""
    leaves = len(pairs) + 1
    heights = heights.copy()
    for k, pair in enumerate(pairs):  # rounding must not put a group below its parts
        heights[k] = max([heights[k], *(heights[part - leaves] for part in pair if part >= leaves)])
    order = np.argsort(heights, kind="stable")
    number = np.concatenate([np.arange(leaves), np.empty(len(pairs), int)])
    number[leaves + order] = leaves + np.arange(len(pairs))
    linkage, counts = np.empty((len(pairs), 4)), np.ones(2 * leaves - 1)
    for k, join in enumerate(order):
        one, two = sorted(number[pairs[join]])
        counts[leaves + k] = counts[one] + counts[two]
        linkage[k] = one, two, heights[join], counts[leaves + k]
    return linkage


def condense(values: np.ndarray, groups: int, seed: int = 0) -> np.ndarray:
    """Part samples into about so many groups: cells by k-means, and inside each cell Ward's joins until its share is left.

    Groups so made agree with the exact tree as well as those of k-means alone where kinds are apart, up to .15 (adjusted Rand)
    worse where they overlap, in a tenth of the time.

    Returns
    -------
    int array (sample,): the group of each, 0-based, without gaps
    """
    from sklearn.cluster import MiniBatchKMeans

    cells = max(1, len(values) // CELL)
    draw = MiniBatchKMeans(cells, random_state=seed, n_init=1, batch_size=4096, max_iter=20)
    cell = draw.fit(values).labels_ if cells > 1 else np.zeros(len(values), int)
    order = np.argsort(cell, kind="stable")
    parts = [part for part in np.split(order, np.searchsorted(cell[order], np.arange(1, cells))) if len(part)]
    ends = np.rint(np.cumsum([len(part) for part in parts]) / len(values) * groups).astype(int)
    group, made = np.empty(len(values), int), 0
    for part, share in zip(parts, np.diff(ends, prepend=0), strict=True):
        keep = min(len(part), max(1, share))
        pairs, _ = ward(values[part], np.ones(len(part)), keep)
        group[part] = made + _roots(pairs, len(part))
        made += keep
    return group


def _roots(pairs: np.ndarray, leaves: int) -> np.ndarray:
    """The group of each leaf after some joins, 0-based without gaps."""
    root = np.arange(leaves + len(pairs))
    for k in range(len(pairs) - 1, -1, -1):
        root[pairs[k]] = root[leaves + k]
    return np.unique(root[:leaves], return_inverse=True)[1]


def weighted_centres(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (group, dim) of each group's samples, and how many there are; samples of group -1 are left out."""
    from scipy.sparse import csr_matrix

    inside = np.flatnonzero(groups >= 0)
    counts = np.bincount(groups[inside])
    belongs = csr_matrix((np.ones(len(inside), np.float32), (groups[inside], inside)), (len(counts), len(groups)))
    return (belongs @ values).astype(np.float64) / counts[:, None], counts


def agreement(tree: Tree, values: np.ndarray, clusters: int, seed: int = 0) -> dict[str, Any]:
    """How well a tree over groups agrees with the exact tree of a sample.

    Returns
    -------
    dict
        ``samples`` compared; ``rand``: adjusted Rand index of the two cuts (Hubert and Arabie 1985); ``cophenetic``: correlation
        of the heights at which pairs are joined; ``rand_of_two_samples``: the same index between the exact trees of two such
        samples, the other's clusters being given by nearest centre: what chance in the drawing alone does.
    """
    from sklearn.metrics import adjusted_rand_score

    drawn = np.random.default_rng([seed, 0xA9]).permutation(len(values))
    size = min(EXACT, len(values) // 2)
    mine, other = drawn[:size], drawn[size : 2 * size]
    exact, second = as_tree(_exact(values[mine])), as_tree(_exact(values[other]))
    cut = cluster(exact, clusters)
    centres, _ = weighted_centres(values[other], cluster(second, clusters))
    one, two = np.random.default_rng([seed, 0xA8]).integers(0, size, (2, PAIRS))
    one, two = one[one != two], two[one != two]
    heights = _join_heights(exact, one, two), _join_heights(tree, mine[one], mine[two])
    return {
        "samples": size,
        "rand": float(adjusted_rand_score(cut, cluster(tree, clusters)[mine])),
        "cophenetic": float(np.corrcoef(heights)[0, 1]),
        "rand_of_two_samples": float(adjusted_rand_score(cut, nearest_centre(values[mine], centres))),
    }


def _join_heights(tree: Tree, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The height at which each pair of samples is joined; 0 inside a leaf."""
    from scipy.cluster.hierarchy import cophenet

    low, high = np.sort([tree.leaf[one], tree.leaf[two]], axis=0)
    n, heights = tree.leaves, cophenet(tree.linkage).astype(np.float32)
    place = n * low - low * (low + 1) // 2 + high - low - 1
    return np.where(low == high, 0, heights[np.where(low == high, 0, place)])


def nearest_centre(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre nearest to each row of values: int array."""
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(values, centres) if len(values) else np.zeros(0, int)


def _kmeans(values: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    group = KMeans(clusters, random_state=seed, n_init=4).fit_predict(values)
    return np.unique(group, return_inverse=True)[1]


def _hdbscan(values: np.ndarray) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    if len(values) > EXACT * 2:
        raise ValueError(
            f"grouping = 'hdbscan' takes minutes for {len(values):,} samples; at most {EXACT * 2:,} are allowed. Lower `samples`, "
            "or take 'ward'."
        )
    if values.shape[1] > DENSE_DIMS:  # in many dims everything is about equally far from everything, and nothing dense
        from sklearn.decomposition import PCA

        values = PCA(min(DENSE_DIMS, len(values)), random_state=0).fit_transform(values)
    smallest = max(3, len(values) // 50)
    group = HDBSCAN(min_cluster_size=smallest, min_samples=3, copy=True).fit_predict(values.astype(np.float64))
    if group.max() < 1:
        raise ValueError(
            f"HDBSCAN finds {group.max() + 1} dense groups of at least {smallest} among {len(values)} samples, and a tree needs two. "
            "Take grouping = 'ward' or 'kmeans', which part samples without gaps between them."
        )
    return group


def values_of(embeddings: xr.Dataset) -> np.ndarray:
    """The embedding as array (sample, dim).

    Raises
    ------
    ValueError
        If it is not finite somewhere.
    """
    values = embeddings["embedding"].transpose("sample", "dim").to_numpy()
    bad = int((~np.isfinite(values)).any(1).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(values)} embeddings are not finite: the network's training went astray (see notebook 02, and try a smaller "
            "`lr`), or its inputs are not finite."
        )
    return values


def kinds_table(embeddings: xr.Dataset, letters: Sequence[str]) -> pd.DataFrame:
    """What each kind holds: DataFrame, a row a letter, with windows, share, and where there are such coordinates the commonest
    label, its share in the kind and in all, and how many times as large the one is (lift; 1: nothing of this kind alone), the windows
    of each split, and the first and last time."""
    import pandas as pd

    names = np.asarray(letters).astype(str)
    splits = sorted(set(embeddings["split"].values.astype(str))) if "split" in embeddings.coords else []
    every = embeddings["label"].values.astype(str) if "label" in embeddings.coords else np.empty(0, str)
    rows = {}
    for letter in sorted(set(names), key=lambda one: (one == NOISE, one)):
        kind = embeddings.isel(sample=np.flatnonzero(names == letter))
        row: dict[str, Any] = {"windows": kind.sizes["sample"], "share": kind.sizes["sample"] / len(names)}
        if "label" in kind.coords:
            labels, counts = np.unique(kind["label"].values.astype(str), return_counts=True)
            share, of_all = counts.max() / counts.sum(), float((every == labels[counts.argmax()]).mean())
            row |= {
                "commonest label": labels[counts.argmax()],
                "its share": share,
                "of all": of_all,
                "lift": round(share / of_all, 1),
            }
        row |= {split: int((kind["split"].values.astype(str) == split).sum()) for split in splits}
        if "time" in kind.coords and len(times := pd.to_datetime(kind["time"].values).dropna()):
            row |= {"first": times.min(), "last": times.max()}
        rows[letter] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    shares = {name: table[name].map("{:.0%}".format) for name in ("share", "its share", "of all") if name in table}
    return table.assign(**shares).rename_axis("kind")


EXAMPLES = {
    "centre": "its {} most typical tiles",
    "random": "{} of its tiles, drawn at random",
    "best": "its {} tiles of the largest margin",
    "worst": "its {} tiles of the smallest margin",
}


def check_examples(examples: str) -> str:
    """Refuse a kind of example that there is not."""
    if examples not in EXAMPLES:
        raise ValueError(f"examples = {examples!r} is unknown. Give one of {', '.join(EXAMPLES)}.")
    return examples
