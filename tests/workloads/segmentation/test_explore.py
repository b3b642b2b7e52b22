"""The map: layers against the arrays they show, reading of views and pixels, the frozen page against its budget."""

import base64
import gzip
import html
import io
import re

import IPython
import numpy as np
import pytest
import xarray as xr
from made import CLASSES, COLOURS, MODELS, made_arrays, made_predictions
from pages import REQUESTS, colours_of
from PIL import Image
from pyproj import Transformer

from geonb.workloads.segmentation import explore, explore_pixels, frozen
from geonb.workloads.segmentation.explore_pixels import Place


@pytest.fixture(scope="module")
def predictions():
    return made_predictions(sources=("raleigh", "durham"))


@pytest.fixture(scope="module")
def arrays():
    return made_arrays(sources=("raleigh", "durham"))


@pytest.fixture
def explorer(predictions, arrays):
    return explore.explore(predictions, arrays).explorer


def hexes(pixels):
    return np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in pixels.reshape(-1, 4)[:, :3]]).reshape(pixels.shape[:2])


class TestLayers:
    def test_label_is_drawn_in_the_classes_colours(self, explorer, predictions):
        explorer.over.value = "label"
        label = predictions["raleigh"].label.sel(model="network").values
        shown = colours_of(explorer.sources["overlay"])
        known = label != 255
        assert (hexes(shown)[known] == np.array(COLOURS)[label[known]]).all()
        assert (shown[..., 3] == np.where(known, 255, 0)).all()

    def test_model_and_threshold_change_what_is_shown(self, explorer, predictions):
        explorer.over.value, explorer.model.value, explorer.category.value = "probability", "pixel-linear", 4
        explorer.threshold.value = 0.5
        values = predictions["raleigh"].probability.sel(model="pixel-linear").isel({"class": 4}).values
        assert (colours_of(explorer.sources["overlay"])[..., 3] == np.where(values >= 0.5, 255, 0)).all()

    def test_wrong_is_where_label_and_truth_differ(self, explorer, predictions):
        explorer.base.value = "wrong"
        data = predictions["raleigh"].to_dataset().sel(model="network")
        wrong = (data.label != data.truth).values & (data.truth != 255).values
        shown = hexes(colours_of(explorer.sources["base"])) == "#{:02x}{:02x}{:02x}".format(*explore_pixels.WRONG)
        assert (shown == wrong).all()

    def test_hover_holds_what_lies_under_the_pointer(self, explorer, predictions):
        truth = np.asarray(explorer.sources["hover"].data["truth"][0])[::-1]
        assert (truth == predictions["raleigh"].truth.values).all()

    def test_opacity_and_source(self, explorer, predictions):
        explorer.opacity.value = 0.2
        assert explorer.overlay.glyph.global_alpha == 0.2
        explorer.source.value, explorer.base.value = "durham", "truth"
        shown, truth = colours_of(explorer.sources["base"]), predictions["durham"].truth.values
        assert (hexes(shown)[truth != 255] == np.array(COLOURS)[truth[truth != 255]]).all()

    def test_a_still_picture_stands_beside_the_widget(self, explorer, predictions):
        explorer.base.value, explorer.over.value = "truth", "nothing"
        shown = IPython.core.formatters.DisplayFormatter().format(explorer.widget)[0]
        assert "application/vnd.jupyter.widget-view+json" in shown
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["image/png"]))))
        truth = predictions["raleigh"].truth.values
        assert (hexes(picture)[truth != 255] == np.array(COLOURS)[truth[truth != 255]]).all()


class TestReading:
    def test_click_tells_the_pixel(self, explorer, predictions, arrays):
        row, column = 100, 30
        scene = predictions["raleigh"].to_dataset()
        x, y = float(scene.x[column]), float(scene.y[row])
        explorer.sources["asked"].data = {"x": [x + 9], "y": [y - 9]}  # anywhere in the pixel
        told = explorer.about.value
        for band, value in zip(
            arrays["raleigh"].channel.values, arrays["raleigh"].inputs.values[:, row, column], strict=True
        ):
            assert f"{band} {value}" in told
        assert f"truth: <b>{CLASSES[int(scene.truth[row, column])]}</b>" in told
        for value in scene.probability.values[:, :, row, column].ravel():
            assert f">{value:.2f}</td>" in told
        lon, lat = Transformer.from_crs(32119, 4326, always_xy=True).transform(x, y)
        assert f"{lat:.5f}°, {lon:.5f}°" in told and f"row {row}, column {column}" in told
        assert explorer.sources["click"].data == {"x": [x], "y": [y]}

    def test_click_outside(self, explorer):
        explorer.sources["asked"].data = {"x": [0.0], "y": [0.0]}
        assert "Outside" in explorer.about.value

    def test_large_scene_is_read_thinned_and_finer_when_zoomed(self):
        shape = (2400, 2000)
        data = xr.Dataset(
            {"probability": (("model", "class", "y", "x"), np.zeros((1, 1, *shape), "float16")),
             "truth": (("y", "x"), np.zeros(shape, "uint8")),
             "label": (("model", "y", "x"), np.zeros((1, *shape), "uint8")), "split": (("y", "x"), np.zeros(shape, "int8"))},
            coords={"y": 10.0 * np.arange(2400)[::-1], "x": 10.0 * np.arange(2000), "model": ["network"], "class": ["a"]},
        )  # fmt: skip
        explorer = explore.explore(xr.DataTree.from_dict({"/big": data})).explorer
        explorer.base.value = "truth"
        assert max(np.shape(explorer.sources["base"].data["image"][0])) <= explore.VIEW_PIXELS
        explorer.sources["seen"].data = {"bounds": [5000.0, 5000.0, 7000.0, 7000.0]}
        assert np.shape(explorer.sources["base"].data["image"][0]) == (201, 201)  # every pixel the view touches
        box = {k: v[0] for k, v in explorer.sources["base"].data.items() if k != "image"}
        assert box == pytest.approx({"x": 4995, "y": 4995, "dw": 2010, "dh": 2010})

    def test_rows_that_run_north_are_turned(self, predictions):
        flipped = xr.DataTree.from_dict({"/raleigh": predictions["raleigh"].to_dataset().isel(y=slice(None, None, -1))})
        place, right = Place(flipped, "raleigh", None), Place(predictions, "raleigh", None)
        assert place.bounds == right.bounds
        assert (place.data.truth.values == right.data.truth.values).all()

    def test_no_class_stays_no_class_where_a_reader_made_nan_of_it(self, predictions):
        data = predictions["raleigh"].to_dataset()
        decoded = data.assign({name: data[name].where(data[name] != 255) for name in ("label", "truth")})
        place = Place(xr.DataTree.from_dict({"/raleigh": decoded}), "raleigh", None)
        for name in ("label", "truth"):
            assert place.data[name].dtype == "uint8" and (place.data[name].values == data[name].values).all()


class TestFrozen:
    def test_planes_hold_the_predictions(self, predictions, arrays):
        place = Place(predictions, "raleigh", arrays)
        part = frozen.pack(place, 1, len(MODELS), 100, True)
        planes = np.frombuffer(gzip.decompress(base64.b64decode(part["data"])), np.uint8).reshape(
            -1, part["height"], part["width"]
        )
        data = predictions["raleigh"].to_dataset()
        assert (planes[5] == data.truth.values).all() and (planes[6:9] == data.label.values).all()
        known = np.isfinite(data.probability.values)
        steps = planes[10:].reshape(data.probability.shape)
        assert np.abs(steps[known] / 100 - data.probability.values[known]).max() <= 0.005 + 1e-6
        assert (steps[~known] == 255).all()
        for n, about in enumerate(part["bands"]):
            valid = arrays["raleigh"].valid.values
            assert about["exact"]
            assert (
                planes[n][valid] * about["scale"] + about["offset"] == arrays["raleigh"].inputs.values[n][valid]
            ).all()

    def test_lonlat_grid_is_good_to_a_metre(self, predictions):
        place = Place(predictions, "raleigh", None)
        lon, lat = (np.reshape(values, (9, 9)) for values in frozen._lonlat_grid(place))
        west, south, east, north = place.bounds
        x, y = west + 1.5 / 8 * (east - west), south + 6.5 / 8 * (north - south)
        middle = lon[6:8, 1:3].mean(), lat[6:8, 1:3].mean()
        true = Transformer.from_crs(32119, 4326, always_xy=True).transform(x, y)
        assert np.abs(np.subtract(middle, true)).max() < 1e-5

    @pytest.mark.parametrize("budget_mb", [2.0, 2.4, 4.0])
    def test_stays_under_its_budget_and_says_what_it_left_out(self, predictions, arrays, budget_mb):
        page = frozen.frozen_page(predictions, arrays, budget_mb)
        assert len(page.encode()) < budget_mb * 1e6
        assert ("Probabilities of the network only" in page) == (budget_mb < 4)

    def test_no_room_is_said(self, predictions):
        with pytest.raises(ValueError, match="raise budget_mb"):
            frozen.frozen_page(predictions, None, 1.8)

    def test_asks_nobody(self, predictions, arrays):
        shown = frozen.frozen(predictions, arrays).data
        page = html.unescape(re.search(r"srcdoc='([^']*)'", shown)[1])
        outside_scripts = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", page, flags=re.S)
        assert "Bokeh" in page and not REQUESTS.search(outside_scripts)
        assert "simulated data" in page

    def test_empty_predictions(self):
        for make in (explore.explore, frozen.frozen):
            with pytest.raises(ValueError, match="03_prediction"):
                make(xr.DataTree())


def test_the_runner_decides_between_live_and_frozen(predictions, monkeypatch):
    import ipywidgets
    from IPython.display import HTML

    monkeypatch.setenv("GEONB_HEADLESS", "1")
    assert isinstance(explore.show(predictions), HTML)
    monkeypatch.delenv("GEONB_HEADLESS")
    assert isinstance(explore.show(predictions), ipywidgets.VBox)
