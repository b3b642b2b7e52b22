"""Numbers as bytes and back, windows of grids, colours of planes."""

import zlib

import numpy as np
import pytest
import viewing
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from geonb.dashboards.layers import Grid, Layer, encoded, from_array, group_of, north_up, painted, webp

NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@st.composite
def grids(draw):
    """A grid of 1 to 40 cells a side, of any size and place."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    west, south = draw(st.floats(-1e6, 1e6)), draw(st.floats(-1e6, 1e6))
    width, height = draw(st.floats(0.01, 1e5)), draw(st.floats(0.01, 1e5))
    return Grid((west, south, west + columns * width, south + rows * height), (rows, columns))


class TestCodes:
    @given(
        arrays("float64", (3, 4), elements=NUMBERS), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([254, 127, 50])
    )
    def test_a_number_comes_back_within_half_a_step(self, values, power, steps):
        layer = Layer("a", "a", "numbers", power=power)
        low, high = layer.limits(values)
        codes = layer.codes(values, low, high, steps)
        back = viewing.numbers(codes, layer, low, high)
        assert (np.isnan(back) == np.isnan(values)).all()
        shares = [((v - low) / (high - low)) ** power for v in (back, values)]
        half = 0.5 / steps + (0.5 / 254 if 254 % steps else 0) + 1e-9  # a byte is the nearest to its step
        assert np.nanmax(np.abs(np.subtract(*shares)), initial=0) <= half

    @given(arrays("int64", (3, 4), elements=st.integers(-50, 204)))
    def test_whole_numbers_come_back_exactly(self, values):
        layer = Layer("a", "a", "numbers")
        low, high = layer.limits(values.astype(float))
        assert (viewing.numbers(layer.codes(values.astype(float), low, high), layer, low, high) == values).all()

    def test_its_own_limits_hold_and_what_lies_outside_is_drawn_at_the_end(self):
        layer = Layer("a", "a", "numbers", low=0.0, high=2.0)
        assert layer.limits(np.array([7.0])) == (0.0, 2.0)
        codes = layer.codes(np.array([-1, 0, 1, 2, 3, np.nan, np.inf]), 0.0, 2.0)
        assert codes.tolist() == [0, 0, 127, 254, 254, 255, 255]

    def test_nothing_at_all_has_limits(self):
        assert np.isfinite(Layer("a", "a", "numbers").limits(np.full((2, 2), np.nan))).all()

    def test_a_class_that_is_not_there_is_nothing(self):
        codes = Layer("a", "a", "classes", labels=["x", "y"]).codes(np.array([0, 1, 2, -1, 255, np.nan]), 0, 254)
        assert codes.tolist() == [0, 1, 255, 255, 255, 255]


class TestGrid:
    @given(grids(), st.floats(0, 1), st.floats(0, 1))
    def test_a_cell_holds_the_places_inside_it(self, grid, across, down):
        west, south, east, north = grid.bounds
        x, y = west + across * (east - west), north - down * (north - south)
        cell = grid.cell(x, y)
        if not (west <= x < east and south < y <= north):
            assert cell is None
            return
        row, column = cell
        assert 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]
        wide, high = (east - west) / grid.shape[1], (north - south) / grid.shape[0]
        slack = 1e-6 * max(abs(v) for v in grid.bounds) + 1e-9
        assert west + column * wide - slack <= x <= west + (column + 1) * wide + slack
        assert north - (row + 1) * high - slack <= y <= north - row * high + slack

    def test_outside_there_is_none(self):
        grid = Grid((0, 0, 4, 2), (2, 4))
        assert grid.cell(0, 2) == (0, 0) and grid.cell(3.9, 0.1) == (1, 3)
        assert [grid.cell(*at) for at in ((-0.1, 1), (4, 1), (1, 2.1), (1, 0))] == [None] * 4

    @given(grids(), st.tuples(*[st.floats(-0.5, 1.5)] * 4), st.integers(1, 60))
    def test_a_window_covers_what_is_seen_of_the_grid_and_no_more_than_fits(self, grid, corners, pixels):
        (left, right), (low, high) = sorted(corners[:2]), sorted(corners[2:])
        west, south, east, north = grid.bounds
        wide, tall = east - west, north - south
        view = west + left * wide, south + low * tall, west + right * wide, south + high * tall
        slices, box = grid.window(view, pixels)
        cells = np.arange(np.prod(grid.shape)).reshape(grid.shape)[slices["y"], slices["x"]]
        assert 1 <= max(cells.shape) <= pixels + 1
        step, (dx, dy) = slices["x"].step, (wide / grid.shape[1], tall / grid.shape[0])
        assert box[2] - box[0] == pytest.approx(cells.shape[1] * step * dx)
        assert box[3] - box[1] == pytest.approx(cells.shape[0] * step * dy)
        row, column = np.unravel_index(cells[0, 0], grid.shape)
        assert (box[0], box[3]) == pytest.approx((west + column * dx, north - row * dy))
        slack = 1e-6 * (wide + tall)
        for side, edge, end in ((0, west, east), (2, west, east), (1, south, north), (3, south, north)):
            seen = min(max(view[side], edge), end)  # of what the grid has of the view, nothing is outside of the box
            assert box[side] <= seen + slack if side < 2 else box[side] >= seen - slack

    def test_of_a_view_that_is_half_empty_half_as_much_comes(self):
        slices, _ = Grid((0, 0, 1000, 1000), (1000, 1000)).window((-500, 0, 1500, 1000), (400, 200))
        assert slices == {"y": slice(0, 1000, 5), "x": slice(0, 1000, 5)}

    def test_near_by_every_cell_comes(self):
        slices, box = Grid((0, 0, 1000, 1000), (100, 100)).window((101, 201, 149, 299), 20)
        assert slices == {"y": slice(70, 80, 1), "x": slice(10, 15, 1)} and box == (100, 200, 150, 300)


class TestReading:
    data = xr.DataArray(np.arange(120.0).reshape(2, 3, 4, 5), dims=("lead", "model", "y", "x"))

    def test_open_dims_come_first_in_the_layers_order(self):
        read = from_array([self.data, None], ("model", "lead"))
        here = {"y": slice(1, 2), "x": slice(2, 4)}
        assert (read(0, {"model": 2, "lead": 1}, here) == self.data.values[1, 2, 1:2, 2:4]).all()
        assert (read(0, {}, here) == self.data.values[:, :, 1:2, 2:4].swapaxes(0, 1)).all()
        assert (read(0, {"lead": 1, "other": 5}, here) == self.data.values[1, :, 1:2, 2:4]).all()
        assert np.isnan(read(1, {"model": 0, "lead": 0}, here)).all()

    def test_what_is_done_after_gets_what_is_open_first(self):
        read = from_array([self.data], ("lead", "model"), lambda values: values.max(0))
        assert (read(0, {"model": 1}, {"y": slice(None), "x": slice(None)}) == self.data.values[1, 1]).all()

    def test_only_what_is_asked_for_is_read(self):
        lazy = self.data.chunk(lead=1, model=1)
        seen = []
        watched = lazy.copy(
            data=lazy.data.map_blocks(lambda block: seen.append(block.shape) or block, dtype=float, meta=np.empty(0))
        )
        from_array([watched], ("model", "lead"))(0, {"model": 1, "lead": 0}, {"y": slice(0, 1), "x": slice(0, 1)})
        assert len(seen) == 1

    def test_north_is_up_whichever_way_the_rows_run(self):
        data = xr.Dataset({"a": (("y", "x"), [[1], [2]])}, {"y": [0.0, 1.0], "x": [0.0]})
        assert north_up(data).a.values.tolist() == north_up(data.isel(y=[1, 0])).a.values.tolist() == [[2], [1]]
        tree = xr.DataTree.from_dict({"/one": data})
        assert group_of(tree, "one").a.values.tolist() == [[2], [1]]
        assert group_of(tree, "two") is None and group_of(None, "one") is None


class TestColours:
    def test_classes_are_painted_in_their_colours(self):
        layer = Layer("a", "a", "classes", labels=["x", "y", "z"], colours=["#102030", "", "#a0b0c080"])
        shown = painted(layer, np.array([[0, 1, 2, np.nan]]))
        assert shown.tolist() == [[[16, 32, 48, 255], [0, 0, 0, 0], [160, 176, 192, 128], [0, 0, 0, 0]]]

    def test_numbers_go_from_colour_to_colour_by_their_power(self):
        layer = Layer("a", "a", "numbers", low=0, high=1, power=0.5, colours=["#000000", "#ff8000"])
        shown = painted(layer, np.array([[0, 0.25, 1, np.nan]]))[0]
        assert shown[:, 3].tolist() == [255, 255, 255, 0] and shown[0, :3].tolist() == [0, 0, 0]
        assert np.abs(shown[1, :3].astype(int) - [128, 64, 0]).max() <= 1 and shown[2, :3].tolist() == [255, 128, 0]

    def test_an_image_keeps_its_colours_and_where_it_is_transparent(self):
        picture = np.zeros((8, 8, 4), np.uint8)
        picture[:4] = 200, 100, 50, 255
        back = viewing.colours(webp(picture, 90))
        assert (back[..., 3] == picture[..., 3]).all() and np.abs(back[1, 1, :3].astype(int) - [200, 100, 50]).max() < 6
        assert Image.fromarray(painted(Layer("a", "a", "image"), picture)).size == (8, 8)

    @pytest.mark.parametrize(
        ("made", "filtered"),
        [(lambda y, x: np.sin(x / 9) + y / 50, True), (lambda y, x: (7919 * x * x + 104729 * y) % 97 == 0, False)],
    )
    def test_bytes_are_sent_in_the_shorter_form(self, made, filtered):
        values = made(*np.mgrid[:50, :60])
        layer = Layer("a", "a", "numbers", low=-1.0, high=2.0)
        about, file = encoded(layer, values)
        codes = layer.codes(values, -1, 2)
        assert about["filtered"] is filtered and len(file) <= len(zlib.compress(codes.tobytes(), 1))
        sent = np.frombuffer(zlib.decompress(file), np.uint8).reshape(50, 60).astype(int)
        assert ((sent.cumsum(0).cumsum(1) % 256 if filtered else sent) == codes).all()

    def test_true_and_false_are_numbers_too(self):
        about, _ = encoded(Layer("a", "a", "numbers"), np.array([[True, False]]))
        assert (about["low"], about["high"], about["height"], about["width"]) == (0, 254, 1, 2)
