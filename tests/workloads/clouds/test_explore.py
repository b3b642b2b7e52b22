"""The map of embeddings: layers and tiles against the data they show, clicks, the frozen page and its bytes, in a browser too."""

import base64
import gzip
import html
import io
import json
import re
from types import SimpleNamespace

import IPython
import made_scenes
import made_sky as made
import nbformat
import numpy as np
import pytest
import shapely
import xarray as xr
from browsing import COLOURS, OPEN, PICTURE, browser_page, jupyterlab, wait_until
from pages import REQUESTS, colours_of
from PIL import Image
from pyproj import CRS, Transformer

from geonb.dashboards.layers import RAMP
from geonb.plots.cells import ground, ground_in
from geonb.plots.style import evenly
from geonb.workloads.clouds import explore, explore_style, explore_tiles, frozen
from geonb.workloads.clouds.explore_tiles import Clouds, Tile
from geonb.workloads.clouds.frozen import NO_TILE, frozen_page


@pytest.fixture(scope="module")
def arrays():
    return made.sky_arrays()


@pytest.fixture(scope="module")
def predictions(arrays):
    return made.sky_predictions(arrays)


@pytest.fixture(scope="module")
def clouds(predictions, arrays):
    return Clouds(predictions, arrays)


@pytest.fixture
def explorer(predictions, arrays):
    return explore.explore(predictions, arrays).explorer


def click(explorer, series, row, column, off=0.0):
    x, y = (explorer.clouds.series[series].data[axis].values for axis in "xy")
    explorer.sources["asked"].data = {
        "x": [float(x[column] + off * (x[1] - x[0]))],
        "y": [float(y[row] + off * (y[1] - y[0]))],
    }


def every_tile(predictions):
    """All valid tiles with their vector, time, series and the pixels of their window."""
    found = []
    for name in made.TIMES:
        data = predictions[name].to_dataset()
        for t, row, column in zip(*np.nonzero(data.valid.values), strict=True):
            vector = data.embedding.values[t, row, column].astype(float)
            found.append((Tile(name, t, row, column), vector, data.time.values[t]))
    return found


class TestTiles:
    @pytest.mark.parametrize("tile", [Tile("west", 0, 7, 10), Tile("west", 2, 0, 0), Tile("pole", 1, 14, 20)])
    def test_the_most_alike_are_the_nearest_that_overlap_none_before_them(self, clouds, predictions, tile):
        def close(a, when_a, b, when_b):
            same_sky = a.series == b.series and (a.time == b.time or abs(when_a - when_b) < np.timedelta64(6, "h"))
            apart = max(abs(a.row - b.row), abs(a.column - b.column)) * made.STEP >= made.PATCH
            return same_sky and not apart

        tiles = every_tile(predictions)
        _, vector, when = next(entry for entry in tiles if entry[0] == tile)
        taken, expected = [(tile, when)], []
        for other, there, time in sorted(tiles, key=lambda entry: ((entry[1] - vector) ** 2).sum()):
            if not any(close(other, time, *before) for before in taken):
                taken.append((other, time))
                expected.append((other, ((there - vector) ** 2).sum()))
        found = clouds.alike(tile)
        assert [one for one, _ in found] == [one for one, _ in expected[:5]]
        np.testing.assert_allclose([far for _, far in found], [far for _, far in expected[:5]], rtol=1e-4)

    def test_few_tiles_give_few_that_are_alike(self, arrays):
        small = xr.DataTree.from_dict({"/west": arrays["west"].to_dataset().isel(time=[0], y=slice(20), x=slice(40))})
        clouds = Clouds(made.sky_predictions(small), small)
        found = clouds.alike(Tile("west", 0, 0, 0))
        assert [tile.column for tile, _ in found] in ([4], [5], [6])  # 7 columns of tiles, 4 of which overlap the first

    def test_a_single_row_of_tiles_is_as_high_as_a_tile(self, arrays):
        small = xr.DataTree.from_dict({"/west": arrays["west"].to_dataset().isel(y=slice(18), x=slice(17))})
        clouds = Clouds(made.sky_predictions(small), small)
        series = clouds.series["west"]
        assert (series.rows, series.columns) == (1, 1) and series.step == series.side == (64_000, 64_000)
        assert series.grid == pytest.approx(
            (series.bounds[0], series.bounds[3] - 64_000, series.bounds[0] + 64_000, series.bounds[3])
        )
        facts = facts_of(frozen_page(made.sky_predictions(small), small))
        assert facts["series"][0]["step"] == facts["series"][0]["side"]

    def test_colours_are_three_principal_components_of_all_scenes(self, clouds, predictions):
        tiles = every_tile(predictions)
        vectors = np.stack([vector for _, vector, _ in tiles])
        scores = (vectors - vectors.mean(0)) @ np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][:3].T
        shown = np.array([clouds.rgb(t.series, t.time)[t.row, t.column] for t, _, _ in tiles], float)
        for band in range(3):
            low, high = np.percentile(scores[:, band], (2, 98))
            share = np.clip((scores[:, band] - low) / (high - low), 0, 1)
            expected = share if np.corrcoef(share, shown[:, band])[0, 1] > 0 else 1 - share  # a component has no sign
            assert np.abs(255 * expected - shown[:, band]).max() < 1
        variance = scores.var(0) / vectors.var(0).sum()
        np.testing.assert_allclose(clouds.held[:3], variance, rtol=1e-3)

    def test_the_picture_of_a_tile_is_that_of_its_pixels(self, clouds, arrays):
        series = clouds.series["west"]
        image = arrays["west"].to_dataset()
        low, high = series.limits[0]
        for t, row, column in [(0, 0, 0), (3, 7, 11), (1, 14, 20)]:
            window = image.inputs.values[t, 0, 4 * row : 4 * row + 16, 4 * column : 4 * column + 16]
            valid = image.valid.values[t, 4 * row : 4 * row + 16, 4 * column : 4 * column + 16]
            shown = series.tile_picture(Tile("west", t, row, column))
            expected = 255 * np.clip((window - low) / (high - low), 0, 1) ** 0.75
            assert np.abs(shown[..., 0] - np.where(valid, expected, 0)).max() < 0.51
            assert ((shown[..., 3] == 255) == valid).all()

    def test_a_click_finds_the_nearest_centre(self, clouds):
        series = clouds.series["west"]
        (x, y), (wide, high) = series.place(5, 9), series.step
        for off in (-0.45, 0, 0.45):
            assert series.nearest(x + off * wide, y - off * high, 0) == (5, 9)
        west, south, east, north = series.bounds
        assert series.nearest(west + 1, south + 1, 0) == (14, 0)  # the scene's edge, where no tile has its centre
        assert series.nearest(east - 1, north - 1, 0) is None  # no data
        assert series.nearest(west - 1, y, 0) is None

    def test_scenes_are_found_in_a_store_that_holds_more(self, predictions, arrays):
        some = predictions["west"].to_dataset().isel(time=[1, 3])
        clouds = Clouds(xr.DataTree.from_dict({"/west": some}), arrays)
        assert clouds.series["west"].scenes == [1, 3] and clouds.series["west"].label(1) == "2020-04-03 12:00"
        some = predictions["pole"].to_dataset().isel(time=[1]).assign_coords(t=("time", [1]))
        clouds = Clouds(xr.DataTree.from_dict({"/pole": some}), arrays)
        assert clouds.series["pole"].scenes == [1] and clouds.series["pole"].label(0) == "scene 1"

    def test_south_up_is_turned(self, clouds, predictions, arrays):
        turned = [
            xr.DataTree.from_dict({"/west": t["west"].to_dataset().isel(y=slice(None, None, -1))})
            for t in (predictions, arrays)
        ]
        turned[0].attrs = predictions.attrs
        other = Clouds(*turned).series["west"]
        np.testing.assert_array_equal(other.vectors(2), clouds.series["west"].vectors(2))
        np.testing.assert_array_equal(
            other.tile_picture(Tile("west", 2, 1, 3)), clouds.series["west"].tile_picture(Tile("west", 2, 1, 3))
        )

    def test_a_large_run_is_searched_in_part(self, predictions, arrays, monkeypatch):
        monkeypatch.setattr(explore_tiles, "SEARCHED_MB", 4 * 12 * 15 * 21 * 3.1 / 1e6)  # of six scenes, three
        clouds = Clouds(predictions, arrays)
        assert clouds.searched == {"west": [0, 3], "pole": [0]}
        tile = Tile("west", 1, 7, 7)
        alike = clouds.alike(tile)
        assert {(one.series, one.time) for one, _ in alike} <= {("west", 0), ("west", 3), ("pole", 0)}
        assert "Searched: 50% of the scenes" in explore_style.tile_html(clouds, tile, alike, "west", 1)

    @pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (25, 8), (1000, 3), (7, 1)])
    def test_spread_is_even(self, count, most):
        places = evenly(count, most)
        assert len(places) == min(count, most) and places[0] == 0 and (most == 1 or places[-1] == count - 1)
        assert len(places) < 3 or np.ptp(np.diff(places)) <= 1


BOXES = {
    "west Iberia": (made.GEOS, (-1_000_000, 4_000_000, -600_000, 4_300_000)),
    "full disk": (made.GEOS, (-5_570_000, -5_570_000, 5_570_000, 5_570_000)),
    "across the dateline": (CRS.from_epsg(3832), (1_000_000, -5_000_000, 4_500_000, 1_000_000)),
    "a world around the Pacific": (CRS.from_epsg(3832), (-20_000_000, -12_000_000, 20_000_000, 12_000_000)),
    "the north pole": (CRS.from_epsg(3413), (-3_000_000, -3_000_000, 3_000_000, 3_000_000)),
}


class TestGround:
    @pytest.mark.parametrize("name", BOXES)
    def test_coasts_lie_where_natural_earth_has_them(self, name):
        crs, bounds = BOXES[name]
        lines = ground_in(crs, bounds)["coast"]
        assert lines
        points = np.concatenate(lines)
        assert (points >= np.array(bounds[:2]) - 1).all() and (points <= np.array(bounds[2:]) + 1).all()
        lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*points.T)
        on_earth = np.isfinite(lon) & np.isfinite(lat)
        assert on_earth.mean() > 0.99
        world = shapely.union_all([shapely.linestrings(line) for line in ground((-180, -90, 180, 90))["coast"]])
        off = shapely.distance(world, shapely.points(lon[on_earth], lat[on_earth]))
        assert off.max() < 0.05  # degrees
        steps = np.concatenate([np.hypot(*np.diff(line, axis=0).T) for line in lines])
        assert steps.max() < max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 4  # nothing jumps across the map

    def test_open_sea_and_space_have_none(self):
        assert ground_in(made.GEOS, (-2_500_000, -2_500_000, -2_400_000, -2_400_000)) == {"coast": [], "borders": []}
        assert ground_in(made.GEOS, (6e6, 6e6, 7e6, 7e6)) == {"coast": [], "borders": []}


class TestLive:
    def test_first_come_components_then_a_click_shows_distances(self, explorer, predictions):
        data = predictions["west"].to_dataset()
        first = colours_of(explorer.sources["overlay"])
        assert ((first[..., 3] == 255) == data.valid.values[0]).all()
        assert (first[..., :3][data.valid.values[0]] == explorer.clouds.rgb("west", 0)[data.valid.values[0]]).all()
        click(explorer, "west", 3, 4, 0.3)
        assert explorer.layer.value == "distance" and explorer.tile == Tile("west", 0, 3, 4)
        shown = colours_of(explorer.sources["overlay"])
        assert tuple(shown[3, 4, :3]) == RAMP[-1] and ((shown[..., 3] == 255) == data.valid.values[0]).all()
        squared = ((data.embedding.values[0] - data.embedding.values[0, 3, 4]) ** 2).sum(-1)
        red = shown[..., 0].astype(int)[data.valid.values[0]]
        assert (np.diff(red[np.argsort(squared[data.valid.values[0]])]) <= 0).all() and np.ptp(
            red
        ) > 100  # RAMP's red only rises
        under = np.asarray(explorer.sources["under"].data["distance"][0])[::-1]
        np.testing.assert_allclose(under, squared, rtol=1e-4, atol=1e-6)

    def test_another_time_keeps_the_tile(self, explorer, predictions):
        click(explorer, "west", 3, 4)
        explorer.time.value = 2
        data = predictions["west"].to_dataset().embedding.values
        expected = ((data[2] - data[0, 3, 4]) ** 2).sum(-1)
        np.testing.assert_allclose(np.asarray(explorer.sources["under"].data["distance"][0])[::-1], expected, rtol=1e-4)
        told = explorer.about.value
        numbers = explore_style.number
        assert f'its nearest tile</td><td style="text-align:right">{numbers(np.nanmin(expected))}<' in told
        assert f'the same place</td><td style="text-align:right">{numbers(expected[3, 4])}<' in told
        assert "tiles of 2020-04-02 12:00" in told and ", west, 2020-04-01 12:00" in told
        assert explorer.plot.title.text == "west, 2020-04-02 12:00: distance to the tile of 2020-04-01 12:00"
        assert explorer.sources["squares"].data["dash"][-1] == "dashed"

    def test_the_tile_is_told_with_its_place_and_five_pictures(self, explorer, predictions):
        click(explorer, "west", 3, 4)
        x, y = (predictions["west"][axis].values[i] for axis, i in (("x", 4), ("y", 3)))
        lon, lat = Transformer.from_crs(made.GEOS, "OGC:CRS84", always_xy=True).transform(x, y)
        assert f"{lat:.2f}° N, {-lon:.2f}° W" in explorer.about.value
        pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', explorer.about.value)
        assert len(pictures) == 6 and len(set(pictures)) == 6
        first = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))).convert("L").resize((16, 16)), float)
        expected = explorer.clouds.series["west"].tile_picture(explorer.tile)[..., 0].astype(float)
        assert np.corrcoef(first.ravel(), expected.ravel())[0, 1] > 0.98
        assert f"{explorer.alike[0][1]:.3g}" in explorer.about.value

    def test_outlines_lie_around_their_tiles(self, explorer):
        click(explorer, "west", 3, 4)
        marks = explorer.sources["squares"].data
        assert (marks["x"][-1], marks["y"][-1]) == explorer.here.place(3, 4)
        assert marks["width"][-1] == marks["height"][-1] == pytest.approx(16 * 4000)
        here = [str(i) for i, (one, _) in enumerate(explorer.alike, 1) if (one.series, one.time) == ("west", 0)]
        assert marks["text"] == [*reversed(here), ""]
        explorer.marks.value = False
        assert explorer.sources["squares"].data["x"] == []

    def test_another_series_shows_distances_to_the_same_tile(self, explorer, predictions):
        click(explorer, "west", 3, 4)
        explorer.series.value = "pole"
        assert explorer.tile == Tile("west", 0, 3, 4) and "scene 1" in explorer.plot.title.text
        data = [predictions[name].embedding.values for name in ("pole", "west")]
        expected = ((data[0][0] - data[1][0, 3, 4]) ** 2).sum(-1)
        np.testing.assert_allclose(np.asarray(explorer.sources["under"].data["distance"][0])[::-1], expected, rtol=1e-4)
        assert explorer.plot.x_range.end - explorer.plot.x_range.start == pytest.approx(96 * 2000)
        assert [label for label, _ in explorer.time.options] == ["scene 1", "scene 2"]
        explorer.time.value = 1
        explorer.series.value = "west"
        assert explorer.time.value == 1 and "13:00" in explorer.plot.title.text

    def test_play_moves_the_time(self, explorer):
        before = colours_of(explorer.sources["base"])
        explorer.play.value = 3
        assert explorer.time.value == 3 and "2020-04-03" in explorer.when.value
        assert (colours_of(explorer.sources["base"]) != before).any()

    def test_closer_in_more_pixels_are_read(self, predictions, arrays, monkeypatch):
        monkeypatch.setattr(explore, "VIEW_PIXELS", 24)
        explorer = explore.explore(predictions, arrays).explorer
        assert colours_of(explorer.sources["base"]).shape == (18, 24, 4)
        west, _, _, north = explorer.here.bounds
        explorer.sources["seen"].data = {"bounds": [west, north - 80_000, west + 80_000, north]}
        shown = colours_of(explorer.sources["base"])
        whole = explorer.here.picture(0, explorer.here.bounds, 1000)[0]
        assert (shown[..., :3] == whole[:20, :20, :3]).all() and explorer.sources["base"].data["dw"] == [80_000]

    def test_a_click_where_no_tile_is(self, explorer):
        click(explorer, "west", 0, 20)
        assert "No tile there" in explorer.about.value

    def test_legend_says_what_near_and_far_mean(self, explorer, predictions):
        assert "simulated data" in explorer.legend.value and "red</b> " in explorer.legend.value
        explorer.layer.value = "distance"
        near, far = (float(np.median(predictions["triplets"][name].values[0])) for name in ("near", "far"))
        assert (
            f"{near:.3g} two neighbours" in explorer.legend.value
            and f"{far:.3g} distant tiles" in explorer.legend.value
        )

    def test_near_and_far_are_not_measured_where_the_network_learnt(self, predictions):
        triplets = predictions["triplets"].to_dataset()
        split = np.where(np.arange(200) < 150, "train", "test")
        tree = xr.DataTree.from_dict(
            {"/triplets": triplets.assign(split=("sample", split)), "/west": predictions["west"].to_dataset()}
        )
        clouds = Clouds(tree)
        assert clouds.near == pytest.approx(np.median(triplets.near.values[0, 150:]))
        assert clouds.far == pytest.approx(np.median(triplets.far.values[0, 150:]))

    def test_without_triplets_and_without_a_store(self, predictions, arrays):
        bare = xr.DataTree.from_dict({"/west": predictions["west"].to_dataset()})
        explorer = explore.explore(bare).explorer
        explorer.layer.value = "distance"
        assert "half of pairs" in explorer.legend.value and "data:image" not in explorer.about.value
        click(explorer, "west", 3, 4)
        assert explorer.tile == Tile("west", 0, 3, 4)
        assert Image.open(io.BytesIO(explorer.still())).size[0] == 900
        bare.attrs = {"patch": 16, "step": 4}  # how far tiles overlap is known all the same
        assert Clouds(bare).series["west"].reach == (3, 3)

    def test_a_still_picture_stands_beside_the_widget(self, explorer):
        shown = IPython.core.formatters.DisplayFormatter().format(explorer.widget)[0]
        assert "application/vnd.jupyter.widget-view+json" in shown
        still = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["image/png"]))).convert("RGB"), float)
        shades = still.mean(-1)[:50, :300] / 255  # the scene alone, north of the tiles
        base = colours_of(explorer.sources["base"])[..., 0] / 255
        assert np.abs(shades[::10, ::10][:3].mean() - base[:3, :32].mean()) < 0.05
        assert len(np.unique(still.reshape(-1, 3), axis=0)) > 300

    @pytest.mark.parametrize("make", [explore.explore, frozen.frozen])
    def test_what_cannot_be_shown_is_said(self, make, predictions):
        with pytest.raises(ValueError, match=r"no embedded scenes but .*03_prediction"):
            make(xr.DataTree.from_dict({"/triplets": predictions["triplets"].to_dataset()}))
        nothing = predictions["west"].to_dataset()
        nothing = nothing.assign(valid=nothing.valid & False)
        with pytest.raises(ValueError, match="No tile of any scene is valid"):
            make(xr.DataTree.from_dict({"/west": nothing}))


def facts_of(page):
    return json.loads(re.search(r"const facts = (\{.*\})\n", page)[1].replace("<\\/", "</"))


def bytes_of(facts):
    """The page's bytes by series, (component, time, y, x)."""
    stack = np.frombuffer(gzip.decompress(base64.b64decode(facts["data"])), np.int8)
    shapes = {s["name"]: (facts["components"], len(s["labels"]), s["rows"], s["columns"]) for s in facts["series"]}
    parts = np.split(stack, np.cumsum([np.prod(shape) for shape in shapes.values()]))
    assert len(parts[-1]) == 0
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=False)}


class TestFrozen:
    def test_bytes_keep_the_distances(self, predictions, arrays):
        facts = facts_of(frozen_page(predictions, arrays))
        held = bytes_of(facts)
        for name in made.TIMES:
            valid = predictions[name].valid.values
            assert ((held[name][0] != NO_TILE) == valid).all()
            tiles = predictions[name].embedding.values[valid].astype(float)
            small = held[name][:, valid].T.astype(float)
            true, told = (((v - v[40]) ** 2).sum(-1) for v in (tiles, small))
            assert np.abs(told * facts["factor"] - true).max() < 0.03 * true.max()
        assert [s["labels"] for s in facts["series"]][1] == ["scene 1", "scene 2"]
        assert facts["series"][0]["hours"][1] - facts["series"][0]["hours"][0] == 1 and facts["series"][1]["hours"] == [
            None,
            None,
        ]
        assert facts["series"][0]["reach"] == [3, 3]

    def test_scenes_are_in_it(self, predictions, arrays):
        facts = facts_of(frozen_page(predictions, arrays))
        picture = Image.open(io.BytesIO(base64.b64decode(facts["series"][0]["scenes"][3].split(",")[1])))
        assert picture.size == (96, 72) and picture.mode == "L"
        image = arrays["west"].to_dataset().isel(time=3)
        shown = np.asarray(picture, float)[image.valid.values]
        assert np.corrcoef(shown, image.inputs.values[0][image.valid.values])[0, 1] > 0.95

    def test_what_does_not_fit_is_left_out_and_said(self, predictions, arrays, monkeypatch):
        packs = [frozen.Pack(4, 96, 60, 8, 1), frozen.Pack(2, 48, 40, 2, 2)]
        sizes = []
        for chosen in packs:
            monkeypatch.setattr(frozen, "PACKS", (chosen,))
            sizes.append(len(frozen_page(predictions, arrays)) / 1e6)
        monkeypatch.setattr(frozen, "PACKS", tuple(packs))
        facts = facts_of(frozen_page(predictions, arrays, 1))
        assert facts["left_out"].startswith("Frozen: 4 of 6 scenes") and facts["series"][0]["rows"] == 15
        budget = (sizes[0] + 2 * sizes[1]) / 3
        page = frozen_page(predictions, arrays, budget)
        facts = facts_of(page)
        assert len(page) < budget * 1e6 and facts["series"][0]["rows"] == 8 and facts["components"] == 2
        assert "2 of 6 scenes, every 2th tile a side, 2 principal components of 12 dimensions" in facts["left_out"]
        agreement = float(re.search(r"whole embedding: ([0-9.]+)\.", facts["left_out"])[1])
        assert 0.7 < agreement < 0.999
        with pytest.raises(ValueError, match=r"No room for a single scene in 0\.01 MB.*Raise budget_mb"):
            frozen_page(predictions, arrays, 0.01)

    def test_asks_nobody(self, predictions, arrays):
        shown = frozen.frozen(predictions, arrays).data
        page = html.unescape(re.search(r"srcdoc='([^']*)'", shown)[1])
        assert page.startswith("<!doctype html>") and not REQUESTS.search(page) and "simulated data" in page
        assert len(shown) < 2e6

    def test_names_cannot_break_the_page(self, predictions):
        name = """<b>x'"&"""
        tree = xr.DataTree(children={name: xr.DataTree(predictions["west"].to_dataset())})
        tree.attrs = {"notes": ["</script><b>bad</b>"]}
        page = frozen_page(tree)
        facts = facts_of(page)
        assert page.count("</script>") == 1 and facts["series"][0]["name"] == name
        assert "&lt;b&gt;bad" in facts["legends"]["distance"]


def test_what_the_prediction_writes_is_shown(tmp_path):
    from geonb import prediction
    from geonb.workloads.clouds import predict
    from geonb.workloads.clouds.task import Triplet

    store = made_scenes.store(tmp_path, made_scenes.DAYS[:2], patch=16, counts="20/5/5", split="area")
    run = SimpleNamespace(path=tmp_path / "run", predictions=tmp_path / "run" / "predictions.zarr")
    card = {"network": "resnet10t:dims=6", "loss": "triplet", "lr": 1e-3, "workload": "clouds", "geonb": "0"}
    model = Triplet(card | {"training": {}, "best": {}} | Triplet.card_of(store)).eval()
    predict.predict_triplets(run, store, model, [], overlap=0.75, batch=64)
    predictions = prediction.open_predictions(run.predictions)
    explorer = explore.explore(predictions, store.arrays).explorer
    series = explorer.here
    assert series.patch == 16 and series.reach == (3, 3) and explorer.clouds.measured
    # the first tile's outline is the first 16 pixels of the scene
    west, _, _, north = series.bounds
    assert series.place(0, 0) == pytest.approx((west + series.side[0] / 2, north - series.side[1] / 2))
    assert len(explorer.alike) == 5 and explorer.alike[0][1] > 0
    assert len(frozen_page(predictions, store.arrays)) < 2e6


def test_the_runner_decides_between_live_and_frozen(predictions, monkeypatch):
    import ipywidgets
    from IPython.display import HTML

    monkeypatch.setenv("GEONB_HEADLESS", "1")
    assert isinstance(explore.show(predictions), HTML)
    monkeypatch.delenv("GEONB_HEADLESS")
    assert isinstance(explore.show(predictions), ipywidgets.Box)


def colours_on(page, selector):
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0))


FOUND = """alike.map(({n, i, far}) => {
  const { name, tiles, columns } = series[n]
  return [name, Math.floor(i / tiles), Math.floor((i % tiles) / columns), i % columns, far]
})"""


@pytest.mark.browser
def test_the_frozen_page_in_a_browser(predictions, arrays, tmp_path):
    file = tmp_path / "clouds.html"
    file.write_text("<!doctype html><meta charset=utf-8>" + frozen.frozen(predictions, arrays).data)
    with browser_page(1200, 800) as page:
        page.goto(file.as_uri())
        page.frame_locator("iframe").locator("html[data-geonb]").wait_for(timeout=20_000)
        frame = page.frames[1]
        assert frame.evaluate("document.documentElement.dataset.geonb") == "west | 2020-04-01 12:00 | components"
        assert wait_until(page, lambda: colours_on(frame, "#map") > 2000), (
            "the map is painted before anything is touched"
        )
        before = frame.locator("#tile").inner_text()

        box = frame.locator("#map").bounding_box()
        series = Clouds(predictions, arrays).series["west"]
        west, south, east, north = series.bounds
        x, y = series.place(3, 4)
        page.mouse.click(
            box["x"] + (x - west) / (east - west) * box["width"],
            box["y"] + (north - y) / (north - south) * box["height"],
        )
        assert wait_until(page, lambda: "distance" in frame.evaluate("document.documentElement.dataset.geonb"))
        told = frame.locator("#tile").inner_text()
        assert told != before and series.place_text(3, 4) in told
        # the page searches bytes, Python the embedding: they must agree
        found = frame.evaluate(FOUND)
        expected = Clouds(predictions, arrays).alike(Tile("west", 0, 3, 4))
        assert [far for *_, far in found] == pytest.approx([far for _, far in expected], rel=0.2, abs=0.005)
        assert Tile(*found[0][:4]) == expected[0][0]
        far = np.array(frame.evaluate("Array.from(far, (v) => (isFinite(v) ? v : null))"), float).reshape(15, 21)
        data = predictions["west"].embedding.values
        squared = ((data[0] - data[0, 3, 4]) ** 2).sum(-1)
        assert (
            np.nanmax(np.abs(far - squared)) < 0.03 * np.nanmax(squared) and (np.isnan(far) == np.isnan(squared)).all()
        )

        frame.evaluate("get('time').value = 2; get('time').dispatchEvent(new Event('input'))")
        assert "tiles of 2020-04-02 12:00" in frame.locator("#tile").inner_text()
        frame.locator("#series").select_option(label="pole")
        assert frame.evaluate("document.documentElement.dataset.geonb") == "pole | scene 2 | distance"
        pictures = frame.locator("#tiles canvas")
        assert pictures.count() == 6
        assert all(tones(pictures.nth(i)) > 20 for i in range(6))
        assert page.troubles == []


def tones(locator):
    return len(np.unique(np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L"))))


@pytest.mark.browser
def test_the_live_map_in_jupyterlab(predictions, arrays, tmp_path):
    predictions.to_zarr(tmp_path / "predictions.zarr")
    arrays.to_zarr(tmp_path / "arrays.zarr")
    code = OPEN.format(folder=tmp_path, workload="clouds")
    cells = [nbformat.v4.new_code_cell(source) for source in (code, "explore(predictions, arrays)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "explore.ipynb")
    with browser_page() as page, jupyterlab(tmp_path / "explore.ipynb", page, tmp_path / "lab.log") as errors:
        assert errors == []
        page.locator(".bk-Figure").first.wait_for(timeout=30_000)
        assert wait_until(page, lambda: page.evaluate(COLOURS) > 300), "the map is painted before anything is touched"
        page.wait_for_timeout(500)
        before = page.evaluate(PICTURE)
        box = page.locator(".bk-Figure").first.bounding_box()
        page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
        page.get_by_text("two neighbours").wait_for(timeout=15_000)
        assert wait_until(page, lambda: page.evaluate(PICTURE) != before), "the kernel painted distances"
        before = page.evaluate(PICTURE)
        page.locator(".jupyter-widgets select").first.select_option(label="west")  # on disk, pole comes first
        assert wait_until(page, lambda: page.evaluate(PICTURE) != before), "the kernel painted another series"
        page.get_by_text("tiles of 2020-04-01 12:00").wait_for(timeout=15_000)
        assert page.troubles == []
