"""What may be wrong with a store of a cube, part by part, and the proof that its split does not leak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS, refuse
from geonb.store.faults import column_faults, open_arrays, shape_faults, statistics_faults
from geonb.workloads.conflict import leakage
from geonb.workloads.conflict.arrays import GROUP, KINDS, MONTHS_AT_ONCE

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore


def check_split(store: CubeStore) -> dict:
    """Prove from the table itself that no input or target month of one split is a target month of another.

    Returns
    -------
    dict with method, windows, months (forecast origins), first, last (origin) and positives (cells with an event among the
    valid cells of all target months of the first outcome, once each) of each split, smallest_gap_months between
    origins of different splits, leaks (0)

    Raises
    ------
    ValueError
        Listing the windows and months that leak.
    """
    split = store.meta["split"]
    faults, gap = leakage.leaks(store.index, split)
    # also months without windows are forecast and scored
    origins = {s: store.origins(s) for s in SPLITS}
    months = pd.DataFrame({"t": np.concatenate(list(origins.values())), "y": "any", "x": "any"})
    months["split"] = np.repeat(list(origins), [len(t) for t in origins.values()])
    more, smallest = leakage.leaks(months, split)
    faults += [f"store.json, origins: {fault}" for fault in more if not faults]
    faults += _stray(store.index, origins)
    refuse(f"The split of {store.path} leaks", faults)
    gap = min(gap, smallest)
    counts = {
        "windows": {s: int((store.index["split"] == s).sum()) for s in SPLITS},
        "months": {s: len(t) for s, t in origins.items()},
        "cell-months with an event": {s: _positives(store, t) for s, t in origins.items()},
    }
    apart = (
        f"origins of two splits are at least {int(gap)} months apart" if np.isfinite(gap) else "there is one split only"
    )
    said = (
        f"Split by time. No month that goes into a sample of one split is a target of another ({store.steps} months in, "
        f"{store.horizon} ahead; {apart})."
    )
    return {
        "method": split["method"],
        "counts": counts,
        "said": said,
        "windows": counts["windows"],
        "months": counts["months"],
        "first": {s: split["months"].get(s, [None, None])[0] for s in SPLITS},
        "last": {s: split["months"].get(s, [None, None])[1] for s in SPLITS},
        "positives": counts["cell-months with an event"],
        "smallest_gap_months": int(gap) if np.isfinite(gap) else None,
        "leaks": 0,
    }


def _stray(index: pd.DataFrame, origins: dict[str, np.ndarray]) -> list[str]:
    """Windows whose origin is none of their split."""
    return [
        f"{leakage.name_of(row)} is not among the months of {name} in store.json"
        for name, months in origins.items()
        for row in index[(index["split"] == name) & ~index["t"].isin(months)].head(5).itertuples()
    ]


def _positives(store: CubeStore, origins: np.ndarray) -> int:
    if not len(origins):
        return 0
    months = int(origins.min()), int(origins.max()) + store.horizon
    cube = store.cube([store.outcomes[0]["event"]], *months)
    return int(((cube.to_numpy()[:, 0] >= 1) & store.valid).sum())


def faults(store: CubeStore, columns: Sequence[str], deep: bool = False) -> list[str]:
    """What is wrong: statistics, channels and split in store.json; shapes and coordinates; the table; `deep`: every month."""
    found = _meta_faults(store) or _array_faults(store, deep) or column_faults(store.path, columns)
    return found or _table_faults(store)


def _meta_faults(store: CubeStore) -> list[str]:
    meta, found = store.meta, statistics_faults(store.meta, len(store.inputs))
    names = [c["name"] for c in meta["channels"]]
    for outcome in meta.get("outcomes", []):
        lacking = [outcome[k] for k in ("event", "deaths") if outcome[k] and outcome[k] not in names]
        found += [f"outcomes: {outcome['name']} needs the channel {name}, which is not there" for name in lacking]
    if not meta.get("outcomes"):
        found.append("outcomes: there is none")
    lacking = [k for k in ("method", "steps", "horizon", "months") if k not in meta["split"]]
    return found + [f"split: {k} is missing" for k in lacking]


def _array_faults(store: CubeStore, deep: bool) -> list[str]:
    root, found = open_arrays(store.path)
    if root is None:
        return found
    if GROUP not in root:
        return [f"arrays.zarr cannot be opened: it has no group {GROUP!r}"]
    group = root[GROUP]
    source, channels = store.meta["sources"][0], store.meta["channels"]
    shape, count = tuple(source["shape"]), {k: sum(c["kind"] == k for c in channels) for k in KINDS}
    expected = {"monthly": (source["months"], count["monthly"], *shape), "time": (source["months"],)}
    expected |= {"valid": shape, "country": shape, "gid": shape, "y": shape[:1], "x": shape[1:], "spatial_ref": ()}
    years = group["year"].shape if "year" in group else (0,)
    expected |= {"yearly": (*years, count["yearly"], *shape)} if count["yearly"] else {}
    expected |= {"static": (count["static"], *shape)} if count["static"] else {}
    if found := shape_faults(root, GROUP, expected):
        return found
    for name, step in zip("yx", source["resolution"], strict=True):
        if not np.allclose(np.diff(group[name][:]), step):
            found.append(f"arrays.zarr/{GROUP}/{name}: the centres do not ascend by {step} degrees")
    months = pd.period_range(source["first_month"], periods=source["months"], freq="M").to_timestamp()
    if not store.times.equals(months.as_unit(store.times.unit)):
        found.append(f"arrays.zarr/{GROUP}/time: not {source['months']} months from {source['first_month']} on")
    return found + (_month_faults(group, channels) if deep else [])


def _month_faults(group: Any, channels: list[dict]) -> list[str]:
    """Values that cannot be in monthly channels: unknown ones, flags that are neither 0 nor 1."""
    found = []
    for record in [c for c in channels if c["kind"] == "monthly"]:
        odd = 0
        for start in range(0, group["monthly"].shape[0], MONTHS_AT_ONCE):
            values = group["monthly"][start : start + MONTHS_AT_ONCE, record["position"]]
            wrong = ~np.isfinite(values)
            odd += int((wrong | ((values != 0) & (values != 1)) if record["binary"] else wrong).sum())
        if odd:
            found.append(
                f"monthly channel {record['name']}: {odd} values are {'not 0 or 1' if record['binary'] else 'unknown'}"
            )
    return found


def _table_faults(store: CubeStore) -> list[str]:
    index, source = store.index, store.meta["sources"][0]
    low, high = index[["y", "x"]].to_numpy(np.int64), index[["height", "width"]].to_numpy(np.int64)
    rows, width = source["shape"]
    off = (low < 0).any(axis=1) | (high < 1).any(axis=1) | (low[:, 0] + high[:, 0] > rows) | (low[:, 1] >= width)
    off |= (high[:, 1] > width) if source["wraps"] else (low[:, 1] + high[:, 1] > width)
    t = index["t"].to_numpy(np.int64)
    early = (t < store.steps) | (t + store.horizon > source["months"])
    found = [f"{leakage.name_of(row)} leaves the grid" for row in index[off].head(10).itertuples()]
    found += [f"{leakage.name_of(row)} leaves the period" for row in index[early].head(10).itertuples()]
    found += leakage.leaks(index, store.meta["split"])[0]
    return [f"index.parquet: {f}" for f in found[:20]]
