"""Maps and times of kinds: each footprint where it lies, in its letter's colour, north up."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import made_arrays
from matplotlib.colors import to_rgb

from geonb import plots
from geonb.plots import clusters


def placed(boxes, source="scene", **coords):
    """Embeddings whose samples have these footprints (y, x, height, width)."""
    columns = {
        name: ("sample", np.array(part))
        for name, part in zip(("y", "x", "height", "width"), zip(*boxes, strict=True), strict=True)
    }
    data = {"embedding": (("sample", "dim"), np.random.default_rng(0).normal(size=(len(boxes), 4)))}
    return xr.Dataset(data, {**columns, "source": ("sample", [source] * len(boxes)), **coords})


def grid(shape, crs="EPSG:4326", ascending=False):
    """A source without an image."""
    import rioxarray  # noqa: F401

    y = np.arange(shape[0]) * 0.5 + 10.25
    data = xr.Dataset(
        {"valid": (("y", "x"), np.ones(shape, bool))},
        {"y": y if ascending else y[::-1], "x": np.arange(shape[1]) * 0.5 - 5.75},
    )
    return xr.DataTree.from_dict({"/scene": data.rio.write_crs(crs)})


def over(figure):
    """The layer of kinds on the first map: rgba (y, x), its extent."""
    image = figure.axes[0].images[-1]
    return np.asarray(image.get_array()), image.get_extent()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(20, 60), st.integers(20, 60), st.integers(0, 1000))
def test_a_footprint_covers_the_pixels_of_a_thinned_grid_that_lie_in_it(step, height, width, seed):
    random = np.random.default_rng(seed)
    y, x = random.integers(0, height - 8), random.integers(0, width - 8)
    box = (y, x, random.integers(1, height - y + 1), random.integers(1, width - x + 1))
    full = np.zeros((height, width), bool)
    full[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = True
    thin = np.zeros(clusters._thin_shape((height, width), step), bool)
    for area in clusters._areas(box, (height, width), step):
        thin[area] = True
    expected = full[step // 2 :: step, step // 2 :: step]
    if expected.any():
        assert (thin == expected).all()
    else:
        assert thin.any()  # what falls between the pixels is still shown


def test_a_footprint_across_the_seam_lies_on_both_sides():
    areas = clusters._areas((2, 17, 3, 6), (10, 20), 1)
    assert areas == [(slice(2, 5), slice(17, 20)), (slice(2, 5), slice(0, 3))]


@pytest.mark.parametrize("ascending", [True, False])
def test_each_kind_lies_where_its_tiles_lie_with_north_up(ascending):
    boxes = [(0, 0, 4, 4), (8, 6, 4, 6)]
    figure = plots.kinds_map(["A", "B"], placed(boxes), grid((12, 16), ascending=ascending))
    shown, (west, east, south, north) = over(figure)
    assert (west, east, south, north) == pytest.approx((-6, 2, 10, 16))
    colours = {name: to_rgb(colour) for name, colour in plots.cluster_colours("AB").items()}
    expected = np.zeros((12, 16), "<U1")
    for letter, (y, x, h, w) in zip("AB", boxes, strict=True):
        expected[y : y + h, x : x + w] = letter
    expected = expected[::-1] if ascending else expected  # row 0 is then the southernmost
    for letter in "AB":
        assert np.abs(shown[expected == letter][:, :3] - colours[letter]).max() < 1e-6
    assert (shown[..., 3] > 0).tolist() == (expected != "").tolist()
    letters = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    y = 10.25 + 0.5 * (2 if ascending else 9)
    assert letters["A"] == pytest.approx((-5.75 + 0.5 * 2, y))
    assert "Natural Earth" in " ".join(text.get_text() for text in figure.texts)


def test_where_tiles_overlap_the_commonest_kind_and_the_mean_colour_are_shown():
    data = placed([(0, 0, 4, 4)] * 3 + [(6, 6, 2, 2)])
    tree = grid((12, 16))
    shown, _ = over(plots.kinds_map(["B", "A", "B", "A"], data, tree))
    assert shown[1, 1, :3] == pytest.approx(to_rgb(plots.cluster_colours("AB")["B"]))
    values = xr.DataArray(
        [[0.0, 0, 0], [2, 1, 0], [1, 2, 3], [2, 2, 3]],
        dims=("sample", "axis"),
        coords=data.coords,
        attrs={"simulated": 1},
    )
    shown, _ = over(plots.components_map(values, tree))
    tones = plots.component_colours(values) / 255
    assert shown[1, 1, :3] == pytest.approx(tones[:3].mean(0)) and shown[7, 7, :3] == pytest.approx(tones[3])
    assert shown[10, 10, 3] == 0


def test_the_image_lies_below_in_kilometres():
    data = placed([(40, 40, 32, 32), (90, 90, 32, 32)])
    figure = plots.kinds_map(["A", "B"], data, made_arrays())
    ax = figure.axes[0]
    assert len(ax.images) == 2 and "km" in ax.get_xlabel()
    assert ax.images[0].get_extent() == pytest.approx(ax.images[1].get_extent())
    grey = np.asarray(ax.images[0].get_array())
    assert (grey[..., 0] == grey[..., 1]).all() and np.ptp(grey[..., 0]) > 0.5


def test_of_a_series_of_scenes_the_first_lies_below():
    tree = made_arrays()
    data = tree["scene"].to_dataset()
    series = data.assign(inputs=data["inputs"].expand_dims(time=3), valid=data["valid"].expand_dims(time=3))
    figure = plots.kinds_map(
        ["A", "B"], placed([(0, 40, 9, 9), (9, 9, 9, 9)]), xr.DataTree.from_dict({"/scene": series})
    )
    assert "of the first time" in " ".join(text.get_text() for text in figure.texts)


def test_a_wide_scene_in_metres_has_coasts():
    import rioxarray  # noqa: F401

    y, x = -np.arange(40) * 50_000 + 1_000_000.0, np.arange(40) * 50_000 - 1_000_000.0
    data = xr.Dataset({"valid": (("y", "x"), np.ones((40, 40), bool))}, {"y": y, "x": x}).rio.write_crs("EPSG:3035")
    data["y"], data["x"] = y + 2_500_000, x + 4_000_000  # Europe
    figure = plots.kinds_map(
        ["A", "B"], placed([(0, 0, 9, 9), (20, 20, 9, 9)]), xr.DataTree.from_dict({"/scene": data})
    )
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 30]
    assert lines and "Natural Earth" in " ".join(text.get_text() for text in figure.texts)


def test_without_two_places_there_is_no_map():
    same = placed([(0, 0, 4, 4)] * 3)
    assert plots.kinds_map(list("AAB"), same, grid((12, 16))) is None
    assert (
        plots.components_map(xr.DataArray(np.eye(3), dims=("sample", "axis"), coords=same.coords), grid((12, 16)))
        is None
    )
    elsewhere = placed([(0, 0, 4, 4), (5, 5, 2, 2)], source="another")
    assert plots.kinds_map(list("AB"), elsewhere, grid((12, 16))) is None


def test_components_become_colours_between_their_limits():
    values = np.array([[[0.0, 5, -1], [10, 5, 1]], [[np.nan, 5, 0], [20, 10, 0]]])
    shade = plots.component_colours(values, [(0, 20), (0, 10), (-1, 1)])
    assert shade.tolist() == [[[0, 128, 0], [128, 128, 255]], [[255, 255, 255], [255, 255, 128]]]
    low, high = plots.component_limits(np.random.default_rng(0).normal(size=(50_000, 3)))[0]
    assert (low, high) == pytest.approx((-2.05, 2.05), abs=0.05)
    with pytest.raises(ValueError, match="2 components"):
        plots.component_colours(np.zeros((4, 2)))


class TestTimes:
    def heights(self, figure):
        return {c.get_label(): [bar.get_height() for bar in c] for c in figure.axes[0].containers}

    def test_bars_are_shares_of_each_time(self):
        times = np.array(["2020-01-01", "2020-01-01", "2020-01-02", "NaT", "2020-01-05", "2020-01-05"], "M8[ns]")
        data = placed([(0, 0, 4, 4)] * 6, time=("sample", times))
        figure = plots.kinds_in_time(list("ABBAAA"), data)
        assert self.heights(figure) == {"A": [0.5, 0, 1], "B": [0.5, 1, 0]}
        told = " ".join(text.get_text() for text in [*figure.texts, *figure.axes[0].texts])
        assert "1 samples have no time" in told and "2 1 2" in told

    def test_many_times_share_bars(self):
        times = np.arange("2000-01", "2010-01", dtype="M8[M]").astype("M8[ns]")
        letters = np.where(np.arange(120) < 60, "A", "C")
        figure = plots.kinds_in_time(letters, placed([(0, 0, 4, 4)] * 120, time=("sample", times)))
        heights = self.heights(figure)
        assert len(heights["A"]) == 30 and heights["A"] == [1] * 15 + [0] * 15 and heights["C"] == [0] * 15 + [1] * 15
        assert figure.axes[0].get_xticklabels()[0].get_text() == "2000-01"

    def test_without_two_times_there_is_nothing(self):
        assert plots.kinds_in_time(["A"], placed([(0, 0, 4, 4)])) is None
        one = np.array(["2020-01-01", "NaT"], "M8[ns]")
        assert plots.kinds_in_time(["A", "B"], placed([(0, 0, 4, 4)] * 2, time=("sample", one))) is None
