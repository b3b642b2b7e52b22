"""A small conflict cube that needs no file: a simulated contagion, laid out as `cube.write_cube` does, and its store."""

import numpy as np
import pandas as pd
import xarray as xr

from geonb.store import arrays

TYPES = {"state-based": "_state", "non-state": "_nonstate", "one-sided": "_onesided"}


def simulate(months=96, rows=24, columns=20, seed=0):
    """Event flags and deaths (time, y, x): events feed on the past of their cell and its neighbours."""
    random = np.random.default_rng(seed)
    unrest = np.where(random.random((rows, columns)) < 0.15, 0.2, 0.005)
    event, heat = np.zeros((months, rows, columns), np.float32), np.zeros((rows, columns))
    for month in range(months):
        padded = np.pad(heat, 1)
        around = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
        event[month] = random.random((rows, columns)) < np.clip(unrest + 0.4 * heat + 0.3 * around, 0, 0.9)
        heat = 0.8 * heat + 0.2 * event[month]
    deaths = event * np.ceil(random.lognormal(1.0, 1.0, event.shape))
    return event, deaths.astype(np.float32)


def months_since(event):
    """Months since the cell's last event, that month included; before the first one, since the start."""
    since, last = np.zeros_like(event), np.zeros(event.shape[1:], np.float32)
    for month in range(len(event)):
        last = np.where(event[month] > 0, 0, last + (month > 0))
        since[month] = last
    return since


def write_cube(folder, outcomes="any", months=96, rows=24, columns=20, seed=0, wraps=False, first_month="2000-01"):
    """Write the arrays of a simulated cube into `folder`: 0.5 degree, or 360 degrees in all where it wraps."""
    event, deaths = simulate(months, rows, columns, seed)
    random = np.random.default_rng([seed, 1])
    kind = random.integers(3, size=event.shape)
    monthly = {"event": event, "log1p_best": np.log1p(deaths), "months_since": months_since(event)}
    if outcomes == "any":
        found = [{"name": "any violence", "colour": "#b2182b", "event": "event", "deaths": "best"}]
        monthly["best"] = deaths
    else:
        found = []
        for k, (name, suffix) in enumerate(TYPES.items()):
            monthly |= {f"event{suffix}": event * (kind == k), f"best{suffix}": deaths * (kind == k)}
            colour = ("#b2182b", "#2166ac", "#e08214")[k]
            found.append({"name": name, "colour": colour, "event": f"event{suffix}", "deaths": f"best{suffix}"})
    times = pd.date_range(first_month, periods=months, freq="MS")
    years = np.unique(times.year)
    step = 360 / columns if wraps else 0.5
    x = (-180 if wraps else 3) + step * (np.arange(columns) + 0.5)
    y = (-6 if wraps else 4) + 0.5 * (np.arange(rows) + 0.5)
    wealth = random.normal(50, 10, (len(years), 1, rows, columns)).astype(np.float32)
    wealth[:, :, :2] = np.nan
    valid = np.ones((rows, columns), bool)
    valid[-3:, -4:] = False
    stacked = np.stack(list(monthly.values()), axis=1).astype(np.float32) * valid
    # kept where nothing counts: the region's cells alone hold events
    gid = (np.floor((y[:, None] + 90) * 2) * 720 + np.floor((x[None] + 180) * 2) + 1).astype(np.int32)
    data = xr.Dataset(
        {
            "monthly": (("time", "monthly_channel", "y", "x"), stacked),
            "yearly": (("year", "yearly_channel", "y", "x"), wealth),
            "static": (("static_channel", "y", "x"), random.gamma(2, 100, (1, rows, columns)).astype(np.float32)),
            "valid": (("y", "x"), valid),
            "country": (("y", "x"), np.where(np.arange(columns) < columns // 2, 475, 483) * np.ones((rows, 1), np.int32)),
            "gid": (("y", "x"), gid),
        },
        {
            "time": times, "year": years, "y": y, "x": x, "monthly_channel": list(monthly), "yearly_channel": ["wealth"],
            "static_channel": ["mountains"],
        },
    )  # fmt: skip
    data["country"] = data["country"].astype(np.int32)
    from pyproj import CRS

    data = data.assign_coords(spatial_ref=((), 0, CRS.from_epsg(4326).to_cf()))
    data["time"].encoding = {"units": "days since 1970-01-01", "dtype": "int32"}
    chunks = {"monthly": (min(12, months), 1, rows, columns)}
    with arrays.quiet_zarr():
        data.to_zarr(
            folder, group="grid", mode="a", encoding={k: {"chunks": v} for k, v in chunks.items()}, consolidated=False
        )
    targets = {o[k] for o in found for k in ("event", "deaths")}
    inputs = ["event", "log1p_best", "months_since", "wealth", "mountains"]
    names = [*inputs, *(n for n in monthly if n not in inputs)]
    places = {"wealth": ("yearly", 0), "mountains": ("static", 0)}
    units = {"log1p_best": "log1p(deaths)", "months_since": "months"}
    units |= dict.fromkeys((o["deaths"] for o in found), "deaths")
    records = [
        {
            "name": n, "units": units.get(n, "1"), "kind": places.get(n, ("monthly",))[0],
            "position": places[n][1] if n in places else list(monthly).index(n), "binary": n.startswith("event"),
            "role": ("both" if n in targets else "input") if n in inputs else "target",
        }
        for n in names
    ]  # fmt: skip
    source = {
        "name": "grid", "crs": "EPSG:4326", "shape": [rows, columns], "resolution": [0.5, step], "pixel_m": 55660,
        "months": months, "first_month": first_month, "wraps": wraps,
    }  # fmt: skip
    import zarr

    zarr.open_group(folder, mode="r+").attrs.update(
        {"sources": [source], "channels": records, "outcomes": found, "report": {"used": int(event.sum())}}
    )
    with arrays.quiet_zarr():
        zarr.consolidate_metadata(zarr.open_group(folder, mode="r+").store)


def small_cube_store(root, outcomes="any", **options):
    """A sealed store of a simulated cube of 24 x 20 cells and 96 months; `outcomes` any or by-type.

    Options of `write_cube` above (months, rows, columns, wraps, seed as cube_seed) and of `store.write_cube_store`.
    """
    from geonb.workloads.conflict import store

    made = {k: options.pop(k) for k in ("months", "rows", "columns", "wraps", "first_month") if k in options}
    made |= {"outcomes": outcomes, "seed": options.pop("cube_seed", 0)}
    options = {"chunk_size": 8, "steps": 6, "horizon": 3, "draws": 2, "min_events": 10, "shares": "60/20/20"} | options
    meta = {
        "title": "Simulated conflict",
        "simulated": True,
        "notes": ["simulated: a contagion process"],
        "name": "small",
    }
    return store.write_cube_store(
        lambda folder: write_cube(folder, **made), {"made": made}, meta=meta, root=root, **options
    )
