"""`geonb run chips`, all seven notebooks on a small simulated scene: what a reader of the run would check."""

import json
import re
from pathlib import Path

import chains
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import xarray as xr
from pages import FETCHES
from sklearn.metrics import average_precision_score, f1_score

import geonb
from geonb import registry, runs, store
from geonb.embeddings.search import open_index
from geonb.rasters import landsat
from geonb.workloads.chips import scores as chip_scores

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1]
CLASSES = {c["code"]: c["name"] for c in landsat.CLASSES}
SMALL = {
    "images": "image.tif", "labels": "mask.tif", "classes": ",".join(f"{k}={v}" for k, v in CLASSES.items()), "zoom": 16, "size": 16,
    "minimum": 0.1, "parent": 14, "network": "resnet10t:head=linear", "epochs": 2, "batch": 16, "samples": 60, "clusters": 3,
    "seed": 3, "draws": 50, "show": 8, "count": 6, "k": 5, "precision": "float32", "watch_every": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run and what the command line said."""
    folder = chains.project(tmp_path_factory.mktemp("chips"))
    landsat.write_scene(folder, *landsat.simulate((160, 192), seed=1))
    told = chains.run_anywhere("chips", folder, SMALL)
    return runs.open_run("chips", root=folder), told


def test_pictures_of_epochs_count_each_label_of_the_validation_chips(made):
    run, _ = made
    counts = pd.read_csv(run.path / "epochs" / "confusion-0002.csv")
    chips = store.open_store(run.store).windows("val")
    for name, truth in zip((c["name"] for c in store.open_store(run.store).classes), chips.targets.T, strict=True):
        there = counts[(counts["question"] == name) & (counts["true"] == "present")]["count"].sum()
        assert (
            there == (truth == 1).sum()
            and counts[counts["question"] == name]["count"].sum() == np.isfinite(truth).sum()
        )
    assert len(list((run.path / "epochs").iterdir())) == 4, "of every other epoch"


def test_the_run_is_whole_and_stands_beside_its_baselines(made):
    run, told = made
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    assert list(run.info["steps"]) == ["01_dataset_chips", *registry.SHARED_STEPS, "07_similar_places"]
    assert run.info["headline"]["metric"] == "map"
    assert all(f"\n{name} " in told for name in ("network", "prevalence", "colour-histogram"))


def test_labels_are_the_classes_that_cover_enough_of_a_chip(made):
    """Counted in the mask's own pixels, past the warp: they agree but for chips near the limit."""
    samples = store.open_store(made[0].store)
    chips = gpd.read_parquet(samples.path / "index.parquet")
    with rasterio.open(made[0].path.parents[2] / "mask.tif") as mask:
        codes, outlines = mask.read(1), chips.to_crs(mask.crs)
        agree = total = 0
        for i, outline in enumerate(outlines.geometry):
            inside = rasterio.features.geometry_mask([outline], codes.shape, mask.transform, invert=True)
            if inside.sum() < 200:
                continue  # at the edge of the scene
            shares = np.array([(codes[inside] == code).mean() for code in CLASSES])
            labels = samples.targets([i])[0]
            sure = (np.abs(shares - 0.1) > 0.03) & np.isfinite(labels)
            agree += (labels[sure] == (shares >= 0.1)[sure]).sum()
            total += sure.sum()
    assert total > 300 and agree / total > 0.99


def test_scores_are_those_of_scikit_learn(made):
    predictions = geonb.open_predictions(made[0].predictions)
    found = chip_scores.gathered(predictions)
    with xr.open_dataset(made[0].scores, engine="h5netcdf") as scores:
        mine = found["split"] == 3
        truth, known = found["truth"][mine] == 1, np.isfinite(found["truth"][mine])
        assert not known.all(), "of chips at the scene's edge not every label is known"
        there = truth.any(axis=0)
        for m, model in enumerate(found["models"]):
            guess = found["probability"][m, mine]
            told = guess >= found["threshold"][m]
            of_class = [(known[:, c], c) for c in np.flatnonzero(there)]
            ap = [average_precision_score(truth[k, c], guess[k, c]) for k, c in of_class]
            f1 = [f1_score(truth[k, c], told[k, c], zero_division=0) for k, c in of_class]
            of_chip = [
                f1_score(t[k], g[k], zero_division=1) for t, g, k in zip(truth, told, known, strict=True) if k.any()
            ]
            row = scores["score"].sel(model=model, split="test")
            for metric, values in (("map", ap), ("macro_f1", f1), ("samples_f1", of_chip)):
                assert float(row.sel(metric=metric)) == pytest.approx(np.mean(values)), (model, metric)
        assert int(scores["n_samples"].sel(split="test")) == known.any(axis=1).sum()


def test_thresholds_come_from_validation_alone(made):
    found = chip_scores.gathered(geonb.open_predictions(made[0].predictions))
    mine = found["split"] == 2
    for c in range(len(found["classes"])):
        known = mine & np.isfinite(found["truth"][:, c])
        truth, told = found["truth"][known, c] == 1, found["probability"][0, known, c]
        if truth.any() and not truth.all():
            best = max(f1_score(truth, told >= limit) for limit in [*told, 0.5])
            assert f1_score(truth, told >= found["threshold"][0, c]) == pytest.approx(best)


def test_chips_lie_where_their_quadkeys_say(made):
    import mercantile

    samples = store.open_store(made[0].store)
    for i in range(0, len(samples), 17):
        chip, row = samples[i], samples.index.iloc[i]
        bounds = mercantile.xy_bounds(mercantile.quadkey_to_tile(row["quadkey"]))
        half = (bounds.right - bounds.left) / 32
        assert float(chip.x[0]) == pytest.approx(bounds.left + half, abs=0.01)
        assert float(chip.y[0]) == pytest.approx(bounds.top - half, abs=0.01)


def test_files_for_a_gis_hold_what_is_told(made):
    table = gpd.read_file(made[0].path / "maps" / "chips.gpkg")
    samples = store.open_store(made[0].store)
    assert len(table) == len(samples) and {"quadkey", "labels", "told", "p forest"} <= set(table.columns)
    with rasterio.open(made[0].path / "maps" / "image_probability.tif") as raster:
        assert raster.count == len(CLASSES) and raster.descriptions == tuple(CLASSES.values())
        middle = table.to_crs(raster.crs).geometry.centroid
        band = list(CLASSES.values()).index("forest")
        read = np.array([v[band] for v in raster.sample(zip(middle.x, middle.y, strict=True))]) * raster.scales[band]
    assert np.abs(read - table["p forest"]).max() < 0.003


def test_similar_places_are_found_and_kept(made):
    run = made[0]
    answers = gpd.read_file(run.path / "similar" / "answers.geojson")
    index = open_index(run.path / "similar")
    assert len(answers) == 6 and len(index) == len(store.open_store(run.store))
    vectors = np.asarray(index.vectors)
    best = index.search(index.table.take([3])["id"].iloc[0], 4)
    order = np.argsort(-(vectors @ vectors[3]))
    assert best["row"].tolist() == [int(i) for i in index.table.column("row").to_numpy()[order[1:5]]]
    assert {"label", "right"} <= set(gpd.read_file(run.path / "similar" / "marked.geojson").columns)


def test_the_report_asks_no_network(made):
    report = (made[0].path / "report.html").read_text()
    assert not FETCHES.search(re.sub(r"data:[^\"')]+", "", report))


def test_every_notebook_that_is_shared_is_the_one_of_the_others():
    cells = json.loads((ROOT / "notebooks" / "07_similar_places.ipynb").read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert not re.search(r"if .*workload", code)


def test_a_place_is_judged_by_what_lies_there_and_the_unknown_by_nothing(made):
    from geonb.workloads.chips import similar

    samples = store.open_store(made[0].store)
    index = open_index(made[0].path / "similar")
    row = 5
    place = gpd.read_parquet(samples.path / "index.parquet").geometry[row].centroid
    answers = index.search((place.x, place.y), 6)
    assert similar.rows_of((place.x, place.y), samples, index) == [row]
    mine = np.flatnonzero(np.nan_to_num(samples.targets(np.array([row])))[0])
    rarest = mine[np.asarray(samples.meta["prevalence"])[mine].argmin()] if len(mine) else None
    label = similar.label_of((place.x, place.y), samples, index, answers)
    assert rarest is None or label == samples.names[rarest]
    with pytest.raises(ValueError, match="is no chip"):  # longitude first
        similar.query_of("-178.6, 35.8", samples, None, index)
    right, wrong = similar.judged(answers, label, samples)
    told = samples.targets(answers["row"].to_numpy())[:, samples.names.index(label)]
    assert (len(right), len(wrong)) == ((told == 1).sum(), (told == 0).sum())
    assert not set(right) & set(wrong) and set(right) | set(wrong) == set(answers["id"][np.isfinite(told)])


def test_vectors_that_were_brought_are_those_of_the_chips_they_lie_on(made, tmp_path):
    from geonb.training import task
    from geonb.workloads.chips import similar

    samples, model = store.open_store(made[0].store), task.load_model(made[0].path)
    chips = gpd.read_parquet(samples.path / "index.parquet").iloc[::2]
    values = np.random.default_rng(0).normal(size=(len(chips), 4)).astype(np.float32)
    twice = gpd.GeoDataFrame(
        {"v": [*(2 * values), *(0 * values + 1e-6)]}, geometry=[*chips.geometry, *chips.geometry], crs=chips.crs
    )
    twice.to_parquet(tmp_path / "brought.parquet")
    index = similar.index_chips(made[0], samples, model, str(tmp_path / "brought.parquet"))
    assert similar.rows_in(index).tolist() == chips.index.tolist() and index.folder.name == "similar-brought"
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors, unit, atol=1e-5)
    asked = similar.query_of(None, samples, model, index)
    answers = index.search(asked, 3)
    assert set(answers["row"]) <= set(chips.index) and similar.rows_of(asked, samples, index)[0] in chips.index
    assert set(similar.beside(samples, model, index)) == {"brought", "untrained", "colour-histogram"}
    assert similar.explorer(samples, index).layer("distance") is not None
    assert len(open_index(made[0].path / "similar")) == len(samples), "the network's own stays"
    twice.set_geometry(twice.translate(10), crs=chips.crs).to_parquet(tmp_path / "elsewhere.parquet")
    with pytest.raises(ValueError, match=r"none of \d+ lies on a chip"):
        similar.index_chips(made[0], samples, model, str(tmp_path / "elsewhere.parquet"))


@pytest.mark.browser
def test_marks_on_the_map_ask_again_and_are_kept(made):
    import threading
    from types import SimpleNamespace

    from browsing import Viewer, browser_page

    from geonb.dashboards import app
    from geonb.workloads.chips import similar

    samples = store.open_store(made[0].store)
    index = open_index(made[0].path / "similar")
    explorer, ready = similar.explorer(samples, index), []
    threading.Thread(target=app.serve, args=(explorer, 0, lambda *at: ready.append(at)), daemon=True).start()
    with browser_page(1280, 900) as page:
        page.wait_for_timeout(500)
        page.goto(f"http://127.0.0.1:{ready[0][0]}/?token={ready[0][1]}")
        viewer = Viewer(page.locator(".geonb-explorer"))
        tiles = explorer.likeness.tiles[0]
        row, column = np.argwhere(tiles.row >= 0)[len(samples) // 2]
        west, _, east, north = explorer.places[0].bounds
        size = (east - west) / tiles.shape[1]
        viewer.click(west + (column + 0.5) * size, north - (row + 0.5) * size)
        first = [card.split("\n")[0] for card in viewer.root.locator("button.tile").all_inner_texts()]
        vectors = np.asarray(index.vectors)
        far = np.square(vectors - vectors[tiles.row[row, column]]).sum(1)
        far[tiles.row[row, column]] = np.inf
        assert first[0] == "the tile" and float(first[1].removeprefix("1: ")) == pytest.approx(far.min(), rel=0.01)
        before = viewer.picture()
        viewer.root.locator("button.mark", has_text="✓").nth(1).click()
        viewer.settle()
        viewer.root.locator("button.mark", has_text="✗").nth(3).click()
        viewer.settle()
        assert "Most like the 1 marked as right, unlike the 1 marked as wrong" in viewer.told
        assert viewer.title.startswith("like what is marked as right") and viewer.picture() != before
        state = viewer.ask("v.state")
        marked = similar.keep_marks(SimpleNamespace(explorer=explorer, state=state), index, samples, "of a test").marked
        assert sorted(marked.values()) == [False, True]
        viewer.button("forget marks").click()
        viewer.settle()
        assert "most alike of all" in viewer.told and page.troubles == []
        viewer.button("this view").click()
        viewer.settle()
        assert viewer.ask("v.state.right.length") > 20, "a region marks what lies in it"
