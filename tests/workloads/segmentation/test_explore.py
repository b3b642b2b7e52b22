"""The explorer of a segmentation against the arrays it shows: planes, clicks, pages."""

import made
import numpy as np
import pytest
import rioxarray  # noqa: F401
import viewing
import xarray as xr
from pyproj import Transformer

from geonb.dashboards.frozen import frozen_page, pack
from geonb.workloads.segmentation.explore import explorer as explorer_of

RNG = np.random.default_rng(2)
BOTH = ("raleigh", "durham")


@pytest.fixture(scope="module")
def predictions():
    return made.made_predictions(sources=BOTH)


@pytest.fixture(scope="module")
def arrays():
    return made.made_arrays(sources=BOTH)


@pytest.fixture(scope="module")
def explorer(predictions, arrays):
    return explorer_of(predictions, arrays)


def turned(tree):
    groups = {f"/{name}": group.to_dataset().isel(y=slice(None, None, -1)) for name, group in tree.children.items()}
    return xr.DataTree.from_dict({"/": tree.to_dataset()} | groups)


class TestPlanes:
    @pytest.mark.parametrize("place", [0, 1])
    def test_label_and_truth_are_those_of_the_predictions_in_the_classes_colours(self, explorer, predictions, place):
        data = predictions[BOTH[place]].to_dataset()
        for layer, at, true in [("truth", {}, data.truth), *(("label", {"model": m}, data.label[m]) for m in range(3))]:
            np.testing.assert_array_equal(viewing.seen(explorer, layer, at, place).values, true.where(true != 255))
            assert (explorer.layer(layer).labels, explorer.layer(layer).colours) == (made.CLASSES, made.COLOURS)

    def test_probabilities_are_those_of_the_model_and_class(self, explorer, predictions):
        data = predictions["durham"].to_dataset()
        for layer, at, true in (("probability", {"model": 1, "class": 4}, data.probability[1, 4]),
                                ("probability", {"model": 2, "class": 6}, data.probability[2, 6]),
                                ("sure", {"model": 2}, data.probability[2].max("class"))):  # fmt: skip
            np.testing.assert_allclose(viewing.seen(explorer, layer, at, 1).values, true, atol=0.5 / 127 + 1e-6)
            np.testing.assert_array_equal(viewing.seen(explorer, layer, at, 1, exact=True).values, true)

    def test_wrong_is_where_the_label_is_not_the_truth(self, explorer):
        assert explorer.layer("wrong").of == ("label", "truth") and explorer.layer("wrong").kind == "error"
        assert (explorer.guess, explorer.truth, explorer.split) == ("label", "truth", "split")

    def test_the_split_is_told_by_name(self, explorer, predictions):
        split = predictions["raleigh"].split.values
        plane = viewing.seen(explorer, "split").values.astype(int)
        assert (
            np.array(explorer.layer("split").labels)[plane] == np.array(["none", "train", "val", "test"])[split]
        ).all()

    def test_the_image_is_three_bands_stretched_alike_wherever_one_zooms(self, explorer, arrays):
        scene = arrays["raleigh"].to_dataset()
        whole = viewing.seen(explorer, "image")
        assert ((whole.colours[..., 3] == 255) == scene.valid.values).all()
        shown, good = whole.colours[scene.valid.values][:, :3].astype(float), scene.inputs.values[:, scene.valid.values]
        for colour, band in zip(shown.T, good[[3, 2, 1]], strict=True):  # near infrared is red, and so on
            assert np.corrcoef(colour, band)[0, 1] > 0.9
        read, part = explorer.layer("image").read, slice(50, 91)
        everything = read(0, {}, {"y": slice(None), "x": slice(None)})
        np.testing.assert_array_equal(read(0, {}, {"y": part, "x": part}), everything[part, part])

    def test_a_large_scene_is_sent_as_fine_as_the_screen(self):
        shape = (2400, 2000)
        data = xr.Dataset(
            {"probability": (("model", "class", "y", "x"), np.zeros((1, 7, *shape), "float16")),
             "truth": (("y", "x"), np.arange(4_800_000).reshape(shape) % 7),
             "label": (("model", "y", "x"), np.zeros((1, *shape), "uint8")), "split": (("y", "x"), np.zeros(shape, "int8"))},
            coords={"y": 10.0 * np.arange(2400)[::-1], "x": 10.0 * np.arange(2000), "model": ["network"], "class": list("abcdefg")},
        )  # fmt: skip
        explorer = explorer_of(xr.DataTree.from_dict({"/big": data}))
        whole = viewing.seen(explorer, "truth", pixels=800)
        assert whole.values.shape == (800, 667) and whole.step == 3
        np.testing.assert_array_equal(whole.values, data.truth.values[::3, ::3])
        near = viewing.seen(explorer, "truth", view=(5000, 5000, 7000, 7000), pixels=800)
        assert near.box == [4995, 4995, 7005, 7005] and near.values.shape == (
            201,
            201,
        )  # every pixel that the view touches


class TestClick:
    @pytest.mark.parametrize("south_up", [False, True])
    def test_it_tells_bands_truth_split_and_all_probabilities_of_the_pixel(
        self, explorer, predictions, arrays, south_up
    ):
        explorer = explorer_of(turned(predictions), turned(arrays)) if south_up else explorer
        assert [place.name for place in explorer.places] == list(BOTH)
        for place, x, y in [
            (n, *RNG.uniform(*np.reshape(explorer.places[n].bounds, (2, 2)))) for n in (0, 1) for _ in range(15)
        ]:
            told = viewing.clicked(explorer, x, y, place=place)
            here = predictions[BOTH[place]].to_dataset().sel(x=x, y=y, method="nearest")
            scene = arrays[BOTH[place]].to_dataset().sel(x=x, y=y, method="nearest")
            np.testing.assert_array_equal(np.array(told["probability"], "float32"), here.probability)
            bands = [told[f"band-{name}"] for name in made.BANDS]
            assert bands == (scene.inputs.values.tolist() if scene.valid else [None] * 5)
            truth = int(here.truth)
            assert told["truth"] in ((None, 255) if truth == 255 else (truth,))
            assert told["split"] == int(here.split) and [int(v) for v in told["label"]] == here.label.values.tolist()

    def test_its_place_on_earth_is_told(self, explorer, predictions):
        x, y = (float(predictions["raleigh"][axis][30]) for axis in "xy")
        facts = explorer.facts()["places"][0]
        lon, lat = (np.reshape(values, (25, 25)) for values in facts["lonlat"])
        west, south, east, north = facts["bounds"]
        across, down = 24 * (x - west) / (east - west), 24 * (north - y) / (north - south)
        i, j = int(across), int(down)
        true = Transformer.from_crs(32119, 4326, always_xy=True).transform(x, y)
        for grid, value in zip((lon, lat), true, strict=True):
            corners = grid[j : j + 2, i : i + 2]
            told = np.array([1 - down + j, down - j]) @ corners @ np.array([1 - across + i, across - i])
            assert told == pytest.approx(value, abs=1e-6)
        assert facts["kind"] == "projected" and facts["metres"] == 1

    def test_no_class_stays_no_class_where_a_reader_made_nan_of_it(self, predictions):
        data = predictions["raleigh"].to_dataset()
        decoded = data.assign({name: data[name].where(data[name] != 255) for name in ("label", "truth")})
        explorer = explorer_of(xr.DataTree.from_dict({"/raleigh": decoded}))
        np.testing.assert_array_equal(viewing.seen(explorer, "truth").values, decoded.truth)
        np.testing.assert_array_equal(viewing.seen(explorer, "label", {"model": 1}).values, decoded.label[1])


class TestWithout:
    def test_a_store_there_is_no_image_and_no_band(self, predictions):
        explorer = explorer_of(predictions)
        assert not [one.name for one in explorer.layers if one.kind == "image" or one.name.startswith("band")]
        assert explorer.below == "" and viewing.seen(explorer, "truth", place=1).values.shape == (160, 192)

    def test_an_image_of_one_source_the_other_has_nothing(self, predictions, arrays):
        explorer = explorer_of(predictions, xr.DataTree.from_dict({"/durham": arrays["durham"].to_dataset()}))
        x, y = (float(predictions["raleigh"][axis][100]) for axis in "xy")
        values = [viewing.clicked(explorer, x, y, place=place)["band-band_30"] for place in (0, 1)]
        assert values[0] is None and values[1] == float(arrays["durham"].inputs[2, 100, 100])
        assert viewing.seen(explorer, "image").colours[..., 3].max() == 0
        first, second = viewing.unpacked(*pack(explorer, {"every": 2}))
        assert np.isnan(first["band-band_30"]).all() and np.isfinite(second["band-band_30"]).any()

    def test_a_crs_places_have_no_longitude_and_no_coast(self, predictions):
        bare = {f"/{n}": predictions[n].to_dataset().drop_vars("spatial_ref") for n in BOTH}
        place = explorer_of(xr.DataTree.from_dict(bare)).facts()["places"][0]
        assert (place["kind"], place["lonlat"], place["lines"], place["crs"]) == ("none", None, {}, "")

    def test_any_source_it_is_said(self):
        with pytest.raises(ValueError, match="03_prediction"):
            explorer_of(xr.DataTree())


class TestFrozen:
    def test_the_richest_page_holds_classes_and_bands_exactly(self, explorer, predictions, arrays):
        (found, _) = viewing.unpacked(*pack(explorer, explorer.packs()[0]))
        data, scene = predictions["raleigh"].to_dataset(), arrays["raleigh"].to_dataset()
        np.testing.assert_array_equal(found["truth"], data.truth.where(data.truth != 255))
        np.testing.assert_array_equal(found["label"], data.label.where(data.label != 255))
        np.testing.assert_allclose(found["probability"], data.probability, atol=0.005 + 0.5 / 254)
        for name, band in zip(made.BANDS, scene.inputs, strict=True):
            np.testing.assert_array_equal(found[f"band-{name}"], band.where(scene.valid))

    @pytest.mark.parametrize("n", [2, 4, 7, 59])
    def test_less_room_costs_baselines_bands_and_pixels_and_is_said(self, explorer, n):
        facts, data = pack(explorer, explorer.packs()[n])
        (found, _), said, every = viewing.unpacked(facts, data), facts["said"], facts["places"][0]["every"]
        models = found["probability"].shape[0]
        assert (models == 1) == ("Probabilities of the network only." in said) and found["label"].shape[0] == 3
        assert ("band-band_10" not in found) == ("Without the values of bands." in said)
        assert (every > 1) == (f"One pixel in {every} a side." in said)
        assert found["truth"].shape == tuple(facts["places"][0]["grids"][""]["shape"])
        values = found["probability"][0][np.isfinite(found["probability"][0])]
        steps = 127 if "steps of 0.8 %" in said else 50
        assert np.abs(values * steps - np.rint(values * steps)).max() <= 0.5 * steps / 254 + 1e-6

    def test_the_page_says_that_it_is_simulated_and_stays_under_its_budget(self, explorer):
        page = frozen_page(explorer, 0.4)
        assert "simulated data" in page and len(page.encode()) < 400_000

    def test_no_room_is_said(self, explorer):
        with pytest.raises(ValueError, match="Raise budget_mb"):
            frozen_page(explorer, 0.06)
