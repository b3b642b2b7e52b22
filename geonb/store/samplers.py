"""In which order an epoch shows the training windows, and how often each: ``"shuffle"``, ``"blocks:within=true"``, ``"sequential"``.

With ``balance=dataset``, ``source`` or ``class``, each constituent has the same share of an epoch: as many windows as the
largest has, those of smaller ones shown several times. (seed, epoch) alone decides all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base.specs import Option, check_options

if TYPE_CHECKING:
    from geonb.store.loaders import Tensors
    from geonb.store.store import Store

_BALANCE = Option(choices=("dataset", "source", "class"), help="each with the same share of an epoch")
_WITHIN = Option(True, bool, help="shuffle also the windows of a block")
OPTIONS = {
    "shuffle": {"balance": _BALANCE},
    "blocks": {"within": _WITHIN, "balance": _BALANCE},
    "sequential": {"balance": _BALANCE},
}
EPOCHS = 2**20  # more than anybody trains; a window shown again counts as its own of an epoch so many later


def check_sampler(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification: (method, {"balance": dataset, source, class or None}, of blocks "within": bool).

    ``shuffle`` draws from all windows, ``sequential`` keeps the table's order, ``blocks`` takes the spatial blocks of the
    store in random order, the windows of one together, and shuffles them within it unless ``within=false``.

    Raises
    ------
    ValueError
        Lists all that is unknown or ill-typed, and what is known.
    """
    return check_options("sampler", spec, OPTIONS)


def check_unlabelled(spec: str) -> None:
    """Refuse what :func:`check_sampler` refuses, and to balance the classes of samples that have none.

    Raises
    ------
    ValueError
    """
    if check_sampler(spec)[1]["balance"] == "class":
        raise ValueError(f"sampler = {spec!r}: there are no classes to balance. Leave balance=class out.")


class Order:
    """The keys of an epoch's windows, in the order in which they are seen; (seed, epoch) alone decides it.

    Parameters
    ----------
    length : int, windows
    seed : int
    method : str
        shuffle, blocks or sequential.
    blocks : ndarray (window,) of int, optional
        The spatial block of each window, for ``blocks``.
    within : bool
        Shuffle the windows of a block.
    groups : ndarray (window,) of int, optional
        The constituent of each window, if they are to be balanced; -1 for a window that is shown once whatever happens.

    Notes
    -----
    An epoch has as many windows as there are; balanced, the number of constituents times the windows of the largest,
    each window of a smaller one shown evenly often (at most one time more than another, drawn anew each epoch).
    A key is `(repeat * EPOCHS + epoch) * length + i`, see :class:`geonb.store.loaders.Tensors`: shown again, a window is changed
    in another way.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        method: str = "sequential",
        blocks: np.ndarray | None = None,
        within: bool = True,
        groups: np.ndarray | None = None,
    ):
        self.length, self.seed, self.method, self.within, self.epoch = length, seed, method, within, 0
        self.blocks = None if blocks is None else np.unique(blocks, return_inverse=True)[1]
        self.groups = (
            [np.arange(length)] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
        )
        self.fixed = groups is not None and bool((groups == -1).any())  # then the first group is shown as it is
        self.most = max(len(group) for group in self.groups[self.fixed :]) if length else 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after resuming."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.most * (len(self.groups) - self.fixed) + (len(self.groups[0]) if self.fixed else 0)

    def __iter__(self) -> Iterator[int]:
        shown, repeat = self._drawn()
        order = self._arranged(shown)
        return iter(((repeat[order] * EPOCHS + self.epoch) * self.length + shown[order]).tolist())

    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The windows of the epoch and how often each was there before, by window."""
        if len(self.groups) == 1:
            return np.arange(self.length), np.zeros(self.length, np.int64)
        random = np.random.default_rng([self.seed, self.epoch, 3])
        times = np.ones(self.length, np.int64)
        for group in self.groups[self.fixed :]:
            whole, rest = divmod(self.most, len(group))
            times[group] = whole
            times[random.permutation(group)[:rest]] += 1
        shown = np.repeat(np.arange(self.length), times)
        return shown, np.arange(len(shown)) - np.repeat(np.cumsum(times) - times, times)

    def _arranged(self, shown: np.ndarray) -> np.ndarray:
        random = np.random.default_rng([self.seed, self.epoch, 0])
        if self.method == "sequential":
            return np.arange(len(shown))
        if self.method == "shuffle":
            return random.permutation(len(shown))
        assert self.blocks is not None, "the method is blocks"
        rank = random.permutation(self.blocks.max() + 1)[self.blocks[shown]]
        return np.lexsort((random.random(len(shown)) if self.within else np.arange(len(shown)), rank))


def deal(keys: list[int], rank: int, ranks: int, least: int = 1) -> tuple[list[int], int]:
    """A rank's part of a batch, and how many windows of it count.

    Each window counts in one part. Parts have `least` windows or more, where the batch has: of the short batch at the end of an
    epoch some ranks then get a part in which none counts, the first rank's once more, as all of them must take the same steps.

    Parameters
    ----------
    keys : the batch's
    rank, ranks : int
        Which part, from 0, of how many.
    least : int, windows
    """
    parts = max(1, min(ranks, len(keys) // least))
    return (keys[rank::parts], len(keys[rank::parts])) if rank < parts else (keys[::parts], 0)


def order_of(windows: Tensors, store: Store, spec: str, seed: int = 0) -> Order:
    """The order of a split's windows by specification.

    Raises
    ------
    ValueError
        For an unknown or ill-typed specification, or if a constituent to be balanced has no windows; names it.
    """
    method, options = check_sampler(spec)
    here = store.index.iloc[windows.rows]
    blocks = here.groupby(["source", "block"], observed=True).ngroup().to_numpy() if method == "blocks" else None
    groups = None
    if options["balance"]:
        names = constituents(windows, store, options["balance"])
        groups = pd.Categorical(names, categories=sorted(set(names) - {"none"})).codes.astype(np.int64)
    return Order(len(windows), seed, method, blocks, options.get("within", True), groups)


def constituents(windows: Tensors, store: Store, by: str, all_there: bool = True) -> np.ndarray:
    """What each window belongs to: its dataset, its source, or its most frequent class ("none" where nothing is labelled).

    Raises
    ------
    ValueError
        If a dataset or a source has no window here (unless ``all_there`` is False): it cannot be shown more often. For
        classes of samples that have none.
    """
    here = store.index.iloc[windows.rows]
    sources = here["source"].astype(str).to_numpy()
    # whole sources that are another split's have no training windows by intent
    apart = {name for name, split in store.meta["split"].get("held", {}).items() if split != "train"}
    if by == "class":
        if not hasattr(windows, "commonest"):
            raise ValueError(
                f"balance = class: {windows.called} have no classes. Use shuffle, blocks (years) or sequential"
            )
        commonest = windows.commonest()
        return np.array([*(c["name"] for c in store.classes), "none"], object)[commonest]
    if by == "source":
        whole = store.meta["split"]["method"] == "source"  # dealt, as whole sources
        names, all_names = sources, [] if whole else [name for name in store.sources if name not in apart]
    else:
        own = {s["name"]: s.get("dataset") or store.meta["name"] for s in store.meta["sources"]}
        names = here["dataset"].astype(str).to_numpy() if "dataset" in here else np.array([own[s] for s in sources])
        all_names = [d["name"] for d in store.meta.get("datasets") or []] or list(own.values())
        whole_sets = set(own.values()) - {own[name] for name in own if name not in apart}
        all_names = [name for name in all_names if name not in whole_sets]
    missing = sorted(set(all_names) - set(names))
    if missing and all_there:
        raise ValueError(
            f"balance = {by}: {', '.join(missing)} has no training windows, so it cannot be shown more often. Leave it out, or "
            "deal the blocks in notebook 01 in another way (a smaller `patch` or `block`, another `seed` or `shares`)."
        )
    return names.astype(object)


def epoch_table(store: Store, spec: str = "shuffle") -> pd.DataFrame:
    """How an epoch is made up: constituent, its training windows, how many of an epoch's windows are its own."""
    windows = store.windows("train")
    by = check_sampler(spec)[1]["balance"] or "source"
    names = constituents(windows, store, by, all_there=False)
    shown = np.array(list(order_of(windows, store, spec))) % len(windows)
    table = pd.DataFrame({"windows": pd.Series(names).value_counts(), "shown": pd.Series(names[shown]).value_counts()})
    return table.sort_index().rename_axis(by).reset_index()
