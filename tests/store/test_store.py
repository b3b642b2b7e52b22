import errno
import json
import multiprocessing
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import h5py
import harm
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import xarray as xr
from rasterio.shutil import copy
from rasterio.windows import Window
from scenes import look_at, make_scene, write_raster
from scipy.ndimage import distance_transform_cdt
from shapely import box

from geonb.base import conventions, files
from geonb.rasters import sources
from geonb.store import arrays, store
from geonb.workloads.segmentation import arrays as segmentation_arrays
from geonb.workloads.segmentation import dataset, hdf5
from geonb.workloads.segmentation import store as segmentation_store

SMALL = {"patch": 16, "stride": 8, "block": 16}


def pairs_of(scene, **options):
    return dataset.open_pairs(str(scene.image), str(scene.mask), **({"classes": scene.classes} | options))


def files_of(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@pytest.fixture
def copied(small_store, tmp_path):
    """A store of one's own to damage, without its manifests: what is left to be found is what the parts of the check find."""
    home = small_store.path.parent
    harm.unsealed(shutil.copytree(home, tmp_path / "segmentation", symlinks=True))
    return tmp_path / "segmentation" / small_store.path.name


# ---- the contract


def test_a_window_is_what_rasterio_reads_there(small_store, scene):
    for i in (0, 7, len(small_store) - 1):
        window = small_store[i]
        row = small_store.index.iloc[i]
        with rasterio.open(scene.image) as data:
            at = Window(row.x, row.y, 16, 16)
            np.testing.assert_array_equal(window["inputs"], data.read(window=at))
            assert window.rio.transform().almost_equals(data.window_transform(at))
            assert window.rio.crs == data.crs
        assert window["inputs"].dims == ("channel", "y", "x") and window["inputs"].dtype == "uint16"
        assert window.attrs["split"] == row.split and window.attrs["source"] == "image"


def test_targets_are_indices_and_255_elsewhere(small_store, scene):
    place = np.full(256, 255)
    place[[1, 2, 5]] = 0, 1, 2
    expected = np.where((scene.inputs != 0).all(axis=0), place[scene.codes], 255)
    np.testing.assert_array_equal(small_store.arrays["image"]["targets"], expected)
    assert [c["name"] for c in small_store.classes] == ["field", "wood", "lake"]


def test_statistics_are_those_of_numpy_over_training_pixels(small_store, scene):
    train = (small_store.split_map("image").to_numpy() == 1) & (scene.inputs != 0).all(axis=0)
    values = scene.inputs[:, train].astype(np.float64)
    np.testing.assert_allclose(small_store.meta["statistics"]["mean"], values.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(small_store.meta["statistics"]["std"], values.std(axis=1), rtol=1e-12)
    assert small_store.meta["statistics"]["pixels"] == train.sum()


def test_statistics_in_parts_do_not_cancel(monkeypatch, scene, tmp_path):
    monkeypatch.setattr(arrays, "TILE_PX", 17)
    inputs = np.random.default_rng(0).normal(1e8, 1.0, (1, 96, 128))
    pairs = dataset.open_pairs(str(write_raster(tmp_path / "a.tif", inputs)), str(scene.mask), scene.classes)
    made = segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    train = made.split_map("a").to_numpy() == 1
    np.testing.assert_allclose(made.meta["statistics"]["std"], inputs[0][train].std(), rtol=1e-6)


def test_covariance_is_that_of_numpy(monkeypatch, scene, tmp_path):
    monkeypatch.setattr(arrays, "TILE_PX", 19)  # many parts to merge
    inputs = scene.inputs.astype(np.float64) + 1e6
    pairs = dataset.open_pairs(
        str(write_raster(tmp_path / "a.tif", inputs, nodata=1e6)), str(scene.mask), scene.classes
    )
    made = segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    train = (made.split_map("a").to_numpy() == 1) & (scene.inputs != 0).all(axis=0)
    expected = np.cov(inputs[:, train], bias=True)
    np.testing.assert_allclose(made.meta["statistics"]["covariance"], expected, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(expected)), made.meta["statistics"]["std"], rtol=1e-9)


def test_the_index_opens_in_gis_and_says_where(small_store):
    table = gpd.read_parquet(small_store.path / "index.parquet")
    assert table.crs == "OGC:CRS84" and set(segmentation_store.INDEX_COLUMNS) <= set(table.columns)
    assert "geometry" not in small_store.index.columns
    outline = table.to_crs("EPSG:32617").geometry.iloc[3].bounds
    window = small_store[3]
    np.testing.assert_allclose(outline, window.rio.bounds(), atol=1e-3)


def test_arrays_open_without_geonb(small_store):
    tree = xr.open_datatree(small_store.path / "arrays.zarr", engine="zarr", decode_coords="all")
    assert tree["image"].to_dataset().rio.crs.to_epsg() == 32617
    assert (small_store.path / "arrays.zarr").is_symlink()
    assert not (small_store.path / "arrays.zarr").readlink().is_absolute()


def test_split_map_agrees_with_the_windows(small_store):
    split = small_store.split_map("image")
    assert split.rio.crs.to_epsg() == 32617
    for row in small_store.index.itertuples():
        here = split[row.y : row.y + 16, row.x : row.x + 16]
        assert (here == 1 + conventions.SPLITS.index(row.split)).all()


def test_check_split_reports(small_store):
    report = store.check_split(small_store)
    assert report["leaks"] == 0 and report["method"] == "block" and report["smallest_gap_m"] == 0.0
    assert report["windows"] == small_store.index["split"].value_counts().to_dict()
    split = small_store.split_map("image")
    valid = small_store.arrays["image"]["valid"].to_numpy()
    assert report["pixels"] == {s: int((valid & (split == i)).sum()) for i, s in enumerate(conventions.SPLITS, 1)}
    assert (
        sum(report["blocks"].values())
        == (np.unique(np.array(small_store.meta["split"]["blocks"]["image"]) > 0, return_counts=True)[1])[-1]
    )


def test_a_gap_lies_between_what_is_trained_on_and_what_is_scored(scene, tmp_path):
    adjoining = segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    assert segmentation_store.write_store(pairs_of(scene), **SMALL, gap=0, root=tmp_path).path == adjoining.path
    made = store.check_store(segmentation_store.write_store(pairs_of(scene), **SMALL, gap=4, root=tmp_path).path)
    assert made.path != adjoining.path
    split = made.split_map("image").to_numpy()
    np.testing.assert_array_equal(split, adjoining.split_map("image"))  # what is scored stays as it is
    seen = np.zeros(split.shape, bool)
    for row in made.index.query("split == 'train'").itertuples():
        seen[row.y : row.y + row.height, row.x : row.x + row.width] = True
    apart = distance_transform_cdt(~seen, "chessboard")[split > 1].min() - 1
    assert apart >= 4
    report = store.check_split(made)
    pixel_m = made.meta["sources"][0]["pixel_m"]
    assert report["smallest_gap_m"] >= 4 * pixel_m - 0.1
    before = adjoining.index["split"].value_counts()
    fewer = {s: int(before[s] - report["windows"][s]) for s in conventions.SPLITS}
    assert fewer == made.meta["split"]["left_out"] and fewer["train"] > 0 == fewer["test"]
    assert f"at least 4 px ({4 * pixel_m:.0f} m) from all training windows: {fewer['train']} train" in report["said"]
    assert "from all training windows" not in store.check_split(adjoining)["said"]


def test_a_gap_that_leaves_nothing_says_what_would_fit(scene, tmp_path):
    def cut(gap):
        return segmentation_store.write_store(pairs_of(scene), **SMALL, gap=gap, root=tmp_path)

    with pytest.raises(
        ValueError, match=r"gap = 90 px leaves no window for .*train.*Give a gap of at most \d+ px"
    ) as told:
        cut(90)
    most = int(re.search(r"at most (\d+) px", str(told.value))[1])
    assert set(cut(most).index["split"]) == set(conventions.SPLITS)
    with pytest.raises(ValueError, match=f"Give a gap of at most {most} px"):
        cut(most + 1)


def test_no_absolute_path_of_the_project_in_the_seal(scene, tmp_path):
    for file in (scene.image, scene.mask):
        shutil.copy(file, tmp_path)
    pairs = dataset.open_pairs(str(tmp_path / "image.tif"), str(tmp_path / "mask.tif"), scene.classes)
    made = segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    assert str(tmp_path) not in (made.path / "store.json").read_text()


# ---- found again, rebuilt


def test_found_again_without_work(scene, tmp_path, monkeypatch):
    first = segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    monkeypatch.setattr(dataset, "scan", lambda pairs: pytest.fail("read again"))
    monkeypatch.setattr(segmentation_store, "_write_table", lambda *args: pytest.fail("written again"))
    assert segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path).path == first.path


def test_another_patch_or_seed_keeps_the_arrays(scene, tmp_path, monkeypatch):
    first = segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    monkeypatch.setattr(segmentation_arrays, "write_arrays", lambda *args, **more: pytest.fail("arrays written again"))
    for change in ({"seed": 1}, {"patch": 8}, {"shares": "50/25/25"}):
        other = segmentation_store.write_store(pairs_of(scene), **(SMALL | change), root=tmp_path)
        assert other.path != first.path
        assert (other.path / "arrays.zarr").resolve() == (first.path / "arrays.zarr").resolve()


def test_another_input_or_preparation_makes_other_arrays(scene, tmp_path):
    own = make_scene(tmp_path / "files")
    first = segmentation_store.write_store(pairs_of(own), **SMALL, root=tmp_path)
    other = [segmentation_store.write_store(pairs_of(own, bands="1,2"), **SMALL, root=tmp_path)]
    other.append(
        segmentation_store.write_store(
            pairs_of(own, classes="0=ignore,1=field,2=ignore,5=lake"), **SMALL, root=tmp_path
        )
    )
    changed = own.inputs.copy()
    changed[0, 50, 50] += 1
    write_raster(own.image, changed, nodata=0)
    other.append(segmentation_store.write_store(pairs_of(own), **SMALL, root=tmp_path))
    assert len({(s.path / "arrays.zarr").resolve() for s in (first, *other)}) == 4
    assert len(other[0].channels) == 2 and len(other[1].classes) == 2
    assert other[2].arrays["image"]["inputs"][0, 50, 50] == changed[0, 50, 50]


def test_what_is_read_with_an_input_counts_too(scene, tmp_path):
    """A tile of a VRT, a mask file, metadata beside an image: another content is another store."""
    own = make_scene(tmp_path / "files")
    write_raster(own.folder / "tile.tif", own.inputs, nodata=None)
    copy(own.folder / "tile.tif", own.folder / "mosaic.vrt", driver="VRT")

    def made():
        pairs = dataset.open_pairs(str(own.folder / "mosaic.vrt"), str(own.mask), own.classes)
        return segmentation_store.write_store(pairs, **SMALL, root=tmp_path)

    first = made()
    assert {Path(i["path"]).name for i in first.meta["inputs"]} == {"mosaic.vrt", "tile.tif", "mask.tif"}
    assert made().path == first.path
    with rasterio.open(own.folder / "tile.tif", "r+") as data:
        data.write(own.inputs + np.uint16(1))
    second = made()
    assert second.path != first.path
    np.testing.assert_array_equal(second.arrays["mosaic"]["inputs"], first.arrays["mosaic"]["inputs"] + 1)
    hole = np.full((96, 128), 255, np.uint8)
    hole[50:60] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(own.folder / "mask.tif", "r+") as data:
        data.write_mask(hole)
    third = made()
    assert third.path != second.path and (third.arrays["mosaic"]["targets"][50:60] == 255).all()
    look_at(own.folder / "tile.tif")
    look_at(own.mask)
    assert made().path == third.path


def test_each_file_is_looked_at_once(scene, tmp_path, monkeypatch):
    own = make_scene(tmp_path / "files")
    second = write_raster(own.folder / "second.tif", own.inputs, nodata=0, west=600_000.0)
    areas = gpd.GeoDataFrame({"class": [1, 2]}, geometry=[box(5e5, 3.9e6, 7e5, 3.9995e6), box(5e5, 3.9995e6, 7e5, 4e6)])
    areas.set_crs("EPSG:32617").to_file(own.folder / "areas.gpkg")
    looked = []
    monkeypatch.setattr(sources, "files_of", lambda path: looked.append(path.name) or [path])
    pairs = dataset.open_pairs(f"{own.image},{second}", str(own.folder / "areas.gpkg"), "1=south,2=north")
    segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    assert sorted(looked) == ["areas.gpkg", "image.tif", "second.tif"]


def test_without_its_seal_it_is_made_again(scene, tmp_path):
    first = segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    (first.path / "store.json").unlink()
    shutil.rmtree((first.path / "arrays.zarr").resolve())
    (first.path.parent / "left.partial").mkdir()
    again = segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    assert again.path == first.path and store.check_store(again.path)
    assert not list(tmp_path.rglob("*.partial"))


def _write(scene, root, queue):
    queue.put(str(segmentation_store.write_store(pairs_of(scene), **SMALL, root=root).path))


def test_two_at_once_make_one_store(scene, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    both = [context.Process(target=_write, args=(scene, tmp_path, queue)) for _ in range(2)]
    [p.start() for p in both]
    paths = {queue.get(timeout=60) for _ in both}
    [p.join() for p in both]
    (path,) = paths
    store.check_store(path, deep=True)
    assert len(list((Path(path).parent / ".arrays").glob("*"))) == 1


# ---- several sources


def test_dates_of_one_place_share_their_blocks(scene, tmp_path):
    later = write_raster(tmp_path / "later.tif", scene.inputs + np.uint16(5), nodata=5)
    pairs = dataset.open_pairs(f"{scene.image},{later}", str(scene.mask), scene.classes)
    made = segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    np.testing.assert_array_equal(made.split_map("image"), made.split_map("later"))
    assert store.check_split(made)["leaks"] == 0


def test_images_that_overlap_on_other_grids_are_refused(scene, tmp_path):
    moved = write_raster(tmp_path / "moved.tif", scene.inputs, nodata=0, west=500_165.0)
    pairs = dataset.open_pairs(f"{scene.image},{moved}", str(scene.mask), scene.classes)
    with pytest.raises(ValueError, match="image and moved show the same ground"):
        segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    assert not list(tmp_path.rglob("store.json"))


def test_images_side_by_side(scene, tmp_path):
    east = write_raster(tmp_path / "east.tif", scene.inputs, nodata=0, west=501_280.0)
    mask = write_raster(tmp_path / "east_mask.tif", scene.codes, west=501_280.0)
    pairs = dataset.open_pairs(f"{scene.image},{east}", f"{scene.mask},{mask}", scene.classes)
    made = segmentation_store.write_store(pairs, **SMALL, root=tmp_path)
    assert made.sources == ["image", "east"] and store.check_store(made.path, deep=True)
    assert set(made.index["source"]) == {"image", "east"}


def side_by_side(scene, folder, n):
    images, masks = [scene.image], [scene.mask]
    for i in range(1, n):
        west = 500_000.0 + 1280 * i
        images.append(write_raster(folder / f"east{i}.tif", scene.inputs, nodata=0, west=west))
        masks.append(write_raster(folder / f"east{i}_mask.tif", scene.codes, west=west))
    return dataset.open_pairs(",".join(map(str, images)), ",".join(map(str, masks)), scene.classes)


def test_whole_sources_are_dealt(scene, tmp_path):
    made = segmentation_store.write_store(
        side_by_side(scene, tmp_path, 5), patch=16, stride=8, block=None, root=tmp_path
    )
    assert made.meta["split"]["method"] == "source" and made.meta["parameters"]["block"] is None
    assert len(made.index[["source", "split"]].drop_duplicates()) == 5
    assert set(made.index["split"]) == set(conventions.SPLITS)
    assert len(np.unique(made.split_map("east3"))) == 1
    report = store.check_split(made)
    assert report["blocks"] == {"train": 3, "val": 1, "test": 1} and report["method"] == "source"
    assert store.check_store(made.path, deep=True)


def test_too_few_whole_sources(scene, tmp_path):
    with pytest.raises(ValueError, match=r"deals whole sources, and there are 2 .*for 3 splits. Give a `block`"):
        segmentation_store.write_store(side_by_side(scene, tmp_path, 2), patch=16, block=None, root=tmp_path)
    assert not list(tmp_path.rglob("store.json"))


def test_threads_do_not_change_a_pixel(scene, tmp_path):
    pairs = side_by_side(scene, tmp_path, 3)
    for workers in (1, 4):
        segmentation_arrays.write_arrays(pairs, tmp_path / f"{workers}.zarr", workers=workers)
    one, four = (xr.open_datatree(tmp_path / f"{n}.zarr", engine="zarr") for n in (1, 4))
    xr.testing.assert_identical(one, four)


# ---- listed, deleted


@pytest.fixture
def project(scene, tmp_path, monkeypatch):
    """A project with two stores that share their arrays."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    return [segmentation_store.write_store(pairs_of(scene), **(SMALL | {"seed": seed})) for seed in (0, 1)]


def test_stores_are_listed(project):
    (project[0].path.parent / "broken").mkdir()
    table = store.stores().set_index("store")
    assert list(table["state"].value_counts().items()) == [("whole", 2), ("damaged", 1)]
    row = table.loc[f"data/segmentation/{project[0].path.name}"]
    assert row["windows"] == len(project[0]) and row["sources"] == 1 and row["datasets"] == "image"
    assert row["key"] == project[0].meta["key"] and row["size_mb"] > 0
    assert store.stores("clouds").empty


def test_deleting_keeps_what_others_share(project):
    one, two = project
    prepared, memory = (one.path / "arrays.zarr").resolve(), one.windows().folder
    assert store.delete_store(one.path) == [str(one.path)]
    assert not one.path.exists() and store.check_store(two.path, deep=True) and memory.is_dir()
    removed = store.delete_store(two.path.relative_to(two.path.parents[2]))
    assert set(removed) == {str(two.path), str(prepared), str(memory)}
    assert not two.path.exists() and not prepared.exists() and not memory.exists()


def test_deleting_refuses_what_is_no_store(project, tmp_path):
    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "mine", tmp_path / "nowhere", project[0].path.parent):
        with pytest.raises(FileNotFoundError, match="no sample store: nothing was deleted"):
            store.delete_store(path)
    assert (tmp_path / "mine").is_dir() and store.check_store(project[0].path)


def test_deleting_refuses_what_a_run_was_made_with(project):
    from geonb import runs

    run = runs.new_run("segmentation")
    info = json.loads((run.path / "run.json").read_text())
    info["store"] = f"data/segmentation/{project[0].path.name}"
    (run.path / "run.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=rf"used by the runs {run.path.name}: nothing was deleted"):
        store.delete_store(project[0].path)
    assert store.check_store(project[0].path)
    store.delete_store(project[1].path)
    store.delete_store(project[0].path, force=True)
    assert not project[0].path.exists()


def test_a_store_of_an_earlier_geonb_opens(copied):
    damage_index(copied, lambda table: table.drop(columns="dataset"))
    damage_json(copied, lambda m: (m.pop("datasets"), m["statistics"].pop("covariance"), m.pop("pruned")))
    old = store.check_store(copied, deep=True)
    assert set(old.index["dataset"]) == {"small"} and store.check_split(old)["leaks"] == 0


# ---- bad input, full disk


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 0}, "patch = 0 px: give a whole number from 1"),
        ({"patch": -4}, "patch = -4 px"),
        ({"patch": 97, "block": 97}, "larger than image .96 x 128 px.: at most 96"),
        ({"patch": 20, "block": 16}, "patch = 20 px is larger than block = 16 px"),
        ({"stride": 0}, "stride = 0 px"),
        ({"block": 96, "patch": 16}, "2 blocks hold data, 3 splits want some"),
        ({"shares": "90/10"}, "shares = '90/10'"),
        ({"seed": -1}, "seed = -1"),
        ({"min_valid": 2.0}, "min_valid = 2.0"),
    ],
)
def test_sizes_that_cannot_work(scene, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        segmentation_store.write_store(pairs_of(scene), **(SMALL | change), root=tmp_path)
    assert not list(tmp_path.rglob("store.json")) and not list(tmp_path.rglob("*.partial"))


def test_faults_in_the_pixels_leave_nothing(scene, tmp_path):
    with pytest.raises(ValueError, match="not in the table"):
        segmentation_store.write_store(pairs_of(scene, classes="0=ignore,1=field"), **SMALL, root=tmp_path)
    assert [f for f in files_of(tmp_path) if not f.endswith(".lock")] == []


def test_full_disk_leaves_nothing_and_says_what_is_needed(scene, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segmentation_arrays, "_fill", full)
    with pytest.raises(OSError, match=r"0\.1 MB are needed, .* MB are free") as caught:
        segmentation_store.write_store(pairs_of(scene), **SMALL, root=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert [f for f in files_of(tmp_path) if not f.endswith(".lock")] == []


def test_a_disk_that_is_really_full(tmp_path):
    disk_ = tmp_path / "disk"
    disk_.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk_], capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    try:
        own = make_scene(tmp_path / "files")
        with pytest.raises(OSError, match=r"No space left in .*MB are needed"):
            segmentation_store.write_store(pairs_of(own), **SMALL, root=disk_)
        assert [f for f in files_of(disk_) if not f.endswith(".lock")] == []
    finally:
        subprocess.run(["umount", disk_], check=True)


# ---- open and check


def test_nothing_there_names_the_notebook(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"01_dataset_clouds\.ipynb"):
        store.open_store(workload="clouds")
    with pytest.raises(FileNotFoundError, match="name another store"):
        store.open_store(tmp_path / "nowhere")


def test_newest_is_opened(scene, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    segmentation_store.write_store(pairs_of(scene), **SMALL)
    second = segmentation_store.write_store(pairs_of(scene), **(SMALL | {"seed": 3}))
    assert store.open_store(workload="segmentation").path == second.path
    assert store.open_store(second.path.relative_to(tmp_path)).path == second.path


def test_a_whole_store_passes(copied):
    assert store.check_store(copied, deep=True).path == copied


def damage_json(path, change):
    meta = json.loads((path / "store.json").read_text())
    change(meta)
    (path / "store.json").write_text(json.dumps(meta))


def damage_index(path, change):
    table = gpd.read_parquet(path / "index.parquet")
    change(table).to_parquet(path / "index.parquet")


def drop_chunk(path):
    next((path / "arrays.zarr").resolve().glob("image/targets/c/*/*")).unlink()


def odd_label(path):
    import zarr

    zarr.open_group((path / "arrays.zarr").resolve(), mode="r+")["image/targets"][90, 100] = 77


DAMAGES = [
    (lambda p: (p / "store.json").unlink(), "no store.json"),
    (lambda p: (p / "store.json").write_text("{"), "store.json"),
    (lambda p: damage_json(p, lambda m: m.pop("classes")), "no 'classes'"),
    (lambda p: damage_json(p, lambda m: m.update(format=99)), "format 99"),
    (lambda p: damage_json(p, lambda m: m["statistics"]["std"].pop()), "mean and std must be 4 finite"),
    (lambda p: damage_json(p, lambda m: m["classes"][0].update(code=2)), "its own code and name"),
    (lambda p: damage_json(p, lambda m: m["split"]["blocks"].clear()), "split: no blocks of"),
    (lambda p: shutil.rmtree((p / "arrays.zarr").resolve()), "arrays.zarr cannot be opened"),
    (lambda p: shutil.rmtree((p / "arrays.zarr").resolve() / "image" / "valid"), "arrays.zarr/image/valid: missing"),
    (drop_chunk, "image/targets: 1 chunks are missing"),
    (odd_label, "1 labels are no class"),
    (lambda p: (p / "index.parquet").write_text("x"), "index.parquet cannot be read"),
    (lambda p: damage_index(p, lambda t: t.drop(columns="split")), "no column split"),
    (lambda p: damage_index(p, lambda t: t.assign(y=t["y"] + 90)), "leaves the grid"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found(copied, damage, message):
    damage(copied)
    with pytest.raises(ValueError, match=message):
        store.check_store(copied, deep=True)


def test_all_damage_is_listed(copied):
    damage_json(copied, lambda m: m["statistics"]["std"].pop())
    drop_chunk(copied)
    damage_index(copied, lambda t: t.drop(columns="split"))
    with pytest.raises(ValueError) as caught:
        store.check_store(copied)
    assert str(caught.value).count("\n- ") == 3


def test_a_planted_leak_is_found(copied):
    def plant(table):
        train, test = (table.index[table["split"] == s][0] for s in ("train", "test"))
        table.loc[test, ["y", "x"]] = table.loc[train, ["y", "x"]].to_numpy()
        return table

    damage_index(copied, plant)
    with pytest.raises(ValueError, match=r"leaks:(?s:.*)train window \d+ .* overlaps test window"):
        store.check_split(store.open_store(copied))


# ---- HDF5


def test_hdf5_there_and_back(small_store, tmp_path):
    file = hdf5.export_hdf5(small_store, tmp_path / "small.h5")
    path = hdf5.import_hdf5(file, tmp_path / "segmentation" / "back")
    back = store.check_store(path, deep=True)
    assert back.meta == small_store.meta
    pd.testing.assert_frame_equal(back.index[small_store.index.columns], small_store.index)
    for i in range(0, len(back), 11):
        xr.testing.assert_identical(back[i], small_store[i])
        assert back[i].rio.crs == small_store[i].rio.crs
    assert store.check_split(back) == store.check_split(small_store)


def test_hdf5_times_are_read_by_the_unit_beside_them(small_store, tmp_path):
    file = hdf5.export_hdf5(small_store, tmp_path / "small.h5")
    with h5py.File(file, "r+") as data:
        data["index/time"][:] = 1_585_742_400
        data["index/time"].attrs["units"] = "seconds since 1970-01-01"
    back = store.open_store(hdf5.import_hdf5(file, tmp_path / "segmentation" / "back"))
    assert (back.index["time"] == pd.Timestamp("2020-04-01T12:00", tz="UTC")).all()


def test_hdf5_samples_are_placed(small_store, tmp_path):
    file = hdf5.export_hdf5(small_store, tmp_path / "small.h5")
    with h5py.File(file) as data:
        assert data.attrs["layout"] == "geonb"
        row = int(data["test/row"][2])
        window = small_store[row]
        np.testing.assert_array_equal(data["test/inputs"][2], window["inputs"])
        np.testing.assert_allclose(data["test/transform"][2], window.rio.transform().to_gdal())
        assert sum(len(data[s]["row"]) for s in conventions.SPLITS) == len(small_store)


def test_hdf5_refuses(small_store, tmp_path):
    with pytest.raises(ValueError, match=r"layout = 'other' is not known. Choose one of: geonb"):
        hdf5.export_hdf5(small_store, tmp_path / "a.h5", layout="other")
    (tmp_path / "words.h5").write_text("words")
    with pytest.raises(ValueError, match="is not an HDF5 file"):
        hdf5.import_hdf5(tmp_path / "words.h5", tmp_path / "a")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="layout = 'none'"):
        hdf5.import_hdf5(tmp_path / "other.h5", tmp_path / "a")
    with pytest.raises(FileExistsError):
        hdf5.import_hdf5(tmp_path / "other.h5", tmp_path)
    assert not (tmp_path / "a").exists() and not list(tmp_path.glob("*.partial"))


# ---- disk


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "a") as partial:
        (partial / "file").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with files.whole_folder(tmp_path / "a") as partial:
        (partial / "file").touch()
        assert not (tmp_path / "a").exists()
    assert files_of(tmp_path) == ["a/file"]


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError), files.enough_space(tmp_path, 5):
        raise PermissionError(errno.EACCES, "no")


def test_example_of_simulated_data_says_so(scene, tmp_path):
    made = segmentation_store.write_store(
        replace(pairs_of(scene), simulated=True, notes=("made up",)), **SMALL, root=tmp_path
    )
    assert made.meta["simulated"] is True and made.meta["notes"] == ["made up"]
    assert rioxarray.open_rasterio(scene.image).shape == made.arrays["image"]["inputs"].shape
