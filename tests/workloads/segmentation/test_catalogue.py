"""The catalogue of datasets, their preparation, and what they are together."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_origin
from scenes import GRID, make_scene, write_raster
from shapely import box

from geonb import store
from geonb.base import trust
from geonb.base.manifest import MANIFEST
from geonb.rasters import grids, images, preprocessing
from geonb.workloads.segmentation import catalogue, class_tables, dataset, masks
from geonb.workloads.segmentation import store as segmentation_store

SMALL = {"patch": 16, "stride": 8, "block": 16}
COLOURS = {1: (200, 30, 40), 2: (10, 120, 20), 5: (0, 0, 255), 0: (0, 0, 0)}
NAMED = {0: "ignore", 1: "field", 2: "wood", 5: "lake"}


def colour_of(code):
    return "#" + bytes(COLOURS[code]).hex()


def write_catalogue(folder, **entries):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "datasets.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    return folder / "datasets.yaml"


@pytest.fixture
def place(tmp_path):
    """Two datasets: `one` as scenes.py makes it (10 m, UTM 17), `two` elsewhere (20 m, UTM 18), labels as colours."""
    one, two = make_scene(tmp_path / "a", seed=1), make_scene(tmp_path / "b", seed=2)
    far = {"crs": "EPSG:32618", "pixel_m": 20.0}
    write_raster(two.image, two.inputs, nodata=0, **far)
    rgb = np.array([COLOURS[c] for c in range(6) if c in COLOURS], np.uint8)
    rgb = rgb[np.searchsorted([0, 1, 2, 5], two.codes)].transpose(2, 0, 1)
    write_raster(two.mask, rgb, photometric="RGB", **far)
    entries = {
        "one": {"aliases": "uno", "title": "One", "images": "a/image.tif", "masks": "a/mask.tif", "classes": dict(NAMED)},
        "two": {
            "images": "b/image.tif", "masks": "b/mask.tif", "mask": "rgb", "resolution": 20, "notes": "Odd light.",
            "classes": {10 + c: {"name": n, "colour": colour_of(c)} for c, n in NAMED.items()},
        },
    }  # fmt: skip
    return SimpleNamespace(
        folder=tmp_path, one=one, two=two, entries=entries, file=write_catalogue(tmp_path, **entries)
    )


def opened(place, names="one+two", **options):
    return catalogue.open_datasets(f"{place.file}:{names}", **options)


def changed(place, name, **keys):
    entries = {k: dict(v) for k, v in place.entries.items()}
    entries[name] |= keys
    place.file = write_catalogue(place.folder, **entries)
    return place


@pytest.fixture
def project(place, monkeypatch):
    """Those datasets as a project: what its own catalogue says runs."""
    (place.folder / "notebooks").mkdir()
    (place.folder / "pyproject.toml").touch()
    monkeypatch.setenv("GEONB_ROOT", str(place.folder))
    return place


def read_all(pairs, i=0):
    image, mask = pairs.images[i], pairs.masks[i]
    with masks.reader(image, mask, pairs.classes) as read:
        return read(slice(0, image.shape[0]), slice(0, image.shape[1]))


# ---- the catalogue


def test_a_catalogue_as_a_table(place):
    table = catalogue.table(place.file).set_index("dataset")
    assert table.loc["one", "aliases"] == "uno" and table.loc["two", "mask"] == "rgb"
    assert table.loc["two", "classes"] == "field, wood, lake" and table.loc["two", "images"] == 1
    assert table.loc["two", "resolution_m"] == 20


def test_found_in_the_project_by_name_or_alias(project):
    assert catalogue.open_datasets("uno, two").datasets == catalogue.open_datasets("one+two").datasets
    assert catalogue.open_datasets("datasets.yaml:uno").images[0].dataset == "one"


def test_unknown_names_and_keys_say_what_is_known(place):
    with pytest.raises(ValueError, match=r"'tow'.*Did you mean 'two'.*Known: one, two, uno(?s:.*)'three'"):
        opened(place, "one+tow+three")
    with pytest.raises(ValueError, match="one is named twice"):
        opened(place, "one+uno")
    with pytest.raises(ValueError, match=r"names no dataset.*Known: one, two"):
        catalogue.open_datasets(str(place.file))
    with pytest.raises(ValueError, match=r"There is no catalogue .*none\.yaml"):
        catalogue.open_datasets("none.yaml:a")


def test_every_fault_of_a_catalogue_comes_at_once(tmp_path):
    file = write_catalogue(
        tmp_path,
        a={"image": "x.tif", "masks": "m.tif", "resolution": -1, "resampling": "avrage", "preprocess": "scale"},
        b={"images": 3, "masks": "m.tif", "mask": "colour", "aliases": "a", "map": {"x": "y"}},
        c={"images": "x.tif", "masks": "m.tif", "classes": {1: "field"}, "mask": "rgb"},
        d={"images": "x.tif", "masks": "m.tif", "classes": {1: "field"}, "map": {"feild": "crop"}},
    )
    with pytest.raises(ValueError) as caught:
        catalogue.read_catalogue(file)
    words = (
        "a: Unknown key 'image'. Did you mean 'images'?", "a: `images` is missing", "resolution = -1", "Did you mean 'average'",
        "preprocess = 'scale'", "b: images = 3 is int", "mask = 'colour'", "a names more than one", "b: `map` needs",
        "c: mask = rgb, but no colour for field", "d: map: feild is none of its classes field",
    )  # fmt: skip
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
    (tmp_path / "datasets.yaml").write_text("a: {images: x}\na: {images: y}\n")
    with pytest.raises(ValueError, match="given twice: a"):
        catalogue.read_catalogue(tmp_path / "datasets.yaml")


def test_faults_of_all_datasets_come_at_once(place):
    changed(changed(place, "one", images="gone.tif"), "two", resolution=30, images="b/image.tif")
    entries = yaml.safe_load(place.file.read_text())
    entries["one"]["images"] = "gone.tif"
    place.file = write_catalogue(place.folder, **entries)
    with pytest.raises(ValueError) as caught:
        opened(place)
    text = str(caught.value)
    assert (
        "no file is at" in text and "gone.tif" in text and "resolution = 30 m is stated" in text and "20 x 20 m" in text
    )


def test_a_class_that_yaml_takes_for_true(tmp_path):
    (tmp_path / "datasets.yaml").write_text("a: {images: i.tif, masks: m.tif, classes: {1: yes}}\n")
    with pytest.raises(ValueError, match="write class names like 'yes' in quotes"):
        catalogue.read_catalogue(tmp_path / "datasets.yaml")


@pytest.mark.parametrize("mask", ["column: kind, main", "column: kind, column: other"])
def test_a_word_about_a_mask_that_is_not_understood_is_not_passed_over(tmp_path, mask):
    file = write_catalogue(tmp_path, a={"images": "x.tif", "masks": "m.gpkg", "mask": mask})
    with pytest.raises(ValueError, match=f"mask = '{mask}'"):
        catalogue.read_catalogue(file)


# ---- masks


def test_a_mask_of_colours_is_looked_up(place):
    codes = read_all(opened(place, "two"))[2]
    np.testing.assert_array_equal(codes, np.array([10, 11, 12, 15])[np.searchsorted([0, 1, 2, 5], place.two.codes)])


def test_a_mask_of_colours_without_a_catalogue(place):
    classes = [{"code": c, "name": n, "colour": colour_of(c)} for c, n in NAMED.items()]
    pairs = dataset.open_pairs(str(place.two.image), f"{place.two.mask}:read=rgb", classes)
    np.testing.assert_array_equal(read_all(pairs)[2], place.two.codes)
    with pytest.raises(ValueError, match=r"read=gbr is not known. Known: all=CLASS"):
        dataset.open_pairs(str(place.two.image), f"{place.two.mask}:read=gbr", classes)
    with pytest.raises(ValueError, match=r"only with a class table"):
        dataset.open_pairs(str(place.two.image), f"{place.two.mask}:read=rgb")
    with pytest.raises(ValueError, match=r"mask.tif has 1 bands of uint8: read=rgb needs"):
        dataset.open_pairs(str(place.one.image), f"{place.one.mask}:read=rgb", classes)


def test_a_colour_of_no_class_is_named_with_its_pixels(place):
    classes = {c: {"name": n, "colour": colour_of(c)} for c, n in NAMED.items() if c != 2}
    valid = (place.two.inputs != 0).all(axis=0)
    n = int(((place.two.codes == 2) & valid).sum())
    with pytest.raises(
        ValueError, match=rf"colours {colour_of(2)} \({n} px\) are not in the table .*{colour_of(1)} field"
    ):
        dataset.scan(opened(changed(place, "two", classes=classes), "two"))


def test_a_column_of_names_and_a_map(place):
    west, north = GRID["west"], GRID["north"]
    shapes = [box(west, north - 500, west + 400, north), box(west + 640, north - 960, west + 1280, north)]
    frame = gpd.GeoDataFrame({"kind": ["acre", "pond"]}, geometry=shapes, crs=GRID["crs"])
    frame.to_file(place.folder / "areas.gpkg", layer="cover")
    keys = {
        "masks": "areas.gpkg",
        "mask": {"column": "kind", "layer": "cover"},
        "classes": {7: "acre", 8: "pond", 9: "pine"},
    }
    changed(place, "one", **keys, map={"acre": "field", "pond": "lake", "pine": "wood"})
    pairs = opened(place)
    assert [c["name"] for c in pairs.classes] == ["field", "lake", "wood"]
    assert set(np.unique(read_all(pairs)[2])) == {images.NO_CODE, 7, 8}
    made = segmentation_store.write_store(pairs, **SMALL, root=place.folder)
    labels = made.arrays["one-image"]["targets"].to_numpy()
    valid = (place.one.inputs != 0).all(axis=0)
    assert (labels[:50, :40][valid[:50, :40]] == 0).all() and (labels[:, 64:][valid[:, 64:]] == 1).all()
    two = made.arrays["two-image"]["targets"].to_numpy()  # the second dataset's codes under the first one's table
    expected = np.array([255, 0, 2, 1])[np.searchsorted([0, 1, 2, 5], place.two.codes)]
    np.testing.assert_array_equal(two, np.where((place.two.inputs != 0).all(axis=0), expected, 255))


def test_two_classes_may_become_one(place):
    pairs = opened(changed(place, "one", map={"wood": "field"}), "one")
    assert [c["name"] for c in class_tables.real_classes(pairs.classes)] == ["field", "lake"]
    made = segmentation_store.write_store(pairs, **SMALL, root=place.folder)
    valid = (place.one.inputs != 0).all(axis=0)
    expected = np.array([255, 0, 0, 255, 255, 1])[np.where(valid, place.one.codes, 0)]
    np.testing.assert_array_equal(made.arrays["image"]["targets"], expected)


# ---- together


def test_datasets_of_other_crs_resolution_and_mask_make_one_store(place):
    pairs = opened(place, resolution=20)
    assert [part.name for part in pairs.constituents] == ["one", "two"]
    assert [image.shape for image in pairs.images] == [(48, 64), (96, 128)]
    made = store.check_store(segmentation_store.write_store(pairs, **SMALL, root=place.folder).path, deep=True)
    assert [c["code"] for c in made.classes] == [1, 2, 5]
    assert made.meta["notes"] == ["two: Odd light."]
    assert [d["name"] for d in made.meta["datasets"]] == ["one", "two"]
    assert [d["resolution_m"] for d in made.meta["datasets"]] == pytest.approx([20, 20], abs=0.05)
    assert [s["dataset"] for s in made.meta["sources"]] == ["one", "two"]
    assert dict(made.index.groupby("source")["dataset"].first()) == {"one-image": "one", "two-image": "two"}
    assert store.check_split(made)["leaks"] == 0
    assert set(made.index["split"]) == {"train", "val", "test"}
    table = store.stores(root=place.folder)
    assert table.loc[0, "datasets"] == "one+two" and table.loc[0, "windows"] == len(made)


def test_a_sum_of_pairs_is_what_the_names_open(place):
    assert opened(place, "one") + opened(place, "two") == opened(place)
    three = replace(opened(place, "one"), name="three")
    assert [p.name for p in (opened(place) + three).constituents] == ["one", "two", "three"]
    with pytest.raises(ValueError, match="one comes more than once"):
        opened(place) + opened(place, "one")


def test_one_dtype_for_all(place):
    write_raster(place.one.image, (place.one.inputs // 8).astype(np.uint8), nodata=0)
    pairs = opened(place)
    assert {image.dtype for image in pairs.images} == {"uint16"} and read_all(pairs)[0].dtype == "uint16"


def test_disagreeing_classes_name_both_and_the_cure(place):
    classes = {10 + c: {"name": n, "colour": colour_of(c)} for c, n in (NAMED | {2: "forest"}).items()}
    with pytest.raises(ValueError, match=r"one .*and two .*disagree.*only one has wood; only two has forest.*map: "):
        opened(changed(place, "two", classes=classes))
    assert len(opened(changed(place, "two", classes=classes, map={"forest": "wood"}))) == 2


def test_disagreeing_bands(place):
    with pytest.raises(ValueError, match=r"one has the 4 bands .* two has the 2 bands .*choose the same"):
        opened(changed(place, "two", bands="1,2"))


def test_a_source_that_does_not_overlap_its_mask(place):
    write_raster(place.folder / "far.tif", place.one.codes, west=700_000)
    with pytest.raises(ValueError, match=r"one: (?s:.*)image\.tif and .*far\.tif do not overlap"):
        opened(changed(place, "one", masks="far.tif"))


def test_the_same_ground_in_another_crs_is_a_leak(place):
    with rasterio.open(place.one.image) as data:
        lonlat = grids.lonlat_bounds(data.crs, tuple(data.bounds))
    west, south, east, north = lonlat
    side = (north - south) / 96
    grid = {"crs": "EPSG:4326", "transform": from_origin(west, north, (east - west) / 128, side)}
    write_raster(place.two.image, place.two.inputs, nodata=0, **grid)
    rgb = np.zeros((3, 96, 128), np.uint8) + np.array(COLOURS[1], np.uint8)[:, None, None]
    write_raster(place.two.mask, rgb, photometric="RGB", **grid)
    entry = dict(place.entries["two"])
    entry.pop("resolution")
    place.file = write_catalogue(place.folder, one=place.entries["one"], two=entry)
    with pytest.raises(ValueError, match=r"one-image and two-image show the same ground"):
        segmentation_store.write_store(opened(place), **SMALL, root=place.folder)


def test_an_overlap_planted_between_splits_is_found(place):
    made = segmentation_store.write_store(opened(place), **SMALL, root=place.folder)
    table = gpd.read_parquet(made.path / "index.parquet")
    train = table.index[(table["dataset"] == "one") & (table["split"] == "train")][0]
    test = table.index[(table["dataset"] == "two") & (table["split"] == "test")][0]
    table.loc[test, "geometry"] = table.geometry[train]
    table.to_parquet(made.path / "index.parquet", index=False)
    (made.path / MANIFEST).unlink()  # as if it had been written so
    with pytest.raises(ValueError, match="one-image and two-image show the same ground"):
        store.check_split(store.open_store(made.path))


SPACENET = Path(__file__).parents[4] / "shared" / "data" / "segmentation" / "spacenet_solaris"


@pytest.mark.skipif(not SPACENET.is_dir(), reason="the SpaceNet scene is not there (../shared/data)")
def test_real_buildings_beside_a_simulated_town(place):
    west = {"crs": "EPSG:32617", "pixel_m": 2.0}
    write_raster(place.one.image, place.one.inputs[:1], nodata=0, **west)
    write_raster(place.one.mask, (place.one.codes == 5).astype(np.uint8), **west)
    town = {"images": "a/image.tif", "masks": "a/mask.tif", "classes": {0: "ground", 1: "house"}, "simulated": True}
    real = {
        "images": str(SPACENET / "sample_geotiff.tif"), "masks": str(SPACENET / "geotiff_labels.geojson"), "resolution": 0.5,
        "mask": {"column": "building"}, "classes": {0: "ground", 1: "yes"}, "map": {"yes": "house"},
    }  # fmt: skip
    place.file = write_catalogue(place.folder, town=town, atlanta=real)
    pairs = opened(place, "atlanta+town", resolution=1.0)
    assert [image.shape for image in pairs.images] == [(450, 450), (192, 256)]
    made = segmentation_store.write_store(pairs, patch=32, stride=32, block=64, root=place.folder)
    built = made.arrays["sample_geotiff"]["targets"].to_numpy() == 1
    roofs = gpd.read_file(SPACENET / "geotiff_labels.geojson")
    inside = roofs.clip(box(*rasterio.open(SPACENET / "sample_geotiff.tif").bounds)).area.sum()
    assert built.sum() == pytest.approx(inside, rel=0.02)  # a pixel is a square metre
    assert made.meta["simulated"] and store.check_split(made)["leaks"] == 0


# ---- resampling


def averaged(values, valid, k):
    """Mean of the valid pixels of k x k, by plain numpy."""
    shape = values.shape[0] // k, k, values.shape[1] // k, k
    total = np.where(valid, values, 0).reshape(shape).sum(axis=(1, 3))
    number = valid.reshape(shape).sum(axis=(1, 3))
    return np.where(number > 0, total / np.maximum(number, 1), 0), number > 0


def test_coarser_pixels_are_means_and_labels_are_not_mixed(place):
    pairs = opened(place, "one", resolution=40)
    inputs, valid, codes = read_all(pairs)
    assert inputs.shape == (4, 24, 32) and pairs.images[0].transform * (0, 0) == (GRID["west"], GRID["north"])
    for band, original in zip(inputs, place.one.inputs, strict=True):
        expected, some = averaged(original.astype(float), original != 0, 4)
        np.testing.assert_array_equal(valid, some)
        assert np.abs(band - expected)[valid].max() <= 0.5 + 1e-6
    assert set(np.unique(codes)) <= {0, 1, 2, 5}
    nearest = [place.one.codes[i::4, j::4] for i in (1, 2) for j in (1, 2)]  # the four next to the centre
    assert (np.stack(nearest) == codes).any(axis=0).all()


def test_windows_of_a_resampled_image_are_pieces_of_the_whole(place):
    pairs = opened(place, "one", resolution=15)
    whole = read_all(pairs)
    with masks.reader(pairs.images[0], pairs.masks[0], pairs.classes) as read:
        for part, all_ in zip(read(slice(20, 41), slice(7, 60)), whole, strict=True):
            np.testing.assert_array_equal(part, all_[..., 20:41, 7:60])


def test_finer_pixels_are_between_their_neighbours(place):
    ramp = np.tile(np.arange(10, 138, dtype=np.float32) * 4, (4, 96, 1))
    write_raster(place.one.image, ramp, nodata=0)
    inputs, valid, _ = read_all(opened(place, "one", resolution=5))
    x = (np.arange(256) + 0.5) / 2 - 0.5  # the new centres, in old pixels
    np.testing.assert_allclose(inputs[0, 100, 2:-2], (x * 4 + 40)[2:-2], atol=1e-3)
    assert valid.all()
    near, _, _ = read_all(opened(changed(place, "one", resampling="nearest"), "one", resolution=5))
    np.testing.assert_array_equal(near, np.repeat(np.repeat(ramp, 2, axis=1), 2, axis=2))


@pytest.mark.parametrize("kind", ["alpha", "mask file", "nan"])
def test_what_is_not_valid_does_not_blur_into_the_rest(tmp_path, kind):
    values = np.random.default_rng(0).integers(1, 200, (3, 8, 8)).astype(np.uint8)
    hole = np.zeros((8, 8), bool)
    hole[:3, :3] = True
    path = tmp_path / "image.tif"
    if kind == "alpha":
        write_raster(
            path,
            np.concatenate([values, np.where(hole, 0, 255)[None].astype(np.uint8)]),
            photometric="RGB",
            alpha="YES",
        )
    elif kind == "nan":
        write_raster(path, np.where(hole, np.nan, values).astype(np.float32), nodata=np.nan)
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            write_raster(path, values)
            with rasterio.open(path, "r+") as data:
                data.write_mask(np.where(hole, 0, 255).astype(np.uint8))
    image = images.resample(images.open_image(path), 20.0)
    with images.reader(image) as read:
        inputs, valid, _ = read(slice(0, 4), slice(0, 4))
    expected, some = averaged(values[0].astype(float), ~hole, 2)
    np.testing.assert_array_equal(valid, some)
    assert np.abs(inputs[0] - expected)[valid].max() <= 0.5 + 1e-6


def test_a_pixel_in_feet_or_degrees():
    feet = rasterio.CRS.from_epsg(2264)  # North Carolina, US survey feet
    assert grids.pixel_sides_m(feet, from_origin(0, 0, 10, 20), (4, 4)) == pytest.approx(
        (20 * 0.3048006, 10 * 0.3048006)
    )
    lonlat = rasterio.CRS.from_epsg(4326)
    # a degree at 60 north: 111.41 km along the meridian, 55.80 km along the parallel
    sides = grids.pixel_sides_m(lonlat, from_origin(10, 60.005, 0.01, 0.01), (1, 1))
    assert sides == pytest.approx((1114.1, 558.0), abs=0.5)
    transform, shape = grids.resampled(lonlat, from_origin(10, 60.5, 0.01, 0.01), (100, 100), 2000.0)
    assert grids.pixel_sides_m(lonlat, transform, shape) == pytest.approx((2000, 2000), rel=0.01)


def test_left_as_it_is_within_the_tolerance(place):
    assert opened(place, "one", resolution=10.005).images[0].resampling is None
    assert opened(place, "one", resolution=10.05).images[0].resampling == "average"


@pytest.mark.parametrize("resolution", [0.1, 600.0])
def test_an_absurd_factor(place, resolution):
    with pytest.raises(
        ValueError, match=rf"image.tif: resolution = {resolution:g} m for pixels of 10 x 10 m .*50 times"
    ):
        opened(place, "one", resolution=resolution)


def test_smaller_than_a_patch_at_that_resolution(place):
    with pytest.raises(ValueError, match=r"patch = 16 px is larger than image, resampled \(9 x 12 px\)"):
        segmentation_store.write_store(opened(place, "one", resolution=100), **SMALL, root=place.folder)
    assert not list(place.folder.rglob("store.json"))


# ---- preprocessing


def test_a_function_of_ones_own(project):
    place = project
    (place.folder / "own.py").write_text(
        "def log(values):\n    import numpy as np\n    return np.log1p(values.astype('f4'))\n"
    )
    pairs = opened(changed(place, "one", preprocess="own.py:log"))
    inputs, valid, _ = read_all(pairs)
    expected = np.log1p(place.one.inputs.astype(np.float32))
    np.testing.assert_allclose(inputs, np.where(valid, expected, 0), rtol=1e-6)
    assert [image.dtype for image in pairs.images] == ["float32", "float32"]
    np.testing.assert_array_equal(read_all(pairs, 1)[0], place.two.inputs)  # the other has none
    made = segmentation_store.write_store(pairs, **SMALL, root=place.folder)
    assert [d["preprocess"] for d in made.meta["datasets"]] == ["own.py:log", None]


def test_a_function_of_a_module(project):
    place = project
    pairs = opened(changed(place, "one", preprocess="numpy:sqrt"), "one")
    np.testing.assert_allclose(read_all(pairs)[0], np.sqrt(place.one.inputs.astype(np.float32)), rtol=1e-3)
    assert preprocessing.source_of("numpy:sqrt") == f"numpy:sqrt {np.__version__}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return values / values.max()", "does not work pixel by pixel"),
        ("return values - values.mean(axis=(1, 2), keepdims=True)", "does not work pixel by pixel"),
        ("return values[:2]", r"made uint16 \(2, .*takes and gives \(channel, y, x\)"),
        ("return values[:, ::-1]", "does not work pixel by pixel"),
        ("raise KeyError('nir')", "failed on uint16 .*nir"),
    ],
)
def test_a_function_that_will_not_do(project, body, message):
    place = project
    (place.folder / "own.py").write_text(f"def change(values):\n    {body}\n")
    with pytest.raises(ValueError, match=message):
        opened(changed(place, "one", preprocess="own.py:change"), "one")


def test_a_function_that_is_not_there(project):
    place = project
    (place.folder / "own.py").write_text("def change(values):\n    return values\n")
    with pytest.raises(ValueError, match=r"Unknown preprocess 'chnage'.*Did you mean 'change'"):
        opened(changed(place, "one", preprocess="own.py:chnage"), "one")
    with pytest.raises(ValueError, match=r"there is no file .*gone\.py"):
        opened(changed(place, "one", preprocess="gone.py:change"), "one")


def test_a_function_that_came_with_a_catalogue_runs_once_somebody_here_named_it(place, monkeypatch):
    mark = place.folder / "executed"
    (place.folder / "own.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef same(v):\n    return v\n"
    )
    changed(place, "one", preprocess="own.py:same")
    for names in ("one", "one+two"):
        with pytest.raises(ValueError, match=r"one: a catalogue in .* names code to run.*would run same of .*own\.py"):
            opened(place, names)
    catalogue.read_catalogue(place.file), catalogue.catalogue_files(f"{place.file}:one", place.folder)
    assert not mark.exists()
    trust.trust(f"{place.folder}/own.py:same")
    made = segmentation_store.write_store(opened(place, "one"), **SMALL, root=place.folder)
    assert mark.exists()
    mark.unlink()
    (place.folder / "own.py").write_text((place.folder / "own.py").read_text() + "# changed by somebody\n")
    with pytest.raises(ValueError, match="changed since"):
        opened(place, "one")
    assert made.meta["datasets"][0]["preprocess"] == "own.py:same" and not mark.exists()


def test_settings_that_would_be_ignored_or_refused_late(scene):
    def faults(**values):
        sizes = {"patch": 32, "stride": None, "block": 64, "seed": 0}
        return "\n".join(catalogue.check_settings(sizes | values, scene.folder))

    pair = {"images": str(scene.image), "masks": str(scene.mask)}
    assert (
        not faults() and not faults(**pair, classes=scene.classes, bands="1,4") and not faults(datasets="a", bands=None)
    )
    assert not faults(bands="50, blue,3")
    assert "masks are not given" in faults(images="a.tif") and "images are not given" in faults(masks="a.tif")
    assert "classes, bands: not used beside `datasets`" in faults(datasets="a", bands="1", classes="1=a")
    assert "the example scene has its own" in faults(classes="1=a,2=b")
    assert "no band 99" in faults(**pair, bands="99") and "image.tif" in faults(**pair, bands="99")
    assert "the example scene has no band 99. Its bands: blue" in faults(bands="99")


# ---- small, empty and blank


def test_small_sources_are_padded(place):
    write_raster(place.folder / "a" / "small.tif", place.one.inputs[:, 60:71, :], nodata=0, west=520_000.0)
    write_raster(place.folder / "a" / "small_mask.tif", place.one.codes[60:71, :], west=520_000.0)
    changed(place, "one", images=["a/image.tif", "a/small.tif"], masks=["a/mask.tif", "a/small_mask.tif"])
    made = segmentation_store.write_store(opened(place, "one"), **SMALL, root=place.folder)
    assert made.arrays["small"]["inputs"].shape == (4, 16, 128)
    assert made.arrays["small"]["valid"][:11].all() and not made.arrays["small"]["valid"][11:].any()
    assert (made.arrays["small"]["targets"][11:] == 255).all()
    mine = made.index[made.index["source"] == "small"]
    assert len(mine) and mine["valid_share"].to_numpy() == pytest.approx(11 / 16)
    assert store.check_store(made.path, deep=True)


def with_empty(place, values, codes, **more):
    write_raster(place.folder / "a" / "empty.tif", values, nodata=0, west=520_000.0, **more)
    write_raster(place.folder / "a" / "empty_mask.tif", codes, west=520_000.0)
    return changed(place, "one", images=["a/image.tif", "a/empty.tif"], masks=["a/mask.tif", "a/empty_mask.tif"])


@pytest.mark.parametrize("kind", ["nodata", "unlabelled", "full"])
def test_empty_sources_are_left_out_and_listed(place, kind):
    values, codes = place.one.inputs, place.one.codes
    if kind == "unlabelled":
        codes = np.zeros_like(codes)
    else:
        values = np.full_like(values, {"nodata": 0, "full": 65535}[kind])
    made = segmentation_store.write_store(opened(with_empty(place, values, codes)), **SMALL, root=place.folder)
    assert made.sources == ["one-image", "two-image"]
    (left_out,) = made.meta["pruned"]
    assert "empty" in left_out and any("empty" in note for note in made.meta["notes"])


def test_nothing_remains(place):
    write_raster(place.one.image, np.zeros_like(place.one.inputs), nodata=0)
    with pytest.raises(ValueError, match="dataset one: no source remains"):
        segmentation_store.write_store(opened(place), **SMALL, root=place.folder)


def test_blank_windows_are_left_out(place):
    inputs = place.one.inputs.copy()
    inputs[:, 48:80, 64:96] = 0  # valid: there is no nodata value
    inputs[:, 80:96, 96:128] = 65535
    inputs[0, 80:96, 96:112] = 3
    write_raster(place.one.image, inputs.clip(0), nodata=None)
    made = segmentation_store.write_store(opened(place, "one"), **SMALL, root=place.folder)
    for i in range(len(made)):
        window = made[i]["inputs"].to_numpy()
        assert window.any() and not (window == 65535).all()
    at = {(r.y, r.x) for r in made.index.itertuples()}
    assert (56, 72) not in at and (80, 112) not in at and not {(48, 64), (64, 80)} & at


# ---- found again, rebuilt


def test_rebuilt_when_anything_changed(project):
    place = project
    (place.folder / "own.py").write_text("def change(values):\n    return values // 2\n")
    changed(place, "one", preprocess="own.py:change")

    def write():
        return segmentation_store.write_store(opened(place), **SMALL, root=place.folder)

    first = write()
    assert write().path == first.path
    keys = {first.meta["key"]}
    arrays_of = {(first.path / "arrays.zarr").resolve()}
    (place.folder / "own.py").write_text("def change(values):\n    return values // 3\n")
    steps = [write()]
    place.two.inputs[0, 50, 50] += 1
    write_raster(place.two.image, place.two.inputs, nodata=0, crs="EPSG:32618", pixel_m=20.0)
    steps.append(write())
    with rasterio.open(place.two.mask, "r+") as data:
        data.write(np.zeros((3, 1, 1), np.uint8), window=rasterio.windows.Window(64, 64, 1, 1))
    steps.append(write())
    entries = yaml.safe_load(place.file.read_text())
    entries["two"]["classes"][15]["name"] = "ignore"
    entries["one"]["classes"][5] = "ignore"
    write_catalogue(place.folder, **entries)
    steps.append(write())
    steps.append(segmentation_store.write_store(opened(place, resolution=20), **SMALL, root=place.folder))
    for step in steps:
        keys.add(step.meta["key"])
        arrays_of.add((step.path / "arrays.zarr").resolve())
    assert len(keys) == len(arrays_of) == 6
    assert steps[0].arrays["one-image"]["inputs"].max() < first.arrays["one-image"]["inputs"].max()
    assert len(steps[3].classes) == 2
