"""What an embedding sees beyond brightness: the network's accuracy where the mean and spread of a tile do not tell.

Neighbouring tiles are alike in brightness and in its spread, so these two numbers alone put most triplets right, and a network
that does so too may have learnt nothing else. Three questions tell more than the accuracy over all triplets:

- How good is a model where mean and spread do not tell, and where they do (``ease``: five equal parts of the triplets by
  the margin of mean and spread, the hardest first)?
- How good is it where mean and spread go wrong, and where they are right? A model that knows nothing of them is as good in
  both; one that follows them is below one half where they go wrong.
- Does it add to them? The margins of both are joined in a logistic regression fitted to the validation triplets, and
  the joined one is scored beside mean and spread alone, over the same draws of blocks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLITS
from geonb.scores.bootstrap import Arrays, Variables, by_split, draw, with_interval
from geonb.workloads.clouds.blocks import Distances, accuracy_by_group

REFERENCE = "mean-and-spread"  # the baseline's name, see geonb.workloads.clouds.baselines
UNTRAINED = "untrained"
PARTS = 5


def beyond_brightness(found: Distances, draws: int = 1000, seed: int = 0) -> dict:
    """Variables of scores.nc; none where mean and spread are not among the models.

    Returns
    -------
    dict of ``ease_score``, ``ease_gain (model, split, ease)`` and ``reference_score``, ``reference_gain (model, split,
    reference)`` as of :func:`geonb.workloads.clouds.blocks.accuracy_by_group`, with ``ease_triplets``, ``reference_triplets``;
    ``ease_edge (split, ease_edge)``: margins between which the parts lie; ``joined_score``, ``joined_gain (model, split)``:
    accuracy of mean and spread joined with the model, and that minus mean and spread alone, with ``_low`` and ``_high``
    """
    if REFERENCE not in found.models:
        return {}
    at = found.models.index(REFERENCE)
    margins, wins = found.margins, found.wins
    ease, edges = _parts(found, margins[at])
    right = np.where(wins[at] == 0.5, -1, wins[at]).astype(int)
    out = {"ease_edge": (("split", "ease_edges"), edges), "reference": ("reference", ["wrong", "right"])}
    out["ease"] = "ease", np.arange(1, PARTS + 1)
    for name, group, number in (("ease", ease, PARTS), ("reference", right, 2)):
        out |= accuracy_by_group(found, name, group, number, draws, seed)
    return out | _joined(found, margins, wins[at], at, draws, seed)


def _parts(found: Distances, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which fifth of its split's triplets each is in (sample,), 0 the hardest; the margins that part them (split, edge)."""
    part, edges = np.full(len(margin), -1), np.full((len(SPLITS), PARTS + 1), np.nan)
    for s, split in enumerate(SPLITS):
        inside = np.flatnonzero(found.split == split)
        if inside.size:
            edges[s] = np.quantile(margin[inside], np.linspace(0, 1, PARTS + 1))
            order = np.argsort(margin[inside], kind="stable")
            part[inside[order]] = np.arange(len(inside)) * PARTS // len(inside)
    return part, edges


def _joined(found: Distances, margins: np.ndarray, alone: np.ndarray, at: int, draws: int, seed: int) -> Variables:
    """Accuracy of mean and spread joined with each model, and that minus `alone`; NaN where nothing can be fitted."""
    validation, wins = found.split == "val", np.full(margins.shape, np.nan)
    for m in range(len(margins)) if validation.any() else ():
        both = margins[[at, m]].T if m != at else margins[[at]].T
        total = both @ (_weights(both[validation]) if m != at else np.ones(1))
        wins[m] = (total > 0) + 0.5 * (total == 0)

    def resample(split: str, key: list[int]) -> Arrays:
        inside, blocks = found.split == split, np.flatnonzero(found.block_split == split)
        place = np.searchsorted(blocks, found.unit[inside])
        weights = draw(len(blocks), draws, key) if draws and len(blocks) > 1 else None
        count, out = np.bincount(place, minlength=len(blocks)), Arrays()
        for name, told in (("score", wins[:, inside]), ("gain", wins[:, inside] - alone[inside])):
            sums = np.stack([np.bincount(place, w, len(blocks)) for w in told])
            drawn = None if weights is None else sums @ weights.T / (weights @ count)
            with np.errstate(invalid="ignore"):
                out |= with_interval(name, sums.sum(axis=1) / count.sum(), drawn)
        return out

    dims = dict.fromkeys(("score", "gain"), ("model", "split"))
    return {f"joined_{name}": variable for name, variable in by_split(resample, SPLITS, seed, dims).items()}


def _weights(margins: np.ndarray) -> np.ndarray:
    """Weights of the margins (sample, 2) of a logistic regression without intercept.

    The far tile is always the far one, so each triplet enters a second time with both tiles exchanged.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.repeat([1, 0], len(margins))
    model = LogisticRegression(fit_intercept=False, C=100.0).fit(np.concatenate([margins, -margins]), truth)
    return model.coef_[0]


def beyond(scores: xr.Dataset, split: str = "test") -> str:
    """What the network sees beyond brightness, in honest words; "" where the scores do not tell.

    Parameters
    ----------
    scores : Dataset, of :func:`geonb.workloads.clouds.scores.score_triplets`
    """
    if "joined_gain" not in scores or not int(scores["n_samples"].sel(split=split)):
        return ""
    here = scores.sel(split=split)
    alone = float(here["score"].sel(model=REFERENCE, metric="triplet_accuracy"))
    wrong = int(here["reference_triplets"].sel(reference="wrong"))
    network = str(scores["model"].values[0])
    others = [name for name in (UNTRAINED,) if name in scores["model"].values]
    parts = [f"Mean and spread of brightness alone put {alone:.1%} of the {split} triplets right."]
    if wrong:
        beside = "".join(f"; {name}: {_share(here, name)}" for name in others)
        parts.append(
            f"Of the {wrong:,} where they go wrong the network puts {_share(here, network)} right (a coin: 50%{beside})."
        )
    gain = _gain(here, network)
    if gain is None:
        return " ".join(parts)
    beside = "".join(f"; {name}: {told[0]}" for name in others if (told := _gain(here, name)))
    parts.append(f"Joined with the network they gain {gain[0]} over themselves alone{beside}: {_verdict(*gain[1:])}.")
    return " ".join(parts)


def _share(here: xr.Dataset, model: str) -> str:
    at = here.sel(model=model, reference="wrong")
    value, low, high = (float(at[f"reference_score{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.0%} [{low:.0%}, {high:.0%}]" if np.isfinite(low) else f"{value:.0%}"


def _gain(here: xr.Dataset, model: str) -> tuple[str, float, float] | None:
    """Points of accuracy that mean and spread gain from a model, as text and bounds; None where it was not fitted."""
    value, low, high = (float(here[f"joined_gain{end}"].sel(model=model)) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return None
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" if np.isfinite(low) else f"{value:+.3f}", low, high


def _verdict(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "with one block only, nobody can say whether that is chance"
    if low > 0:
        return "it sees something that brightness does not tell"
    if high < 0:
        return "what it adds misleads on these blocks"
    return "on these blocks nothing beyond brightness can be told from chance"
