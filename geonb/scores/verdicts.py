"""What the scores say in words: the leading metric beside the best baseline's, a small table, and one honest sentence."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import xarray as xr

from geonb.base.metrics import lower_is_better, with_units

SHOWN = 4  # metrics in a summary: more don't fit into a terminal


class _Score(TypedDict):
    metric: str
    split: str
    value: float
    low: float
    high: float


class Headline(_Score, total=False):
    """What leads: the network's score, the best baseline and what the network gains on it; see :func:`headline`."""

    lower_is_better: bool
    baseline: str
    baseline_value: float
    gain: float
    gain_low: float
    gain_high: float


EQUAL = 1e-9  # by which scores that are the same may differ, summed in another order


def headline(scores: xr.Dataset, metric: str, split: str = "test") -> Headline:
    """The network's leading metric beside that of the best baseline.

    Returns
    -------
    dict with ``metric``, ``split``, ``value``, ``low``, ``high``, ``baseline`` (its name), ``baseline_value``,
    ``gain``, ``gain_low``, ``gain_high``; ``lower_is_better`` where the workload's record said so of a metric of its own
    """
    at = scores.sel(split=split, metric=metric)
    value, low, high = (float(at[name].sel(model="network")) for name in ("score", "score_low", "score_high"))
    out: Headline = {"metric": metric, "split": split, "value": value, "low": low, "high": high}
    if metric == scores.attrs.get("headline") and "lower_is_better" in scores.attrs:
        out["lower_is_better"] = bool(scores.attrs["lower_is_better"])
    others = at["score"].drop_sel(model="network").dropna("model")
    if others.size:
        best = others.idxmin("model") if lower_is_better(metric, scores.attrs) else others.idxmax("model")
        out["baseline"], out["baseline_value"] = str(best.item()), float(others.sel(model=best))
        gains = (float(at[name].sel(model=best)) for name in ("gain", "gain_low", "gain_high"))
        out["gain"], out["gain_low"], out["gain_high"] = gains
    return out


def summary(scores: xr.Dataset, split: str = "test") -> str:
    """The test scores as a small text table, network beside baselines (for a terminal)."""
    at = scores.sel(split=split)
    counted = f"{int(at['n_samples']):,} {scores.attrs.get('unit', 'pixels')} in {int(at['n_blocks'])} blocks"
    head = f"{split} split: {counted}; 95 % block-bootstrap intervals"
    width = max(len(str(m)) for m in scores["model"].values)
    lead = str(scores.attrs["headline"])
    shown = sorted(map(str, scores["metric"].values), key=lambda metric: metric != lead)[:SHOWN]
    lines = [head, " " * width + "".join(f"{with_units(name, scores.attrs):>22}" for name in shown)]
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
    """One honest sentence: does the network beat its best baseline, and is the difference beyond chance?

    Further ones say that training found nothing beyond what the network began as (attribute ``start``, a baseline's name), and name
    the rare classes where the headline is a mean over classes, see :func:`carriers`.
    """
    metric = str(scores.attrs["headline"])
    told = headline(scores, metric, split)
    if "n_samples" in scores and not int(scores["n_samples"].sel(split=split)):
        return f"The {split} split holds nothing that could be scored."
    if np.isnan(told["value"]):
        return f"No {metric} on the {split} split: what is to be found does not occur there, so nothing can be ranked."
    if "baseline" not in told:
        return "There is no baseline to compare with."
    sign = -1 if lower_is_better(metric, scores.attrs) else 1
    low, high = sorted((sign * told["gain_low"], sign * told["gain_high"]))
    gain = sign * told["gain"]
    moved = f"{gain:+.3f} [{low:+.3f}, {high:+.3f}] against"
    if sign < 0:  # a plus would read as more of an error
        turn = 1 if gain >= 0 else -1
        ends = sorted((turn * low, turn * high))
        moved = f"{'lower' if turn > 0 else 'higher'} by {abs(gain):.3f} [{ends[0]:.3f}, {ends[1]:.3f}] than"
    span = f"{with_units(metric, scores.attrs)} {moved} {told['baseline']} (paired over blocks)"
    start = str(scores.attrs.get("start", ""))
    kept = f"Training found nothing beyond {start} on the validation samples: the network is {start}." if start else ""
    more = "".join(f" {said}" for said in (kept, carriers(scores, split)) if said)
    if low > EQUAL:
        return f"The network beats its best baseline: {span}.{more}"
    if high < -EQUAL:
        return f"The network is WORSE than its best baseline: {span}.{more}"
    return f"The network cannot be told from its best baseline on these blocks: {span}.{more}"


def carriers(scores: xr.Dataset, split: str = "test") -> str:
    """Which rare classes weigh as much as any other in a headline that is a mean over classes; "" where none does.

    Parameters
    ----------
    scores : Dataset, with ``class_samples``, ``class_blocks``, ``rare (split, class)`` and ``score_without_rare (model, split)``,
        and the attribute ``mean_over_classes`` (the metric that is one), where the workload counts classes
    """
    metric = str(scores.attrs["headline"])
    if "rare" not in scores or scores.attrs.get("mean_over_classes") != metric:
        return ""
    at = scores.sel(split=split)
    rare = [str(name) for name in at["class"].values[at["rare"].values.astype(bool)]]
    if not rare:
        return ""
    present, unit = int((at["class_samples"] > 0).sum()), scores.attrs.get("unit", "pixels")
    counted = [f"{n} ({int(at['class_samples'].sel({'class': n})):,} {unit} in {_blocks(at, n)})" for n in rare]
    if len(rare) == present:
        return f"All {present} classes are rare here, so that {metric} hangs on few places: {', '.join(counted)}."
    best = headline(scores, metric, split).get("baseline")
    values = [f"{n} {float(at['score_without_rare'].sel(model=n)):.3f}" for n in ("network", best) if n]
    alike = f"Rare, but as heavy in {metric} as any other of the {present} classes: {', '.join(counted)}"
    return f"{alike}; without {'them' if len(rare) > 1 else 'it'}: {', '.join(values)}."


def _blocks(at: xr.Dataset, name: str) -> str:
    number = int(at["class_blocks"].sel({"class": name}))
    return f"{number} block{'' if number == 1 else 's'}"
