"""Chips cut from rasters: pixels against GDAL's own warp and rio-tiler, places, what holds no data, kills, and what is refused."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image as Picture
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from geonb.rasters import images
from geonb.workloads.chips import cutting, quadkeys

SIZE = 64
NAIROBI = Path(__file__).parents[4] / "shared" / "data" / "chips" / "oam_nairobi"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project of its own."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))


def write(path, values, crs="EPSG:32633", corner=(500_000, 5_300_000), pixel=2.0, **options):
    values = np.asarray(values)
    values = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = from_origin(*corner, pixel, pixel)
    with rasterio.open(
        path, "w", "GTiff", values.shape[2], values.shape[1], len(values), crs, transform, values.dtype, **options
    ) as file:
        file.write(values)
    return path


def smooth(height=300, width=360, bands=3):
    """Slow waves, so that resampling of any kind gives nearly the same."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / (20 + 5 * b)) + 60 * np.cos(y / (25 + 3 * b)) for b in range(bands)]
    return np.stack(waves).clip(1, 255).astype(np.uint8)


def chips_of(folder, form="png"):
    return {path.stem: np.asarray(Picture.open(path)) for path in sorted(folder.glob(f"*.{form}"))}


@pytest.mark.parametrize("grid", quadkeys.GRIDS)
def test_pixels_are_those_of_a_warp_of_each_chip(tmp_path, grid):
    raster = write(tmp_path / "in" / "wave.tif", smooth(), crs="EPSG:32633", corner=(501_000, 5_300_111))
    table = cutting.cut_chips(str(raster), tmp_path / "chips", grid=grid, zoom=17, size=SIZE, form="png", processes=1)
    cut = chips_of(tmp_path / "chips")
    assert len(cut) >= 16 and set(table["data"]) == {"partial", "all"}
    with rasterio.open(raster) as source:
        for name, pixels in cut.items():
            cell, catalogue = quadkeys.read_name(name)
            assert catalogue == "wave"
            place = from_origin(cell.bounds[0], cell.bounds[3], *[(cell.bounds[2] - cell.bounds[0]) / SIZE] * 2)
            grid_of_chip = {"crs": cell.crs, "transform": place, "width": SIZE, "height": SIZE}
            with WarpedVRT(source, **grid_of_chip, resampling=Resampling.bilinear, add_alpha=True) as warped:
                theirs = warped.read()
            both = (theirs[3] > 0) & (pixels[..., 3] > 0 if pixels.shape[-1] == 4 else True)
            if both.any():
                assert np.abs(theirs[:3, both].astype(int) - pixels[both][:, :3].T).max() <= 3
            alpha = pixels[..., 3] > 0 if pixels.shape[-1] == 4 else np.ones((SIZE, SIZE), bool)
            assert ((theirs[3] > 0) != alpha).mean() < 0.02


def test_pixels_are_rio_tiler_s(tmp_path):
    reader = pytest.importorskip("rio_tiler.io")
    mercantile = pytest.importorskip("mercantile")
    raster = write(tmp_path / "wave.tif", smooth())
    cutting.cut_chips([raster], tmp_path / "chips", size=SIZE, form="png", processes=1)
    with reader.Reader(str(raster)) as source:
        for name, pixels in chips_of(tmp_path / "chips").items():
            tile = mercantile.quadkey_to_tile(name.split("_")[0])
            theirs = source.tile(*tile, tilesize=SIZE, reproject_method="bilinear")
            known = theirs.mask > 0
            known &= pixels[..., 3] > 0 if pixels.shape[-1] == 4 else True
            if known.any():
                assert np.abs(theirs.array.data[:, known].astype(int) - pixels[known][:, :3].T).mean() < 1


def test_pixels_on_the_grid_are_copied(tmp_path):
    cell = quadkeys.cells_at(15.3, 47.85, "ard", 17)[0]
    west, _, east, north = cell.bounds
    pixel = (east - west) / SIZE
    values = np.random.default_rng(0).integers(1, 256, (3, 2 * SIZE, 2 * SIZE), np.uint8)
    raster = write(tmp_path / "noise.tif", values, cell.crs, (west - SIZE * pixel / 2, north + SIZE * pixel / 2), pixel)
    cutting.cut_chips([raster], tmp_path / "chips", grid="ard", size=SIZE, form="png", processes=1)
    cut = chips_of(tmp_path / "chips")
    half = SIZE // 2
    assert len(cut) == 9
    assert (cut[cell.name("noise")] == values[:, half:-half, half:-half].transpose(1, 2, 0)).all()
    corner = cut[quadkeys.cell_at(cell.zone, 17, cell.tile.x - 1, cell.tile.y - 1).name("noise")]
    assert (corner[half:, half:, :3] == values[:, :half, :half].transpose(1, 2, 0)).all()
    assert (corner[..., 3] > 0).sum() == half**2


def test_no_data_is_counted_by_all_pixels(tmp_path):
    cell = quadkeys.cells_at(15.3, 47.85, "ard", 17)[0]
    west, _, east, north = cell.bounds
    values = np.full((3, SIZE, 4 * SIZE), 9, np.uint8)
    values[:, 10:12, 20:22] = 0  # within the first; all its corners hold data
    values[:, :, SIZE : 2 * SIZE] = 0  # all of the second
    raster = write(tmp_path / "a.tif", values, cell.crs, (west, north), (east - west) / SIZE, nodata=0)
    table = cutting.cut_chips([raster], tmp_path / "chips", grid="ard", size=SIZE, form="png", processes=1).set_index(
        "quadkey"
    )
    keys = [quadkeys.cell_at(cell.zone, 17, cell.tile.x + i, cell.tile.y).quadkey for i in range(4)]
    assert table.loc[keys, "data"].tolist() == ["partial", "none", "all", "all"]
    assert table.loc[keys, "valid"].tolist() == [1 - 4 / SIZE**2, 0, 1, 1]
    index = json.loads((tmp_path / "chips" / "nodata-index.json").read_text())
    assert index == dict(zip(table["name"], table["data"], strict=True))
    assert not (tmp_path / "chips" / table.loc[keys[1], "name"]).exists()
    footprint = table.loc[keys[0], "geometry"]
    lon, lat = rasterio.warp.transform(cell.crs, "OGC:CRS84", [west], [north])
    assert shapely.distance(footprint, shapely.Point(lon[0], lat[0])) < 1e-9


def test_images_of_one_id_are_one_and_others_are_not(tmp_path):
    cell = quadkeys.cells_at(15.3, 47.85, "ard", 17)[0]
    west, _, east, north = cell.bounds
    pixel = (east - west) / SIZE
    left, right = np.full((3, SIZE, SIZE // 2), 50, np.uint8), np.full((3, SIZE, SIZE // 2 + 8), 200, np.uint8)
    files = [
        write(tmp_path / "x" / "left.tif", left, cell.crs, (west, north), pixel),
        write(tmp_path / "x" / "right.tif", right, cell.crs, (west + (SIZE // 2 - 8) * pixel, north), pixel),
    ]
    one = cutting.cut_chips(
        "x", tmp_path / "one", grid="ard", size=SIZE, form="png", catalog="S1", dates={"S1": "2021-05-04"}, processes=1
    )
    assert one["name"].tolist() == [f"{cell.name('S1')}.png"] and one["data"].tolist() == ["all"]
    assert str(one["date"][0]) == "2021-05-04 00:00:00"
    (pixels,) = chips_of(tmp_path / "one").values()
    assert (pixels[:, : SIZE // 2] == 50).all() and (pixels[:, SIZE // 2 :] == 200).all()  # the first where both are
    two = cutting.cut_chips(files, tmp_path / "two", grid="ard", size=SIZE, form="png", processes=1)
    assert two["catalogue"].tolist() == ["left", "right"] and two["date"].isna().all()


def test_ard_files_lose_their_apron_and_say_their_date(tmp_path):
    tile = quadkeys.cells_at(15.3, 47.85, "ard", 12)[0]
    west, _, _, north = tile.bounds
    apron, pixel = 100.0, 10.0
    side = int((5000 + 2 * apron) / pixel)
    path = tmp_path / "ard" / "33" / tile.quadkey / "2021-05-04" / "10300100A-visual.tif"
    write(path, np.full((3, side, side), 7, np.uint8), tile.crs, (west - apron, north + apron), pixel)
    table = cutting.cut_chips("ard", tmp_path / "chips", grid="ard", zoom=14, size=SIZE, processes=1)
    assert len(table) == 16 and set(table["data"]) == {"all"}
    assert all(key.startswith(tile.quadkey) for key in table["quadkey"])
    assert set(table["catalogue"]) == {"10300100A"} and set(table["date"].astype(str)) == {"2021-05-04"}
    assert quadkeys.source_of(table["name"][0], tmp_path / "ard") == path
    with pytest.raises(ValueError, match=r"10300100A-visual\.tif: 'last May' is no date\. Give one by ISO 8601"):
        cutting.cut_chips("ard", tmp_path / "dated", grid="ard", zoom=14, size=SIZE, dates={"10300100A": "last May"})
    assert not (tmp_path / "dated").exists(), "told before anything is cut"


@pytest.mark.parametrize(("form", "size"), [("jpg", 64), ("webp", 64), ("png", 48)])
def test_forms_grey_and_other_types(tmp_path, form, size):
    values = smooth(bands=1).astype(np.uint16) * 10
    raster = write(tmp_path / "grey.tif", values)
    with pytest.raises(ValueError, match=r"holds uint16, and a picture 0 to 255.*rescale=\(0, 3000\)"):
        cutting.cut_chips([raster], tmp_path / "no", form=form)
    table = cutting.cut_chips([raster], tmp_path / "chips", size=size, form=form, rescale=(0, 2550), processes=1)
    full = table[table["data"] == "all"]["name"].iloc[0]
    picture = Picture.open(tmp_path / "chips" / full)
    assert picture.size == (size, size) and picture.mode == ("RGB" if form == "webp" else "L")
    assert abs(np.asarray(picture).mean() - 128) < 60


def test_across_180_degrees_and_near_the_pole(tmp_path):
    raster = write(tmp_path / "fiji.tif", np.full((3, 64, 64), 9, np.uint8), "EPSG:32760", (815_000, 8_116_000), 200.0)
    table = cutting.cut_chips([raster], tmp_path / "chips", zoom=12, size=16, processes=1)
    first = {key[0] for key in table["quadkey"]}
    assert first == {"2", "3"} and len(table) < 20  # west and east of it, and not around the Earth
    assert (table.geometry.area < 0.1).all()
    polar = write(tmp_path / "polar.tif", np.full((3, 64, 64), 9, np.uint8), "EPSG:3995", (-3_000, 303_000), 100.0)
    with pytest.raises(ValueError, match=r"chips of xyz end at 85\.05"):
        cutting.cut_chips([polar], tmp_path / "none")


def test_every_bad_raster_is_told_with_its_cure(tmp_path):
    bare = write(tmp_path / "bare.tif", smooth(), crs=None)
    four = write(tmp_path / "four.tif", smooth(bands=5))
    (tmp_path / "a").mkdir()
    twin = [write(tmp_path / where / "same.tif", smooth()) for where in ("a", "b")]
    with pytest.raises(ValueError) as error:
        cutting.cut_chips([bare, four, *twin, "gone.tif"], tmp_path / "chips")
    text = str(error.value)
    assert "bare.tif has no CRS. Give it one, for instance: gdal_edit.py" in text
    assert "four.tif has 5 bands" in text and "bands=1,2,3" in text
    assert "would have one catalogue id, same" in text
    assert "no file is at gone.tif" in text
    assert not (tmp_path / "chips").exists()


def test_other_settings_and_other_things_are_left_alone(tmp_path):
    raster = write(tmp_path / "wave.tif", smooth())
    cutting.cut_chips([raster], tmp_path / "chips", size=SIZE, processes=1)
    with pytest.raises(ValueError, match=r"holds chips of other settings \(zoom = 17, now 16\)"):
        cutting.cut_chips([raster], tmp_path / "chips", zoom=16, size=SIZE)
    with pytest.raises(
        ValueError, match=r"holds other things \(notebooks, pyproject.toml, wave.tif\)|holds other things"
    ):
        cutting.cut_chips([raster], tmp_path)


def test_a_zoom_of_tiles_becomes_a_mosaic_of_its_own(tmp_path):
    for z, x, y in ((19, 315878, 264050), (19, 315879, 264050), (20, 631756, 528100)):
        path = tmp_path / "tiles" / f"OAM-{x}-{y}-{z}.png"
        path.parent.mkdir(exist_ok=True)
        Picture.fromarray(np.full((32, 32, 3), z * 5, np.uint8)).save(path)
    table = cutting.cut_chips("tiles", tmp_path / "chips", zoom=19, size=32, form="png", processes=1)
    assert sorted(table["catalogue"]) == ["tiles-19", "tiles-19", "tiles-20"]
    assert len(table.attrs["notes"]) == 2 and all("placed by their names" in note for note in table.attrs["notes"])
    assert {int(pixels[0, 0, 0]) for pixels in chips_of(tmp_path / "chips").values()} == {95, 100}


def _files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _cut(raster, folder, processes):
    cutting.cut_chips([raster], folder, size=32, zoom=18, processes=processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_anywhere_it_ends_in_the_same_files(tmp_path, processes, monkeypatch):
    raster = write(tmp_path / "wave.tif", smooth(600, 600))
    monkeypatch.setattr(cutting, "AT_ONCE", 8)
    _cut(raster, tmp_path / "whole", processes)
    context = multiprocessing.get_context("fork")
    for wanted in (1, 5, 20, 60):
        worker = context.Process(target=_cut, args=(raster, tmp_path / "killed", processes))
        worker.start()
        while worker.is_alive() and len(list((tmp_path / "killed").glob("*.jpg"))) < wanted:
            pass
        if worker.is_alive():
            os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    _cut(raster, tmp_path / "killed", processes)
    assert _files(tmp_path / "killed") == _files(tmp_path / "whole")
    assert not list((tmp_path / "killed" / ".cut").glob("*.partial"))
    victim = next((tmp_path / "killed").glob("*.jpg"))
    victim.unlink()
    _cut(raster, tmp_path / "killed", 1)
    assert _files(tmp_path / "killed") == _files(tmp_path / "whole")


def test_the_manifest_opens_without_us(tmp_path):
    raster = write(tmp_path / "wave.tif", smooth())
    table = cutting.cut_chips([raster], tmp_path / "chips", size=SIZE, processes=1)
    opened = gpd.read_parquet(tmp_path / "chips" / "manifest.parquet")
    assert opened.crs == "OGC:CRS84" and opened["name"].tolist() == sorted(opened["name"]) == table["name"].tolist()
    with rasterio.open(raster) as file:
        box = rasterio.warp.transform_bounds(file.crs, "OGC:CRS84", *file.bounds)
    west, south, east, north = opened.total_bounds
    assert west <= box[0] and south <= box[1] and east >= box[2] and north >= box[3]


def test_strips_for_a_store_lie_on_the_chips(tmp_path):
    image = images.open_image(write(tmp_path / "wave.tif", smooth()))
    lattice = cutting.lattice_of(image, "xyz", 17, SIZE)
    strips = list(cutting.warped(image, lattice))
    assert [row for row, _, _ in strips] == list(lattice.rows)
    assert all(inputs.shape == (3, SIZE, len(lattice.columns) * SIZE) for _, inputs, _ in strips)
    assert lattice.cell(lattice.columns.start, lattice.rows.start).bounds[0] == pytest.approx(lattice.transform.c)
    assert lattice.cell(lattice.columns.start, lattice.rows.start).bounds[3] == pytest.approx(lattice.transform.f)
    assert all(valid.any() for _, _, valid in strips)


@pytest.mark.skipif(not NAIROBI.is_dir(), reason="drone imagery is not there (../shared)")
def test_real_tiles_come_out_as_they_are(tmp_path):
    table = cutting.cut_chips([str(NAIROBI)], tmp_path / "chips", zoom=20, form="png", processes=2)
    one = min(NAIROBI.glob("OAM-*-20.png"))
    _, x, y, z = one.stem.split("-")
    key = quadkeys.cell_at(0, int(z), int(x), int(y)).quadkey
    name = table[(table["quadkey"] == key) & table["catalogue"].str.contains("-20")]["name"].iloc[0]
    with rasterio.open(one) as theirs:  # JPEG, whatever its name: decoders differ by a grey value
        assert (theirs.read().transpose(1, 2, 0) == np.asarray(Picture.open(tmp_path / "chips" / name))[..., :3]).all()


@pytest.mark.parametrize("epsg", [4284, 4301])
@pytest.mark.parametrize("west", [179.5, -180.5])
def test_beyond_180_a_datum_that_would_be_lost_is_refused(tmp_path, west, epsg):
    """Pulkovo 1942 and Tokyo have no name in a PROJ string: the image would lie hundreds of metres off, and nobody would know."""
    raster = write(tmp_path / "chukotka.tif", np.ones((40, 200), np.uint8), f"EPSG:{epsg}", (west, 66.9), 0.005)
    with pytest.raises(ValueError, match=rf"EPSG:{epsg} from {west:g} to .*datum is lost.*gdalwarp -t_srs EPSG:4326"):
        cutting.cut_chips([raster], tmp_path / "out", zoom=12, size=32, form="png", processes=1)


@pytest.mark.parametrize("west", [179.5, -180.5])
def test_degrees_that_go_on_beyond_180_are_cut_on_both_sides(tmp_path, west):
    """A pixel holds its column's number, by which each chip's ground is found again, past any warp."""
    number = np.arange(1, 201, dtype=np.uint8)[None, :].repeat(40, 0)
    raster = write(tmp_path / "fiji.tif", number, "EPSG:4326", (west, -16.9), 0.005)
    for grid in quadkeys.GRIDS:
        table = cutting.cut_chips([raster], tmp_path / grid, grid=grid, zoom=12, size=32, form="png", processes=1)
        cut = chips_of(tmp_path / grid)
        seen = np.unique(np.concatenate([p[..., 0][p[..., -1] > 0].ravel() for p in cut.values() if p.ndim == 3]))
        assert (table["data"] != "none").all() and {1, 100, 101, 200} <= set(seen.tolist()), grid
        for name, pixels in cut.items():
            cell, _ = quadkeys.read_name(name)
            (x0, _, x1, _), half = cell.footprint.bounds, pixels.shape[0] // 2
            lon = (x0 + x1) / 2
            told = pixels[half, half] if pixels.ndim == 2 else pixels[half, half, 0] * (pixels[half, half, -1] > 0)
            if told:
                assert abs(((lon - west) % 360) / 0.005 - told) < 3, (grid, name)
