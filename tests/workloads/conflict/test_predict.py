"""Forecasts of a whole region: right months in, nothing of the future, resumable, and files that others open."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
import xarray as xr
import zarr
from fake_cubes import ANY, contagion
from forecasting import ANY, RECORD, model_of  # noqa: F401

from geonb.base.manifest import write_manifest
from geonb.prediction.faults import check_predictions
from geonb.prediction.predictions import open_predictions
from geonb.store.arrays import writable
from geonb.workloads.conflict import baselines as conflict_baselines
from geonb.workloads.conflict import exports, predict
from geonb.workloads.conflict.death_baselines import last_months, last_months_neighbours, last_poisson

PIXEL = "convlstm:structure=3-4-0/0-4-3,peephole=pixel,size=4"


def run_of(path):
    return SimpleNamespace(path=path, predictions=path / "predictions.zarr")


@pytest.fixture(scope="module")
def store():
    return contagion(splits={"train": (6, 98), "val": (107, 110), "test": (150, 153)}, months=156)


def standardised(store, t):
    values = np.stack([store.event[t - 6 : t], (store.best[t - 6 : t] - 1) / 5], axis=1)
    return torch.from_numpy(values[None].astype(np.float32))


def test_the_region_is_forecast_in_one_pass_from_the_months_before(store, tmp_path):
    model = model_of()
    baselines = [conflict_baselines.never(store), conflict_baselines.climatology(store)]
    data = open_predictions(predict.predict_region(run_of(tmp_path), store, model, baselines))["grid"].to_dataset()
    assert list(data.model.values) == ["network", "never", "climatology"]
    assert list(data.split.values) == ["val"] * 3 + ["test"] * 3 + ["future"]
    for i, t in enumerate([107, 108, 109, 150, 151, 152, 156]):
        with torch.no_grad():
            expected = model(standardised(store, t)).sigmoid()[0].numpy()  # (lead, outcome, y, x)
        np.testing.assert_allclose(data.probability[0, :, i], np.moveaxis(expected, 1, 0), atol=1e-6)
        assert str(data.time.values[i])[:7] == f"{2000 + t // 12}-{t % 12 + 1:02d}"
        for lead in range(3):
            if t + lead < 156:
                np.testing.assert_array_equal(data.truth[0, i, lead], store.event[t + lead])
                np.testing.assert_array_equal(data.deaths[0, i, lead], store.best[t + lead])
            else:
                assert (data.truth[0, i, lead] == -1).all()
                assert np.isnan(data.deaths[0, i, lead]).all()
    assert "spread" not in data


def test_the_precision_is_that_of_the_machine_unless_told(store, tmp_path, bfloat16):
    found = open_predictions(predict.predict_region(run_of(tmp_path), store, model_of(), []))
    with torch.no_grad():
        exact = model_of()(standardised(store, 107)).sigmoid()[0].numpy()
    differ = np.abs(found["grid"]["probability"].values[0, :, 0] - np.moveaxis(exact, 1, 0))
    assert found.attrs["precision"] == "bfloat16" and 0 < np.nanmax(differ) < 0.05


def test_an_interrupted_forecast_goes_on_to_the_same_arrays(store, tmp_path, monkeypatch):
    network = "unet_lstm:filters=4,depth=1,dropout=0.3"
    whole = predict.predict_region(
        run_of(tmp_path / "a"), store, model_of(network, "hurdle"), [conflict_baselines.never(store)]
    )
    calls = iter(range(100))
    inputs = predict.RegionForecast.inputs

    def dies(self, t):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return inputs(self, t)

    run = run_of(tmp_path / "b")
    monkeypatch.setattr(predict.RegionForecast, "inputs", dies)
    with pytest.raises(KeyboardInterrupt):
        predict.predict_region(run, store, model_of(network, "hurdle"), [conflict_baselines.never(store)])
    with pytest.raises(ValueError, match="interrupted"):
        check_predictions(run.predictions)
    predict.predict_region(run, store, model_of(network, "hurdle"), [conflict_baselines.never(store)])
    assert next(calls) == 3 + 1 + 4 + 0 + 0  # three before, the one that died, and the four that were left
    one, other = (open_predictions(p)["grid"].to_dataset().load() for p in (whole, run.predictions))
    xr.testing.assert_identical(one, other)
    assert one.spread.max() > 0
    cells = one.probability[0].where(one.country == 475).sum(("y", "x"))
    np.testing.assert_allclose(one.country_cells.sel(place=475).mean("draw"), cells, rtol=1e-4)


def test_draws_of_deaths_are_kept_beside_the_forecasts(store, tmp_path, monkeypatch):
    models = [make(store) for make in (conflict_baselines.never, conflict_baselines.climatology, last_poisson)]
    path = predict.predict_region(run_of(tmp_path / "a"), store, model_of(), models, members=40)
    data = open_predictions(path)["grid"].to_dataset()
    assert list(data.drawn.values) == ["never", "last-poisson"] and data.sizes["member"] == 40
    assert data.deaths_draws.dtype == np.uint32 and data.deaths_draws.chunks[4] == (3,)
    valid = store.valid
    np.testing.assert_array_equal(data.deaths_draws.values[..., ~valid], 2**32 - 1)
    t = int(np.flatnonzero(store.times == data.time.values[2])[0])
    drawn = data.deaths_draws.sel(drawn="last-poisson").isel(time=2).values[..., valid]
    np.testing.assert_array_equal(drawn, last_poisson(store).draws(t, 40)[..., valid])
    assert not list(predict.forecast_faults(open_predictions(path), deep=True))
    monkeypatch.setattr(predict, "AT_ONCE_BYTES", 40 * valid.size * 4)  # as of a large region
    again = predict.predict_region(run_of(tmp_path / "b"), store, model_of(), models, members=40)
    other = open_predictions(again)["grid"].to_dataset()
    assert other.deaths_draws.chunks[4] == (1, 1, 1)
    xr.testing.assert_identical(data.load(), other.load())
    writable(zarr.open_group(again, mode="r+")["grid"])["deaths_draws"][1, :, :, 0] = 2**32 - 1
    write_manifest(again)
    (told,) = predict.forecast_faults(open_predictions(again))
    assert "draws of deaths of last-poisson" in told


def test_the_future_does_not_enter(store, tmp_path):
    other = contagion(splits=store.splits, months=156)
    other.event[151:], other.best[151:] = 1, 99
    learned = conflict_baselines.persistence, conflict_baselines.weighted_history, conflict_baselines.logistic
    for make in (*learned, last_months, last_months_neighbours, last_poisson):
        one, two = make(store), make(other)
        for t in (107, 150, 151):
            for kind in ("probability", "deaths"):
                np.testing.assert_array_equal(one.forecast(t)[kind], two.forecast(t)[kind])
        assert not np.array_equal(one.forecast(153)["probability"], two.forecast(153)["probability"])


def test_windows_of_a_fixed_size_are_blended(store, tmp_path):
    model = model_of(PIXEL)
    region = predict.RegionForecast(store, model, 0.5, 5, "float32", 1, 0)
    found = region.forecast(110)["probability"]
    values, total, weight = standardised(store, 110), np.zeros((3, 1, 9, 11)), np.zeros((9, 11))
    ramp = np.sin(np.pi * (np.arange(4) + 0.5) / 4) ** 2 + 1e-3
    for top in (0, 2, 4, 5):
        for left in (0, 2, 4, 6, 7):
            with torch.no_grad():
                p = model(values[..., top : top + 4, left : left + 4]).sigmoid()[0].numpy()
            total[..., top : top + 4, left : left + 4] += p * np.outer(ramp, ramp)
            weight[top : top + 4, left : left + 4] += np.outer(ramp, ramp)
    np.testing.assert_allclose(found, np.moveaxis(total / weight, 1, 0), atol=1e-5)


def test_longitude_wraps_where_the_columns_span_the_globe(store):
    model = model_of()
    round_the_globe = contagion(splits=store.splits, months=156, wraps=True)
    moved = contagion(splits=store.splits, months=156, wraps=True)
    moved.event, moved.best = np.roll(moved.event, 4, axis=2), np.roll(moved.best, 4, axis=2)
    one, two = (
        predict.RegionForecast(s, model, 0.5, 5, "float32", 1, 0).forecast(110)["probability"]
        for s in (round_the_globe, moved)
    )
    np.testing.assert_allclose(np.roll(one, 4, axis=-1), two, atol=1e-4)
    flat = predict.RegionForecast(store, model, 0.5, 5, "float32", 1, 0).forecast(110)["probability"]
    assert abs(flat[..., 0] - one[..., 0]).max() > 1e-3


def test_a_model_of_other_channels_is_refused_with_all_that_differs(store, tmp_path):
    model = model_of()
    model.card |= {"channels": [{"name": "event"}], "steps": 9}
    with pytest.raises(ValueError, match=r"(?s)channels.*steps = 9"):
        predict.predict_region(run_of(tmp_path), store, model, [])
    assert not (tmp_path / "predictions.zarr").exists()


@pytest.fixture(scope="module")
def exported(store, tmp_path_factory):
    run = run_of(tmp_path_factory.mktemp("run"))
    model = model_of("unet_lstm:filters=4,depth=1,dropout=0.3", "hurdle")
    store.valid[0, 0] = False
    store.event[:, 0, 0] = store.best[:, 0, 0] = 0
    predict.predict_region(run, store, model, [conflict_baselines.climatology(store)], draws=5)
    report = exports.export_forecasts(run, model)
    yield run.path / "maps", open_predictions(run.predictions)["grid"].to_dataset().load(), report
    store.valid[0, 0] = True


def test_cell_tables_hold_every_cell_month_and_lead(exported):
    folder, data, report = exported
    table = pd.read_parquet(folder / "cells.parquet")
    assert len(table) == 7 * 3 * 98 == int(report.set_index("file").loc["cells.parquet", "rows"])
    row = table[(table.origin == "2012-07-01") & (table.lead == 3) & (table.gid == int(data.gid[4, 7]))].iloc[0]
    at = data.sel(time="2012-07-01", lead=3).isel(y=4, x=7, outcome=0)
    assert (row.latitude, row.longitude) == (float(data.y[4]), float(data.x[7]))
    assert row.p == at.probability[0] and row.deaths == at.deaths_mean[0] and row.truth == at.truth
    assert row.month == pd.Timestamp("2012-09-01")
    assert int(data.gid[0, 0]) not in set(table.gid)
    latest = pd.read_csv(folder / "latest.csv")
    assert set(latest.origin) == {"2013-01-01"} and set(latest.truth) == {-1} and len(latest) == 3 * 98


def test_countries_are_sums_of_their_cells(exported):
    folder, data, _ = exported
    table = pd.read_csv(folder / "countries.csv").set_index(["origin", "lead", "country"])
    inside = (data.country == 483) & data.valid
    at = data.sel(time="2012-07-01", lead=2).isel(outcome=0)
    row = table.loc[("2012-07-01", 2, 483)]
    assert row.cells == pytest.approx(float(at.probability[0].where(inside).sum()), rel=1e-4)
    assert row.deaths == pytest.approx(float(at.deaths_mean[0].where(inside).sum()), rel=1e-4)
    assert row.cells_true == float(at.truth.where(inside).sum())
    draws = at.country_cells.sel(place=483).values
    assert (row.cells_low, row.cells_high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])), rel=1e-4)
    assert np.isnan(table.loc[("2013-01-01", 1, 483)].cells_true)


def test_netcdf_and_geotiff_open_elsewhere(exported):
    folder, data, report = exported
    assert (report.state == "done").all() and not list(folder.glob("*partial*"))
    with xr.open_dataset(folder / "forecasts.nc", decode_coords="all") as found:
        assert found.probability.dims == ("outcome", "time", "lead", "latitude", "longitude")
        np.testing.assert_array_equal(found.probability, data.probability[0])
        assert found.time.values[-1] == np.datetime64("2013-01-01") and "spatial_ref" in found.coords
        months = [str(m)[:7] for m in found.month.isel(time=-1).values]
        assert months == ["2013-01", "2013-02", "2013-03"] and found.month.attrs["standard_name"] == "time"
        assert found.month.dims == ("time", "lead") and "deaths_mean" in found
    with rasterio.open(folder / "latest_any-violence.tif") as tif:
        assert tif.crs.to_epsg() == 4326 and tif.count == 3 and tif.transform.e < 0
        assert tif.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert tif.bounds == (2.5, 4.0, 8.0, 8.5)
        assert tif.descriptions[1] == "any violence, 2013-02"
        np.testing.assert_array_equal(tif.read(2), data.probability[0, 0, -1, 1].values[::-1])
        told, values = tif.tags(2), data.probability[0, 0, -1, 1].values.astype(float)
        for name, of in (("MINIMUM", np.nanmin), ("MAXIMUM", np.nanmax), ("MEAN", np.nanmean), ("STDDEV", np.nanstd)):
            assert float(told[f"STATISTICS_{name}"]) == pytest.approx(of(values), rel=1e-6)
        (value,) = tif.sample([(float(data.x[7]), float(data.y[4]))])
    np.testing.assert_array_equal(value, data.probability[0, 0, -1, :, 4, 7])


def test_files_say_that_data_are_simulated_and_hold_no_deaths_that_nobody_forecast(exported, tmp_path):
    _, data, _ = exported
    exports.write_map(data, tmp_path / "a.tif", "any violence", {"simulated": 1, "run": "calm-heron"})
    exports.write_map(data, tmp_path / "b.tif", "any violence", {"simulated": 0})
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        assert (one.tags()["simulated"], one.tags()["run"]) == ("1", "calm-heron")
        assert "simulated" not in other.tags()
    without = data.assign(deaths_mean=data.deaths_mean.where(data.model != data.model[0]))
    exports.write_netcdf(without, tmp_path / "c.nc", {})
    with xr.open_dataset(tmp_path / "c.nc") as found:
        assert "deaths_mean" not in found and "probability" in found


def test_a_finished_forecast_that_is_gone_over_again_warns_of_nothing(store, tmp_path):
    """Its attributes are written with all that was gathered before, texts among it, which zarr would warn of."""
    run, model = run_of(tmp_path), model_of()
    predict.predict_region(run, store, model, [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict.predict_region(run, store, model, [])
    assert not [str(w.message) for w in caught if "Zarr V3" in str(w.message)]


def test_forecasts_know_no_rasters(tmp_path):
    with pytest.raises(ValueError, match="not from rasters"):
        exports.export_forecasts(run_of(tmp_path), None, "x.tif")
