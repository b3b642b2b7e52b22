"""How good, and compared with what: metrics with intervals, network and baselines side by side, as labelled Datasets.

Everything follows from one confusion matrix, log loss and Brier sum per spatial block, so that the block bootstrap costs
a matrix product and not another look at the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from geonb.prediction import IGNORE, SPLITS

METRICS = ("mean_iou", "accuracy", "macro_f1", "log_loss", "brier")
CLASS_METRICS = ("iou", "f1", "precision", "recall")
LOWER_IS_BETTER = ("log_loss", "brier")
BINS = 10
# A float16 probability of 0 would make the log loss infinite; this is its smallest normal number.
SMALLEST = 6.1e-5


def score_classes(predictions: xr.DataTree, draws: int = 1000, seed: int = 0, rows: int = 512) -> xr.Dataset:
    """Score every model of a predictions tree on every split, with 95 % block-bootstrap intervals.

    Pixels without truth or prediction do not count. The mean IoU and macro F1 average over the classes present in the
    split. Intervals resample whole spatial blocks with replacement, because neighbouring pixels are not independent.

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
    draws : int
        Bootstrap draws; 0 leaves the intervals NaN.
    seed : int
    rows : int
        Rows read at once.

    Returns
    -------
    Dataset with ``score (model, split, metric)`` and ``class_score (model, split, class, class_metric)``; ``gain (model,
    split, metric)``, the network's score minus the model's, whose interval comes from the same draws for both (paired),
    hence is narrower than the two scores' own; each with ``_low`` and ``_high``. ``confusion (model, split, true,
    predicted)``; ``confidence``, ``hit_rate``, ``bin_pixels (model, split, bin)`` of the reliability diagram;
    ``n_pixels``, ``n_blocks``, ``n_classes (split)``; ``prevalence (split, class)``.

    Raises
    ------
    ValueError
        If no labelled pixel has a prediction.
    """
    scenes = [node.to_dataset() for node in predictions.children.values()]
    models, classes = [str(m) for m in scenes[0]["model"].values], [str(c) for c in scenes[0]["class"].values]
    splits = [name for name in SPLITS if name != "none"]
    sums = {(m, s): _Sums(len(classes)) for m in models for s in splits}
    for number, scene in enumerate(scenes):
        for top in range(0, scene.sizes["y"], rows):
            _add_rows(sums, scene.isel(y=slice(top, top + rows)).load(), number)
    if not any(total.blocks for total in sums.values()):
        raise ValueError(
            "No labelled pixel has a prediction, so there is nothing to score. Check the mask of notebook 01."
        )
    pieces = {}
    for number, split in enumerate(splits):
        random = np.random.default_rng([seed, number, 0xB007])
        pieces |= _with_intervals({m: sums[m, split] for m in models}, split, draws, random)
    return _as_dataset(pieces, sums, models, splits, classes, predictions.attrs, draws)


class _Sums:
    """Per block: confusion (true, predicted), log loss and Brier sums, pixels; over all blocks: reliability bins."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.blocks: dict[tuple[int, int], np.ndarray] = {}
        self.bins = np.zeros((BINS, 3))  # pixels, sum of confidence, hits

    def add(self, key: tuple[int, int], row: np.ndarray) -> None:
        self.blocks[key] = self.blocks.get(key, 0) + row

    def table(self) -> np.ndarray:
        """(block, classes * classes + 2): confusion flattened, log loss sum, Brier sum."""
        return np.stack(list(self.blocks.values())) if self.blocks else np.zeros((0, self.classes**2 + 2))


def _add_rows(sums: dict[tuple[str, str], _Sums], scene: xr.Dataset, number: int) -> None:
    truth, split, block = (scene[name].to_numpy().ravel() for name in ("truth", "split", "block"))
    for m, model in enumerate(scene["model"].values):
        label = scene["label"].to_numpy()[m].ravel()
        known = np.flatnonzero((truth != IGNORE) & (label != IGNORE) & (split > 0))
        if not known.size:
            continue
        probability = scene["probability"].to_numpy()[m].reshape(scene.sizes["class"], -1)[:, known].astype(np.float64)
        true, guess = truth[known].astype(int), label[known].astype(int)
        log_loss = -np.log(np.clip(probability[true, np.arange(known.size)], SMALLEST, 1))
        brier = (probability**2).sum(axis=0) - 2 * probability[true, np.arange(known.size)] + 1
        top, hit = probability.max(axis=0), guess == true
        for name, code in SPLITS.items():
            if (str(model), name) not in sums:
                continue
            total, here = sums[str(model), name], split[known] == code
            classes = total.classes
            bins = np.minimum((top[here] * BINS).astype(int), BINS - 1)
            for column, weight in enumerate((None, top[here], hit[here])):
                total.bins[:, column] += np.bincount(bins, weights=weight, minlength=BINS)
            for b in np.unique(block[known][here]):
                mine = here & (block[known] == b)
                confusion = np.bincount(true[mine] * classes + guess[mine], minlength=classes**2)
                total.add((number, int(b)), np.append(confusion, [log_loss[mine].sum(), brier[mine].sum()]))


def metrics_of(table: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Metrics from summed tables.

    Parameters
    ----------
    table : array (..., classes * classes + 2)
        Confusion (true, predicted) flattened, sum of log losses, sum of Brier scores (Brier 1950, multi-class form, 0-2).

    Returns
    -------
    (..., metric) in the order of METRICS and (..., class, class_metric) in the order of CLASS_METRICS; NaN where undefined.
    """
    confusion = table[..., :-2].reshape(*table.shape[:-1], classes, classes)
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, guessed, total = confusion.sum(-1), confusion.sum(-2), confusion.sum((-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        present = true > 0
        # A class that is guessed but absent from the split has no recall; its IoU is left out of the mean, as stated.
        iou = np.where(present, hit / (true + guessed - hit), np.nan)
        f1 = np.where(present, 2 * hit / (true + guessed), np.nan)
        by_class = np.stack([iou, f1, np.where(guessed > 0, hit / guessed, np.nan), hit / true], axis=-1)
        count = present.sum(-1)
        overall = [
            np.nansum(iou, -1) / count,
            hit.sum(-1) / total,
            np.nansum(f1, -1) / count,
            table[..., -2] / total,
            table[..., -1] / total,
        ]
    return np.stack(overall, axis=-1), by_class


def _with_intervals(sums: dict[str, _Sums], split: str, draws: int, random: np.random.Generator) -> dict:
    """Metrics of every model on one split, and what the first model gains on each, over the same draws of blocks."""
    tables = {model: total.table() for model, total in sums.items()}
    classes, blocks = next(iter(sums.values())).classes, len(next(iter(tables.values())))
    counts = random.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws) if blocks > 1 and draws else None
    whole = {m: metrics_of(table.sum(axis=0), classes) for m, table in tables.items()}
    drawn = whole if counts is None else {m: metrics_of(counts @ table, classes) for m, table in tables.items()}
    first, out = next(iter(sums)), {}
    for model in sums:
        one = {"score": whole[model][0], "class_score": whole[model][1], "gain": whole[first][0] - whole[model][0]}
        many = {"score": drawn[model][0], "class_score": drawn[model][1], "gain": drawn[first][0] - drawn[model][0]}
        for name, value in one.items():
            low, high = np.full((2, *value.shape), np.nan) if counts is None else _interval(many[name])
            out[model, split, name], out[model, split, f"{name}_low"], out[model, split, f"{name}_high"] = (
                value,
                low,
                high,
            )
    return out


def _interval(drawn: np.ndarray) -> np.ndarray:
    """2.5 and 97.5 percentiles over the first axis, NaN where no draw is defined."""
    bounds = np.full((2, *drawn.shape[1:]), np.nan)
    defined = np.isfinite(drawn).any(axis=0)
    bounds[:, defined] = np.nanpercentile(drawn[:, defined], [2.5, 97.5], axis=0)
    return bounds


def _as_dataset(pieces, sums, models, splits, classes, attrs, draws) -> xr.Dataset:
    def grid(value: Callable[[str, str], np.ndarray]) -> np.ndarray:
        return np.stack([np.stack([value(m, s) for s in splits]) for m in models])

    by_metric = ("model", "split", "metric")
    dims = {"score": by_metric, "class_score": ("model", "split", "class", "class_metric"), "gain": by_metric}
    variables = {
        name + end: (dim, grid(lambda m, s, key=name + end: pieces[m, s, key]))
        for name, dim in dims.items()
        for end in ("", "_low", "_high")
    }
    number = len(classes)
    confusion = grid(lambda m, s: sums[m, s].table()[:, :-2].sum(axis=0).reshape(number, number)).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bins = grid(lambda m, s: sums[m, s].bins)
        confidence, hit_rate = bins[..., 1] / bins[..., 0], bins[..., 2] / bins[..., 0]
        per_class = confusion[0].sum(axis=-1)
        prevalence = per_class / per_class.sum(axis=-1, keepdims=True)
    variables |= {
        "confusion": (("model", "split", "true", "predicted"), confusion),
        "confidence": (("model", "split", "bin"), confidence),
        "hit_rate": (("model", "split", "bin"), hit_rate),
        "bin_pixels": (("model", "split", "bin"), bins[..., 0].astype(np.int64)),
        "n_pixels": ("split", per_class.sum(axis=-1)),
        "n_blocks": ("split", np.array([len(sums[models[0], s].blocks) for s in splits])),
        "n_classes": ("split", (per_class > 0).sum(axis=-1)),
        "prevalence": (("split", "class"), prevalence),
    }
    coords = {"model": models, "split": splits, "metric": list(METRICS), "class": classes, "class_metric": list(CLASS_METRICS),
              "true": classes, "predicted": classes}  # fmt: skip
    keep = ("workload", "title", "run", "simulated", "notes", "colours", "headline", "network", "precision", "block")
    return xr.Dataset(variables, coords, {k: attrs[k] for k in keep if k in attrs} | {"draws": draws})


def score(run, predictions: xr.DataTree, *, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score with the workload's own function; write scores.nc and scores.csv into the run, note its headline.

    Returns
    -------
    The Dataset of the workload's score function (for classes: :func:`score_classes`).
    """
    from geonb import workloads

    record = workloads.get(run.info.get("record") or run.workload)
    scores = workloads.load(record.score)(predictions, draws=draws, seed=seed)
    path = Path(run.scores)
    partial = path.with_name(path.name + ".partial")
    scores.to_netcdf(partial, engine="h5netcdf")
    partial.replace(path)
    table(scores).to_csv(path.with_suffix(".csv"), index=False)
    run.update(headline=headline(scores, record.headline), precision=scores.attrs.get("precision"))
    return scores


def table(scores: xr.Dataset) -> object:
    """Scores as a tidy DataFrame: model, split, metric, score, low, high."""
    columns = ["score", "score_low", "score_high"]
    frame = scores[columns].to_dataframe().reset_index()
    return frame[["model", "split", "metric", *columns]].rename(columns={"score_low": "low", "score_high": "high"})


def headline(scores: xr.Dataset, metric: str, split: str = "test") -> dict[str, object]:
    """The network's leading metric beside that of the best baseline.

    Returns
    -------
    dict with ``metric``, ``split``, ``value``, ``low``, ``high``, ``baseline`` (its name), ``baseline_value``,
    ``gain``, ``gain_low``, ``gain_high``
    """
    at = scores.sel(split=split, metric=metric)
    value, low, high = (float(at[name].sel(model="network")) for name in ("score", "score_low", "score_high"))
    out = {"metric": metric, "split": split, "value": value, "low": low, "high": high}
    others = at["score"].drop_sel(model="network").dropna("model")
    if others.size:
        best = others.idxmin("model") if metric in LOWER_IS_BETTER else others.idxmax("model")
        out |= {"baseline": str(best.item()), "baseline_value": float(others.sel(model=best))}
        out |= {name: float(at[name].sel(model=best)) for name in ("gain", "gain_low", "gain_high")}
    return out


def summary(path: str | Path, split: str = "test") -> str:
    """The test scores of a run as a small text table, network beside baselines (for a terminal)."""
    with xr.open_dataset(Path(path) / "scores.nc", engine="h5netcdf") as scores:
        scores = scores.load()
    at = scores.sel(split=split)
    head = (
        f"{split} split: {int(at['n_pixels']):,} pixels in {int(at['n_blocks'])} blocks; 95 % block-bootstrap intervals"
    )
    width = max(len(str(m)) for m in scores["model"].values)
    shown = [m for m in ("mean_iou", "accuracy", "macro_f1", "log_loss") if m in scores["metric"].values]
    lines = [head, " " * width + "".join(f"{name:>22}" for name in shown)]
    for model in scores["model"].values:
        cells = (at.sel(model=model, metric=name) for name in shown)
        row = "".join(
            f"{c['score'].item():>8.3f} [{c['score_low'].item():.3f}, {c['score_high'].item():.3f}]" for c in cells
        )
        lines.append(f"{model:<{width}}{row}")
    lines.append(verdict(scores, split))
    if int(scores.attrs.get("simulated", 0)):
        lines.append("These are simulated data: the numbers say that the software works, nothing about the world.")
    return "\n".join(lines)


def verdict(scores: xr.Dataset, split: str = "test") -> str:
    """One honest sentence: does the network beat its best baseline, and is the difference beyond chance?"""
    metric = str(scores.attrs["headline"])
    told = headline(scores, metric, split)
    if "baseline" not in told:
        return "There is no baseline to compare with."
    sign = -1 if metric in LOWER_IS_BETTER else 1
    low, high = sorted((sign * told["gain_low"], sign * told["gain_high"]))
    gain = sign * told["gain"]
    span = f"{metric} {gain:+.3f} [{low:+.3f}, {high:+.3f}] against {told['baseline']} (paired over blocks)"
    if low > 0:
        return f"The network beats its best baseline: {span}."
    if high < 0:
        return f"The network is WORSE than its best baseline: {span}."
    return f"The network cannot be told from its best baseline on these blocks: {span}."
