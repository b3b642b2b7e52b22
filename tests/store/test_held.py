"""Whole sources kept for a split by name: the grammar, who is meant, and that nothing else goes there."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geonb.base import conventions
from geonb.rasters import images, tiles
from geonb.store import arrays, held, windows
from geonb.workloads.segmentation import arrays as segmentation_arrays
from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation.store import write_store


@pytest.mark.parametrize(
    ("text", "shares", "named"),
    [
        ("60/20/20", (0.6, 0.2, 0.2), {}),
        ((0.5, 0.5, 0), (0.5, 0.5, 0), {}),
        ("test:b", (0.75, 0.25, 0), {"test": ["b"]}),
        ("80/20/0, test:b+c", (0.8, 0.2, 0), {"test": ["b", "c"]}),
        ("train:a,test:b", (0.75, 0.25, 0), {"train": ["a"], "test": ["b"]}),
        ("test:c,val:b", (1, 0, 0), {"val": ["b"], "test": ["c"]}),
        ("val:b", (0.75, 0, 0.25), {"val": ["b"]}),
    ],
)
def test_grammar(text, shares, named):
    found = held.read_split(text)
    assert found[0] == pytest.approx(shares)
    assert found[1] == named


@pytest.mark.parametrize(
    "text", ["test:", "test:b,test:c", "tset:b", "60/20/20,75/25/0,test:b", "60/20,test:b", "test:a++b"]
)
def test_what_is_neither_shares_nor_names_is_refused(text):
    with pytest.raises(ValueError, match="shares"):
        held.read_split(text)


SOURCES = {
    "oam-nairobi-19-1": ["nairobi"],
    "oam-nairobi-19-2": ["nairobi"],
    "oam-banepa-19": ["banepa"],
    "x": ["banepa"],
}


@pytest.mark.parametrize("name", ["nairobi", "oam_nairobi", "oam-nairobi-19", "*nairobi*", "Nairobi"])
def test_sources_are_meant_by_data_set_folder_or_beginning(name):
    found = held.sources_of({"test": [name]}, SOURCES)
    assert found == {"oam-nairobi-19-1": "test", "oam-nairobi-19-2": "test"}


def test_a_source_of_that_very_name_is_meant_alone():
    sources = {"scene": ["a"], "scene-2": ["b"], "scene-2-1": ["c"]}  # the second of two files called so, and a third
    assert held.sources_of({"test": ["scene"]}, sources) == {"scene": "test"}
    assert held.sources_of({"test": ["scene-2"]}, sources) == {"scene-2": "test"}


def test_who_is_meant_must_be_plain():
    assert held.sources_of({"train": ["nairobi"], "test": ["banepa"]}, SOURCES) == {
        "oam-banepa-19": "test",
        "x": "test",
    }
    whole = held.sources_of({"train": ["nairobi"], "val": ["x"], "test": ["oam-banepa-19"]}, SOURCES)
    assert set(whole) == set(SOURCES)
    with pytest.raises(ValueError, match="test:hanoi is none of oam-nairobi-19-1"):
        held.sources_of({"test": ["hanoi"]}, SOURCES)
    with pytest.raises(ValueError, match="x is in val and test"):
        held.sources_of({"val": ["x"], "test": ["banepa"]}, SOURCES)
    with pytest.raises(ValueError, match="x: in no split"):
        held.sources_of({"train": ["nairobi"], "test": ["oam-banepa-19"]}, SOURCES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train:a,val:b", r"left for test: .*train: a; val: b.* 75/25/0"),
        ("val:a,test:b", "left for train: .*val: a; test: b"),
        ("test:a+b", "left for train and val: .*test: a, b"),
    ],
)
def test_splits_for_which_no_source_is_left_are_told(text, told):
    shares, named = held.read_split(text)
    with pytest.raises(ValueError, match=told):
        held.sources_of(named, {"a": [], "b": []}, shares)
    more = held.sources_of(named, {"a": [], "b": []}, (0, 0, 0))
    assert set(more) == {"a", "b"}


@pytest.mark.parametrize("text", ["75/25/0,train:a,val:b", "train:a,test:b", "test:b", "60/20/20,val:b"])
def test_splits_that_can_be_filled_are_not_refused(text):
    shares, named = held.read_split(text)
    assert held.sources_of(named, {"a": [], "b": []}, shares)["b"] in conventions.SPLITS


def groups(tmp_path, corners):
    """Zarr groups of 32 x 32 px with two classes, side by side."""
    made = {}
    for name, west in corners.items():
        inputs = np.random.default_rng(0).integers(0, 255, (1, 32, 32)).astype("uint8")
        data = images.frame(inputs, np.ones((32, 32), bool), from_origin(west, 0, 1, 1), "EPSG:32637", ["a"])
        group = segmentation_arrays.create_group(tmp_path / "arrays.zarr", name, data)
        group["valid"][:] = True
        group["targets"][:] = np.arange(32)[None] % 2
        made[name] = group
    return made


def test_whole_sources_go_to_their_split_and_the_rest_is_dealt(tmp_path):
    made = groups(tmp_path, {"a": 500000, "b": 600000})
    cut = {"block": 8, "shares": [0.75, 0.25, 0.0], "seed": 0, "patch": 8, "stride": 8, "min_valid": 0}
    split = windows.deal(made, 2, cut, {"b": "test"})
    assert (np.array(split["blocks"]["b"]) == 3).all()
    assert set(np.unique(split["blocks"]["a"])) == {1, 2}
    assert split["pixels"] == {"train": 768, "val": 256, "test": 1024}
    table = windows.cut_windows(made, split, cut, [{"name": n, "dataset": ""} for n in made])
    assert set(table[table["source"] == "b"]["split"]) == {"test"}
    assert set(table[table["source"] == "a"]["split"]) == {"train", "val"}
    # without names all is as it was
    plain = windows.deal({"a": made["a"]}, 2, cut | {"shares": [0.6, 0.2, 0.2]})
    assert "held" not in plain
    whole = windows.deal(made, 2, cut | {"block": None, "shares": [1.0, 0.0, 0.0]}, {"b": "test"})
    assert whole["blocks"] == {"a": [[1]], "b": [[3]]}


def test_images_of_one_place_cannot_be_in_two_splits(tmp_path):
    made = groups(tmp_path, {"a": 500000, "b": 500000})
    with pytest.raises(ValueError, match="same ground"):
        windows.deal(made, 2, {"block": 8, "shares": [0.75, 0.25, 0.0], "seed": 0}, {"b": "test"})
    assert arrays.grid_of(made["a"]) == arrays.grid_of(made["b"])


def beside(tmp_path, gap_m, pixels_m, shares, **options):
    """A store of images of 32 x 32 px called a, b, c, from west to east, so many metres of UTM apart."""
    west = 500000.0
    for number, (name, pixel_m) in enumerate(zip("abc", pixels_m, strict=False)):
        grid = {"crs": "EPSG:32637", "transform": from_origin(west, 1e6, pixel_m, pixel_m), "width": 32, "height": 32}
        west += 32 * pixel_m + gap_m
        for kind, most in (("image", 255), ("mask", 3)):
            (tmp_path / kind).mkdir(exist_ok=True)
            with rasterio.open(tmp_path / kind / f"{name}.tif", "w", dtype="uint8", count=1, **grid) as data:
                data.write(np.random.default_rng(number).integers(1, most, (1, 32, 32), np.uint8))
    pairs = dataset.open_pairs(f"{tmp_path}/image/*.tif", f"{tmp_path}/mask/*.tif")
    return write_store(pairs, **{"patch": 8, "block": 8, "shares": shares, "root": tmp_path, **options})


def test_a_split_in_each_image_is_not_said_to_be_one_split_only(tmp_path):
    found = beside(tmp_path, 1000, (1, 1, 1), "train:a,val:b,test:c").check_split()
    assert "no image has windows of two" in found["said"] and "one split only" not in found["said"]
    # the central scale of UTM is 0.9996: that many metres of it are more on the ground
    assert found["smallest_gap_m"] == pytest.approx(1000 / 0.9996, abs=0.2)
    assert "1000 m apart, in two images" in found["said"]


@pytest.mark.parametrize(("gap_m", "apart"), [(0, 0), (1.6, 1.6)])
def test_images_that_adjoin_are_not_said_to_be_apart(tmp_path, gap_m, apart):
    found = beside(tmp_path, gap_m, (1, 2), "train:a,test:b", gap=2, patch=4, stride=2).check_split()
    assert found["smallest_gap_m"] == pytest.approx(apart, abs=0.1)
    assert f"{apart:.0f} m apart, in two images" in found["said"]
    assert "at least 2 px (2 to 4 m) from all training windows of its image" in found["said"]
    assert "Between images no gap is kept" in found["said"]


def test_pixels_of_two_sizes_have_each_their_own_metres(tmp_path):
    """The coarse image alone is split: its pixels count, not the finer ones of the other."""
    found = beside(tmp_path, 1000, (1, 4), "train:b,test:a", gap=8).check_split()
    assert found["smallest_gap_m"] >= 8 * 4
    assert "in two images" not in found["said"]


def test_a_store_says_which_split_has_no_source(tmp_path):
    with pytest.raises(ValueError, match="No source is left for test"):
        beside(tmp_path, 1000, (1, 1), "train:a,val:b")


def test_a_store_calls_tiles_by_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tiles, "home_of", lambda path: tmp_path / "town")
    with pytest.raises(ValueError, match=r"test:hanoi is none of a \(town\), b \(town\)"):
        beside(tmp_path, 1000, (1, 1), "test:hanoi")
