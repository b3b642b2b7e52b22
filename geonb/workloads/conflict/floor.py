"""The floor of a network: the regression on history that it corrects, so that with little data the answer is that baseline.

A network with a floor gives the floor's outputs plus a correction that begins at 0. The regression is fitted to the training
months, chosen by the validation months, and kept in the model's card. What a month with an event meant in a cell, the floor of the
deaths, is that of the store that is forecast: another region has other cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base.files import key_of
from geonb.store.memory_map import computed_map
from geonb.training.devices import best_device
from geonb.workloads.conflict.baselines import Regression, events_of, fit_logistic, fit_weighted_history, severity_of
from geonb.workloads.conflict.cells import BLOCK_MONTHS, blocks_of
from geonb.workloads.conflict.death_head import HISTORY, ClassHistory
from geonb.workloads.conflict.death_scores import CLASSES
from geonb.workloads.conflict.windows import with_months

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from geonb.workloads.conflict.loaders import Sequences
    from geonb.workloads.conflict.losses import ForecastLoss
    from geonb.workloads.conflict.store import CubeStore
    from geonb.workloads.conflict.task import Forecast

BATCH = 16  # windows at once
FITS: dict[str, Callable[[CubeStore, int], Regression]] = {
    "weighted-history": fit_weighted_history,
    "logistic": fit_logistic,
}


class FloorMap(NamedTuple):
    """A floor's outputs in memory maps, .npy float32, of the `origins` (months).

    ``logits`` (origin, lead, outcome, y, x) of the events, and what follows them at every lead, ``rest`` (origin, output, y, x), or None.
    """

    logits: Path
    rest: Path | None
    origins: np.ndarray
    outputs: int

    def rows(self, origins: np.ndarray) -> np.ndarray:
        """Where some origins are in the files."""
        return np.searchsorted(self.origins, origins)


def choose_floor(store: CubeStore, wanted: str, seed: int) -> tuple[Regression, dict[str, float]]:
    """Fit what may be the floor to the training months, and take that with the lowest log loss in the validation months.

    Parameters
    ----------
    wanted : auto, or one of FITS
    seed : int
        Of the rows that are drawn where there are many.

    Returns
    -------
    The floor, and of each that was fitted the log loss
    """
    found = {name: fit(store, seed) for name, fit in FITS.items() if wanted in ("auto", name)}
    losses = {name: validation_loss(store, regression) for name, regression in found.items()}
    return found[min(losses, key=losses.__getitem__)], losses


def validation_loss(store: CubeStore, regression: Regression) -> float:
    """Log loss of a regression, mean of the cells of the region, leads, outcomes and validation origins."""
    logits, losses = regression.on(store), []
    for t in map(int, with_months(store).origins("val")):
        given = logits(t)[..., store.valid].astype(np.float64)
        event = np.moveaxis(events_of(store, t, t + store.horizon), 1, 0)[..., store.valid]
        losses.append((np.logaddexp(0, given) - given * event).mean())
    return float(np.mean(losses))


def floor_outputs(store: CubeStore, regression: Regression, more: int) -> Callable[[int], np.ndarray]:
    """``outputs(t)`` (lead, output, y, x) float32 of the whole region, from the months before t.

    Parameters
    ----------
    more : int
        What follows the events' logits, by the loss (:class:`geonb.workloads.conflict.losses.ForecastLoss`); see `_rest`.
    """
    logits, rest = regression.on(store), _rest(store, more)

    def outputs(t: int) -> np.ndarray:
        events = np.moveaxis(logits(t), 0, 1)
        return np.concatenate([events, np.stack([rest(t)] * len(events))], axis=1) if more else events

    return outputs


def _rest(store: CubeStore, more: int) -> Callable[[int], np.ndarray]:
    """What a month with an event has meant in the cell: ``rest(t)`` (output, y, x) float32, the same at all leads.

    Of one output more, log1p deaths that the baselines expect (:func:`geonb.workloads.conflict.baselines.severity_of`); of
    as many as there are classes of deaths, the logarithms of their shares (:class:`geonb.workloads.conflict.death_head.ClassHistory`).
    """
    if more == CLASSES:
        history = ClassHistory(store)
        return lambda t: np.log(history.at(t)).reshape(-1, *store.valid.shape)
    severity = np.log1p(np.asarray(severity_of(store))) if more else np.empty((0, *store.valid.shape), np.float32)
    return lambda t: severity


def floor_map(store: CubeStore, regression: Regression, more: int) -> FloorMap:
    """The floor's outputs at all origins of a store's windows, computed once a machine beside the store's memory map."""
    origins = np.unique(store.index["t"].to_numpy(np.int64))
    folder, outcomes, (rows, columns) = store.windows().folder, len(store.outcomes), store.valid.shape
    told: dict[str, Any] = {"store": store.meta["key"], "floor": regression.record()}
    logits = folder / f"floor-{key_of(told)}.npy"
    shape = (len(origins), store.horizon, outcomes, rows, columns)
    computed_map(logits, shape, lambda: map(floor_outputs(store, regression, 0), origins.tolist()))
    rest = (
        folder / f"floor-rest-{key_of({'store': store.meta['key'], 'more': more, 'history': HISTORY})}.npy"
        if more
        else None
    )
    if rest is not None:
        computed_map(
            rest, (len(origins), outcomes * more, rows, columns), lambda: map(_rest(store, more), origins.tolist())
        )
    return FloorMap(logits, rest, origins, outcomes * (1 + more))


def gain_on_start(
    task: Forecast, start: dict[str, Tensor], other: dict[str, Tensor], store: CubeStore
) -> dict[str, Any]:
    """By how much weights lower the loss of the validation windows' cells, of those that a training began with.

    Parameters
    ----------
    start, other : state_dict
        The task has the second afterwards.

    Returns
    -------
    dict with ``gain``, its ``standard_error`` (None where there are too few blocks to tell), ``blocks`` in words, and
    ``log_loss_gain``, that of the events' plain log loss, which is the same where the loss is that
    """
    from geonb.workloads.conflict.losses import build_loss

    side, place, _ = blocks_of(store.valid)
    places = np.full(store.valid.shape, -1)
    places[store.valid] = place
    months, columns = max(BLOCK_MONTHS, store.horizon), store.valid.shape[1]
    windows = store.windows("val", **task.beside(store))
    where: list[tuple[np.ndarray, np.ndarray]] = []
    for t, y, x, height, width in store.index.iloc[windows.rows][["t", "y", "x", "height", "width"]].to_numpy(np.int64):
        here = places[y : y + height][:, np.arange(x, x + width) % columns]
        where.append((np.full((here >= 0).sum(), t // months), here[here >= 0]))
    losses, found = (task.loss, build_loss("bce", task.outcomes)), []
    for state in (start, other):
        task.load_state_dict(state)
        found.append(_cell_losses(task, windows, losses))
    quarter, block = (np.concatenate(part) for part in zip(*where, strict=True))
    own, events = found[0] - found[1]
    gain, error = paired_gain(own, quarter, block)
    blocks = f"{side} x {side} cells and of {months} months"
    return {"gain": gain, "standard_error": error, "blocks": blocks, "log_loss_gain": float(events.mean())}


def _cell_losses(task: Forecast, windows: Sequences, losses: Sequence[ForecastLoss]) -> np.ndarray:
    """Losses of each valid cell of some windows, in order: (loss, cell)."""
    import torch

    device, found = best_device(), []
    task.to(device).eval()
    with torch.inference_mode():
        for begin in range(0, len(windows), BATCH):
            read = windows.batch(list(range(begin, min(len(windows), begin + BATCH))))
            batch = {name: values.to(device) for name, values in read.items()}
            outputs = task(batch["inputs"], batch.get("floor"))
            told = batch["targets"], batch["deaths"], batch["valid"]
            cells = torch.stack([loss.to(device).cells(outputs, *told) for loss in losses])
            found.append(cells[:, batch["valid"]].double().cpu().numpy())
    task.cpu()
    return np.concatenate(found, axis=1)


def paired_gain(difference: np.ndarray, *groups: np.ndarray) -> tuple[float, float | None]:
    """Mean of differences (n,) and its standard error, where those of a group go together, in each way of grouping (n,).

    The variances by each way of grouping are added up. What several count alike is not taken off again (Cameron, Gelbach and
    Miller 2011, doi 10.1198/jbes.2010.07136, do), so that it errs on the wide side, as the intervals of scores do. None where a
    way of grouping has one group only.
    """
    mean, variance = difference.mean(), 0.0
    for group in groups:
        found, number = np.unique(group, return_inverse=True)
        if len(found) < 2:
            return float(mean), None
        sums = np.bincount(number, difference - mean)
        variance += (sums**2).sum() * len(found) / (len(found) - 1)
    return float(mean), float(np.sqrt(variance) / len(difference))
