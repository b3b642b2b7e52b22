"""Sources, images and masks: what is read, and what is refused with which words."""

import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray
from rasterio.enums import Resampling
from rasterio.features import rasterize
from scenes import GRID, write_raster
from shapely import box

from geonb.rasters import images
from geonb.workloads.segmentation import dataset, masks

CLASSES = "0=ignore,1=field,2=wood,5=lake"


def pairs_of(image, mask, **options):
    return dataset.open_pairs(str(image), str(mask), **({"classes": CLASSES} | options))


def read_all(pairs, i=0):
    """inputs, valid, codes of a whole image."""
    image, mask = pairs.images[i], pairs.masks[i]
    with masks.reader(image, mask, pairs.classes) as read:
        return read(slice(0, image.shape[0]), slice(0, image.shape[1]))


# ---- what is read


def test_an_image_and_its_mask_come_as_written(scene):
    pairs = pairs_of(scene.image, scene.mask)
    inputs, valid, codes = read_all(pairs)
    np.testing.assert_array_equal(inputs, scene.inputs)
    np.testing.assert_array_equal(valid, (scene.inputs != 0).all(axis=0))
    np.testing.assert_array_equal(codes, scene.codes)


def test_scan_counts(scene):
    pairs = dataset.scan(pairs_of(scene.image, scene.mask))
    valid = (scene.inputs != 0).all(axis=0)
    codes, counts = np.unique(scene.codes[valid], return_counts=True)
    (found,) = pairs.found
    assert found["codes"] == dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert found["pixels_valid"] == valid.sum() and found["pixels_not_finite"] == 0


def test_to_xarray_has_the_coordinates_that_rioxarray_reads(scene):
    ours = images.to_xarray(images.open_image(scene.image))
    theirs = rioxarray.open_rasterio(scene.image)
    np.testing.assert_allclose(ours["x"], theirs["x"])
    np.testing.assert_allclose(ours["y"], theirs["y"])
    assert ours.rio.crs == theirs.rio.crs and ours.rio.transform() == theirs.rio.transform()
    thinned = images.to_xarray(images.open_image(scene.image), step=3)
    np.testing.assert_array_equal(thinned["inputs"], scene.inputs[:, ::3, ::3])


def test_single_bands_stack_into_one_image(scene, tmp_path):
    for i, band in enumerate(scene.inputs):
        write_raster(tmp_path / f"sat_2000_{i + 1}0.tif", band, nodata=0)
    pairs = pairs_of(tmp_path / "sat_2000_*.tif", scene.mask, bands="40,10")
    (image,) = pairs.images
    assert image.name == "sat_2000" and image.channels == ("40", "10")
    np.testing.assert_array_equal(read_all(pairs)[0], np.where(scene.inputs.all(axis=0), scene.inputs[[3, 0]], 0))


def test_pairs_match_by_stem_or_by_order(scene, tmp_path):
    for name in ("a", "b"):
        shutil.copy(scene.image, tmp_path / f"img-{name}.tif") and shutil.copy(scene.mask, tmp_path / f"m-{name}.tif")
        (tmp_path / "same").mkdir(exist_ok=True)
        shutil.copy(scene.mask, tmp_path / "same" / f"img-{name}.tif")
    by_order = pairs_of(tmp_path / "img-*.tif", f"{tmp_path}/m-b.tif,{tmp_path}/m-a.tif")
    assert [m.path.name for m in by_order.masks] == ["m-b.tif", "m-a.tif"]
    by_stem = pairs_of(tmp_path / "img-*.tif", f"{tmp_path}/same/img-b.tif,{tmp_path}/same/img-a.tif")
    assert [m.path.name for m in by_stem.masks] == ["img-a.tif", "img-b.tif"]
    assert len(pairs_of(tmp_path / "img-*.tif", scene.mask).masks) == 2  # one for all


def test_a_mask_in_another_crs_is_warped_as_rioxarray_does(scene, tmp_path):
    theirs = rioxarray.open_rasterio(scene.mask).rio.reproject("EPSG:4326", resampling=Resampling.nearest, nodata=99)
    theirs.rio.to_raster(tmp_path / "lonlat.tif")
    expected = theirs.rio.reproject_match(rioxarray.open_rasterio(scene.image), resampling=Resampling.nearest)[
        0
    ].to_numpy()
    codes = read_all(pairs_of(scene.image, tmp_path / "lonlat.tif"))[2]
    np.testing.assert_array_equal(codes, np.where(expected == 99, images.NO_CODE, expected.astype(int)))
    assert (codes == scene.codes).mean() > 0.8  # twice nearest: the borders move


def test_a_coarser_mask_that_covers_a_part(scene, tmp_path):
    write_raster(tmp_path / "mask.tif", np.array([[1, 2], [5, 1]], np.uint8), pixel_m=40.0)
    codes = read_all(pairs_of(scene.image, tmp_path / "mask.tif"))[2]
    assert codes[:4, :4].tolist() == [[1] * 4] * 4 and codes[3, 4] == 2 and codes[4, 3] == 5
    assert (codes[8:] == images.NO_CODE).all() and (codes[:, 8:] == images.NO_CODE).all()


def test_windows_of_a_warped_mask_are_pieces_of_the_whole(scene, tmp_path):
    rioxarray.open_rasterio(scene.mask).rio.reproject("EPSG:3857").rio.to_raster(tmp_path / "mask.tif")
    pairs = pairs_of(scene.image, tmp_path / "mask.tif", classes=None)
    whole = read_all(pairs)[2]
    with masks.reader(pairs.images[0], pairs.masks[0]) as read:
        np.testing.assert_array_equal(read(slice(40, 71), slice(5, 100))[2], whole[40:71, 5:100])


def polygons(tmp_path, name="areas.gpkg", crs=GRID["crs"], **columns):
    west, north = GRID["west"], GRID["north"]
    shapes = [
        box(west + 55, north - 405, west + 403, north - 100),
        box(west + 600, north - 800, west + 900, north - 500),
    ]
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=GRID["crs"])
    frame = frame.to_crs(crs) if crs else frame.set_crs(None, allow_override=True)
    frame.to_file(tmp_path / name)
    return frame, tmp_path / name


@pytest.mark.parametrize("name", ["areas.shp", "areas.gpkg", "areas.geojson"])
def test_polygons_are_burnt_like_rasterio_does(scene, tmp_path, name):
    crs = "EPSG:4326" if name.endswith("geojson") else "EPSG:32618"  # not the image's
    frame, path = polygons(tmp_path, name, crs=crs, kind=[2, 5])
    pairs = pairs_of(scene.image, f"{path}:column=kind")
    codes = read_all(pairs)[2]
    with rasterio.open(scene.image) as data:
        shapes = zip(frame.to_crs(data.crs).geometry, [2, 5], strict=True)
        expected = rasterize(shapes, data.shape, fill=images.NO_CODE, transform=data.transform, dtype="int32")
    assert (codes != expected).sum() <= 40  # a round trip through another CRS may move an edge by a hair
    assert set(np.unique(codes)) == {images.NO_CODE, 2, 5}
    with masks.reader(pairs.images[0], pairs.masks[0], pairs.classes) as read:
        np.testing.assert_array_equal(read(slice(30, 60), slice(30, 80))[2], codes[30:60, 30:80])


def test_polygons_with_names(scene, tmp_path):
    _, path = polygons(tmp_path, **{"class": ["wood", "lake"]})
    assert {c["name"]: c["code"] for c in pairs_of(scene.image, path, classes=None).classes} == {"lake": 1, "wood": 2}
    assert set(np.unique(read_all(pairs_of(scene.image, path))[2])) == {images.NO_CODE, 2, 5}
    with pytest.raises(ValueError, match="lake not in the class table"):
        pairs_of(scene.image, path, classes="1=wood,2=field")


def test_between_polygons_lies_class_0_if_there_is_one(scene, tmp_path):
    _, path = polygons(tmp_path, **{"class": [1, 1]})
    codes = read_all(pairs_of(scene.image, path, classes="0=ground,1=house"))[2]
    assert set(np.unique(codes)) == {0, 1}


def test_what_is_not_finite_is_not_valid_and_counted(scene, tmp_path):
    inputs = scene.inputs.astype(np.float32)
    inputs[0, 50, 60], inputs[1, 50, 61] = np.nan, np.inf
    image = write_raster(tmp_path / "image.tif", inputs, nodata=0)
    pairs = dataset.scan(pairs_of(image, scene.mask))
    assert pairs.found[0]["pixels_not_finite"] == 2
    read, valid, _ = read_all(pairs)
    assert not valid[50, 60:62].any() and (read[:, 50, 60:62] == 0).all() and np.isfinite(read).all()


def test_nan_as_nodata_is_nodata(scene, tmp_path):
    inputs = np.where(scene.inputs == 0, np.nan, scene.inputs).astype(np.float32)
    pairs = dataset.scan(pairs_of(write_raster(tmp_path / "image.tif", inputs, nodata=np.nan), scene.mask))
    assert pairs.found[0]["pixels_not_finite"] == 0
    np.testing.assert_array_equal(read_all(pairs)[1], (scene.inputs != 0).all(axis=0))


def test_a_fourth_band_called_alpha_is_data_unless_it_is_a_mask(scene, tmp_path):
    data = (scene.inputs // 8).clip(1).astype(np.uint8)
    image = images.open_image(write_raster(tmp_path / "nir.tif", data, photometric="RGB", alpha="YES"))
    assert len(image.channels) == 4
    data[3] = np.where(np.arange(128) < 100, 255, 0)
    pairs = pairs_of(write_raster(tmp_path / "rgba.tif", data, photometric="RGB", alpha="YES"), scene.mask)
    assert len(pairs.images[0].channels) == 3
    valid = read_all(pairs)[1]
    assert valid[:, :100].all() and not valid[:, 100:].any()


# ---- class tables


# ---- what is refused


def refused(image, mask, *words, **options):
    with pytest.raises(ValueError) as caught:
        dataset.scan(pairs_of(image, mask, **options))
    text = str(caught.value)
    assert all(word in text for word in words), text
    return text


def test_missing_files_are_all_named(scene, tmp_path):
    refused(tmp_path / "no.tif", tmp_path / "none-*.tif", "no file is at", "no.tif", "no file is at", "none-*.tif")


def test_not_a_raster(scene, tmp_path):
    (tmp_path / "notes.tif").write_text("these are words")
    refused(tmp_path / "notes.tif", scene.mask, "notes.tif cannot be opened as a raster")


def test_no_overlap_shows_both_in_degrees(scene, tmp_path):
    mask = write_raster(tmp_path / "far.tif", scene.codes, west=700_000)
    refused(scene.image, mask, "image.tif", "far.tif", "do not overlap", "(-81.0, 36.1", "(-78.7")


def test_no_crs(scene, tmp_path):
    bare = write_raster(tmp_path / "bare.tif", scene.inputs, crs=None)
    refused(bare, scene.mask, "bare.tif has no CRS", "gdal_edit.py -a_srs")


def test_images_without_masks_and_masks_without_images(scene):
    with pytest.raises(ValueError, match=r"masks = None: give both"):
        dataset.open_pairs(str(scene.image), None)
    with pytest.raises(ValueError, match=r"images = None, masks = .*: give both"):
        dataset.open_pairs(None, str(scene.mask))


def test_an_image_given_twice(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(scene.folder)
    refused(f"{scene.image},image.tif", scene.mask, "image.tif is given 2 times", "Name it once")


def test_code_not_in_the_table(scene):
    n = int(((scene.codes == 5) & (scene.inputs != 0).all(axis=0)).sum())
    refused(scene.image, scene.mask, f"5 ({n} px)", "mask.tif", "1=field", classes="0=ignore,1=field,2=wood")


def test_all_nodata(scene, tmp_path):
    image = write_raster(tmp_path / "empty.tif", np.zeros_like(scene.inputs), nodata=0)
    refused(image, scene.mask, "empty.tif", "no valid pixel")


def test_truncated(scene, tmp_path):
    whole = write_raster(tmp_path / "whole.tif", np.random.default_rng(0).random((1, 96, 128)))
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(tmp_path / "cut.tif", scene.mask, "cut.tif", "truncated or damaged")


def test_one_truncated_mask_is_no_fault_of_the_others(scene, tmp_path):
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene.mask.read_bytes()[:-4000])
    image = write_raster(tmp_path / "other.tif", scene.inputs)
    text = refused(f"{scene.image},{image}", f"{scene.mask},{cut}", "cut.tif", "truncated or damaged", classes=None)
    assert "mask.tif" not in text and text.count("- ") == 1


def test_all_faults_of_a_set_come_together(scene, tmp_path):
    bare = write_raster(tmp_path / "bare.tif", scene.inputs, crs=None)
    text = refused(
        f"{bare},{tmp_path}/gone.tif,{scene.image}", scene.mask, "no CRS", "gone.tif", "class table", classes="a,b"
    )
    assert text.count("\n- ") == 3


def test_vector_without_the_class_column_lists_those_it_has(scene, tmp_path):
    _, path = polygons(tmp_path, kind=["a", "b"], height=[1, 2])
    refused(scene.image, path, "no class column 'class'", "kind, height", "areas.gpkg:column=kind")


def test_empty_vector(scene, tmp_path):
    frame, _ = polygons(tmp_path, **{"class": [1, 2]})
    frame.iloc[:0].to_file(tmp_path / "empty.gpkg")
    refused(scene.image, tmp_path / "empty.gpkg", "empty.gpkg holds no polygons")


def test_vector_without_crs(scene, tmp_path):
    _, path = polygons(tmp_path, "areas.shp", **{"class": [1, 2]})
    path.with_suffix(".prj").unlink()
    refused(scene.image, path, "has no CRS")


def test_not_a_vector(scene, tmp_path):
    (tmp_path / "words.gpkg").write_text("words")
    refused(scene.image, tmp_path / "words.gpkg", "words.gpkg is not a vector file")


def test_fractions_in_a_mask(scene, tmp_path):
    mask = write_raster(tmp_path / "heights.tif", scene.codes + np.float32(0.25))
    refused(scene.image, mask, "heights.tif holds fractions such as")


def test_three_images_for_two_masks(scene):
    refused(f"{scene.image},{scene.image},{scene.image}", f"{scene.mask},{scene.mask}", "3 images", "2 masks")


def test_names_with_brackets_spaces_and_commas(scene, tmp_path):
    for name in ("scene [1] 2020.tif", "field, north.tif", "größe 5%.tif"):
        shutil.copy(scene.image, tmp_path / name)
        for given in (str(tmp_path / name), [tmp_path / name]):
            pairs = dataset.open_pairs(given, str(scene.mask), CLASSES)
            assert [image.paths for image in pairs.images] == [(tmp_path / name,)]
        shutil.copy(scene.mask, tmp_path / f"m {name}")
        np.testing.assert_array_equal(read_all(pairs_of(tmp_path / name, tmp_path / f"m {name}"))[2], scene.codes)


def test_unknown_band(scene):
    refused(scene.image, scene.mask, "no band 7", "band 1, band 2", bands="1,7")
    refused(scene.image, scene.mask, "one twice", bands="1,1")


def test_rotated(scene, tmp_path):
    turned = rasterio.Affine(8, 3, 500_000, 3, -8, 4_000_000)
    refused(write_raster(tmp_path / "r.tif", scene.inputs, transform=turned), scene.mask, "rotated grid", "gdalwarp")


def test_resample_refuses_what_is_no_resolution(scene):
    pairs = pairs_of(scene.image, scene.mask)
    assert dataset.resample(pairs, None) is pairs
    assert dataset.resample(pairs, 20.0).images[0].shape == (48, 64)
    for wrong in (0, -3.0, float("nan")):
        with pytest.raises(ValueError, match=r"resolution = .*give the side of a pixel in metres"):
            dataset.resample(pairs, wrong)
    with pytest.raises(ValueError, match="Did you mean 'average'"):
        dataset.resample(pairs, 20.0, "avrage")


def test_single_bands_of_other_places_share_a_mask_of_polygons(scene, tmp_path):
    for i, west in enumerate((500_000.0, 502_000.0)):
        write_raster(tmp_path / f"tile{i}.tif", scene.inputs[0], nodata=0, west=west)
    shapes = [box(w, 3_999_000, w + 500, 4_000_000) for w in (500_000, 502_000)]
    gpd.GeoDataFrame({"class": [1, 2]}, geometry=shapes, crs=GRID["crs"]).to_file(tmp_path / "areas.gpkg")
    pairs = pairs_of(tmp_path / "tile*.tif", tmp_path / "areas.gpkg")
    assert [image.name for image in pairs.images] == ["tile0", "tile1"]
    assert [set(np.unique(read_all(pairs, i)[2])) - {images.NO_CODE} for i in (0, 1)] == [{1}, {2}]
