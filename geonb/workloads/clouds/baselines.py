"""What we would have guessed anyway about which tiles are alike: embeddings that need no network.

Each takes a store of triplets and a seed, learns from anchors of the training split only, and returns a function ``embed`` of
standardised inputs (sample, channel, y, x) that gives vectors (sample, dim). Tiles whose vectors are close are alike to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from geonb.prediction.baselines import Baseline

if TYPE_CHECKING:
    from geonb.workloads.clouds.store import TripletStore

MOST_TILES = 5_000  # that a baseline learns from
BATCH = 250
COMPONENTS = 100
# Larger matrices of pixels are not held but learnt from piece by piece.
MOST_VALUES = 64_000_000


def mean_and_spread(store: TripletStore, seed: int = 0) -> Baseline:
    """Mean and standard deviation of each channel over the tile: what brightness alone can tell.

    Each of these numbers is divided by its own spread over the training tiles, so that they weigh alike.
    """
    seen = np.concatenate([_moments(batch) for batch in training_tiles(store, seed)])
    spread = seen.std(axis=0)
    spread = np.where(spread > 0, spread, 1).astype(np.float32)

    def embed(inputs: np.ndarray) -> np.ndarray:
        return _moments(inputs) / spread

    return Baseline("mean-and-spread", embed)


def _moments(inputs: np.ndarray) -> np.ndarray:
    """Mean of each channel, then its standard deviation: float32 (sample, 2 * channel)."""
    values = np.asarray(inputs, np.float32).reshape(*inputs.shape[:2], -1)
    return np.concatenate([values.mean(axis=-1), values.std(axis=-1)], axis=1)


def pixel_pca(store: TripletStore, seed: int = 0, components: int = COMPONENTS) -> Baseline:
    """The first principal components of a tile's pixels: is the same thing in the same place of the tile?

    At most `components`, and fewer than there are training tiles. Tiles so large that those it learns from do not fit into
    256 MB are learnt from piece by piece (Ross et al. 2008, incremental learning for robust visual tracking).
    """
    from sklearn.decomposition import PCA, IncrementalPCA

    number = min(MOST_TILES, len(store.windows("train")))
    batches = training_tiles(store, seed)
    first = next(batches).astype(np.float32)
    shape, size = first.shape[1:], first[0].size
    most = min(components, number - 1, size)
    if most < 1:
        raise ValueError(
            f"One training triplet in {store.path} is too few for principal components: draw more triplets."
        )
    flat = (batch.reshape(len(batch), -1) for batch in chain([first], batches))
    if number * size <= MOST_VALUES:
        fitted = PCA(most, svd_solver="auto", random_state=seed).fit(np.concatenate(list(flat)))
    else:
        fitted = IncrementalPCA(most)
        for piece in _pieces(flat, most):
            fitted.partial_fit(piece)
    axes, origin = fitted.components_.T.astype(np.float32), fitted.mean_.astype(np.float32)
    shift = origin @ axes

    def embed(inputs: np.ndarray) -> np.ndarray:
        if inputs.shape[1:] != shape:
            raise ValueError(f"Tiles are {inputs.shape[1:]} (channel, y, x), those it learnt from {shape}.")
        return np.asarray(inputs, np.float32).reshape(len(inputs), -1) @ axes - shift

    return Baseline("pixel-pca", embed)


def _pieces(batches: Iterator[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """Batches joined until they hold at least `least` rows, as many as an incremental step needs; the last joins the one before."""
    held: list[np.ndarray] = []
    ready = None
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= least:
            if ready is not None:
                yield ready
            ready, held = np.concatenate(held), []
    rest = held if ready is None else [ready, *held]
    if rest:
        yield np.concatenate(rest)


def training_tiles(store: TripletStore, seed: int = 0) -> Iterator[np.ndarray]:
    """At most MOST_TILES standardised anchors of the training split, none twice: float32 (sample, channel, y, x) a batch.

    Raises
    ------
    ValueError
        If there is no training triplet.
    """
    windows = store.windows("train")
    if not len(windows):
        raise ValueError(
            f"{store.path} has no training triplet to learn a baseline from. Give other `shares` in notebook 01."
        )
    chosen = np.sort(np.random.default_rng([seed, 0x5EED]).permutation(len(windows))[:MOST_TILES])
    for begin in range(0, len(chosen), BATCH):
        anchors = windows.batch(chosen[begin : begin + BATCH].tolist(), tiles=("anchor",))["inputs"]
        yield anchors.numpy().astype(np.float32)
