"""What we would have guessed anyway: baselines that stand beside the network in every table.

Each takes a sample store and a seed, learns from training windows only, and returns a function of standardised inputs
(channel, y, x) that gives class probabilities (class, y, x).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from geonb.base.conventions import IGNORE
from geonb.prediction.baselines import Baseline
from geonb.workloads.segmentation.loaders import Windows

if TYPE_CHECKING:
    from geonb.workloads.segmentation.store import PatchStore


def majority(store: PatchStore, seed: int = 0) -> Baseline:
    """Every pixel has the class frequencies of the training pixels, so its label is the most frequent class."""
    _, labels = training_pixels(store, seed)
    frequency = np.bincount(labels, minlength=len(store.classes)) / len(labels)

    def guess(inputs: np.ndarray) -> np.ndarray:
        shape = (len(frequency), *inputs.shape[1:])
        return np.broadcast_to(frequency[:, None, None], shape).astype(np.float32)

    return Baseline("majority", guess)


def pixel_linear(store: PatchStore, seed: int = 0) -> Baseline:
    """Multinomial logistic regression on the bands of one pixel: what colour alone can tell."""
    from sklearn.linear_model import LogisticRegression

    bands, labels = training_pixels(store, seed)
    if len(np.unique(labels)) < 2:
        return Baseline("pixel-linear", majority(store, seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        model = LogisticRegression(max_iter=500).fit(bands, labels)

    def guess(inputs: np.ndarray) -> np.ndarray:
        probability = np.zeros((inputs[0].size, len(store.classes)), np.float32)
        probability[:, model.classes_] = model.predict_proba(inputs.reshape(len(inputs), -1).T)
        return probability.T.reshape(-1, *inputs.shape[1:])

    return Baseline("pixel-linear", guess)


def training_pixels(store: PatchStore, seed: int = 0, most: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw labelled pixels from the training windows.

    Returns
    -------
    bands : array (pixel, channel), standardised
    labels : array (pixel,), class index

    Raises
    ------
    ValueError
        If no training pixel has a label.
    """
    windows = Windows(store, "train")
    random = np.random.default_rng([seed, 0x5EED])
    # Overlapping windows hold the same pixels again, so some hundred windows are as good as all.
    chosen = np.sort(random.permutation(len(windows))[:500])
    share = max(1, most // max(1, len(chosen)))
    bands, labels = [], [np.empty(0, int)]
    for item in (windows[int(i)] for i in chosen):
        target = np.asarray(item["targets"]).ravel()
        where = np.flatnonzero(target != IGNORE)
        where = random.permutation(where)[:share]
        bands.append(np.asarray(item["inputs"]).reshape(len(item["inputs"]), -1)[:, where].T)
        labels.append(target[where])
    drawn = np.concatenate(labels)
    if not drawn.size:
        raise ValueError(
            f"No training window of {store.path} has a labelled pixel. Check the mask and its class table."
        )
    return np.concatenate(bands), drawn
