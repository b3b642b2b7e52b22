"""Figures of triplets: each tile drawn is the tile of its row, each number that of the scores; what means nothing says so."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import made_triplets as made
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.clouds import figures, triplet_figures
from geonb.workloads.clouds.scores import score_triplets


@pytest.fixture(scope="module")
def predictions():
    return made.made_predictions()


@pytest.fixture(scope="module")
def store(predictions):
    return made.made_store(predictions)


@pytest.fixture(scope="module")
def scores(predictions):
    return score_triplets(predictions, draws=50)


def words(figure):
    """Every text a reader sees."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def drawn_tiles(figure):
    """(which, row named, row and tile that its pixels say) of each tile on a figure."""
    for ax in figure.axes:
        name, _, row = (ax.get_gid() or "").rpartition("-")
        if name:
            pixel = ax.images[0].get_array()[0, 0]
            yield name, int(row), int(pixel[0]), ["anchor", "neighbor", "distant"][pixel[1] // 100]


@pytest.mark.parametrize("which", ["worst", "best"])
def test_the_gallery_shows_the_tiles_of_its_rows(predictions, store, which):
    figure = triplet_figures.triplet_gallery(predictions, store, which=which)
    tiles = list(drawn_tiles(figure))
    assert len(tiles) == 18
    for name, row, pixel_row, pixel_name in tiles:
        assert (row % 256, name) == (pixel_row, pixel_name)
    data = predictions["triplets"].to_dataset()
    rows = list(dict.fromkeys(row for _, row, _, _ in tiles))
    one = data.sel(model="network").isel(sample=rows)
    assert set(one["split"].values) == {"test"} and len(set(one["block"].values)) == 6
    margins = ((one["far"] - one["near"]) / (one["far"] + one["near"])).values
    assert (np.diff(margins) >= 0).all() if which == "worst" else (np.diff(margins) <= 0).all()
    test = data.sel(model="network").isel(sample=np.flatnonzero(data["split"].values == "test"))
    every = ((test["far"] - test["near"]) / (test["far"] + test["near"])).values
    assert margins[0] == pytest.approx(every.min() if which == "worst" else every.max())
    text = words(figure)
    assert f"neighbour {float(one['near'][0]):.3g}" in text and f"distant {float(one['far'][0]):.3g}" in text
    assert any(f"The 6 {which} triplets of the test split" in word for word in text) and "simulated data" in text


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["train", "val", "test"]), st.booleans(), st.booleans())
def test_rows_stay_the_stores_own_after_every_filter(seed, split, named, spread):
    """Also where predictions name no rows, where some have no distance, and where the splits are mixed up."""
    random = np.random.default_rng(seed)
    data = made.made_predictions(60)["triplets"].to_dataset().load()
    data = data.isel(sample=random.permutation(60)).drop_vars("sample")
    data["near"][0, random.permutation(60)[:20]] = np.nan
    data = data.assign_coords(sample=np.arange(60)) if named else data
    found = triplet_figures.ranked(xr.DataTree.from_dict({"/triplets": data}), split, "worst", 5, spread)
    if found is None:
        assert not (np.isfinite(data["near"]).all("model") & (data["split"] == split)).any()
        return
    original = data.isel(sample=found["sample"].values)
    for name in ("near", "far", "y", "x", "t", "split", "block"):
        np.testing.assert_array_equal(original[name], found[name])
    assert set(found["split"].values) == {split}
    mine = (data["far"] - data["near"]).where(np.isfinite(data["near"]).all("model")) / (data["far"] + data["near"])
    assert float(found["margin"][0, 0]) == pytest.approx(
        float(mine.isel(model=0, sample=data["split"].values == split).min())
    )


def test_nothing_to_show_and_a_wrong_word(predictions, store):
    data = predictions["triplets"].to_dataset()
    training = xr.DataTree.from_dict({"/triplets": data.isel(sample=data["split"].values == "train")})
    assert triplet_figures.triplet_gallery(training, store) is None
    with pytest.raises(ValueError, match=r"'ugliest'.*worst or best"):
        triplet_figures.ranked(predictions, "test", "ugliest", 3)
    with pytest.raises(ValueError, match="The future split has no triplet"):
        triplet_figures.triplet_samples(store, split="future")


def test_samples_are_training_triplets_a_column_each(predictions, store):
    figure = triplet_figures.triplet_samples(store, n=5, seed=1)
    tiles = list(drawn_tiles(figure))
    assert len(tiles) == 15 and all((row % 256, name) == (pixel_row, pixel) for name, row, pixel_row, pixel in tiles)
    rows = [[row for name, row, *_ in tiles if name == which] for which in ("anchor", "neighbor", "distant")]
    assert rows[0] == rows[1] == rows[2] and (store.index["split"].iloc[rows[0]] == "train").all()


def test_distances_are_the_counts_of_the_scores(scores, predictions):
    figure = triplet_figures.distances(scores)
    assert len(figure.axes) == 4 * 3 and all(ax.get_xscale() == "log" for ax in figure.axes)
    ax = figure.axes[2]  # network, test
    shares = [patch.get_data().values for patch in ax.patches]
    assert sum(shares[0]) == pytest.approx(1) and sum(shares[2]) == pytest.approx(1)
    data = predictions["triplets"].to_dataset().sel(model="network")
    far = data["far"].values[data["split"].values == "test"]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(np.median(far))
    accuracy = float(scores["score"].sel(model="network", split="test", metric="triplet_accuracy"))
    assert f"accuracy {accuracy:.2f}, " in " ".join(words(figure))
    assert not any("COLLAPSED" in word for word in words(figure))


def test_a_collapsed_embedding_is_called_one():
    for scale, tied in ((1e-9, False), (1.0, True)):
        tree = made.made_predictions(200, scale=scale)
        if tied:
            data = tree["triplets"].to_dataset()
            data["far"][0] = data["near"][0]
            tree["triplets"] = xr.DataTree(data)
        scored = score_triplets(tree, draws=0)
        assert "HAS COLLAPSED" in triplet_figures.collapse(scored)
        assert any("COLLAPSED" in word for word in words(triplet_figures.distances(scored)))
        if tied:
            assert scored["score"].sel(model="network", split="test", metric="triplet_accuracy") == 0.5
            assert scored["score"].sel(model="network", split="test", metric="margin") == 0


def test_beyond_brightness_draws_the_fifths_and_what_is_added(scores):
    figure = triplet_figures.beyond_brightness(scores)
    left, right = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    for model in made.MODELS:
        np.testing.assert_allclose(lines[model], scores["ease_score"].sel(split="test", model=model))
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["network", "pixel-pca", "untrained"]
    assert right.lines[0].get_xdata()[0] == pytest.approx(
        float(scores["joined_gain"].sel(split="test", model="network"))
    )
    unfitted = scores.assign({k: v * np.nan for k, v in scores.items() if k.startswith("joined")})
    assert "no validation triplet" in words(triplet_figures.beyond_brightness(unfitted))


def test_scenes_are_drawn_at_their_time_or_in_order(scores):
    figure = triplet_figures.scene_accuracy(scores)
    assert "undated ones last" in figure.axes[1].get_xlabel()
    west = scores.isel(scene=scores["scene_source"].values == "west")
    figure = triplet_figures.scene_accuracy(west)
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(orig=True), west["scene_time"].values)
    np.testing.assert_allclose(line.get_ydata(), west["scene_score"].sel(split="test", model="network"))
    assert [bar.get_height() for bar in figure.axes[1].patches] == west["scene_triplets"].sel(
        split="test"
    ).values.tolist()
    one = west.isel(scene=[0])
    assert triplet_figures.scene_accuracy(one).axes, "a single scene can be drawn too"


def test_places_lie_where_they_are_on_earth(scores, monkeypatch):
    figure = triplet_figures.place_accuracy(scores)
    maps = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_title(loc="left")}
    assert set(maps) == {"west", "east"}
    west = maps["west"]
    points = west.collections[-1]
    at = scores.isel(place=(scores["place_source"] == "west").values).sel(split="test", model="network")
    at = at.isel(place=at["place_triplets"].values > 0)
    found = west.projection.transform_points(*_lonlat(at))[:, :2]
    drawn = points.get_offset_transform() - west.transData
    np.testing.assert_allclose(drawn.transform(points.get_offsets()), found, atol=1e-6)
    np.testing.assert_allclose(points.get_array(), at["place_score"])


def _lonlat(at):
    import cartopy.crs as ccrs

    return ccrs.PlateCarree(), at["place_lon"].values, at["place_lat"].values


def test_scores_of_something_else_are_refused(scores):
    for draw, name in ((triplet_figures.distances, "distance_count"), (triplet_figures.scene_accuracy, "scene_score"),
                       (triplet_figures.place_accuracy, "place_score"), (triplet_figures.beyond_brightness, "ease_score")):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            draw(scores.drop_vars(name))


class TestLooks:
    def test_everything_there_is_to_show_is_shown(self, scores, predictions, store):
        figure, told = figures.beyond(scores)
        assert figure.axes and "Mean and spread of brightness alone" in told.data
        assert len(figures.scenes_and_places(scores)) == 3
        assert figures.worst(predictions, store).axes and figures.best(predictions, store).axes
        assert figures.distances(scores).axes and figures.triplet_samples(store, seed=0).axes

    def test_what_is_not_there_is_left_out(self, scores):
        assert figures.beyond(scores.drop_vars("joined_gain")) is None
        assert figures.neighbours(scores.drop_vars("neighbour_share")) is None
        one = scores.isel(scene=[0], source=[0]).drop_vars("place_score")
        assert figures.scenes_and_places(one) is None
        assert figures.scenes_and_places(scores.assign(n_samples=scores["n_samples"] * 0)) is None

    def test_likes_stand_beside_chance(self, scores):
        table = figures.neighbours(scores)
        assert table.index.tolist() == ["west", "east"] and table.shape == (2, 4)
        share, chance = (float(scores[f"neighbour_{k}"][0, 0]) for k in ("share", "chance"))
        assert table.iloc[0, :2].tolist() == [f"{share:.0%}", f"{chance:.0%}"]
        share = scores["neighbour_share"].copy(deep=True)
        share[0, 1] = np.nan
        assert figures.neighbours(scores.assign(neighbour_share=share)).iloc[0, 2] == "-"
        share[1, 1] = np.nan
        assert figures.neighbours(scores.assign(neighbour_share=share)).shape == (2, 2), "nobody has a time"
