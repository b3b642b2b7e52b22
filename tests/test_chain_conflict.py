"""`geonb run conflict`, all six notebooks on a small part of the simulated conflict: what a reader of the run would check."""

from pathlib import Path

import chains
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from pages import FETCHES
from sklearn import metrics as sk

import geonb
from geonb import registry, runs, store

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1]
# on no cell's edge, so that it is snapped outward; there most happens
SMALL = {
    "region": "box:-4.9,6.2,0.3,11.8", "period": "1999-01:2006-12", "steps": 6, "horizon": 2, "epochs": 2, "batch": 8,
    "network": "convlstm:structure=4/4", "draws": 50, "samples": 60, "clusters": 3,
}  # fmt: skip
BOUNDS = (-5, 6, 0.5, 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run and what the command line said."""
    folder = chains.project(tmp_path_factory.mktemp("conflict"))
    told = chains.run_anywhere("conflict", folder, SMALL)
    return runs.open_run("conflict", root=folder), told


@pytest.fixture(scope="module")
def forecast(made):
    return xr.open_datatree(made[0].predictions, engine="zarr")["grid"].to_dataset().load()


def test_the_run_is_whole_and_leads_with_average_precision(made):
    run, told = made
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    assert list(run.info["steps"]) == ["01_dataset_conflict", *registry.SHARED_STEPS]
    assert run.info["headline"]["metric"] == registry.get("conflict").headline == "average_precision"
    expected = ["network", "never", "climatology", "persistence", "weighted-history", "logistic",
                "last-12-months", "last-12-months-neighbours", "last-poisson"]  # fmt: skip
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        assert list(scores["model"].values) == expected
        headline = scores["score"].sel(split="test", metric="average_precision")
        assert np.isfinite(headline).all()
        assert float(headline.sel(model="network")) == pytest.approx(run.info["headline"]["value"])
        assert scores.attrs["unit"] == "cell-months" and scores.attrs["simulated"] == 1
    assert all(f"\n{name} " in told for name in expected), told
    assert "simulated data" in told


def test_scores_agree_with_those_of_scikit_learn(made, forecast):
    with xr.open_dataset(made[0].scores, engine="h5netcdf") as scores:
        found = scores["score"].load()
    for split in ("val", "test"):
        here = forecast.isel(time=np.flatnonzero(forecast["split"] == split))
        truth = here["truth"].values[..., here["valid"].values].ravel()
        known = truth >= 0
        assert known.all() and truth.sum() > 20
        for model in here["model"].values:
            p = here["probability"].sel(model=model).values[..., here["valid"].values].ravel().astype(np.float64)
            score = found.sel(model=model, split=split)
            assert float(score.sel(metric="average_precision")) == pytest.approx(
                sk.average_precision_score(truth, p), abs=2e-3
            )
            assert float(score.sel(metric="auroc")) == pytest.approx(sk.roc_auc_score(truth, p), abs=2e-3)
            assert float(score.sel(metric="brier")) == pytest.approx(np.mean((p - truth) ** 2), rel=1e-5)


def test_truth_is_what_the_file_says(made, forecast):
    """From the CSV to the truth of the forecasts, in pandas."""
    (path,) = (made[0].path.parents[2] / "data" / "examples").glob("simulated-conflict-*.csv")
    table = pd.read_csv(path).query("best >= 1")
    month = pd.to_datetime(table["date_start"]).dt.to_period("M").dt.to_timestamp()
    row = np.floor((table["latitude"] - BOUNDS[1]) * 2).astype(int)
    column = np.floor((table["longitude"] - BOUNDS[0]) * 2).astype(int)
    happened = set(zip(month, row, column, strict=True))
    assert list(forecast["split"].values[[0, -1]]) == ["val", "future"]
    assert pd.Timestamp(forecast["time"].values[-1]) == pd.Timestamp("2007-01-01")
    assert (forecast["truth"].isel(time=-1) == -1).all(), "what has not come yet is not known"
    for origin in forecast["time"].values[:-1]:
        for lead in (1, 2):
            ahead = pd.Timestamp(origin) + pd.DateOffset(months=lead - 1)
            expected = [[(ahead, y, x) in happened for x in range(11)] for y in range(12)]
            np.testing.assert_array_equal(forecast["truth"].sel(time=origin, lead=lead)[0], expected)


def test_maps_and_netcdf_lie_where_they_should(made, forecast):
    folder = made[0].path / "maps"
    latest = forecast["probability"].sel(model="network", outcome="any violence").isel(time=-1).values
    with rasterio.open(folder / "latest_any-violence.tif") as tif:
        assert tif.crs.to_epsg() == 4326 and tif.transform.e < 0, "north up"
        assert tuple(tif.bounds) == BOUNDS and tif.count == SMALL["horizon"]
        assert tif.descriptions == ("any violence, 2007-01", "any violence, 2007-02")
        np.testing.assert_array_equal(tif.read(), latest[:, ::-1])
    with xr.open_dataset(folder / "forecasts.nc") as found:
        assert found["latitude"].values[[0, -1]].tolist() == [6.25, 11.75]
        assert found["longitude"].values[[0, -1]].tolist() == [-4.75, 0.25]
        assert found["time"].values[-1] == np.datetime64("2007-01-01")
        np.testing.assert_array_equal(found["probability"].isel(time=-1)[0], latest)
    cells = pd.read_parquet(folder / "cells.parquet")
    assert len(cells) == len(forecast["time"]) * SMALL["horizon"] * 11 * 12


def test_the_report_says_what_it_is_and_asks_nobody(made):
    run, _ = made
    page = (run.path / "report.html").read_text()
    assert registry.get("conflict").question in page and "imulated" in page
    checked = store.open_store(run.store).check_split()
    assert (checked["leaks"], checked["smallest_gap_months"]) == (0, 8)
    assert "No month that goes into a sample of one split is a target of another" in checked["said"]
    assert checked["said"] in page
    assert not FETCHES.search(page)
    body = page.split('id="environment"')[0]
    for path in (run.path.parents[2], ROOT, Path.home()):
        assert f"{path}/" not in body, "paths of this machine"
