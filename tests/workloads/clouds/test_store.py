"""The store of scenes: written once, found again, damage seen; what a loader cuts out of it is what the scenes hold."""

import json
import shutil

import geopandas as gpd
import harm
import made_scenes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from scene_files import textured

from geonb import store
from geonb.base.manifest import MANIFEST
from geonb.store import arrays
from geonb.workloads.clouds import dataset
from geonb.workloads.clouds import store as clouds_store
from geonb.workloads.clouds.loaders import Triplets
from geonb.workloads.clouds.triplets import TILES, tiles_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store split by scene."""
    return made_scenes.store(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def one_scene(tmp_path_factory):
    """A store of one scene, split by area."""
    return made_scenes.store(tmp_path_factory.mktemp("project"), made_scenes.DAYS[:1], (160, 192))


def pixels_of(samples, row, tile):
    """Straight from the file, by the table alone."""
    at = tiles_table(samples.index.iloc[[row]]).set_index("tile").loc[tile]
    path = samples.path.parents[2] / samples.meta["inputs"][0]["path"]
    with xr.open_dataset(path, engine="h5netcdf") as data:
        y, x = slice(at["y"], at["y"] + 16), slice(at["x"], at["x"] + 16)
        return data["vis"].isel(time=int(at["t"]), y=y, x=x).to_numpy()


def test_store_says_what_it_holds(made):
    assert [k for k in store.META_KEYS if k not in made.meta] == []
    assert (made.meta["kind"], made.patch, len(made)) == ("triplets", 16, 110)
    assert made.index["split"].value_counts().to_dict() == {"train": 60, "test": 30, "val": 20}
    assert store.check_store(made.path, deep=True).path == made.path
    outlines = gpd.read_parquet(made.path / "index.parquet")
    assert set(clouds_store.INDEX_COLUMNS) == set(outlines.columns)
    assert outlines.crs == "OGC:CRS84" and outlines.geometry.is_valid.all()
    row = store.stores("clouds", made.path.parents[2]).iloc[0]
    assert (row["state"], row["windows"], row["patch"]) == ("whole", 110, 16)


def test_a_store_is_told_in_two_lines(made):
    first, second = repr(made).splitlines()
    assert first.startswith("TripletStore ") and first.endswith(made.path.name)
    assert f"train {(made.index['split'] == 'train').sum():,}" in second and second.endswith(made.channels[0])


def test_times_and_places_are_those_of_the_file(made):
    i = 17
    sample, row = made[i], made.index.iloc[i]
    assert sample["inputs"].dims == ("tile", "channel", "row", "column")
    assert np.datetime64(row["time"].tz_localize(None)) == sample["time"].sel(tile="anchor").values
    assert sample["time"].sel(tile="anchor").values == made.times[row["source"]].values[row["t"]]
    assert sample["y"].sel(tile="anchor").values[0] == 1_600_000 - 1000 * (row["y"] + 0.5)
    assert sample["x"].sel(tile="distant").values[0] == 500_000 + 1000 * (row["distant_x"] + 0.5)


@pytest.mark.parametrize("tile", TILES)
def test_the_tile_cut_is_the_tile_of_that_row(made, tile):
    rows = [0, 7, 63, 109, 7]
    inputs, valid = made.pixels(rows, tile)
    assert valid.all()
    for k, row in enumerate(rows):
        np.testing.assert_array_equal(inputs[k, 0], pixels_of(made, row, tile))
        np.testing.assert_array_equal(made[row]["inputs"].sel(tile=tile)[0], pixels_of(made, row, tile))


def test_batches_are_standardised_and_in_order(made):
    windows = Triplets(made, "val")
    batch = windows.batch([3, 1])
    mean, std = made.meta["statistics"]["mean"][0], made.meta["statistics"]["std"][0]
    for k, key in enumerate((3, 1)):
        row = int(windows.rows[key])
        assert batch["index"][k] == row
        for name, tile in zip(("inputs", "neighbor", "distant"), TILES, strict=True):
            np.testing.assert_allclose(batch[name][k, 0], (pixels_of(made, row, tile) - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(batch["triplets"][2:4], batch["neighbor"])


def test_statistics_are_those_of_the_training_scenes_alone(made):
    train = [s for a in made.meta["split"]["areas"] if a[1] == "train" for s in a[4]]
    values = made.arrays[made.sources[0]]["inputs"].to_numpy()[train].astype(float)
    assert made.meta["statistics"]["mean"][0] == pytest.approx(values.mean())
    assert made.meta["statistics"]["std"][0] == pytest.approx(values.std())


def test_exact_turns_move_pixels_and_nothing_else(made):
    plain, turned = Triplets(made, "train"), Triplets(made, "train", "flips,rotations", seed=3)
    keys = list(range(20))
    one, two = plain.batch(keys)["triplets"].numpy(), turned.batch(keys)["triplets"].numpy()
    np.testing.assert_allclose(np.sort(one.reshape(60, -1)), np.sort(two.reshape(60, -1)))
    looks = {tuple(map(tuple, np.round(t[0][:2, :2], 3))) for t in two[:20]} - {
        tuple(map(tuple, np.round(t[0][:2, :2], 3))) for t in one[:20]
    }
    assert len(looks) > 10
    whole = np.stack(
        [np.rot90(b[0, :, ::-1] if flip else b[0], k) for b in one[:1] for flip in (0, 1) for k in range(4)]
    )
    assert any(np.allclose(two[0, 0], t) for t in whole)


def test_changes_follow_from_seed_epoch_and_row_alone(made):
    spec = "flips,rotations,brightness,noise:std=0.2"
    whole = Triplets(made, "train", spec, seed=1)
    n = len(whole)
    ahead = whole.batch([n + 4, n + 9])["triplets"].numpy().copy()
    again = Triplets(made, "train", spec, seed=1).batch([n + 9, n + 4])["triplets"].numpy()
    np.testing.assert_array_equal(ahead[[1, 0, 3, 2, 5, 4]], again)
    assert not np.allclose(ahead, Triplets(made, "train", spec, seed=1).batch([4, 9])["triplets"].numpy())


def test_the_same_batches_with_any_number_of_workers(made):
    from geonb.store.loaders import data_module

    def epoch(workers):
        loader = data_module(made, 8, "flips,rotations,noise", 5, workers).train_dataloader()
        loader.sampler.set_epoch(3)
        return [batch["triplets"].numpy().copy() for batch in loader]

    for one, two in zip(epoch(0), epoch(3), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_same_seed_gives_the_same_store(made, tmp_path):
    again = made_scenes.store(tmp_path)
    assert again.path.name == made.path.name
    assert again.index.drop(columns=[]).equals(made.index)
    other = made_scenes.store(tmp_path, seed=1)
    assert other.path != again.path
    assert (other.path / "arrays.zarr").resolve() == (
        again.path / "arrays.zarr"
    ).resolve()  # a table, not the scenes again


def test_a_split_by_scene_shares_no_scene(made):
    checked = made.check_split()
    tiles = tiles_table(made.index)
    days = {s: set(t // 2) for s, t in tiles.groupby("split")["t"]}  # two scenes a day
    assert not days["train"] & days["val"] and not days["train"] & days["test"] and not days["val"] & days["test"]
    assert checked["method"] == "scene" and "no two splits share a scene" in checked["said"]
    assert store.check_split(made) == checked == store.proof_of(made), "as it is kept, too"


def test_a_split_by_area_shares_no_pixel(one_scene):
    owner = np.zeros((160, 192), int)
    tiles = tiles_table(one_scene.index)
    for code, split in enumerate(("train", "val", "test"), 1):
        mine = np.zeros(owner.shape, bool)
        for row in tiles[tiles["split"] == split].itertuples():
            mine[row.y : row.y + 16, row.x : row.x + 16] = True
        assert not (owner[mine] > 0).any()
        owner[mine] = code
    assert one_scene.check_split()["method"] == "area"
    assert any("Distant tiles of the same hours lie at least" in note for note in one_scene.meta["notes"])


def test_holes_are_not_sampled_and_end_as_zero(tmp_path):
    values = made_scenes.scene_files.textured((6, 96, 128)).astype("f4")
    values[:, :, 70:] = np.nan
    values[:, 40, 30] = np.nan
    path = made_scenes.scene_files.write_cf(tmp_path / "holes.nc", values, made_scenes.DAYS[::2])
    found = dataset.open_scenes(str(path), patch=16)
    samples = clouds_store.write_triplet_store(found, patch=16, counts="60/20/30", root=tmp_path)
    shares = [samples.pixels(np.arange(110), tile)[1].mean(axis=(1, 2)) for tile in TILES]
    assert np.min(shares) >= 0.9 and (np.array(shares) < 1).any()
    k = int(np.flatnonzero(shares[0] < 1)[0])
    item = samples.windows()[k]["inputs"].numpy()[0]
    assert (item[~samples.pixels([k])[1][0]] == 0).all()


def test_another_split_or_size_does_not_write_the_scenes_again(made):
    root = made.path.parents[2]
    before = {p.name for p in (root / "data" / "clouds" / ".arrays").iterdir()}
    found = dataset.open_scenes(str(root / "vis.nc"), patch=16)
    clouds_store.write_triplet_store(found, patch=16, counts="10/5/5", shares="60/20/20", root=root)
    assert {p.name for p in (root / "data" / "clouds" / ".arrays").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["statistics"].update(std=[0.0]), "std above 0"),
        (lambda m: m["sources"][0].update(shape=[95, 128]), "not"),
        (lambda m: m["sources"][0].update(scenes=11), "not"),
    ],
)
def test_damage_is_named(made, tmp_path, change, said):
    harm.unsealed(shutil.copytree(made.path, tmp_path / "store", symlinks=False))
    meta = json.loads((tmp_path / "store" / "store.json").read_text())
    change(meta)
    (tmp_path / "store" / "store.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=said):
        store.check_store(tmp_path / "store")


def test_a_missing_chunk_is_named(made, tmp_path):
    harm.unsealed(shutil.copytree(made.path, tmp_path / "store", symlinks=False))
    chunk = next(p for p in (tmp_path / "store" / "arrays.zarr").rglob("inputs/c/3/**/*") if p.is_file())
    chunk.unlink()
    with pytest.raises(ValueError, match="1 chunks are missing"):
        store.check_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"counts": "10"}, "not train/val/test"),
        ({"counts": "10/0/5"}, "above 0"),
        ({"split": "time"}, "Unknown split .*area, auto, scene"),
        ({"split": "scene:apart_h=-1,gap=3"}, "(?s)apart_h = -1 must be.*scene has no 'gap'; it takes apart_h"),
        ({"min_valid": 2}, "min_valid = 2: give a number from 0 to 1"),
        ({"patch": 90}, "does not|do not fit|larger"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        made_scenes.store(tmp_path, **options)
    assert not (tmp_path / "data").exists()


FIRST = pd.Timestamp("2020-04-01T00:10:20")


@pytest.mark.parametrize("units", ["days", "seconds"])
def test_times_that_are_no_whole_milliseconds_come_back_as_they_were(tmp_path, units):
    """Days as floats are rounded in the file; half-hourly scenes of twelve hours are one take."""
    times = pd.date_range(FIRST, periods=24, freq="30min")
    counted = np.asarray((times - pd.Timestamp("1970-01-01")) / pd.Timedelta(f"1{units[0]}"))
    values = made_scenes.scene_files.textured((24, 80, 80)).astype("f4")
    coded = (("time",), counted, {"units": f"{units} since 1970-01-01"})
    made_scenes.scene_files.write_plain(tmp_path / "a.nc", values, {}, time=coded)
    found = dataset.open_scenes(str(tmp_path / "a.nc"), patch=16)
    samples = clouds_store.write_triplet_store(found, patch=16, counts="20/5/5", root=tmp_path)
    assert samples.times[samples.sources[0]].equals(times.as_unit("ns"))
    assert (samples.index["time"].dt.tz_localize(None) == times[samples.index["t"]]).all()
    assert samples.meta["split"]["method"] == "area" and store.check_store(samples.path)


def test_a_store_whose_times_are_finer_than_milliseconds_is_read_by_its_units(made, tmp_path):
    group = zarr.open_group((made.path / "arrays.zarr").resolve(), mode="r", use_consolidated=False)[made.sources[0]]
    finer = made.times[made.sources[0]] + pd.Timedelta(1, "ns")
    copy = zarr.create_group(tmp_path / "a.zarr")
    for units, dtype in (("nanoseconds since 1970-01-01", "int64"), ("days since 2020-04-01", "float64")):
        numbers = (
            finer.asi8
            if dtype == "int64"
            else (made.times[made.sources[0]] - pd.Timestamp("2020-04-01")) / pd.Timedelta("1D")
        )
        copy.create_array("time", data=np.asarray(numbers, dtype), overwrite=True, attributes={"units": units})
        expected = finer if dtype == "int64" else made.times[made.sources[0]]
        assert arrays.times_of(copy).equals(expected)
    assert arrays.times_of(group).equals(made.times[made.sources[0]])


def test_a_table_with_other_times_than_its_scenes_is_found(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "store", symlinks=False)
    table = gpd.read_parquet(tmp_path / "store" / "index.parquet")
    table["time"] += pd.Timedelta(days=50_000)
    table.to_parquet(tmp_path / "store" / "index.parquet", index=False)
    (tmp_path / "store" / MANIFEST).unlink()  # as of an earlier geonb, which wrote none
    with pytest.raises(ValueError, match="the times of 110 triplets are not those of their scenes"):
        store.check_store(tmp_path / "store")


def test_scenes_without_a_time_are_not_dealt_as_if_they_were_of_other_days(tmp_path):
    values = made_scenes.scene_files.textured((6, 160, 192)).astype("f4")
    path = made_scenes.scene_files.write_plain(tmp_path / "a.nc", values, {})
    found = dataset.open_scenes(str(path), patch=16)
    options = {"patch": 16, "counts": "20/5/5", "root": tmp_path}
    samples = clouds_store.write_triplet_store(found, **options)
    assert samples.meta["split"]["method"] == "area"
    assert any("6 scenes have no time, so nobody knows" in note for note in samples.meta["notes"])
    with pytest.raises(ValueError, match="there are 1 that are independent"):
        clouds_store.write_triplet_store(found, split="scene", **options)
    alone = clouds_store.write_triplet_store(found, split="auto:apart_h=0", **options)
    assert alone.meta["split"]["method"] == "scene" and not any("nobody knows" in note for note in alone.meta["notes"])


def test_scenes_whose_files_are_named_anew_are_written_with_their_new_times(tmp_path):
    def made(*names):
        for i, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            values = textured((96, 128), i).astype("f4")
            made_scenes.scene_files.write_plain(tmp_path / name, values, {})
        scenes = dataset.open_scenes(",".join(str(tmp_path / name) for name in names), patch=16)
        options = {"patch": 16, "counts": "10/5/5", "split": "auto:apart_h=0", "root": tmp_path}
        return scenes, clouds_store.write_triplet_store(scenes, **options)

    scenes, unnamed = made("a/s1.nc", "a/s2.nc", "a/s3.nc", "a/s4.nc")
    assert scenes.series[0].times.isna().all()
    days = [f"s{i}_2020040{i}.nc" for i in (1, 2, 3, 4)]
    for dates in (days, days[::-1]):  # the same times, of other files
        scenes, named = made(*(f"{folder}/{name}" for folder, name in zip("abcd", dates, strict=True)))
        (root,) = (zarr.open_group(named.path / "arrays.zarr", mode="r")[s.name] for s in scenes.series)
        assert arrays.times_of(root).equals(scenes.series[0].times) and not scenes.series[0].times.hasnans
        assert (root["inputs"][0] == scenes.series[0].read(0)[0]).all()
    assert named.path.name != unnamed.path.name


def test_options_of_files_of_one_name_are_told_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        made_scenes.scene_files.write_plain(tmp_path / folder / "x.nc", textured((20, 24)).astype("f4"), {})

    def recipe(*numbers):
        named = (f"{tmp_path / folder / 'x.nc'}:nodata={n}" for folder, n in zip("ab", numbers, strict=True))
        return dataset.open_scenes(",".join(named), patch=8).recipe

    assert recipe(0, -1) != recipe(-2, -1) and recipe(0, -1) != recipe(-1, 0)
