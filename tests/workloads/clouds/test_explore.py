"""The explorer of embeddings against the scenes and vectors it shows: planes, tiles, times, pages."""

from types import SimpleNamespace

import made_scenes
import made_sky as made
import numpy as np
import pytest
import viewing
import xarray as xr
from pyproj import Transformer

from geonb.dashboards.frozen import frozen_page, pack
from geonb.workloads.clouds import explore
from geonb.workloads.clouds.explore import SceneSeries, scenes_of
from geonb.workloads.clouds.explore import explorer as explorer_of

NAMES = list(made.TIMES)


@pytest.fixture(scope="module")
def arrays():
    return made.sky_arrays()


@pytest.fixture(scope="module")
def predictions(arrays):
    return made.sky_predictions(arrays)


@pytest.fixture(scope="module")
def explorer(predictions, arrays):
    return explorer_of(predictions, arrays)


def tree_of(attrs=None, **groups):
    tree = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    tree.attrs = attrs or {}
    return tree


class TestPlanes:
    @pytest.mark.parametrize("chosen", [(0, 0, 3, 4), (1, 1, 14, 20)])
    def test_distances_are_those_of_the_whole_embedding(self, explorer, predictions, chosen):
        vector = predictions[NAMES[chosen[0]]].embedding.values[chosen[1:]]
        layer = explorer.layer("distance")
        for place, time in ((0, 0), (0, 3), (1, 1)):
            plane = viewing.seen(explorer, "distance", {"time": time, "chosen": chosen}, place).values
            true = np.square(predictions[NAMES[place]].embedding.values[time] - vector).sum(-1)
            shares = [np.sqrt(np.clip(values / layer.high, 0, 1)) for values in (plane, true)]
            np.testing.assert_allclose(*shares, atol=0.5 / 254 + 1e-5)

    def test_components_lie_where_there_are_tiles_and_scenes_where_there_are_data(self, explorer, predictions, arrays):
        shown = viewing.seen(explorer, "components", {"time": 1}, 1)
        assert ((shown.colours[..., 3] == 255) == predictions["pole"].valid.values[1]).all()
        scene, image = viewing.seen(explorer, "scene", {"time": 2}), arrays["west"].to_dataset().isel(time=2)
        assert ((scene.colours[..., 3] == 255) == image.valid.values).all()
        values = scene.colours[..., 0][image.valid.values].astype(float)
        assert np.corrcoef(values, image.inputs.values[0][image.valid.values])[0, 1] > 0.95
        near = viewing.seen(explorer, "scene", {"time": 2}, view=(-1e6, 4.22e6, -9.2e5, 4.3e6), pixels=20)
        assert near.colours.shape == (20, 20, 4) and near.box == [-1e6, 4.22e6, -9.2e5, 4.3e6]

    def test_what_near_and_far_mean_stands_below(self, explorer, predictions):
        near, far = (float(np.median(predictions["triplets"][name].values[0])) for name in ("near", "far"))
        note = explorer.layer("distance").note
        assert f"two neighbours {near:.3g}, of distant tiles {far:.3g}" in note
        assert explorer.layer("distance").ticks == (0, near, far)

    def test_near_and_far_are_not_measured_where_the_network_learnt(self, predictions):
        triplets = predictions["triplets"].to_dataset()
        split = np.where(np.arange(200) < 150, "train", "test")
        explorer = explorer_of(
            tree_of(triplets=triplets.assign(split=("sample", split)), west=predictions["west"].to_dataset())
        )
        assert explorer.likeness.near == pytest.approx(np.median(triplets.near.values[0, 150:]))
        assert explorer.likeness.far == pytest.approx(np.median(triplets.far.values[0, 150:]))


class TestTiles:
    def test_those_alike_come_with_their_distance_their_place_and_their_picture(self, explorer, predictions, arrays):
        told, files = explorer.answer({"what": "alike", "chosen": [0, 0, 3, 4]})
        found = told["alike"]
        assert len(found) == 6 and found[0]["far"] == 0 and found[0]["chosen"] == [0, 0, 3, 4]
        data, vector = predictions["west"].to_dataset(), predictions["west"].embedding.values[0, 3, 4]
        for one, file in zip(found, files, strict=True):
            p, t, row, column = one["chosen"]
            own = predictions[NAMES[p]].embedding.values[t, row, column]
            assert one["far"] == pytest.approx(np.square(own - vector).sum(), abs=1e-6)
            window = {"y": slice(4 * row, 4 * row + 16), "x": slice(4 * column, 4 * column + 16)}
            pixels = arrays[NAMES[p]].inputs.values[t, 0, window["y"], window["x"]]
            shown = viewing.colours(file)
            assert shown.shape == (16, 16, 4) and np.corrcoef(shown[..., 0].ravel(), pixels.ravel())[0, 1] > 0.95
        lon, lat = Transformer.from_crs(made.GEOS, "OGC:CRS84", always_xy=True).transform(data.x[4], data.y[3])
        assert found[0]["label"] == f"1 Apr 2020 12:00, {lat:.1f}° N, {-lon:.1f}° W"

    def test_where_there_is_no_tile_nothing_is_alike(self, explorer):
        assert explorer.answer({"what": "alike", "chosen": [0, 0, 0, 20]}) == ({"alike": []}, [])

    @pytest.mark.parametrize("place", [0, 1])
    def test_a_tile_lies_where_its_pixels_lie(self, explorer, predictions, place):
        here, data = explorer.places[place], predictions[NAMES[place]].to_dataset()
        pixel = 4000 if place == 0 else 2000
        assert here.tile == (16 * pixel, 16 * pixel)
        west, south, east, north = here.grids["tiles"].bounds
        rows, columns = here.grids["tiles"].shape
        for row, column in ((0, 0), (7, 11), (14, 20)):
            x, y = west + (column + 0.5) * (east - west) / columns, north - (row + 0.5) * (north - south) / rows
            assert (x, y) == pytest.approx((float(data.x[column]), float(data.y[row])))
            left, top = here.bounds[0] + 4 * column * pixel, here.bounds[3] - 4 * row * pixel
            assert (x - 8 * pixel, y + 8 * pixel) == pytest.approx((left, top))
            assert here.grids["tiles"].cell(x, y) == (row, column)

    def test_the_picture_of_a_tile_is_that_of_its_pixels(self, predictions, arrays):
        series, image = SceneSeries("west", predictions, arrays), arrays["west"].to_dataset()
        low, high = series.limits[0]
        for t, row, column in [(0, 0, 0), (3, 7, 11), (1, 14, 20)]:
            here = {"y": slice(4 * row, 4 * row + 16), "x": slice(4 * column, 4 * column + 16)}
            window, valid = image.inputs.isel(time=t, channel=0, **here).values, image.valid.isel(time=t, **here).values
            shown = series.picture(t, row, column)
            assert (
                np.abs(
                    shown[..., 0] - np.where(valid, 255 * np.clip((window - low) / (high - low), 0, 1) ** 0.75, 0)
                ).max()
                < 0.51
            )
            assert ((shown[..., 3] == 255) == valid).all()

    def test_a_single_row_of_tiles_is_as_high_as_a_tile(self, arrays):
        small = tree_of(west=arrays["west"].to_dataset().isel(y=slice(18), x=slice(17)))
        (series,) = scenes_of(made.sky_predictions(small), small)
        assert series.shape == (1, 1) and series.step == series.side == (64_000, 64_000)
        west, _, _, north = series.bounds
        assert series.grid == pytest.approx((west, north - 64_000, west + 64_000, north))


class TestTimes:
    def test_scenes_are_found_in_a_store_that_holds_more(self, predictions, arrays):
        some = predictions["west"].to_dataset().isel(time=[1, 3])
        series = SceneSeries("west", tree_of(west=some), arrays)
        assert series.scenes == [1, 3] and series.when(1) == "2020-04-03 12:00"
        some = predictions["pole"].to_dataset().isel(time=[1]).assign_coords(t=("time", [1]))
        assert SceneSeries("pole", tree_of(pole=some), arrays).scenes == [1]

    def test_each_place_has_its_times_and_where_one_is_missing(self, predictions, arrays):
        places = explorer_of(predictions, arrays).places
        assert places[1].labels["time"] == ["scene 1", "scene 2"] and places[1].gaps["time"] == []
        assert places[0].labels["time"][1:3] == ["2020-04-01 13:00", "2020-04-02 12:00"]
        times = np.datetime64("2020-01-01T00:00", "ns") + np.array([0, 1, 2, 5, 6]) * np.timedelta64(1, "h")
        some = predictions["west"].to_dataset().isel(time=[0, 1, 2, 3, 3]).assign_coords(time=times)
        assert SceneSeries("west", tree_of(west=some), None).described().gaps == {"time": [3]}


class TestWithout:
    def test_south_up_is_turned(self, predictions, arrays, explorer):
        turned = [
            tree_of(t.attrs, west=t["west"].to_dataset().isel(y=slice(None, None, -1))) for t in (predictions, arrays)
        ]
        series, right = SceneSeries("west", *turned), SceneSeries("west", predictions, arrays)
        np.testing.assert_array_equal(series.vectors(2), right.vectors(2))
        np.testing.assert_array_equal(series.picture(2, 1, 3), right.picture(2, 1, 3))

    def test_a_store_there_are_tiles_all_the_same(self, predictions):
        bare = tree_of({"patch": 16, "step": 4}, west=predictions["west"].to_dataset())
        explorer = explorer_of(bare)
        assert explorer.below == "" and [one.name for one in explorer.layers] == ["components", "distance"]
        told, files = explorer.answer({"what": "alike", "chosen": [0, 0, 3, 4]})
        assert len(told["alike"]) == 6 and files == [b""] * 6
        assert explorer.likeness.tiles[0].reach == (3, 3), "how far tiles overlap is known all the same"
        assert "half of pairs" in explorer.layer("distance").note

    def test_a_crs_tiles_are_told_by_row_and_column(self, predictions):
        data = predictions["west"].to_dataset().drop_vars("spatial_ref")
        explorer = explorer_of(tree_of(west=data))
        assert explorer.likeness.label((0, 1, 3, 4)) == "1 Apr 2020 13:00, row 4, column 5"
        assert explorer.facts()["places"][0]["kind"] == "none"

    def test_scenes_there_is_a_word_and_without_tiles_an_error(self, predictions):
        assert explorer_of(tree_of(triplets=predictions["triplets"].to_dataset())) == explore.NO_MAP
        nothing = predictions["west"].to_dataset()
        with pytest.raises(ValueError, match="No tile of any scene is valid"):
            explorer_of(tree_of(west=nothing.assign(valid=nothing.valid & False)))


class TestFrozen:
    def test_the_richest_page_keeps_distances_and_tells_the_nearest_exactly(self, explorer, predictions):
        facts, _ = pack(explorer, explorer.packs()[0])
        every = [(p, *at) for p, name in enumerate(NAMES) for at in np.ndindex(predictions[name].valid.shape)]
        for p, name in enumerate(NAMES):
            components, nearest, far = viewing.vectors(facts, facts["places"][p])
            valid, true = predictions[name].valid.values, predictions[name].embedding.values
            assert (np.isfinite(components[0]) == valid).all()
            told, whole = (np.square(v - v[40]).sum(-1) for v in (components[:, valid].T, true[valid].astype(float)))
            assert np.abs(told - whole).max() < 0.03 * whole.max()
            for at in ((0, 3, 4), (1, 14, 0), (1, 0, 20)):
                found = [(every[n], float(d)) for n, d in zip(nearest[at], far[at], strict=True) if n >= 0]
                alike = explorer.likeness.alike((p, *at)) if valid[at] else []
                assert [key for key, _ in found] == [key for key, _ in alike]
                assert [d for _, d in found] == pytest.approx([d for _, d in alike], rel=1e-5)
        assert facts["likeness"]["start"] == list(explorer.likeness.start())
        labels = facts["places"][1]["likeness"]["labels"]
        assert labels[15 * 21 + 2 * 21 + 5] == explorer.likeness.label((1, 1, 2, 5))

    @pytest.mark.parametrize("n", [6, 9, 11])
    def test_less_room_costs_scenes_tiles_and_components_and_is_said(self, explorer, predictions, n):
        how = explorer.packs()[n]
        facts, data = pack(explorer, how)
        scenes = sum(len(place["labels"]["time"]) for place in facts["places"])
        assert (f"{scenes} of 6 scenes" in facts["said"]) == (scenes < 6)
        assert (f"one tile in {how['every']} a side" in facts["said"]) == (how["every"] > 1)
        assert f"{how['components']} principal components" in facts["said"]
        for found, place, p in zip(viewing.unpacked(facts, data), facts["places"], how["places"], strict=True):
            components, nearest, _ = viewing.vectors(facts, place)
            times = [explorer.places[p].labels["time"].index(label) for label in place["labels"]["time"]]
            (rows, columns), shape = place["grids"]["tiles"]["shape"], components.shape[1:]
            assert shape == (len(times), rows, columns) and len(found["scene"]) == len(times)
            assert max(found["scene"][0].shape) <= how["image_px"] and nearest.max() < sum(
                np.prod([one["likeness"][k] for k in ("times", "rows", "columns")]) for one in facts["places"])  # fmt: skip
            west, _, east, _ = place["grids"]["tiles"]["bounds"]
            x = west + (np.arange(columns) + 0.5) * (east - west) / columns
            own = predictions[NAMES[p]].sel(x=x, method="nearest")
            np.testing.assert_allclose(own.x, x)
        place, time, row, column = facts["likeness"]["start"]
        components, *_ = viewing.vectors(facts, facts["places"][place])
        assert np.isfinite(components[0, time, row, column])

    def test_the_page_says_that_it_is_simulated_and_cannot_be_broken_by_names(self, predictions, arrays):
        name = """<b>x'"&"""
        tree = xr.DataTree(children={name: xr.DataTree(predictions["west"].to_dataset())})
        tree.attrs = {"notes": ["</script><b>bad</b>"], "simulated": 1}
        page = frozen_page(explorer_of(tree), 1)
        facts = viewing.facts_of(page)["facts"]
        assert page.count("</script>") == 2 and facts["places"][0]["name"] == name
        assert "&lt;b&gt;bad" in facts["notes"] and "simulated data" in facts["notes"] and len(page) < 1e6


def test_what_the_prediction_writes_is_shown(tmp_path):
    from geonb import prediction
    from geonb.workloads.clouds import predict
    from geonb.workloads.clouds.task import Triplet

    store = made_scenes.store(tmp_path, made_scenes.DAYS[:2], patch=16, counts="20/5/5", split="area")
    run = SimpleNamespace(path=tmp_path / "run", predictions=tmp_path / "run" / "predictions.zarr")
    card = {"network": "resnet10t:dims=6", "loss": "triplet", "lr": 1e-3, "workload": "clouds", "geonb": "0"}
    model = Triplet(card | {"training": {}, "best": {}} | Triplet.card_of(store)).eval()
    predict.predict_triplets(run, store, model, [], overlap=0.75, batch=64)
    explorer = explorer_of(prediction.open_predictions(run.predictions), store.arrays)
    (series,) = explorer.likeness.tiles
    assert series.patch == 16 and series.reach == (3, 3) and explorer.likeness.measured
    # the first tile is the first 16 pixels of the scene
    west, _, _, north = series.bounds
    first = float(series.data.x[0]), float(series.data.y[0])
    assert first == pytest.approx((west + series.side[0] / 2, north - series.side[1] / 2))
    told, files = explorer.answer({"what": "alike", "chosen": list(explorer.likeness.start())})
    assert len(told["alike"]) == 6 and told["alike"][1]["far"] > 0 and all(files)
    assert len(frozen_page(explorer)) < 2e6
