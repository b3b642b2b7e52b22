"""A store of triplets that came as pictures: their pixels, their splits, no place, no time, and what is refused or told."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import made_scenes
import numpy as np
import pandas as pd
import pytest
import trainings
import xarray as xr
from PIL import Image

from geonb import registry, runs, store
from geonb.embeddings import embedding
from geonb.training.task import train
from geonb.workloads.clouds import dataset, examples, triplet_files
from geonb.workloads.clouds import store as clouds_store
from geonb.workloads.clouds.triplets import TILES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return made_scenes.store(tmp_path_factory.mktemp("project"), counts="20/6/8")


@pytest.fixture
def pictures(original, tmp_path):
    """A folder with train, val and study that a test may change."""
    return triplet_files.export_triplets(original, tmp_path / "pictures")


def made(folder, root=None, patch=None, **options):
    return clouds_store.write_triplet_store(
        dataset.open_scenes(str(folder), patch=patch), root=root or folder, **options
    )


def on_disk(folder, split, number, tile):
    return np.asarray(Image.open(folder / triplet_files.FOLDERS[split] / f"{number:05d}_{tile}.png").convert("RGB"))


def test_a_small_set_is_seen_more_than_twice(tmp_path):
    """By default 3,000 triplets are seen twice; 20 of a folder until the steps asked for are reached."""
    defaults = registry.get("clouds").defaults
    steps = -(-3000 // defaults["batch"])
    assert defaults["epochs"] == 2 == -(-defaults["min_steps"] // steps)
    run = trainings.folder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    original = made_scenes.store(tmp_path, patch=32, counts="20/6/8")
    folder = triplet_files.export_triplets(original, tmp_path / "pictures")
    small = {"network": "resnet10t:dims=4", "batch": 8, "min_steps": 10, "patience": 9}
    settings = {k: defaults[k] for k in ("loss", "augment", "lr", "epochs")} | small
    card = train(run, made(folder), workload="clouds", **settings, seed=0, precision="float32")
    assert pd.read_csv(run.path / "log.csv")["step"].tolist() == [3, 6, 9, 12]
    assert json.loads(card.read_text())["training"]["epochs"] == 4


def test_each_row_is_the_picture_of_its_number(original, pictures):
    samples = made(pictures)
    assert store.check_store(samples.path, deep=True).meta["kind"] == "triplets" and samples.patch == 16
    assert samples.index["split"].value_counts().to_dict() == {"train": 20, "test": 8, "val": 6}
    number = samples.index.groupby("split", observed=True).cumcount()
    shuffled = samples.index.sample(frac=1, random_state=3).query("t != 2").sort_values(["split", "t"], ascending=False)
    for rows in (samples.index.index, shuffled.index):
        for tile in TILES:
            shown, (inputs, valid) = samples.tiles(rows, tile), samples.pixels(rows, tile)
            assert valid.all()
            for k, row in enumerate(rows):
                picture = on_disk(pictures, samples.index["split"][row], number[row], tile)
                np.testing.assert_array_equal(shown[k], picture)
                np.testing.assert_array_equal(np.moveaxis(inputs[k], 0, -1), picture)
                if k % 9 == 0:
                    np.testing.assert_array_equal(samples[row]["inputs"].sel(tile=tile), inputs[k])
    for split in ("train", "val", "test"):
        old, new = (np.flatnonzero(s.index["split"] == split) for s in (original, samples))
        np.testing.assert_array_equal(original.tiles(old, "distant"), samples.tiles(new, "distant"))


def test_every_shade_is_shown_as_it_is(pictures):
    shades = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    Image.fromarray(shades).save(pictures / "train" / "00007_neighbor.png")
    np.testing.assert_array_equal(made(pictures).tiles([7], "neighbor")[0], shades)


def test_statistics_are_those_of_the_training_pictures(pictures):
    values = np.stack([on_disk(pictures, "train", n, tile) for n in range(20) for tile in TILES]).astype(float)
    statistics = made(pictures).meta["statistics"]
    np.testing.assert_allclose(statistics["mean"], values.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(statistics["std"], values.std(axis=(0, 1, 2)))


def test_nothing_says_where_or_when(pictures):
    samples = made(pictures)
    assert samples.placed == [] and samples.index["time"].isna().all()
    assert all(s["crs"] is None and s["pixel_m"] is None for s in samples.meta["sources"])
    assert pd.read_parquet(samples.path / "index.parquet")["geometry"].isna().all()
    assert np.isnan(embedding.positions(samples, samples.index)).all()
    checked = samples.check_split()
    assert (checked["method"], checked["leaks"], checked["smallest_gap_m"]) == ("given", 0, None)
    assert list(checked["counts"]) == ["triplets"] and "cannot prove" in checked["said"]
    assert "without place and time" in samples.meta["notes"][0]
    assert any("split is that of the folders" in note for note in samples.meta["notes"])


def test_what_the_export_said_is_said_again(pictures):
    about = json.loads((pictures / "about.json").read_text()) | {"simulated": True, "notes": ["Not real."]}
    (pictures / "about.json").write_text(json.dumps(about))
    meta = made(pictures).meta
    assert meta["simulated"] and "Not real." in meta["notes"] and meta["title"] == about["title"]
    (pictures / "about.json").write_text("{")
    with pytest.raises(ValueError, match=r"about\.json is damaged"):
        made(pictures)


def test_the_same_pictures_are_the_same_store(pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "elsewhere" / "copy")
    one, two = made(pictures, tmp_path / "a"), made(tmp_path / "elsewhere" / "copy", tmp_path / "b")
    assert one.path.name == two.path.name and one.meta["key"] == two.meta["key"]
    assert made(pictures, tmp_path / "a", seed=4, shares="80/10/10").path == one.path  # nothing is left to chance
    Image.fromarray(255 - on_disk(pictures, "val", 3, "distant")).save(pictures / "val" / "00003_distant.png")
    assert made(pictures, tmp_path / "a").meta["key"] != one.meta["key"]


@pytest.mark.parametrize(
    ("gone", "counts"),
    [
        (("study",), {"train": 12, "val": 6, "test": 8}),
        (("val",), {"train": 14, "val": 6, "test": 8}),
        (("val", "study"), {"train": 10, "val": 4, "test": 6}),
    ],
)
def test_train_is_dealt_to_the_splits_that_have_no_folder(pictures, gone, counts, tmp_path):
    for name in gone:
        shutil.rmtree(pictures / name)
    samples = made(pictures)
    assert samples.index["split"].value_counts().to_dict() == pytest.approx(counts, abs=1)
    dealt = samples.index["source"].astype(str) == "train"
    assert dealt.sum() == 20 and set(samples.index["t"][dealt]) == set(range(20))
    for row in np.flatnonzero(dealt):
        np.testing.assert_array_equal(
            samples.tiles([row])[0], on_disk(pictures, "train", samples.index["t"][row], "anchor")
        )
    assert any("dealt at random" in n and "optimistic" in n for n in samples.meta["notes"])
    assert not any("that of the folders" in n for n in samples.meta["notes"])
    assert "at random" in samples.check_split()["said"]
    again, other = made(pictures, tmp_path / "a").index["split"], made(pictures, tmp_path / "a", seed=1).index["split"]
    assert again.equals(samples.index["split"]) and not again.equals(other)
    train = samples.index["t"][dealt & (samples.index["split"] == "train")]
    values = np.stack([on_disk(pictures, "train", t, tile) for t in train for tile in TILES]).astype(float)
    np.testing.assert_allclose(samples.meta["statistics"]["mean"], values.mean(axis=(0, 1, 2)))


def test_a_folder_without_folders_and_one_called_test(pictures, tmp_path):
    assert len(made(pictures / "train", tmp_path / "a")) == 20
    (pictures / "study").rename(pictures / "test")
    with pytest.raises(ValueError, match=r"test.*call it study"):
        made(pictures)


def test_pictures_in_two_splits_are_counted_and_told(pictures):
    shutil.copy(pictures / "train" / "00003_anchor.png", pictures / "study" / "00001_distant.png")
    Image.open(pictures / "train" / "00005_distant.png").save(pictures / "val" / "00002_anchor.png", compress_level=1)
    shutil.copy(pictures / "train" / "00004_anchor.png", pictures / "train" / "00008_distant.png")  # one split only
    samples = made(pictures)
    assert samples.check_split()["leaks"] == 2 and "pixel for pixel: 2" in samples.check_split()["said"]
    note = next(n for n in samples.meta["notes"] if "pixel for pixel" in n)
    assert "train/00003_anchor.png = study/00001_distant.png" in note and "too good" in note


def spoil(path, how):
    Image.fromarray(how).save(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "train/00002_neighbor.png").unlink(), r"00002_\*\.png: no neighbor"),
        (lambda p: (p / "study/00002_anchor.png").write_bytes(b"none"), r"study/00002_anchor\.png is no readable"),
        (lambda p: (p / "val/00001_distant.png").write_bytes((p / "val/00001_distant.png").read_bytes()[:150]), "00001_distant"),
        (lambda p: spoil(p / "val/00001_anchor.png", np.zeros((16, 20, 3), "u1")), r"00001_anchor\.png is 16 x 20 px, .*16 x 16"),
        (lambda p: spoil(p / "val/00001_anchor.png", np.zeros((16, 16), "u2")), r"00001_anchor\.png has pixels of kind I;16"),
        (lambda p: shutil.rmtree(p / "train"), "has no folder train"),
    ],
)  # fmt: skip
def test_a_set_that_is_not_whole_is_refused(pictures, change, said):
    change(pictures)
    with pytest.raises(ValueError, match=said):
        made(pictures)
    assert not (pictures / "data").exists()


def test_settings_that_cannot_be_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"patch = 32 px, but the pictures of .* are 16 x 16 px"):
        dataset.open_scenes(str(pictures), patch=32)
    with pytest.raises(ValueError, match=r"region = 'box:0,0,1,1'; pixel_m = 50"):
        dataset.open_scenes(str(pictures), region="box:0,0,1,1", pixel_m=50)
    with pytest.raises(ValueError, match="Give that folder alone"):
        dataset.open_scenes(f"{pictures},{made_scenes.write(tmp_path)}")
    asked = {"counts": "5/5/5", "distance": 2.0, "min_distant": 3.0, "split": "area"}
    for name, value in asked.items():
        with pytest.raises(ValueError, match=rf"{'triplets' if name == 'counts' else name} = .*leave it out"):
            made(pictures, **{name: value})
    with pytest.raises(ValueError, match="the pictures are 16 px"):
        clouds_store.write_triplet_store(dataset.open_scenes(str(pictures)), patch=64, root=tmp_path)
    assert made(pictures, patch=16).patch == 16
    shutil.rmtree(pictures / "val")
    with pytest.raises(ValueError, match="training needs validation"):
        made(pictures, shares="70/0/30", seed=9)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A run of all notebooks on the pictures that a store of simulated scenes was exported to."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "pyproject.toml").write_text("")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    found = examples.simulated_scenes(folder / "scenes", shape=(160, 192), days=6, frames=2, patch=32)
    source = clouds_store.write_triplet_store(found, patch=32, counts="24/8/20", root=folder / "other")
    triplet_files.export_triplets(source, folder / "set")
    options = {
        "scenes": "set", "network": "resnet10t:dims=8,hidden=32", "epochs": 1, "batch": 16, "samples": 30, "clusters": 3, "draws": 20,
        "show": 8,
    }  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("geonb"), "run", "clouds", *(p for k, v in options.items() for p in ("-p", f"{k}={v}"))],
        cwd=folder, env={**os.environ, "GEONB_ROOT": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return runs.open_run("clouds", root=folder), done.stdout


@pytest.mark.notebook
def test_all_notebooks_go_through_without_a_place(chain):
    run, told = chain
    runs.check_run(run.path)
    assert list(run.info["steps"]) == ["01_dataset_clouds", *registry.SHARED_STEPS] and "simulated data" in told
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        assert int(scores["n_samples"].sel(split="test")) == 20
        assert float(scores["score"].sel(split="test", model="network", metric="triplet_accuracy")) >= 0
        assert "place_score" not in scores and "neighbour_share" not in scores
        assert int((scores["scene_triplets"].sel(split="test") > 0).sum()) == 1
        assert any("without place and time" in str(note) for note in np.atleast_1d(scores.attrs["notes"]))
    with xr.open_datatree(run.predictions, engine="zarr") as tree:
        assert list(tree.children) == ["triplets"] and not {"lon", "lat"} & set(tree["triplets"].variables)
    assert [p.name for p in sorted((run.path / "maps").iterdir())] == ["report.csv", "triplets.csv"]
    with xr.open_zarr(run.embeddings) as vectors:
        assert np.isnan(vectors["lon"]).all() and np.isnat(vectors["time"]).all()


@pytest.mark.notebook
def test_the_report_says_what_is_not_known(chain):
    page = (chain[0].path / "report.html").read_text()
    for words in (
        "without place and time",
        "No map.",
        "Nothing in this store says where",
        "cannot be proved free of leaks",
    ):
        assert words in page, words
    for wrong in ("nan°", "nan km"):
        assert wrong not in page, wrong
