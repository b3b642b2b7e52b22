"""The store of a cube: written once, found again, and damage seen."""

import json
import shutil

import geopandas as gpd
import h5py
import harm
import made_cubes
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

from geonb import store as stores
from geonb.workloads.conflict import hdf5, window_store
from geonb.workloads.conflict import store as conflict_store
from geonb.workloads.conflict import windows as conflict_windows


@pytest.fixture(scope="module")
def cube_store(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("project"))


@pytest.fixture
def copied(cube_store, tmp_path):
    """A store to damage, with arrays of its own and no manifest, which would tell of all of it."""
    return harm.unsealed(shutil.copytree(cube_store.path, tmp_path / "store", symlinks=False))


def edit(folder, change):
    meta = json.loads((folder / "store.json").read_text())
    change(meta)
    (folder / "store.json").write_text(json.dumps(meta))
    return conflict_store.CubeStore.open(folder)


def test_store_holds_what_was_asked_for(cube_store):
    meta = cube_store.meta
    assert [k for k in stores.META_KEYS if k not in meta] == []
    assert (meta["kind"], meta["classes"], meta["simulated"]) == ("sequences", [], True)
    assert cube_store.inputs == ["event", "log1p_best", "months_since", "wealth", "mountains"]
    assert (cube_store.steps, cube_store.horizon, cube_store.valid.sum()) == (6, 3, 24 * 20 - 12)
    assert cube_store.faults(deep=True) == []
    columns = pd.read_parquet(cube_store.path / "index.parquet").columns
    assert set(conflict_store.INDEX_COLUMNS) == set(columns)
    row = stores.stores("conflict", cube_store.path.parents[2]).iloc[0]
    assert (row["state"], row["windows"], row["patch"]) == ("whole", len(cube_store), 8)


def test_origins_are_all_months_of_a_split(cube_store):
    first = {s: cube_store.origins(s)[0] for s in ("train", "val", "test")}
    assert first["train"] == 6
    assert cube_store.origins("test")[-1] == 96 - 3
    assert first["val"] - cube_store.origins("train")[-1] == 9
    assert cube_store.origins("future").tolist() == [96]
    assert cube_store.origins("all").tolist() == list(range(6, 94))
    with pytest.raises(ValueError, match="none of train, val, test, future, all"):
        cube_store.origins("dev")
    for split in first:
        assert set(cube_store.index.loc[cube_store.index["split"] == split, "t"]) <= set(cube_store.origins(split))


def test_statistics_are_those_of_training_months_in_valid_cells(cube_store):
    months = slice(0, cube_store.origins("train")[-1])  # the last month that is an input
    values = cube_store.cube().values[months][:, :, cube_store.valid].astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean, std = np.nanmean(values, axis=(0, 2)), np.nanstd(values, axis=(0, 2))
    found = cube_store.meta["statistics"]
    assert (found["mean"][0], found["std"][0]) == (0, 1)  # binary
    np.testing.assert_allclose(found["mean"][1:], mean[1:], rtol=1e-9)
    np.testing.assert_allclose(found["std"][1:], std[1:], rtol=1e-9)


def test_cube_holds_yearly_values_over_their_months(cube_store):
    grid = xr.open_zarr(cube_store.path / "arrays.zarr", group="grid", consolidated=False).load()
    cube = cube_store.cube(["wealth", "best", "mountains"], 10, 30)
    assert cube.dims == ("time", "channel", "y", "x")
    for k, month in enumerate(cube["time"].values.astype("datetime64[M]")):
        year = int(str(month)[:4])
        np.testing.assert_array_equal(cube.sel(channel="wealth").values[k], grid["yearly"].sel(year=year).values[0])
    np.testing.assert_array_equal(
        cube.sel(channel="best").values, grid["monthly"].sel(monthly_channel="best").values[10:30]
    )
    np.testing.assert_array_equal(cube.sel(channel="mountains").values[7], grid["static"].values[0])
    assert np.isnan(cube.sel(channel="wealth").values[:, :2]).all()
    with pytest.raises(ValueError, match="no channel hdi; it has event"):
        cube_store.cube(["hdi"])


def test_windows_lie_where_their_outline_says(cube_store):
    outlines = gpd.read_parquet(cube_store.path / "index.parquet")
    assert outlines.crs == "OGC:CRS84"
    for i in (0, 99, len(cube_store) - 1):
        window, (west, south, east, north) = cube_store[i], outlines.geometry[i].bounds
        assert (float(window.y.min()), float(window.y.max())) == (south + 0.25, north - 0.25)
        assert (float(window.x.min()), float(window.x.max())) == (west + 0.25, east - 0.25)


def test_a_window_over_the_dateline_is_in_two_parts(tmp_path):
    store = made_cubes.small_cube_store(tmp_path, columns=48, wraps=True, draws=1)
    outlines = gpd.read_parquet(store.path / "index.parquet").geometry
    over = (store.index["x"] + 8 > 48).to_numpy()
    assert over.any()
    assert set(outlines[over].geom_type) == {"MultiPolygon"}
    assert set(outlines[~over].geom_type) == {"Polygon"}
    np.testing.assert_allclose(shapely.area(outlines.to_numpy()), 8 * 0.5 * 8 * 7.5)
    assert outlines.total_bounds[[0, 2]].tolist() == [-180, 180]
    i = int(np.flatnonzero(over)[0])
    assert (np.diff(store[i].x.values) < 0).sum() == 1
    assert store.faults(deep=True) == []


def test_the_same_wishes_find_the_same_store_and_others_share_its_arrays(tmp_path):
    first = made_cubes.small_cube_store(tmp_path)
    again = made_cubes.small_cube_store(tmp_path)
    assert again.path == first.path
    other = made_cubes.small_cube_store(tmp_path, chunk_size=10, shares="train:2004-12,val:2006-06", name="other")
    assert other.path != first.path
    assert (other.path / "arrays.zarr").resolve() == (first.path / "arrays.zarr").resolve()
    assert len(list((tmp_path / "data/conflict/.arrays").iterdir())) == 1
    assert other.meta["split"]["months"]["train"] == ["2000-07", "2004-10"]
    assert set(other.index["height"]) == {10}


def test_a_killed_writer_leaves_no_store(tmp_path):
    def broken(folder):
        made_cubes.write_cube(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conflict_store.write_cube_store(broken, {"made": 1}, root=tmp_path, chunk_size=8)
    assert [p.name for p in (tmp_path / "data/conflict/.arrays").iterdir()] == []
    with pytest.raises(ValueError, match="No window of 8 cells lies in"):
        made_cubes.small_cube_store(tmp_path, min_events=10_000)
    assert list((tmp_path / "data/conflict").glob("*/store.json")) == []
    assert list((tmp_path / "data/conflict").glob("*.partial")) == []


def test_wishes_that_this_cube_cannot_serve_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the largest that fits is 20"):
        made_cubes.small_cube_store(tmp_path, chunk_size=21)
    with pytest.raises(ValueError, match="period of 96 months is too short for 3 splits"):
        made_cubes.small_cube_store(tmp_path, steps=24, horizon=12)
    with pytest.raises(ValueError, match="standardise names gdp, which is no input"):
        made_cubes.small_cube_store(tmp_path, standardise="gdp,wealth")
    store = made_cubes.small_cube_store(tmp_path, standardise="wealth")
    assert store.meta["statistics"]["std"][:3] == [1, 1, 1]
    assert store.meta["statistics"]["std"][3] > 5


def test_the_split_is_proved(cube_store):
    found = cube_store.check_split()
    assert (found["method"], found["leaks"], found["smallest_gap_months"]) == ("time", 0, 9)
    assert sum(found["windows"].values()) == len(cube_store)
    event = cube_store.cube(["event"]).values[:, 0]
    test = cube_store.origins("test")
    assert found["positives"]["test"] == event[test[0] : test[-1] + 3].sum()
    assert stores.check_split(cube_store) == found == stores.proof_of(cube_store), "as it is kept, too"


def test_one_planted_month_is_caught(copied):
    index = gpd.read_parquet(copied / "index.parquet")
    row = int(np.flatnonzero(index["split"] == "val")[0])
    store = conflict_store.CubeStore.open(copied)
    index.loc[row, "t"] = store.origins("val")[0] - 1
    index.to_parquet(copied / "index.parquet", index=False)
    with pytest.raises(ValueError, match=rf"val window {row} .* sees month"):
        conflict_store.CubeStore.open(copied).check_split()
    assert any("sees month" in fault for fault in conflict_store.CubeStore.open(copied).faults())


def test_months_of_the_splits_that_come_too_near_are_caught(copied):
    def nearer(meta):
        meta["split"]["months"]["val"][0] = "2004-08"

    with pytest.raises(ValueError, match=r"origins: .*month"):
        edit(copied, nearer).check_split()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda meta: meta["statistics"]["std"].__setitem__(1, 0), "statistics: mean and std must be 5"),
        (lambda meta: meta["outcomes"][0].update(deaths="killed"), "needs the channel killed"),
        (lambda meta: meta["sources"][0].update(months=95), "arrays.zarr/grid/monthly"),
        (lambda meta: meta["sources"][0].update(first_month="2000-02"), "grid/time: not 96 months from 2000-02"),
        (lambda meta: meta["split"].pop("horizon"), "split: horizon is missing"),
    ],
)
def test_damage_to_the_seal_is_seen(copied, change, match):
    assert any(match in fault for fault in edit(copied, change).faults())


def test_damage_to_arrays_and_table_is_seen(copied):
    import zarr

    group = zarr.open_group(copied / "arrays.zarr", mode="r+")["grid"]
    group["monthly"][5, 0, 2, 3], group["monthly"][50, 1, 2, 3] = 0.5, np.nan
    store = conflict_store.CubeStore.open(copied)
    assert store.faults() == []
    assert store.faults(deep=True) == [
        "monthly channel event: 1 values are not 0 or 1", "monthly channel log1p_best: 1 values are unknown"
    ]  # fmt: skip
    index = gpd.read_parquet(copied / "index.parquet")
    index.loc[0, "x"] = 15
    index.drop(columns="gid").to_parquet(copied / "index.parquet", index=False)
    assert store.faults() == ["index.parquet has no column gid"]
    index.to_parquet(copied / "index.parquet", index=False)
    assert "leaves the grid" in conflict_store.CubeStore.open(copied).faults()[0]


def test_the_kind_of_a_store_says_what_opens_it(cube_store, tmp_path):
    opened = stores.open_store(cube_store.path)
    assert type(opened) is conflict_store.CubeStore and opened.georeferenced
    with h5py.File(tmp_path / "theirs.hdf5", "w") as file:
        file["predictor"], file["truth"] = np.zeros((6, 4, 1, 5, 5)), np.zeros((6, 5, 5))
    written = hdf5.import_sequences(tmp_path / "theirs.hdf5", tmp_path / "theirs", "60/20/20")
    opened = stores.open_store(written.path)
    assert type(opened) is window_store.WindowStore and not opened.georeferenced
    seal = json.loads((written.path / "store.json").read_text())
    for kind, said in (("window", r"'window'\. Did you mean 'windows'"), (3, "'3'")):
        (written.path / "store.json").write_text(json.dumps(seal | {"kind": kind}))
        with pytest.raises(ValueError, match=rf"theirs.* cannot be opened: Unknown kind of sample store {said}"):
            stores.open_store(written.path)


def test_items_are_named_by_the_cells_with_an_event(cube_store):
    windows = cube_store.windows("train")
    items = [windows[i] for i in range(0, len(windows), 41)]
    bounds = {"no event": (0, 0), "1 cell": (1, 1), "2-4 cells": (2, 4), "5-9 cells": (5, 9), "10-19 cells": (10, 19),
              "20 cells or more": (20, 64)}  # fmt: skip
    assert list(cube_store.legend) == list(bounds) and len(set(cube_store.legend.values())) == len(bounds)
    labels = cube_store.labels(items)
    assert len(set(labels)) > 2
    for item, label in zip(items, labels, strict=True):
        event = cube_store[int(item["index"])]["targets"].isel(lead=0).values
        low, high = bounds[label]
        assert low <= (event > 0).any(axis=0).sum() <= high
    for count in (0, 1, 2, 4, 5, 9, 10, 19, 20, 64):
        target = np.zeros((3, 2, 64))
        target[0, 1, :count], target[1:] = 1, 1
        (label,) = cube_store.labels([{"targets": target.reshape(3, 2, 8, 8)}])
        assert bounds[label][0] <= count <= bounds[label][1]


@pytest.fixture(scope="module")
def whole_region(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("region"), chunk_size=None)


def test_a_window_may_be_the_whole_region_once_a_month(whole_region):
    store, index = whole_region, whole_region.index
    for split in ("train", "val", "test"):
        assert index.loc[index["split"] == split, "t"].tolist() == store.origins(split).tolist()
    assert set(map(tuple, index[["y", "x", "height", "width"]].to_numpy().tolist())) == {(0, 0, 24, 20)}
    assert index["valid_share"].to_numpy() == pytest.approx(store.valid.mean())
    event = store.cube(["event"]).values[:, 0]
    assert index["events"].tolist() == [int(event[t - 6 : t].sum()) for t in index["t"]]
    outlines = gpd.read_parquet(store.path / "index.parquet").geometry
    assert {tuple(o.bounds) for o in outlines} == {(3.0, 4.0, 13.0, 16.0)}
    window, t = store[0], int(index["t"][0])
    np.testing.assert_array_equal(window["targets"].values[:, 0], event[t : t + 3])
    item = store.windows("train")[0]
    assert item["inputs"].shape == (6, 5, 24, 20) and item["valid"].sum() == store.valid.sum()
    assert store.faults(deep=True) == []
    row = stores.stores("conflict", store.path.parents[2]).iloc[0]
    assert row["state"] == "whole" and row["patch"] is None


def test_a_leak_planted_into_whole_regions_is_caught(whole_region, tmp_path):
    found = whole_region.check_split()
    assert (found["leaks"], found["smallest_gap_months"]) == (0, 9)
    assert "6 months in, 3 ahead; origins of two splits are at least 9 months apart" in found["said"]
    harm.unsealed(shutil.copytree(whole_region.path, tmp_path / "store", symlinks=False))
    index = gpd.read_parquet(tmp_path / "store" / "index.parquet")
    last = int(np.flatnonzero(index["split"] == "train")[-1])
    index.loc[last, "t"] += 1  # one month later: its last target is the first that the validation sees
    index.to_parquet(tmp_path / "store" / "index.parquet", index=False)
    planted = stores.open_store(tmp_path / "store")
    with pytest.raises(ValueError, match=r"leaks:\n- val window \d+ .*sees month .*which is a target of train"):
        stores.check_split(planted)
    with pytest.raises(ValueError, match="sees month"):
        stores.check_store(tmp_path / "store")


def test_a_table_that_would_leak_is_never_written(tmp_path, monkeypatch):
    honest = conflict_windows.split_months

    def nearer(*settings):
        months = honest(*settings)
        return months | {"val": (months["val"][0] - 1, months["val"][1])}

    monkeypatch.setattr(conflict_windows, "split_months", nearer)
    with pytest.raises(ValueError, match=r"(?s)would leak between the splits.*which is a target of train"):
        made_cubes.small_cube_store(tmp_path, chunk_size=None)
    assert not list((tmp_path / "data/conflict").glob("*/store.json"))
