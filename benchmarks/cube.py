"""UCDP events and PRIO-GRID tables into the cube on disk: the seed's full experiment, and a global file of 350,000 events.

Both are simulated, in the published layouts. The seed's algorithm (a loop over rows for every month and channel) is timed on one
month and multiplied by the months; reading CSVs is left out on both sides where the row says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

EVENTS = int(os.environ.get("GEONB_BENCH_EVENTS", 350_000))
LAND_CELLS = 64_818  # as many as PRIO-GRID has
FULL = "event,log1p_best,pop_gpw_sum,nlights_mean,mountains_mean"
GLOBE = "event,log1p_best,log1p_count,months_since,history_12,pop_gpw_sum,nlights_mean,mountains_mean"
YEARS = (1989, 2023)


def make(folder: Path) -> None:
    """Events clustered in few cells on land, with long texts as UCDP's; covariates of 35 years."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    from geonb.workloads.conflict import event_files, examples, priogrid

    rng = np.random.default_rng(0)
    land = priogrid.select_region("globe")
    cells = land.gid[land.valid]
    weight = rng.pareto(0.8, len(cells)).clip(0, 1000)
    latitude, longitude = priogrid.centre_of(rng.choice(cells, EVENTS, p=weight / weight.sum()))
    latitude, longitude = latitude + rng.uniform(-0.24, 0.24, EVENTS), longitude + rng.uniform(-0.24, 0.24, EVENTS)
    first = np.datetime64(f"{YEARS[0]}-01-01")
    day = (first + rng.integers(0, 365 * (YEARS[1] - YEARS[0] + 1), EVENTS)).astype(str)
    same = {"relid": "SIM-1", "conflict_name": event_files.SIMULATED, "source_article": "no such article " * 20}
    same |= {"country": "Nowhere", "country_id": 1, "where_prec": 1, "date_prec": 1, "low": 0}
    best = rng.geometric(0.25, EVENTS) - 1
    columns = {"id": np.arange(EVENTS), **{k: [v] * EVENTS for k, v in same.items()}, "latitude": latitude}
    columns |= {"longitude": longitude, "priogrid_gid": priogrid.gid_of(latitude, longitude), "date_start": day}
    columns |= {"date_end": day, "type_of_violence": rng.integers(1, 4, EVENTS), "best": best, "high": best + 1}
    csv.write_csv(pa.table(columns), folder / "simulated-ged.csv")
    examples.write_prio_files(folder, YEARS, cells=LAND_CELLS)


def build(folder: Path, channels: str, stop: str) -> dict[str, float]:
    """Files to cube: seconds in all and of reading CSVs, bytes of the largest array and on disk."""

    import importlib

    for heavy in ("dask.array", "geopandas", "rasterio.features", "rioxarray", "zarr.codecs"):
        importlib.import_module(heavy)  # imports are no part of the work
    from geonb.workloads.conflict import covariates, cube, events

    reading = covariates._pieces
    spent = 0.0

    def timed(*args):
        nonlocal spent
        begin = time.perf_counter()
        pieces = reading(*args)
        spent += time.perf_counter() - begin
        return pieces

    covariates._pieces = timed
    begin = time.perf_counter()
    table = events.read_events(folder / "simulated-ged.csv")
    spent += time.perf_counter() - begin
    files = [folder / f"simulated-priogrid-{kind}.csv" for kind in ("yearly", "static")]
    to = folder / f"to-{stop}.zarr"
    facts = cube.write_cube(to, cube.plan_cube(table, channels, f"{YEARS[0]}-01", stop, "globe", files))
    seconds = time.perf_counter() - begin
    grid = facts["sources"][0]
    monthly = sum(c["kind"] == "monthly" for c in facts["channels"])
    disk = sum(p.stat().st_size for p in to.rglob("*") if p.is_file())
    return {
        "seconds": seconds, "reading": spent, "disk": disk, "months": grid["months"],
        "largest": 4 * grid["months"] * monthly * grid["shape"][0] * grid["shape"][1],
    }  # fmt: skip


def by_rows(folder: Path) -> dict[str, float]:
    """One month by the seed's algorithm: for every channel a loop over the rows, a value at a time."""
    import numpy as np
    import pandas as pd

    yearly = pd.read_csv(folder / "simulated-priogrid-yearly.csv")
    month = yearly[yearly["year"] == 2000].merge(pd.read_csv(folder / "simulated-priogrid-static.csv"), on="gid")
    begin = time.perf_counter()
    layers = []
    for key in ("pop_gpw_sum", "nlights_mean", "mountains_mean"):
        layer, gid, values = (
            np.zeros((360, 720)),
            month["gid"],
            month[key],
        )  # looked up once: not slower than it need be
        for i in range(len(month)):
            number = gid.iloc[i] - 1
            layer[number // 720, number % 720] += values.iloc[i]
        layers.append(layer)
    np.stack(layers)
    return {"seconds": time.perf_counter() - begin}


def child(folder: Path, call: str) -> dict[str, float]:
    """Run in a process of its own; adds its largest resident memory (GB)."""
    code = (
        f"import json, resource; from pathlib import Path; from benchmarks import cube; folder = Path({str(folder)!r}); "
        f"found = cube.{call} or {{}}; found['peak'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9; "
        "print('FOUND ' + json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.split("FOUND ")[1])


def main(folder: Path) -> list[list[str]]:
    child(folder, "make(folder)")
    both = [(child(folder, f"build(folder, {FULL!r}, '2018-12')"), child(folder, "by_rows(folder)")) for _ in range(3)]
    full = sorted((f for f, _ in both), key=lambda f: f["seconds"] - f["reading"])[1]
    slow = sorted(s["seconds"] for _, s in both)[1]
    globe = child(folder, f"build(folder, {GLOBE!r}, None)")
    after = full["seconds"] - full["reading"]
    ratio = slow * full["months"] / after
    largest = full["largest"] / 1e9

    def met(yes: bool) -> str:
        return "yes" if yes else "no"

    return [
        [
            f"seed's full experiment, {full['months']} months x 5 channels x 360 x 720, after reading the CSVs",
            f"{after:.1f} s", f"row by row, {slow:.2f} s a month: {slow * full['months']:.0f} s", f"{ratio:.0f}x",
            "<= 8 s with the index; 100x (300x)", met(after <= 8 and ratio >= 100),
        ],
        ["same, reading the CSVs", f"{full['reading']:.1f} s", "", "", "", ""],
        [
            "same, peak memory", f"{full['peak']:.2f} GB", f"largest array {largest:.2f} GB", f"{full['peak'] / largest:.2f}",
            "< 1.5", met(full["peak"] < 1.5 * largest),
        ],
        ["same, on disk", f"{full['disk'] / 1e6:.0f} MB", f"largest array {largest * 1e3:.0f} MB", "", "", ""],
        [
            f"globe, {EVENTS:,} events x {YEARS[1] - YEARS[0] + 1} years x 8 channels, CSV reading included",
            f"{globe['seconds']:.1f} s", "", "", "< 60 s", met(globe["seconds"] < 60),
        ],
        ["same, peak memory", f"{globe['peak']:.2f} GB", "", "", "< 2 GB", met(globe["peak"] < 2)],
    ]  # fmt: skip
