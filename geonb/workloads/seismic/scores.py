"""How well windows and events are told, beside baselines, with intervals over events."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES, SPLITS
from geonb.scores.bootstrap import by_split, resampled
from geonb.workloads.seismic.metrics import KIND_METRICS, KINDS, METRICS, block_table, metrics_of
from geonb.workloads.seismic.predict import votes_of

KEEP = ("workload", "title", "run", "simulated", "notes", "colours", "network", "precision")


def score_windows(predictions: xr.DataTree, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score every model on every split, window by window and event by event, with 95 % block-bootstrap intervals over events.

    ``macro_f1``: mean over noise, earthquake and explosion of the F1 of the likeliest; ``detector_f1``, ``detector_ap``: noise or event;
    ``classifier_f1``, ``classifier_auroc``: explosion or earthquake, of true events. F1 of the heads is from a probability of one half.

    Returns
    -------
    Dataset, with ``_low`` and ``_high`` each: ``score``, ``gain (model, split, metric)``; ``kind_score (model, split, kind,
    kind_metric)``; ``vote_score``, ``vote_gain (model, split, metric)``, the same of what all stations say together of an event and of
    the noise before it; ``confusion``, ``vote_confusion (model, split, kind, told)``; ``n_samples``, ``n_blocks (split)``,
    ``kind_windows``, ``kind_events (split, kind)``; by event, to compare runs, ``block_sums (model, block, sum)`` with ``block_split``
    """
    data = predictions["windows"].to_dataset().load()
    codes, at = np.unique(data["block"].to_numpy(), return_inverse=True)
    told, truth, split = data["probability"].to_numpy(), data["truth"].to_numpy(), data["split"].to_numpy()
    table = np.stack([block_table(one, truth, at, len(codes)) for one in told])
    voted = np.stack([_voted(data, str(model), codes) for model in data["model"].to_numpy()])
    of_block = np.zeros(len(codes), int)
    of_block[at] = split  # an event lies in one split
    inside = [of_block == SPLIT_CODES[s] for s in SPLITS]
    by_metric, kinds = ("model", "split", "metric"), ("model", "split", "kind", "kind_metric")

    def variables_of(sums: np.ndarray, prefix: str) -> dict[str, Any]:
        dims = {"score": by_metric, "gain": by_metric, "kind_score": kinds}
        found = by_split(lambda mine, key: resampled(sums[:, mine], metrics_of, draws, key), inside, seed, dims)
        counts = np.stack([metrics_of(sums[:, mine].sum(1))["confusion"] for mine in inside], 1)
        found["confusion"] = ("model", "split", "kind", "told"), counts.astype(np.int64)
        return {f"{prefix}{name}": variable for name, variable in found.items()}

    variables: dict[str, Any] = variables_of(table, "") | variables_of(voted, "vote_")
    kind = data["kind"].to_numpy()
    variables |= {
        "n_samples": ("split", [int(mine[at].sum()) for mine in inside]),
        "n_blocks": ("split", [int(mine.sum()) for mine in inside]),
        "kind_windows": (("split", "kind"), [[int((mine[at] & (kind == k)).sum()) for k in KINDS] for mine in inside]),
        "kind_events": (
            ("split", "kind"),
            [[len(np.unique(at[mine[at] & (kind == k)])) for k in KINDS] for mine in inside],
        ),
        "block_sums": (("model", "block", "sum"), table.astype(np.float32)),
        "block_split": ("block", np.array(["none", *SPLITS])[of_block]),
        "block_number": ("block", codes),
    }
    coords = {
        "model": data["model"].astype(str).to_numpy(), "split": list(SPLITS), "metric": list(METRICS), "kind": list(KINDS),
        "told": list(KINDS), "kind_metric": list(KIND_METRICS),
    }  # fmt: skip
    attrs = {k: predictions.attrs[k] for k in KEEP if k in predictions.attrs}
    out = xr.Dataset(
        variables, coords, attrs | {"headline": "macro_f1", "draws": draws, "unit": "windows", "block": "event"}
    )
    out["vote_score"].attrs["long_name"] = (
        "Events, and the noise before each, by the vote of all stations that saw them"
    )
    return out


def _voted(data: xr.Dataset, model: str, codes: np.ndarray) -> np.ndarray:
    """The sums of `block_table` of one model's votes: a vote for each event, and one for the noise before it."""
    votes = votes_of(data.sel(model=[model]))
    kind = votes["kind"].to_numpy()
    truth = np.stack([kind != "noise", np.select([kind == "explosion", kind == "earthquake"], [1.0, 0.0], np.nan)], -1)
    block = np.searchsorted(codes, votes["block"].to_numpy())
    return block_table(votes[["event", "explosion"]].to_numpy(), truth.astype(float), block, len(codes))
