"""Scores of windows: a saved model on any set of sequences, as the original's analytics did it, over all of the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.base.files import whole_file
from geonb.scores.ranking import auroc
from geonb.workloads.conflict.cells import FINE, fine_bins, lower_edge, thresholds
from geonb.workloads.conflict.scores import average_precision, curves_of

if TYPE_CHECKING:
    from torch import Tensor

    from geonb.workloads.conflict.store import MonthStore
    from geonb.workloads.conflict.task import Forecast

POINTS = 101


def score_windows(
    model: Forecast,
    store: MonthStore,
    split: str = "test",
    *,
    outcome: int = 0,
    threshold: float | None = None,
    batch: int = 32,
) -> xr.Dataset:
    """Score a model's forecasts of the windows of a split, all leads together.

    Windows overlap and lie where there were events, so these scores are not those of a region: compare them only with scores
    of the same windows.

    Parameters
    ----------
    model : trained task, from :func:`geonb.load_model`
    store : CubeStore
    split : str
    outcome : int
        Which of the store's outcomes.
    threshold : float, optional
        From which probability on to warn; None: where F1 is highest on the validation windows (0.5 if there are none).

    Returns
    -------
    Dataset with ``image_f1 (sample)`` (NaN where a window has neither event nor alarm), ``tn``, ``fp``, ``fn``, ``tp``,
    ``precision``, ``recall``, ``f1``, ``auroc``, ``average_precision``, ``brier``, ``never_brier`` (of forecasting nothing),
    ``threshold``; ``diagonal_fpr``, ``diagonal_tpr (pixel, point)``, ``diagonal_auroc (pixel)`` of the cells on the diagonal

    Raises
    ------
    ValueError
        If the split has no window, or the model was trained on other channels, outcomes or months.
    """
    from geonb.workloads.conflict.predict import check_fit

    check_fit(model.card, store)
    counts = store.index["split"].value_counts()
    if not counts.get(split, 0):
        raise ValueError(f"The store {store.path} has no {split} windows ({dict(counts)}). Give another `split`.")
    if threshold is None:
        threshold = _best_threshold(model, store, outcome, batch) if split != "val" and counts.get("val", 0) else 0.5
    side = int(store.index["height"].min())
    fine, diagonal = np.zeros((2, FINE), np.int64), np.zeros((side, 2, FINE), np.int32)
    confusion, brier, images = np.zeros(4, np.int64), 0.0, []
    for p, event, valid in _forecasts(model, store, split, outcome, batch):
        bins = fine_bins(p)
        fine += _histogram(bins[valid], event[valid])
        brier += float(((p - event.astype(np.float64)) ** 2)[valid].sum())
        alarm = p >= threshold
        pairs = ((~event, ~alarm), (~event, alarm), (event, ~alarm), (event, alarm))
        cells = [valid & true & given for true, given in pairs]
        by_image = np.stack([c.sum(axis=(1, 2, 3)) for c in cells], axis=-1)
        confusion += by_image.sum(axis=0)
        images.append(f1_of(by_image))
        for k in range(side):
            here = valid[..., k, k]
            diagonal[k] += _histogram(bins[..., k, k][here], event[..., k, k][here]).astype(np.int32)
    tn, fp, fn, tp = (int(c) for c in confusion)
    number = max(1, int(fine.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "tn": tn, "fp": fp, "fn": fn, "tp": tp, "precision": np.float64(tp) / (tp + fp), "recall": np.float64(tp) / (tp + fn),
            "f1": float(f1_of(confusion)), "auroc": float(auroc(*fine.astype(np.float64))),
            "average_precision": float(average_precision(*fine)), "brier": brier / number,
            "never_brier": fine[1].sum() / number, "threshold": float(threshold),
        }  # fmt: skip
    curves = np.stack([curves_of(without, events, POINTS)[:2] for without, events in diagonal])
    attrs = {
        "split": split, "windows": int(counts[split]), "outcome": store.outcomes[outcome]["name"],
        "title": store.meta.get("title", ""), "simulated": int(store.meta["simulated"]), "notes": store.meta["notes"],
    }  # fmt: skip
    return xr.Dataset(
        values
        | {
            "image_f1": ("sample", np.concatenate(images)),
            "diagonal_fpr": (("pixel", "point"), curves[:, 0]),
            "diagonal_tpr": (("pixel", "point"), curves[:, 1]),
            "diagonal_auroc": ("pixel", auroc(diagonal[:, 0].astype(np.float64), diagonal[:, 1].astype(np.float64))),
        },
        attrs=attrs,
    )


def f1_of(confusion: np.ndarray) -> np.ndarray:
    """F1 (...) of tn, fp, fn, tp (..., 4); NaN where there is neither event nor alarm."""
    _, fp, fn, tp = np.moveaxis(np.asarray(confusion, np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def full_metrics(
    model: Forecast, store: MonthStore, file: str | Path | None = None, split: str = "test", **options: Any
) -> pd.DataFrame:
    """All scores of the windows of a split as a table of one row, written as CSV if a file is given.

    Parameters
    ----------
    model, store, split, **options : see :func:`score_windows`
    file : path, optional
        The F1 of each window goes beside it, as ``<name>_images.csv``.
    """
    scored = score_windows(model, store, split, **options)
    row = {"network": model.card["network"], "split": split, "windows": scored.attrs["windows"]}
    row |= {str(name): scored[name].item() for name in scored.data_vars if scored[name].ndim == 0}
    row["mean_image_f1"] = float(scored["image_f1"].mean())
    table = pd.DataFrame([row])
    if file is not None:
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        images = pd.DataFrame({"window": np.arange(scored.sizes["sample"]), "f1": scored["image_f1"].values})
        for content, place in ((table, path), (images, path.with_name(f"{path.stem}_images.csv"))):
            with whole_file(place) as partial:
                content.to_csv(partial, index=False)
    return table


def analytics(
    model_path: str | Path, store_path: str | Path, file: str | Path | None = None, split: str = "test", **options: Any
) -> pd.DataFrame:
    """Score a saved model on any store of sequences, also one it was not trained on; see :func:`full_metrics`.

    Structure, kernel size and statistics come from the model's card: there is nothing to give twice.

    Parameters
    ----------
    model_path : run folder, checkpoints folder, or model.json
    store_path : folder of the store

    Raises
    ------
    ValueError
        If the store is of another workload, and as :func:`score_windows`.
    """
    from geonb.store.store import open_store
    from geonb.training.task import load_model
    from geonb.workloads.conflict.store import MonthStore

    store = open_store(store_path)
    if not isinstance(store, MonthStore):
        raise ValueError(
            f"{store.path} holds no months but {store.meta.get('kind', 'patches')}. Give a store of notebook 01_dataset_conflict."
        )
    return full_metrics(load_model(model_path), store, file, split, **options)


def _forecasts(
    model: Forecast, store: MonthStore, split: str, outcome: int, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(probability, event, valid), arrays (sample, lead, y, x), of a split's windows, some at once."""
    import torch

    windows = store.windows(split, **model.beside(store))
    change = _restandardise(store.meta["statistics"], model.card["statistics"])
    model = model.cpu().eval()  # where its windows are, wherever it was before
    for begin in range(0, len(windows), batch):
        found = windows.batch(list(range(begin, min(len(windows), begin + batch))))
        with torch.inference_mode():
            p = model.probabilities(change(found["inputs"].float()), found.get("floor"))[:, :, outcome].numpy()
        event = found["targets"][:, :, outcome].numpy() > 0.5
        yield p, event, np.broadcast_to(found["valid"].numpy()[:, None], p.shape)


def _restandardise(there: dict, own: dict) -> Callable[[Tensor], Tensor]:
    """From the statistics of another store to those of the model's training; what is unknown stays 0."""
    import torch

    mean, std, own_mean, own_std = (
        torch.tensor(s[k], dtype=torch.float32).view(-1, 1, 1) for s in (there, own) for k in ("mean", "std")
    )
    if torch.equal(mean, own_mean) and torch.equal(std, own_std):
        return lambda inputs: inputs
    return lambda inputs: torch.where(inputs == 0, inputs, (inputs * std + mean - own_mean) / own_std)


def _best_threshold(model: Forecast, store: MonthStore, outcome: int, batch: int) -> float:
    fine = np.zeros((2, FINE), np.int64)
    for p, event, valid in _forecasts(model, store, "val", outcome, batch):
        fine += _histogram(fine_bins(p)[valid], event[valid])
    best = int(thresholds(fine))
    return float(lower_edge(best)) if best < FINE else 0.5


def _histogram(bins: np.ndarray, event: np.ndarray) -> np.ndarray:
    return np.bincount(event * FINE + bins, minlength=2 * FINE).reshape(2, FINE)
