"""Figures of images and classes: the numbers drawn are the numbers given, nothing asks the network, tiles stay with their rows."""

import socket

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import xarray as xr
from made import (
    CLASSES,
    COLOURS,
    made_arrays,
    made_embeddings,
    made_predictions,
    made_scores,
    made_store,
    made_tiles,
)
from sklearn.metrics import confusion_matrix

from geonb import embeddings, plots
from geonb.plots import maps as plots_maps
from geonb.workloads.segmentation import maps, score_figures


@pytest.fixture(scope="module")
def predictions():
    return made_predictions()


@pytest.fixture(scope="module")
def scores(predictions):
    return made_scores(predictions)


def words(figure):
    """Every text a reader sees."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_confusion_shows_what_scikit_learn_counts(predictions, scores):
    data = predictions["scene"].to_dataset()
    here = (data.split.values == 3) & (data.truth.values != 255)
    counts = confusion_matrix(data.truth.values[here], data.label.values[0][here], labels=range(len(CLASSES)))
    cells = score_figures.confusion(scores).axes[0].texts
    shown = np.array([int(cell.get_text().split("\n")[1].replace(",", "")) for cell in cells]).reshape(counts.shape)
    assert (shown == counts).all()
    share = int(cells[0].get_text().split("%")[0])
    assert share == round(100 * counts[0, 0] / counts[0].sum())


def test_area_error_is_drawn_and_what_lies_outside_is_written(scores):
    figure = score_figures.area_error(scores)
    at = scores["class_score"].sel(split="test", class_metric="area_error", model="network").values
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx(at)
    beyond = scores["class_score"].sel(split="test", class_metric="area_error").values
    arrows = [word for word in words(figure) if "▸" in word]
    assert len(arrows) == (beyond > 2.08).sum() > 0
    assert any(word.endswith(" ha") or word.endswith("km²") for word in words(figure))


def test_the_map_of_blocks_has_each_block_in_its_place(predictions, scores):
    image = score_figures.block_scores(scores, metric="accuracy").axes[0].images[0].get_array()
    data = predictions["scene"].to_dataset()
    known = ((data.split == 3) & (data.truth != 255)).values
    right = (data.label[0] == data.truth).values
    for row, column in np.ndindex(image.shape):
        here = np.zeros_like(known)
        here[row * 32 : (row + 1) * 32, column * 32 : (column + 1) * 32] = True
        here &= known
        if here.any():
            assert image[row, column] == pytest.approx(right[here].mean())
        else:
            assert np.ma.is_masked(image[row, column]) or np.isnan(image[row, column])


def test_scores_of_an_older_geonb_are_refused_with_a_word(scores):
    old = scores.drop_vars(["source_score", "block_confusion", "true_area_ha"])
    for draw in (plots.source_scores, score_figures.area_error, score_figures.block_scores):
        with pytest.raises(ValueError, match="Run 04_analytics again"):
            draw(old)
    assert plots.skill(old) and score_figures.class_scores(old)


def test_classes_tell_their_blocks_and_which_are_rare(scores):
    at = scores.sel(split="test")
    told = " ".join(" ".join(words(score_figures.class_scores(scores))).split())
    for share, blocks, rare in zip(at["prevalence"].values, at["class_blocks"].values, at["rare"].values, strict=True):
        if blocks:
            assert (
                f"{share:.1%} of pixels, {blocks} block{'s' if blocks > 1 else ''}{' (rare)' if rare else ''}" in told
            )
    assert at["rare"].any() and "Rare, but as heavy" in told
    assert "blocks (rare)" not in " ".join(
        words(score_figures.class_scores(scores.drop_vars(["class_blocks", "rare"])))
    )


def test_class_shares_add_up():
    store = made_store()
    bars = maps.class_shares(store).axes[0].containers
    targets, split = store.arrays["scene"].targets.values, store.split_map("scene").values
    for number, container in enumerate(bars, 1):
        here = targets[(split == number) & (targets != 255)]
        assert [bar.get_width() for bar in container] == pytest.approx(np.bincount(here, minlength=7) / here.size)


@pytest.mark.parametrize("draw", ["scene", "samples", "panels", "skill", "reliability", "class_scores", "dendrogram"])
def test_simulated_data_are_called_so(draw, predictions, scores):
    figure = draw_one(draw, predictions, scores)
    assert "simulated data" in words(figure)
    honest = {"scores": scores.assign_attrs(simulated=0), "predictions": predictions.copy()}
    honest["predictions"].attrs["simulated"] = 0
    if draw in ("skill", "reliability", "class_scores", "panels"):
        assert "simulated data" not in words(draw_one(draw, honest["predictions"], honest["scores"]))


def draw_one(name, predictions, scores):
    vectors = made_embeddings()
    return {
        "scene": lambda: maps.scene(made_store()),
        "samples": lambda: maps.samples(made_store(), n=3),
        "panels": lambda: maps.prediction_panels(predictions, arrays=made_arrays()),
        "skill": lambda: plots.skill(scores),
        "reliability": lambda: plots.reliability(scores),
        "class_scores": lambda: score_figures.class_scores(scores),
        "dendrogram": lambda: plots.dendrogram(embeddings.link(vectors), vectors, made_tiles(vectors))[0],
    }[name]()


class TestMaps:
    def test_north_is_up_whichever_way_the_rows_run(self):
        scene = made_arrays()["scene"].to_dataset()
        upside_down = scene.isel(y=slice(None, None, -1))
        colours = dict(zip(CLASSES, COLOURS, strict=True))
        one, two = (plots_maps.thinned(data.targets) for data in (scene, upside_down))
        assert (maps.coloured(one.values, colours) == maps.coloured(two.values, colours)).all()
        assert one.y[0] > one.y[-1]

    def test_a_class_is_drawn_in_its_colour(self):
        drawn = maps.coloured(np.array([[2, 255]], "uint8"), dict(zip(CLASSES, COLOURS, strict=True)))
        assert matplotlib.colors.to_hex(drawn[0, 0]) == COLOURS[2]
        assert drawn[0, 1, 3] == 0  # no data is transparent

    def test_panel_lies_on_its_ground(self):
        scene = made_arrays()["scene"].to_dataset()
        west, east, south, north = maps.rgb(scene.inputs).axes[0].images[0].get_extent()
        assert (west, north) == pytest.approx((630.0, 228.5))
        assert east - west == pytest.approx(scene.sizes["x"] * 0.0285)
        assert north - south == pytest.approx(scene.sizes["y"] * 0.0285)

    def test_maps_ask_no_network(self, monkeypatch, tmp_path):
        import cartopy

        def refuse(*_):
            raise AssertionError("a map asked the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setitem(cartopy.config, "data_dir", tmp_path)  # nothing fetched before may help
        figure = maps.scene(made_store())
        figure.canvas.draw()
        globe = figure.axes[-1]
        sizes = [len(feature._geometries if hasattr(feature, "_geometries") else list(feature._feature.geometries()))
                 for feature in globe.findobj(lambda a: type(a).__name__ == "FeatureArtist")]  # fmt: skip
        assert len(sizes) == 4 and min(sizes) > 10

    def test_scene_without_crs_is_drawn_without_locator(self):
        store = made_store()
        store.arrays = store.arrays.map_over_datasets(lambda data: data.drop_vars("spatial_ref", errors="ignore"))
        assert len(maps.scene(store).axes) == 3

    def test_samples_of_an_absent_split(self):
        with pytest.raises(ValueError, match="No windows in split 'nowhere'"):
            maps.samples(made_store(), split="nowhere")


def test_where_nothing_is_known_no_maximum_over_classes_warns(monkeypatch):
    """dask skips unknown values under a filter of warnings that threads share: one in some dozen maps printed a warning."""
    drawn = []
    monkeypatch.setattr(maps, "draw_values", lambda ax, values, *rest: drawn.append(values))
    probability = np.array([[[0.2, np.nan]], [[0.8, np.nan]]], np.float32)
    data = xr.Dataset({"probability": (("model", "class", "y", "x"), probability[None])}, {"model": ["network"]})
    maps._sureness(None, data.chunk(), None, "network")
    assert not any("nanmax" in str(key) for key in drawn[0].data.dask)
    np.testing.assert_array_equal(drawn[0].values, np.array([[0.8, np.nan]], np.float32))
