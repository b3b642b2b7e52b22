"""Figures of `seismic`, and which of them the shared notebooks show, with the words that tell how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from geonb import registry
from geonb.base.conventions import SPLIT_CODES, SPLITS
from geonb.plots.locators import map_about, points
from geonb.plots.scores import confusion_cells, counted, models_of, rows_of_dots
from geonb.plots.style import COASTS_NOTE, SPLIT_COLOURS, finish, model_looks, styled, swatches
from geonb.plots.waveforms import traces_picture
from geonb.workloads.seismic.metrics import KINDS, joint
from geonb.workloads.seismic.store import COLOURS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geonb.workloads.seismic.store import RecordStore

TILE = (72, 128)  # px of a window's picture
MARKS = {"earthquake": "o", "explosion": "*", "unknown": "x"}


def wave_tiles(store: RecordStore, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """How windows look to a person: their channels as traces one below the other, uint8 (sample, y, x, 3), each at its own scale."""
    out = np.full((len(rows), *TILE, 3), 255, np.uint8)
    for picture, row in zip(out, rows, strict=True):
        traces = store[int(row)]["inputs"].to_numpy()
        picture[:] = traces_picture(traces - traces.mean(-1, keepdims=True), TILE, "#1f3c5a")[..., :3]
    return out


@styled
def events_map(store: RecordStore) -> Figure | None:
    """Where the events and stations are, by kind; None where nobody knows."""
    index = store.index.drop_duplicates("id")
    known = index[np.isfinite(index["lon"]) & np.isfinite(index["lat"])]
    if known.empty:
        return None
    figure = plt.figure(figsize=(7.5, 5))
    ax = map_about(figure, known["lon"].to_numpy(), known["lat"].to_numpy())
    kinds = store.index[store.index["kind"] != "noise"].drop_duplicates("id").set_index("id")["kind"].astype(str)
    for kind, mark in MARKS.items():
        mine = known[known["id"].map(kinds) == kind]
        if len(mine):
            points(ax, mine["lon"], mine["lat"], mark, COLOURS[kind], f"{kind} ({len(mine)})")
    ax.legend(loc="upper right", fontsize=8)
    return finish(figure, store.meta, COASTS_NOTE)


@styled
def events_in_time(store: RecordStore) -> Figure:
    """When events were, by kind and magnitude, and which split they are of."""
    events = store.index[store.index["kind"] != "noise"].drop_duplicates("id")
    events = events if len(events) else store.index.drop_duplicates("id")
    figure, ax = plt.subplots(figsize=(9, 2.8))
    has = np.isfinite(events["magnitude"].to_numpy())
    for kind, mark in MARKS.items():
        for split in SPLITS:
            mine = events[(events["kind"] == kind) & (events["split"] == split)]
            height = (
                np.where(np.isfinite(mine["magnitude"]), mine["magnitude"], 0) if has.any() else np.zeros(len(mine))
            )
            ax.scatter(
                mine["time"], height, 40 if mark == "*" else 18, marker=mark, color=SPLIT_COLOURS[split], linewidths=0.5
            )
    kinds = [
        plt.Line2D([], [], marker=mark, linestyle="", color="#555555", label=kind)
        for kind, mark in MARKS.items()
        if (events["kind"] == kind).any()
    ]
    ax.legend(
        handles=[*kinds, *swatches({s: SPLIT_COLOURS[s] for s in SPLITS})],
        ncols=6,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(0, 1.2),
    )
    ax.set(xlabel="UTC", ylabel="magnitude" if has.any() else "", yticks=ax.get_yticks() if has.any() else [])
    figure.tight_layout()
    unknown = "" if has.all() else f" {int((~has).sum())} of {len(events)} events have no magnitude: at 0."
    return finish(figure, store.meta, f"A mark is an event.{unknown}")


@styled
def sample_windows(store: RecordStore, seed: int = 0, each: int = 3, split: str | None = None) -> Figure:
    """Some windows of each kind as the store holds them, drawn at random."""
    rng, index = np.random.default_rng(seed), store.index
    rows, kinds = [], [kind for kind in COLOURS if (index["kind"] == kind).any()]
    for kind in kinds:
        mine = np.flatnonzero((index["kind"] == kind) & (True if split is None else index["split"] == split))
        rows.append(rng.permutation(mine)[:each].tolist())
    figure, axes = plt.subplots(len(kinds), each, figsize=(11, 1.7 * len(kinds)), squeeze=False, sharex=True)
    for line, kind, chosen in zip(axes, kinds, rows, strict=True):
        for ax, row in zip(line, [*chosen, *[None] * (each - len(chosen))], strict=True):
            ax.axis("off") if row is None else _traces(ax, store, row, COLOURS[kind])
        line[0].set_title(kind, loc="left", color=COLOURS[kind], fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("s")
    figure.tight_layout()
    return finish(
        figure, store.meta, f"Each trace at its own scale. From the top of a panel: {', '.join(store.channels)}."
    )


def _traces(ax: Axes, store: RecordStore, row: int, colour: str, said: str = "") -> None:
    """The channels of a window, one below the other, each by its own largest value."""
    window = store[row]
    seconds = np.arange(window.sizes["time"]) / store.meta["rate_hz"]
    for c, trace in enumerate(window["inputs"].to_numpy()):
        ax.plot(seconds, trace / max(float(np.abs(trace).max()), 1e-12) - 2 * c, color=colour, linewidth=0.4)
    about = window.attrs
    size = f" M {about['magnitude']:.1f}" if "magnitude" in about else ""
    away = f" {about['distance_km']:,.0f} km" if "distance_km" in about else ""
    ax.set_title(said or f"{about['station']}{away}{size}", loc="right", fontsize=7)
    ax.set(yticks=[], xlim=(0, seconds[-1]))
    ax.grid(False)


@styled
def told_windows(predictions: xr.DataTree, store: RecordStore) -> Figure:
    """Test windows that the network is surest of, and those on which it errs most, with what it says."""
    data = predictions["windows"].to_dataset()
    told, kind = joint(data["probability"].sel(model="network").to_numpy()), data["kind"].to_numpy()
    true = np.array([KINDS.index(k) if k in KINDS else -1 for k in kind])
    of_true = np.where(true >= 0, told[np.arange(len(told)), true], np.nan)
    of_true[data["split"].to_numpy() != SPLIT_CODES["test"]] = np.nan
    order = np.argsort(of_true)[: int(np.isfinite(of_true).sum())]
    chosen = [*order[:6], *order[::-1][:6]]
    figure, axes = plt.subplots(4, 3, figsize=(11, 7))
    for ax in axes.flat:
        ax.axis("off")
    for ax, i in zip(axes.flat, chosen, strict=False):
        ax.axis("on")
        text = f"{data['station'].values[i]}: {kind[i]}; says {KINDS[told[i].argmax()]} {told[i].max():.0%}"
        _traces(ax, store, int(data["row"].values[i]), COLOURS[kind[i]], text)
    figure.tight_layout()
    return finish(
        figure,
        predictions.attrs,
        "Upper two rows: the worst of the test windows, lower two: the best. Along x seconds.",
    )


@styled
def confusions(scores: xr.Dataset, split: str = "test") -> Figure:
    """What is taken for what: windows, and events by the vote of their stations; the network and its best baseline by the headline."""
    models = models_of(scores)
    best = max(
        models[1:],
        key=lambda m: float(scores["score"].sel(model=m, split=split, metric="macro_f1").fillna(-1)),
        default=None,
    )
    shown = [models[0], *([best] if best else [])]
    figure, axes = plt.subplots(2, len(shown), figsize=(4.2 * len(shown), 7), squeeze=False)
    for line, (variable, what) in zip(
        axes, (("confusion", "windows"), ("vote_confusion", "votes of all stations")), strict=True
    ):
        for ax, model in zip(line, shown, strict=True):
            confusion_cells(figure, ax, scores[variable].sel(model=model, split=split).to_numpy(), KINDS)
            ax.set(xlabel="told", ylabel="true")
            ax.set_title(f"{model}: {what}", fontsize=9)
    figure.tight_layout()
    return finish(figure, scores.attrs, f"{counted(scores, split, '')} Colour: share of what is true.")


@styled
def kind_scores(scores: xr.Dataset, split: str = "test") -> Figure:
    """F1, precision and recall of each kind, models side by side."""
    models, at = models_of(scores), {"split": split}
    values = [
        scores[f"kind_score{end}"]
        .sel(at)
        .stack(row=("kind", "kind_metric"))
        .transpose("model", "row")
        .drop_vars(("row", "kind", "kind_metric"))
        for end in ("", "_low", "_high")
    ]
    names = [
        f"{kind} ({int(scores['kind_windows'].sel(split=split, kind=kind)):,}): {metric}"
        for kind in KINDS
        for metric in scores["kind_metric"].values
    ]
    figure, ax = rows_of_dots(values, models, names, 0.34)
    ax.set(xlim=(-0.02, 1.02))
    return finish(figure, scores.attrs, counted(scores, split))


@styled
def curves(run: Any, scores: xr.Dataset, split: str = "test") -> Figure:
    """Precision and recall of both heads over all thresholds, and whether probabilities come true as often as they say."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import precision_recall_curve

    data = _windows_of(run)
    inside = data["split"].to_numpy() == SPLIT_CODES[split]
    looks, models = model_looks(models_of(scores)), models_of(scores)
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7))
    for line, head, what in zip(axes, (0, 1), ("event", "explosion"), strict=True):
        truth = data["truth"].to_numpy()[:, head]
        known = inside & np.isfinite(truth)
        line[0].set(
            xlabel="recall",
            ylabel="precision",
            title=f"{what}: {int((truth[known] > 0.5).sum())} of {int(known.sum())} windows",
            ylim=(0, 1.03),
        )
        line[1].set(
            xlabel="probability given",
            ylabel=f"share that was an {what}",
            title="calibration",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        line[1].plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        if not known.any() or np.ptp(truth[known]) == 0:
            continue
        for model in models:
            told, colour = data["probability"].sel(model=model).to_numpy()[known, head], looks[model]["color"]
            precision, recall, _ = precision_recall_curve(truth[known], told)
            line[0].plot(recall, precision, color=colour, label=model, drawstyle="steps-post")
            if np.ptp(told) > 0:
                line[1].plot(
                    *calibration_curve(truth[known], told, n_bins=8, strategy="quantile")[::-1],
                    color=colour,
                    marker=looks[model]["marker"],
                    markersize=4,
                )
        line[0].legend(fontsize=8)
    figure.tight_layout()
    return finish(
        figure,
        scores.attrs,
        counted(scores, split, ""),
        "On the diagonal probabilities are honest; a mark holds an eighth of the windows.",
    )


def _windows_of(run: Any) -> xr.Dataset:
    from geonb.prediction.predictions import open_predictions

    return open_predictions(run.predictions)["windows"].to_dataset().load()


@styled
def mistakes_by(run: Any, scores: xr.Dataset, split: str = "test") -> Figure | None:
    """Share of events that the network mistakes, by distance and by magnitude, with 95 % intervals (Wilson)."""
    data = _windows_of(run)
    told = joint(data["probability"].sel(model="network").to_numpy()).argmax(-1)
    kind = data["kind"].to_numpy()
    mine = (data["split"].to_numpy() == SPLIT_CODES[split]) & np.isin(kind, KINDS[1:])
    wrong = np.array(KINDS)[told] != kind
    panels = [
        (n, label)
        for n, label in (("distance_km", "distance [km]"), ("magnitude", "magnitude"))
        if np.isfinite(data[n].to_numpy()[mine]).sum() > 4
    ]
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), squeeze=False)
    for ax, (name, label) in zip(axes[0], panels, strict=True):
        values = data[name].to_numpy()
        known = mine & np.isfinite(values)
        cuts = np.unique(np.quantile(values[known], np.linspace(0, 1, 6)))
        for colour, which in ((COLOURS["earthquake"], "earthquake"), (COLOURS["explosion"], "explosion")):
            at = [known & (kind == which) & (values >= a) & ((values < b) | (b == cuts[-1])) for a, b in pairwise(cuts)]
            at = [one for one in at if one.any()]
            x = [float(np.median(values[one])) for one in at]
            low, middle, high = (
                zip(*[_wilson(int(wrong[one].sum()), int(one.sum())) for one in at], strict=True)
                if at
                else ((), (), ())
            )
            ax.errorbar(
                x,
                middle,
                [np.subtract(middle, low), np.subtract(high, middle)],
                color=colour,
                marker="o",
                markersize=4,
                linewidth=1,
                capsize=2,
                label=which,
            )
        ax.set(xlabel=label, ylabel="share of windows mistaken", ylim=(0, 1))
        ax.legend(fontsize=8)
    figure.tight_layout()
    return finish(figure, scores.attrs, counted(scores, split, ""), "A mark holds a fifth of the windows at most.")


def _wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float, float]:
    """A share with its interval (Wilson 1927)."""
    from scipy.stats import binomtest

    ends = binomtest(k, n).proportion_ci(0.95, "wilson")
    return float(ends.low), k / n, float(ends.high)


@styled
def mistakes_map(run: Any, scores: xr.Dataset, split: str = "test") -> Figure | None:
    """Where the events are that the vote of all stations mistakes; None where nobody knows places."""
    from geonb.workloads.seismic.predict import votes_of

    data = _windows_of(run)
    votes = votes_of(data.sel(model=["network"]))
    votes = votes[(votes["split"] == SPLIT_CODES[split]) & votes["kind"].isin(KINDS[1:])]
    place = data[["lon", "lat"]].to_dataframe().groupby(data["id"].to_numpy())[["lon", "lat"]].first()
    votes = votes.join(place, on="id").dropna(subset=["lon", "lat"])
    if votes.empty:
        return None
    figure = plt.figure(figsize=(7.5, 5))
    ax = map_about(figure, votes["lon"].to_numpy(), votes["lat"].to_numpy())
    for kind in KINDS[1:]:
        for right, colour in ((True, "#9fb2bf"), (False, "#d01c1c")):
            mine = votes[(votes["kind"] == kind) & ((votes["told"] == kind) == right)]
            if len(mine):
                points(
                    ax,
                    mine["lon"],
                    mine["lat"],
                    MARKS[kind],
                    colour,
                    f"{kind}, {'right' if right else 'mistaken'} ({len(mine)})",
                )
    ax.legend(loc="upper right", fontsize=8)
    return finish(figure, scores.attrs, f"{split} split, {len(votes)} events.", COASTS_NOTE)


_ROOM = "geonb.workloads.seismic.figures"
SEISMIC = {
    "02_training": (
        registry.Figure(
            "", "Training windows of each kind, drawn at random, as the store holds them.", f"{_ROOM}:sample_windows"
        ),
    ),
    "03_prediction": (
        registry.Figure(
            "Worst and best",
            "Test windows on which the network errs most, and those it is surest of. Was the signal missed, or is the label wrong?",
            f"{_ROOM}:told_windows",
        ),
    ),
    "04_analytics": (
        registry.Figure(
            "What is taken for what",
            "Above windows, below events by the vote of all stations that saw them.",
            f"{_ROOM}:confusions",
        ),
        registry.Figure(
            "Kind by kind",
            "Precision: how much of what is told is true. Recall: how much of what is true is told.",
            f"{_ROOM}:kind_scores",
        ),
        registry.Figure(
            "Thresholds",
            "Both heads. The detector is asked of every window, the classifier of true events.",
            f"{_ROOM}:curves",
        ),
        registry.Figure(
            "Far and small events",
            "Small and distant events drown in noise: there mistakes are the data's, elsewhere the network's.",
            f"{_ROOM}:mistakes_by",
        ),
        registry.Figure(
            "Where it errs", "Mistakes in one place are of one quarry, fault or path.", f"{_ROOM}:mistakes_map"
        ),
    ),
}
