"""Figures of forecasts on a grid of cells: where and when there was something, what the network saw, what it expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from geonb.base.conventions import SPLITS
from geonb.plots.cells import (
    cell_grid,
    cell_map,
    ground_note,
    label_grid,
    mark_cells,
    month,
    one_colour,
    outcome_records,
    probability_bar,
    probability_look,
)
from geonb.plots.style import SPLIT_COLOURS, evenly, finish, place_text, styled, swatches
from geonb.plots.tiles import drawn_windows
from geonb.workloads.conflict.windows import with_months

ROUNDING = 1e-6  # a spread below is that of equal draws: a network that is its floor
GAP = "#f0f0f0"
HALF_LIFE = 2.0  # months after which an event in a tile is half as bright


@styled
def cube_maps(store: Any) -> Figure:
    """Draw where and when: months with an event of each cell as a map, and below it the events of each month with the splits.

    Parameters
    ----------
    store : CubeStore (`geonb.open_store`)
    """
    events = _event_months(store, [o["event"] for o in store.outcomes]).max("channel")
    events = events.where(xr.DataArray(np.asarray(store.valid), dims=("y", "x")), 0)
    total = events.sum("time")
    figure, (ax, line) = plt.subplots(2, 1, figsize=(8.4, 7.6), height_ratios=(3.2, 1), layout="constrained")
    highest = max(2.0, float(total.max()))
    image = cell_map(
        ax, total.where(total > 0), store.valid, cmap=probability_look()["cmap"], norm=LogNorm(0.5, highest)
    )
    bar = figure.colorbar(image, ax=ax, label=f"months with an event, of {events.sizes['time']:,}", shrink=0.9)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= highest]
    bar.set_ticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    bar.ax.set_ylim(0.9, highest)
    ax.set_title(f"Where: {' or '.join(str(outcome['name']) for outcome in store.outcomes)}")
    monthly = events.sum(("y", "x"))
    _shade_splits(line, store)
    bounds = [*events.time.values, _ends(events.time.values)[1]]
    line.stairs(monthly.values, bounds, color="#333333", alpha=0.15, fill=True)
    line.stairs(monthly.values, bounds, color="#333333", linewidth=1)
    line.set(ylabel="cells with an event", title="When", ylim=(0, None), xlim=_ends(events.time.values))
    handles = swatches({name: SPLIT_COLOURS[name] for name in SPLITS} | {"gap: in no split": GAP})
    line.legend(handles=handles, ncols=4, loc="lower left", bbox_to_anchor=(0, -0.5), title="month is forecast in")
    line.get_legend().set_alignment("left")
    cells, valid = int((total > 0).sum()), int(np.asarray(store.valid).sum())
    said = f"{int(monthly.sum()):,} of {valid * events.sizes['time']:,} cell-months hold an event, in {cells:,} of {valid:,} cells."
    return finish(figure, store.meta, said, ground_note(store.valid))


def _ends(times: np.ndarray) -> tuple[Any, Any]:
    return times[0], np.datetime64(pd.Timestamp(times[-1]) + pd.offsets.MonthBegin(1))


def _shade_splits(ax: Axes, store: Any) -> None:
    """Colour the months that each split forecasts; what is between them belongs to none."""
    ax.set_facecolor(GAP)
    times = [*store.times, store.times[-1] + pd.offsets.MonthBegin(1)]
    for name in SPLITS:
        origins = np.asarray(store.origins(name))
        if len(origins):
            first, last = origins.min(), min(origins.max() + store.horizon, len(times) - 1)
            ax.axvspan(times[first], times[last], facecolor=SPLIT_COLOURS[name], alpha=0.45, linewidth=0, zorder=0.5)


def _event_months(store: Any, names: Sequence[str], first: int = 0, last: int | None = None) -> Any:
    """Event flags (time, channel, y, x) of a store; months `first` to `last` - 1."""
    return with_months(store).cube(names=list(dict.fromkeys(names)), start=first, stop=last)


@styled
def event_diffusion(store_or_cube: Any, t: int | str, steps: int | None = None) -> Figure:
    """Draw the months before a forecast side by side: how events spread over the map.

    Parameters
    ----------
    store_or_cube : CubeStore, or DataArray (time, channel, y, x) whose first channel is the event flag
    t : int or month
        First month that would be forecast: its position, or ``"2016-03"``.
    steps : int, optional
        How many months before it; the store's own number (or 10) when left out.

    Raises
    ------
    ValueError
        If there are not that many months before `t`.
    """
    store_or_cube = with_months(store_or_cube)
    times = pd.DatetimeIndex(store_or_cube.times if hasattr(store_or_cube, "times") else store_or_cube.time.values)
    position = t if isinstance(t, (int, np.integer)) else int(times.searchsorted(pd.Timestamp(t)))
    steps = int(getattr(store_or_cube, "steps", 10) if steps is None else steps)
    if not steps <= position <= len(times):
        raise ValueError(
            f"t = {t!r} is month {position} of {len(times)}, with {steps} months to show before it. Give {steps} to {len(times)} "
            f"(or {month(times[min(steps, len(times) - 1)])} and later), or fewer `steps`."
        )
    outcomes = getattr(store_or_cube, "outcomes", [{"name": "events", "colour": "#b2182b"}])
    if isinstance(store_or_cube, xr.DataArray):
        events = store_or_cube.isel(time=slice(position - steps, position), channel=0)
    else:
        events = _event_months(store_or_cube, [outcomes[0]["event"]], position - steps, position).isel(channel=0)
    valid = getattr(store_or_cube, "valid", None)
    columns = -(-steps // -(-steps // 5))
    figure, axes = cell_grid(-(-steps // columns), columns, events)
    for ax, at in zip(axes.flat, range(steps), strict=False):
        here = (events.isel(time=at) > 0).astype(float)
        cell_map(ax, here, valid, **one_colour(outcomes[0]["colour"]))
        ax.set_title(f"{month(events.time.values[at])}: {int(here.sum())} cells", fontsize=8)
        ax.text(0.97, 0.03, f"-{steps - at}", transform=ax.transAxes, ha="right", fontsize=7, color="#777777", zorder=5)
    for ax in axes.flat[steps:]:
        ax.set_axis_off()
    label_grid(axes)
    figure.legend(
        handles=swatches({outcomes[0]["name"]: outcomes[0]["colour"]}), loc="outside upper left", borderaxespad=0.2
    )
    until = month(times[-1] + pd.offsets.MonthBegin(1)) if position == len(times) else month(times[position])
    attrs = getattr(store_or_cube, "meta", getattr(store_or_cube, "attrs", {}))
    return finish(
        figure, attrs, f"The {steps} months before {until}; the number is the months from it.", ground_note(valid)
    )


@styled
def sequence_samples(store: Any, n: int = 4, seed: int = 0, split: str | None = "train") -> Figure:
    """Draw `n` random windows: channel 0 of the input months, oldest first, and what was to be forecast.

    Parameters
    ----------
    store : CubeStore (`geonb.open_store`)
    split : str, optional
        Which windows to draw from; all when None.
    """
    table, rows = drawn_windows(store, n, split, seed)
    rows = rows[np.argsort(store.index["t"].to_numpy()[rows], kind="stable")]
    chosen = store.index.iloc[rows]
    figure, axes, steps, leads = _sample_axes(store, len(chosen))
    for row, number in enumerate(rows):
        window, origin = store[int(number)], int(chosen["t"].iloc[row])
        inputs = window.inputs.isel(channel=0).transpose("step", "y", "x").values
        targets = window.targets.isel(outcome=0).transpose("lead", "y", "x").values
        panels = [*inputs[-steps:], *targets[:leads]]
        for column, (ax, values) in enumerate(zip(axes[row], panels, strict=True)):
            colour = "#4a6d8c" if column < steps else store.outcomes[0]["colour"]
            look = one_colour(colour) | {"origin": "lower" if bool(window.y[0] <= window.y[-1]) else "upper"}
            ax.imshow((np.nan_to_num(values) > 0).astype(float), interpolation="nearest", **look)
            at = with_months(store).times[0] + pd.DateOffset(months=origin - steps + column)
            ax.set_title(month(at), fontsize=6.5, fontweight="normal", loc="center", pad=2)
        place = place_text(float(window.y.mean()), float(window.x.mean()), 1).replace(", ", "\n")
        axes[row, 0].set_ylabel(place, fontsize=7, rotation=0, ha="right", va="center")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    size = f"{int(chosen.height.iloc[0])} x {int(chosen.width.iloc[0])} cells"
    left_out = f" The last {steps} of {store.steps} input months." if steps < store.steps else ""
    said = f"{len(chosen)} of {table:,} {split or ''} windows of {size}, north up, drawn at random.{left_out}"
    return finish(figure, store.meta, said, _placed(store.meta["parameters"]))


def _placed(cut: dict[str, Any]) -> str:
    """How windows were placed, and what that means for how often something happens in them."""
    if cut.get("chunk_size") is None:
        return "Each window is the whole region, and each month is the first to forecast of one of them."
    least = f" and {cut['min_events']:,} events or more in the months before" if cut.get("min_events") else ""
    return (
        f"Windows were placed at random so that they hold an event of the month to forecast{least}: how often something happens in them is "
        "no measure of how often it happens. The forecasts that are scored are of the whole region."
    )


def _sample_axes(store: Any, rows: int, most: int = 10, targets: int = 3) -> tuple[Figure, np.ndarray, int, int]:
    """Axes with a gap between what goes in and what comes out, how many input months and how many leads are shown."""
    steps, leads = min(store.steps, most), min(store.horizon, targets)
    wide = 11.5 / (most + targets + 1)
    figure, axes = plt.subplots(
        rows, steps + leads, figsize=((steps + leads) * wide + 1.2, rows * (wide + 0.2) + 0.6), squeeze=False
    )
    figure.subplots_adjust(left=0.09, right=0.99, top=1 - 0.42 / (rows * (wide + 0.2) + 0.6), bottom=0.07, wspace=0.08)
    shift = 0.012
    for ax in axes[:, steps:].flat:
        box = ax.get_position()
        ax.set_position([box.x0 + shift, box.y0, box.width, box.height])
    colours = {f"input: {store.inputs[0]} in the months before": "#4a6d8c"}
    colours[f"to forecast: {store.outcomes[0]['name']}"] = store.outcomes[0]["colour"]
    figure.legend(handles=swatches(colours), loc="upper left", ncols=2, bbox_to_anchor=(0.08, 1.0))
    return figure, axes, steps, leads


def best_baseline(predictions: xr.DataTree, outcome: str | None = None) -> str | None:
    """The baseline with the highest average precision one month ahead on the validation months; None if there is none."""
    from sklearn.metrics import average_precision_score

    data = _grid(predictions)
    others = [str(m) for m in data.model.values if str(m) != "network"]
    months = np.flatnonzero(data.split.values == "val")
    if len(others) < 2 or not len(months):
        return others[-1] if others else None
    here = data.isel(time=months, lead=0).sel(outcome=data.outcome.values[0] if outcome is None else outcome)
    truth = here.truth.transpose("time", "y", "x").values
    known = (truth == 0) | (truth == 1)
    scores = {}
    for model in others:
        guess = here.probability.sel(model=model).transpose("time", "y", "x").values
        use = known & np.isfinite(guess)
        scores[model] = average_precision_score(truth[use] == 1, guess[use]) if (truth[use] == 1).any() else 0.0
    return max(scores, key=scores.__getitem__)


def _grid(predictions: xr.DataTree) -> xr.Dataset:
    if "grid" not in predictions.children:
        raise ValueError(
            f"These predictions hold no group 'grid' but {list(predictions.children)}: they are no forecasts. "
            "Run notebooks/03_prediction.ipynb of a forecasting workload first."
        )
    return predictions["grid"].to_dataset()


def origin_of(data: xr.Dataset, time: Any = None) -> int:
    """Position of an origin: ``"latest"``, a month, or (None) the last of the test months whose truth is all known."""
    if time is not None and time != "latest":
        places = np.flatnonzero(data.time.values.astype("datetime64[M]") == np.datetime64(str(time)[:7], "M"))
        if not len(places):
            months = [month(t) for t in data.time.values]
            raise ValueError(
                f"No forecast of {time!r}; there are {len(months)}, from {months[0]} to {months[-1]}. Choose one of them."
            )
        return int(places[0])
    if time == "latest":
        return int(np.argmax(data.time.values))
    known = ((data.truth >= 0) | ~data.valid).all([d for d in data.truth.dims if d != "time"]).values
    for wanted in reversed(SPLITS):
        inside = np.flatnonzero(known & (data.split.values == wanted))
        if len(inside):
            return int(inside[-1])
    return int(np.argmax(data.time.values))


def _origin(predictions: xr.DataTree, time: Any, outcome: str | None) -> tuple[xr.Dataset, xr.Dataset, dict[str, Any]]:
    """The forecasts, those of one origin and outcome, and the outcome's record."""
    data = _grid(predictions)
    record = outcome_records(predictions.attrs, data.outcome.values[:1] if outcome is None else [outcome])[0]
    return data, data.isel(time=origin_of(data, time)).sel(outcome=record["name"]).load(), record


def _ahead(lead: int) -> str:
    return f"{lead} month{'s' if lead > 1 else ''} ahead"


def _month_ahead(here: xr.Dataset, lead: int) -> str:
    return month(pd.Timestamp(here.time.values) + pd.DateOffset(months=int(lead) - 1))


@styled
def forecast_panels(
    predictions: xr.DataTree,
    store: Any = None,
    time: Any = None,
    leads: Sequence[int] | None = None,
    outcome: str | None = None,
    baseline: str | None = None,
) -> Figure:
    """Draw what came true beside what the network and the best baseline had expected, one row a lead.

    Parameters
    ----------
    predictions : DataTree with group ``grid`` (`geonb.open_predictions`)
    store : CubeStore, optional
        Adds the last month that was known, as the first column.
    time : month, optional
        First month that was forecast; the last test month whose truth is all known when left out.
    leads : sequence of int, optional
        Months ahead, 1 is the first; the first, middle and last when left out.
    baseline : str, optional
        The one with the best average precision on the validation months when left out.
    """
    data, here, record = _origin(predictions, time, outcome)
    leads = [int(data.lead[at]) for at in evenly(data.sizes["lead"], 3)] if leads is None else list(leads)
    baseline = best_baseline(predictions, record["name"]) if baseline is None else baseline
    models = [str(data.model.values[0]), *([baseline] if baseline else [])]
    before = _month_before(store, record, here)
    figure, axes = cell_grid(len(leads), 1 + len(models) + (before is not None), here)
    valid, image = here.valid, None
    for row, lead in enumerate(leads):
        places, at = iter(axes[row]), here.sel(lead=lead)
        truth = at.truth.where(valid & (at.truth >= 0))
        if before is not None:
            ax = next(places)
            if row:  # it is the same for every lead
                ax.set_axis_off()
            else:
                cell_map(ax, before, valid, **one_colour("#4a6d8c"))
                ax.set_title(f"known: {month(before.time.values)}", fontsize=9)
        ax = next(places)
        cell_map(ax, truth, valid, **one_colour(record["colour"]))
        told = f"{int((truth == 1).sum())} cells" if bool(np.isfinite(truth).any()) else "not known yet"
        ax.set_title(f"truth of {_month_ahead(here, lead)}: {told}", fontsize=9)
        for model in models:
            ax = next(places)
            image = cell_map(ax, at.probability.sel(model=model), here.valid, **probability_look())
            mark_cells(ax, truth == 1)
            ax.set_title(f"{model}, {_ahead(lead)}", fontsize=9)
    label_grid(axes)
    probability_bar(figure, image, axes.ravel().tolist(), f"probability of {record['name']}")
    said = f"Forecast from {month(here.time.values)} on ({here.split.values.item()} split). Black squares: cells where it came true."
    return finish(figure, predictions.attrs, said, ground_note(here.valid))


def _month_before(store: Any, record: dict[str, Any], here: xr.Dataset) -> xr.DataArray | None:
    """Event flags of the last month before the forecast."""
    if store is None:
        return None
    position = int(pd.DatetimeIndex(with_months(store).times).searchsorted(pd.Timestamp(here.time.values)))
    name = record.get("event", store.outcomes[0]["event"])
    return (_event_months(store, [name], position - 1, position).isel(channel=0, time=0) > 0).astype(float)


@styled
def forecast_map(
    predictions: xr.DataTree,
    time: Any = "latest",
    model: str | None = None,
    outcome: str | None = None,
    leads: Sequence[int] | None = None,
) -> Figure:
    """Draw the forecast of every lead as a map, and below how unsure the network is where it was asked several times.

    Parameters
    ----------
    predictions : DataTree with group ``grid`` (`geonb.open_predictions`)
    time : ``"latest"`` or month
        First month that is forecast; the latest is the future.
    model : str, optional
        The network (the first) when left out; only its spread is known.
    leads : sequence of int, optional
        At most 12 of them, evenly chosen, when left out.
    """
    data, here, record = _origin(predictions, time, outcome)
    model = str(data.model.values[0]) if model is None else model
    leads = [int(data.lead[at]) for at in evenly(data.sizes["lead"], 12)] if leads is None else list(leads)
    unsure = "spread" in here and model == str(data.model.values[0]) and float(here.spread.max()) > ROUNDING
    columns = min(4, len(leads))
    rows, shown = -(-len(leads) // columns), [leads[at] for at in evenly(len(leads), columns)] if unsure else []
    figure, axes = cell_grid(rows + bool(unsure), columns, here)
    for ax, lead in zip(axes[:rows].flat, leads, strict=False):
        at = here.sel(lead=lead)
        image = cell_map(ax, at.probability.sel(model=model), here.valid, **probability_look())
        mark_cells(ax, (at.truth == 1) & at.valid)
        ax.set_title(f"{_month_ahead(here, lead)} ({_ahead(lead)})", fontsize=9)
    for ax in axes[:rows].flat[len(leads) :]:
        ax.set_axis_off()
    probability_bar(figure, image, axes[:rows].ravel().tolist(), f"probability of\n{record['name']}")
    if unsure:
        _spread_row(figure, axes[rows], here, shown)
    label_grid(axes)
    known = bool(((here.truth == 1) & here.valid).any())
    said = f"Forecast of {model} from {month(here.time.values)} on ({here.split.values.item()})."
    more = " Black squares: cells where it came true." if known else " Nothing of it is known yet."
    few = f" {len(leads)} of {data.sizes['lead']} leads." if len(leads) < data.sizes["lead"] else ""
    return finish(figure, predictions.attrs, said + more + few, ground_note(here.valid))


def _spread_row(figure: Figure, axes: np.ndarray, here: xr.Dataset, leads: Sequence[int]) -> None:
    highest = float(here.spread.max())
    for ax, lead in zip(axes, leads, strict=False):
        image = cell_map(ax, here.spread.sel(lead=lead), here.valid, cmap="Purples", vmin=0, vmax=highest)
        ax.set_title(f"spread, {_ahead(lead)}", fontsize=9)
    figure.colorbar(image, ax=axes.tolist(), label="std over draws", shrink=0.85, aspect=14, pad=0.01,
                    format=f"{{x:.{0 if highest >= 0.05 else 2}%}}")  # fmt: skip


def forecast_tiles(store: Any, rows: np.ndarray) -> np.ndarray:
    """How windows look to a person: recent events bright, older ones faded, on dark ground; north up.

    Parameters
    ----------
    store : CubeStore
    rows : positions in the store's index, all of one window size

    Returns
    -------
    uint8 array (sample, y, x, 3), in the order of ``rows``; three outcomes are red, blue and green light, one is amber
    """
    from matplotlib.colors import to_rgb

    table = store.index.iloc[np.asarray(rows, int)]
    if len(table) == 0:
        return np.zeros((0, 1, 1, 3), np.uint8)
    first, last = int(table.t.min()) - store.steps, int(table.t.max())
    names = [outcome["event"] for outcome in store.outcomes]
    cube = _event_months(store, names, first, last).sel(channel=names)
    events, width = cube.values > 0, cube.sizes["x"]
    light = np.array([to_rgb(o["colour"]) if len(names) > 1 else to_rgb("#ffc857") for o in store.outcomes])
    fade = 2.0 ** (-np.arange(store.steps - 1, -1, -1) / HALF_LIFE)
    ground = np.array([0.09, 0.11, 0.15])
    tiles = []
    for row in table.itertuples():
        window = events[row.t - store.steps - first : row.t - first, :, row.y : row.y + row.height]
        window = window[..., np.arange(row.x, row.x + row.width) % width]
        bright = (window * fade[:, None, None, None]).max(0)  # (outcome, y, x)
        shown = ground + np.tensordot(bright, np.maximum(light - ground, 0), (0, 0))
        tiles.append(shown[::-1] if cube.y[0] < cube.y[-1] else shown)
    return (np.clip(np.stack(tiles), 0, 1) * 255).round().astype(np.uint8)
