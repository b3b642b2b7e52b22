"""Any rasters: on their own grid, many at once, bad ones reported, nothing overwritten unasked, damage and workers survived."""

import os
import shutil
from pathlib import Path

import geopandas as gpd
import harm
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from PIL import Image as Picture
from scenes import look_at, write_raster
from untrained import untrained

from geonb import prediction
from geonb.base import cluster, trust
from geonb.prediction import jobs, many, workers
from geonb.rasters import reading
from geonb.workloads.segmentation import predict


@pytest.fixture(scope="module")
def model(small_store):
    return untrained(small_store)


def image_like(path, shape=(96, 128), seed=0, **more):
    values = np.random.default_rng(seed).integers(1, 1200, (4, *shape)).astype(np.uint16)
    return write_raster(path, values, **({"nodata": 0} | more))


def read(path):
    with rasterio.open(path) as data:
        return data.read()


def states(report):
    return dict(zip([Path(f).name for f in report["file"]], report["state"], strict=True))


def break_tile(path, row, column):
    """Overwrite one compressed tile with noise, as a bad copy does."""
    with rasterio.open(path) as data:
        place = {k: int(data.get_tag_item(f"BLOCK_{k}_{column}_{row}", "TIFF", bidx=1)) for k in ("OFFSET", "SIZE")}
    with path.open("r+b") as file:
        file.seek(place["OFFSET"])
        file.write(b"\xff" * place["SIZE"])


def tiled(path, shape=(96, 128), **more):
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate", "interleave": "pixel"}
    return image_like(path, shape, **(layout | more))


def test_any_raster_comes_out_on_its_own_grid(small_store, model, scene, tmp_path):
    paths = many.predict_raster(model, scene.image, tmp_path / "maps")
    with (
        rasterio.open(scene.image) as image,
        rasterio.open(paths["class"]) as labels,
        rasterio.open(paths["probability"]) as shares,
    ):
        for made in (labels, shares):
            assert (made.crs, made.transform, made.shape) == (image.crs, image.transform, image.shape)
            assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert shares.descriptions == tuple(c["name"] for c in small_store.classes)
        valid = image.dataset_mask() > 0
        label, share = labels.read(1), shares.read().astype(float) * shares.scales[0]
        assert labels.colormap(1)[0][:3] == tuple(bytes.fromhex(small_store.classes[0]["colour"].lstrip("#")))
    assert (label[~valid] == 255).all() and (label[valid] < len(small_store.classes)).all()
    assert share[:, valid].sum(axis=0) == pytest.approx(1, abs=0.02)
    own = np.take_along_axis(share[:, valid], label[valid][None].astype(int), axis=0)[0]
    assert (own >= share[:, valid].max(axis=0) - 1e-9).mean() > 0.99  # ties of the rounded shares aside
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {paths["class"].name, paths["probability"].name}


def test_the_raster_of_a_store_comes_out_as_its_scene(small_store, model, scene, tmp_path):
    from types import SimpleNamespace

    run = SimpleNamespace(path=tmp_path, predictions=tmp_path / "predictions.zarr", name="run")
    predict.predict_scenes(run, small_store, model, [])
    paths = many.predict_raster(model, scene.image, tmp_path)
    inside = prediction.open_predictions(run.predictions)[small_store.sources[0]].to_dataset()
    assert inside.attrs["dataset"] == "small"
    np.testing.assert_array_equal(read(paths["class"])[0], inside["label"].sel(model="network"))


def test_a_model_that_tells_no_classes_of_pixels_is_refused(tmp_path):
    for predict_some in (many.predict_raster, many.predict_rasters):
        with pytest.raises(ValueError, match="a Linear, does not tell the class of pixels"):
            predict_some(torch.nn.Linear(2, 2), str(image_like(tmp_path / "a.tif")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_files_are_reported_and_stop_nobody(model, tmp_path, capsys):
    good = image_like(tmp_path / "in/good.tif")
    few = write_raster(tmp_path / "in/few.tif", np.ones((8, 8), np.uint8))
    lost = image_like(tmp_path / "in/lost.tif", crs=None)
    (tmp_path / "in/text.tif").write_text("no raster")
    missing = tmp_path / "in/missing.tif"
    cut = tiled(tmp_path / "in/cut.tif", compress=None)
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size // 2)
    files = [few, lost, cut, tmp_path / "in/text.tif", good, missing]
    report = many.predict_rasters(model, files, tmp_path / "out", polygons=0)
    assert states(report) == dict.fromkeys(["few.tif", "lost.tif", "cut.tif", "text.tif", "missing.tif"], "skipped") | {
        "good.tif": "done"}  # fmt: skip
    reasons = dict(zip([Path(f).name for f in report["file"]], report["reason"], strict=True))
    assert "has 1 bands; the model was trained on 4 (" in reasons["few.tif"] and "gdal_edit" in reasons["lost.tif"]
    assert "cannot be read at rows" in reasons["cut.tif"] and "damaged='nodata'" in reasons["cut.tif"]
    assert "cannot be opened as a raster" in reasons["text.tif"] and "missing.tif" in reasons["missing.tif"]
    made = {"good_class.tif", "good_probability.tif", "good_polygons.gpkg", "report.csv"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == made
    written = pd.read_csv(tmp_path / "out/report.csv")
    assert written["state"].tolist() == report["state"].tolist() and list(written) == many.COLUMNS
    told = capsys.readouterr().out
    assert "6 rasters: 1 done, 5 skipped. Skipped:" in told and told.count("\n- ") == 5
    areas = gpd.read_file(report["polygons"].dropna().item())["area_m2"].sum()
    assert areas == pytest.approx((read(tmp_path / "out/good_class.tif") < 255).sum() * 100, rel=1e-3)


def test_nothing_but_bad_files_is_an_error_with_the_list(model, tmp_path):
    few = write_raster(tmp_path / "few.tif", np.ones((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"No raster could be predicted(.|\n)*few.tif has 1 bands(.|\n)*missing.tif"):
        many.predict_rasters(model, [few, tmp_path / "missing.tif"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.csv"]
    with pytest.raises(ValueError, match="has 1 bands; the model"):
        many.predict_raster(model, few, tmp_path / "out")


def test_settings_without_sense_are_all_listed(model, tmp_path):
    with pytest.raises(ValueError) as error:
        many.plan(
            model,
            [],
            tmp_path,
            overlap=1.5,
            batch=0,
            workers=-1,
            damaged="mend",
            polygons=-1,
            corners="round",
            skip=["sky"],
        )
    told = str(error.value)
    assert all(
        p in told
        for p in ("no file", "overlap = 1.5", "batch = 0", "workers = -1", "'mend'", "polygons = -1", "'round'", "sky")
    )


def test_what_is_there_is_kept_and_what_is_others_is_refused(model, small_store, tmp_path, monkeypatch):
    a, b, out = image_like(tmp_path / "a.tif"), image_like(tmp_path / "b.tif", seed=1), tmp_path / "out"
    many.predict_rasters(model, [a], out)
    before = (out / "a_class.tif").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "predict_band", lambda *_, **__: pytest.fail("predicted again"))
        look_at(a)
        assert states(many.predict_rasters(model, [a], out)) == {"a.tif": "already there"}
        report = many.predict_rasters(model, [a], out, polygons=0.0)  # from the maps that are there
        assert states(report) == {"a.tif": "done"} and (out / "a_polygons.gpkg").is_file()
        assert states(many.predict_rasters(model, [a], out, polygons=0.0)) == {"a.tif": "already there"}
        with pytest.raises(
            ValueError, match=r"overwrite=True.*-p overwrite=true(.|\n)*a_polygons.gpkg"
        ):  # other outlines than those there
            many.predict_rasters(model, [a], out, polygons=0.0, corners="square")
        many.predict_rasters(model, [a], out, polygons=0.0, corners="square", overwrite=True)
        assert "squared" in gpd.read_file(out / "a_polygons.gpkg")
        many.predict_rasters(model, [a], out, polygons=0.0, overwrite=True)
    assert (out / "a_class.tif").stat().st_mtime_ns == before
    write_raster(out / "b_class.tif", np.ones((4, 4), np.uint8))  # somebody's
    other = untrained(small_store)
    next(other.parameters()).data += 1
    for network, changed in ((other, {}), (model, {"overlap": 0.25})):
        monkeypatch.setattr(jobs, "predict_all", lambda *_: pytest.fail("computed before refusing"))
        with pytest.raises(ValueError, match=r"overwrite=True") as error:
            many.predict_rasters(network, [a, b], out, **changed)
        told = {Path(line.lstrip("- ")).name for line in str(error.value).splitlines()[1:]}
        assert told == {"a_class.tif", "a_probability.tif", "a_polygons.gpkg", "b_class.tif"}
        monkeypatch.undo()
    report = many.predict_rasters(other, [a, b], out, overwrite=True)
    assert set(report["state"]) == {"done"} and not (out / "a_polygons.gpkg").exists()
    os.utime(a, ns=(1, 1))  # another file now
    with pytest.raises(ValueError, match="a_class"):
        many.predict_rasters(other, [a], out)


@pytest.mark.parametrize("name", ["a_class.tif", "a_probability.tif", "a_polygons.gpkg"])
def test_a_map_that_was_cut_short_is_not_already_there(name, model, tmp_path):
    a, out = image_like(tmp_path / "a.tif"), tmp_path / "out"
    many.predict_rasters(model, [a], out, polygons=0.0)
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    harm.cut(out / name)
    assert jobs.key_in(out / name) is not None or name.endswith(".gpkg"), "its header is whole"
    report = many.predict_rasters(model, [a], out, polygons=0.0, overwrite=name.endswith(".gpkg"))
    assert states(report) == {"a.tif": "done"}
    for map_ in ("a_class.tif", "a_probability.tif"):
        assert (out / map_).read_bytes() == whole[map_]
    assert len(gpd.read_file(out / "a_polygons.gpkg"))
    assert states(many.predict_rasters(model, [a], out, polygons=0.0)) == {"a.tif": "already there"}


def test_files_of_one_stem_do_not_collide(model, tmp_path):
    files = [image_like(tmp_path / f"{place}/x.tif", seed=i) for i, place in enumerate("ab")]
    report = many.predict_rasters(model, [*files, files[0]], tmp_path / "out")
    assert [Path(p).name for p in report["class"]] == ["a-x_class.tif", "b-x_class.tif"]
    same = image_like(tmp_path / "c/b/x.tif", (8, 8))
    with pytest.raises(ValueError, match="same name"):
        many.plan(model, [*files, same], tmp_path / "out")
    with pytest.raises(ValueError, match="replace inputs"):
        inside = image_like(tmp_path / "d/y.tif", (8, 8)), image_like(tmp_path / "d/y_class.tif", (8, 8))
        many.plan(model, inside, tmp_path / "d", overwrite=True)


def test_a_damaged_tile_is_named_or_becomes_nodata(model, tmp_path):
    path = tiled(tmp_path / "huge.tif")
    whole = read(many.predict_raster(model, path, tmp_path / "whole")["class"])[0]
    break_tile(path, 1, 2)
    report = many.predict_rasters(model, [path, image_like(tmp_path / "fine.tif")], tmp_path / "out")
    reason = report["reason"][0]
    assert "rows 32-64, columns 64-96" in reason and "damaged" in reason and "TIFFReadEncodedTile() failed" in reason
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"fine_class.tif", "fine_probability.tif", "report.csv"}
    report = many.predict_rasters(model, [path], tmp_path / "out", damaged="nodata", polygons=0)
    assert states(report) == {"huge.tif": "done"} and report["unreadable"][0] == "rows 32-64, columns 64-96"
    with rasterio.open(tmp_path / "out/huge_class.tif") as labels:
        assert labels.tags()["GEONB_UNREADABLE"] == "rows 32-64, columns 64-96"
        found = labels.read(1)
    assert (found[32:64, 64:96] == 255).all() and (found == 255).sum() == 32 * 32
    far = np.ones(found.shape, bool)
    far[:96, 32:128] = False  # further than a window from the hole nothing changes
    np.testing.assert_array_equal(found[far], whole[far])
    again = many.predict_rasters(model, [path], tmp_path / "out", damaged="nodata", polygons=0)
    assert states(again) == {"huge.tif": "already there"} and again["unreadable"][0] == "rows 32-64, columns 64-96"


def test_interrupted_it_goes_on_and_still_knows_the_damage(model, tmp_path, monkeypatch):
    path = tiled(tmp_path / "r.tif", (256, 64))
    break_tile(path, 0, 1)
    options = {"damaged": "nodata"}
    once = many.predict_raster(model, path, tmp_path / "once", **options)
    marked = []

    def dying(job, *span):
        rasters_mark(job, *span)
        marked.append(span)
        if len(marked) == 5:
            raise KeyboardInterrupt

    rasters_mark = jobs.mark
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "mark", dying)
        with pytest.raises(KeyboardInterrupt):
            many.predict_raster(model, path, tmp_path / "twice", **options)
    begun = []
    band = jobs.predict_band
    monkeypatch.setattr(jobs, "predict_band", lambda *a, **k: begun.append(a[2:4]) or band(*a, **k))
    twice = many.predict_raster(model, path, tmp_path / "twice", **options)
    assert begun == [(marked[-1][1], 256)]
    for kind in ("class", "probability"):
        np.testing.assert_array_equal(read(once[kind]), read(twice[kind]))
    with rasterio.open(twice["class"]) as labels:
        assert labels.tags()["GEONB_UNREADABLE"] == "rows 0-32, columns 32-64"


def test_killed_while_a_failed_raster_is_cleared_away_it_begins_anew(model, tmp_path, monkeypatch):
    """What is left must not count as predicted: chunks that are gone would read as zeros."""
    path = image_like(tmp_path / "r.tif", (256, 64))
    once = many.predict_raster(model, path, tmp_path / "once")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            many.predict_raster(model, path, tmp_path / "twice")
    (job,) = many.plan(model, [path], tmp_path / "twice").jobs
    with monkeypatch.context() as patch:
        patch.setattr(jobs.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            jobs.clean(job)
    for chunk in job.work.glob("scene/*/c/**/*"):
        if chunk.is_file():
            chunk.unlink()
    twice = many.predict_raster(model, path, tmp_path / "twice")
    for kind in ("class", "probability"):
        np.testing.assert_array_equal(read(once[kind]), read(twice[kind]))


def test_a_wide_raster_is_done_in_stripes_and_goes_on_where_it_was(model, tmp_path, monkeypatch):
    path = image_like(tmp_path / "wide.tif", (1100, 150))
    once = many.predict_raster(model, path, tmp_path / "once")
    monkeypatch.setattr(jobs, "STRIPE_PX", 64)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            many.predict_raster(model, path, tmp_path / "twice")
    (job,) = many.plan(model, [path], tmp_path / "twice").jobs
    assert jobs.lay_out(job, model.card) == []
    done = jobs._done(job)  # as if killed in the middle of the second span
    done.state["spans"] = [[0, 512]]
    done.write()
    twice = many.predict_raster(model, path, tmp_path / "twice")
    assert (read(once["class"]) == read(twice["class"])).mean() > 0.9999
    np.testing.assert_allclose(read(once["probability"]).astype(int), read(twice["probability"]), atol=1)


@pytest.mark.parametrize("side", [4.0, 30.0])
def test_another_resolution_is_read_at_the_models_and_written_on_its_own_grid(small_store, tmp_path, side):
    model = untrained(small_store, resolution_m=10.0)
    path = image_like(tmp_path / "r.tif", (70, 83), pixel_m=side)
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((4, 8, 83), np.uint16), window=((21, 29), (0, 83)))
    report = many.predict_rasters(model, [path], tmp_path)
    assert report["resampled_m"].tolist() == [10.0]
    with reading.open_raster(path, model.card) as raster:
        grid, rows, columns = raster.scene.rio.transform(), raster.scene.sizes["y"], raster.scene.sizes["x"]
    assert grid.a == pytest.approx(10, rel=1e-3)
    assert (rows, columns) == (-(-70 * side // 10), -(-83 * side // 10))  # to the very edge
    labels, shares = read(tmp_path / "r_class.tif")[0], read(tmp_path / "r_probability.tif")
    with rasterio.open(tmp_path / "r_class.tif") as made, rasterio.open(path) as image:
        assert (made.crs, made.transform, made.shape) == (image.crs, image.transform, image.shape)
    hole = np.zeros(labels.shape, bool)
    hole[21:29] = True  # not along the edges of the model's pixels
    assert (labels[hole] == 255).all() and (labels[~hole] < 3).all() and (shares[:, hole] == 255).all()
    # the oracle: GDAL's own resampling of the file, predicted as it is
    plain = untrained(small_store)
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    with (
        rasterio.open(path) as data,
        WarpedVRT(data, transform=grid, width=columns, height=rows,
                  resampling=Resampling.average if side < 10 else Resampling.bilinear) as vrt,
    ):  # fmt: skip
        write_raster(tmp_path / "seen.tif", vrt.read(), nodata=0)
    seen = read(many.predict_raster(plain, tmp_path / "seen.tif", tmp_path / "plain")["class"])[0]
    y, x = (((np.arange(n) + 0.5) * side / grid.a).astype(int) for n in labels.shape)
    nearest = seen[np.ix_(y, x)]
    assert (labels == nearest)[~hole].mean() > 0.999


def test_a_resolution_near_the_models_is_left_and_an_absurd_one_refused(small_store, tmp_path):
    model = untrained(small_store, resolution_m=10.0)
    image_like(tmp_path / "a.tif", pixel_m=10.5)
    with reading.open_raster(tmp_path / "a.tif", model.card) as raster:
        assert raster.resampled_m is None
    with pytest.raises(ValueError, match=r"b\.tif: resolution = 10 m for pixels of 1000 x 1000 m"):
        many.predict_raster(model, image_like(tmp_path / "b.tif", (8, 8), pixel_m=1000), tmp_path)


def test_damage_is_found_through_resampling(small_store, tmp_path):
    model = untrained(small_store, resolution_m=10.0)
    path = tiled(tmp_path / "r.tif", (1280, 640), pixel_m=4.0)
    break_tile(path, 1, 2)
    with pytest.raises(ValueError, match="cannot be read at rows 0-640, columns 0-640: truncated or damaged"):
        many.predict_raster(model, path, tmp_path / "out")
    paths = many.predict_raster(model, path, tmp_path / "out", damaged="nodata")
    labels = read(paths["class"])[0]
    assert (labels[32:64, 64:96] == 255).all() and (labels[640:] < 255).all()


def halved(values):
    return values / 2


def test_preprocessing_of_the_training_is_done_here_too(small_store, tmp_path, scene):
    plain = untrained(small_store)
    values = read(scene.image)
    write_raster(tmp_path / "half.tif", (values / 2).astype(np.float32), nodata=0)
    expected = read(many.predict_raster(plain, tmp_path / "half.tif", tmp_path / "a")["probability"])
    trust.trust(f"{__name__}:halved")
    changed = untrained(small_store, preprocess=[f"{__name__}:halved"])
    assert jobs.model_key(changed) != jobs.model_key(plain)
    found = read(many.predict_raster(changed, scene.image, tmp_path / "b")["probability"])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("path", ["own.py:scale", "planted_in_preprocess:scale"])
def test_a_function_that_came_with_a_model_runs_once_somebody_here_named_it(
    path, small_store, tmp_path, scene, monkeypatch
):
    mark, file = tmp_path / "executed", tmp_path / ("own.py" if ".py" in path else "planted_in_preprocess.py")
    code = "import pathlib\npathlib.Path({!r}).touch()\ndef scale(values):\n    return values\n"
    file.write_text(code.format(str(mark)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    received = untrained(small_store, preprocess=[path])
    for _ in range(2):
        with pytest.raises(
            ValueError,
            match=r"card \(preprocess\) names code to run.*run scale of .*(own|planted_in_preprocess)\.py",
        ):
            many.predict_rasters(received, [scene.image], tmp_path / "out")
        with pytest.raises(ValueError, match="names code to run"), reading.open_raster(scene.image, received.card):
            pass
        assert not mark.exists() and not (tmp_path / "out").exists()
    trust.trust(path)
    assert states(many.predict_rasters(received, [scene.image], tmp_path / "out")) == {"image.tif": "done"}
    assert mark.exists()


def test_pixels_are_not_unpickled_for_a_card_that_says_so(small_store, tmp_path):
    """The import path of a function that is installed anyway is no more than a file's word either."""
    path = image_like(tmp_path / "a.tif", (40, 50))
    with pytest.raises(ValueError, match=r"would run loads of .*pickle"):
        many.predict_rasters(untrained(small_store, preprocess="pickle:loads"), [path], tmp_path / "out")


@pytest.fixture(scope="module")
def processes():
    """Two Dask workers."""
    with cluster.dask_client(2) as client:
        yield client


def test_bands_spread_over_processes_come_out_as_in_one_pass(model, tmp_path, processes, monkeypatch, capsys):
    monkeypatch.setattr(workers, "SMALL_MPX", 0.02)
    large = image_like(tmp_path / "large.tif", (700, 90))
    small = image_like(tmp_path / "small.tif", (40, 50), seed=2)
    broken = tiled(tmp_path / "broken.tif", (704, 96))
    break_tile(broken, 17, 0)
    files = [broken, large, small]
    here = many.predict_rasters(model, files, tmp_path / "here", precision="float32")
    planned = many.plan(model, files, tmp_path / "there")
    assert len(workers._spans(planned.jobs[1], model.card, 2)) > 2
    with workers._saved(model, tmp_path / "there") as folder:
        outcomes = dict(workers.spread_over(processes, planned.jobs, model.card, folder))
    by_name = {job.name: outcome for job, outcome in outcomes.items()}
    assert "rows 544-576, columns 0-32" in str(by_name["broken"]) and states(here)["broken.tif"] == "skipped"
    for name in ("large", "small"):
        assert by_name[name]["state"] == "done" and by_name[name]["seconds"] > 0
        for kind in ("class", "probability"):
            ours, theirs = (read(tmp_path / place / f"{name}_{kind}.tif") for place in ("here", "there"))
            np.testing.assert_array_equal(ours, theirs)
    left = {p.name for p in (tmp_path / "there").iterdir()}
    assert left == {f"{n}_{k}.tif" for n in ("large", "small") for k in ("class", "probability")}


def test_damage_seen_by_different_workers_is_put_together(model, tmp_path, processes, monkeypatch):
    monkeypatch.setattr(workers, "SMALL_MPX", 0.02)
    path = tiled(tmp_path / "b.tif", (704, 96))
    for row in (1, 20):
        break_tile(path, row, 1)
    planned = many.plan(model, [path], tmp_path / "out", damaged="nodata")
    with workers._saved(model, tmp_path / "out") as folder:
        ((_, outcome),) = workers.spread_over(processes, planned.jobs, model.card, folder)
    assert outcome["unreadable"] == "rows 32-64, columns 32-64; rows 640-672, columns 32-64"


def test_dask_workers_predict_files_and_bands(model, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(workers, "SMALL_MPX", 0.02)
    files = [image_like(tmp_path / "large.tif", (700, 90)), image_like(tmp_path / "small.tif", (40, 50), seed=2)]
    files.append(write_raster(tmp_path / "few.tif", np.ones((8, 8), np.uint8)))
    many.predict_rasters(model, files, tmp_path / "here", precision="float32")
    report = many.predict_rasters(model, files, tmp_path / "there", precision="float32", workers=2)
    assert states(report) == {"large.tif": "done", "small.tif": "done", "few.tif": "skipped"}
    for name in ("large_class.tif", "large_probability.tif", "small_class.tif", "small_probability.tif"):
        np.testing.assert_array_equal(read(tmp_path / "here" / name), read(tmp_path / "there" / name))


def dies(values):
    os._exit(3)


def test_a_dask_worker_that_dies_leaves_no_half_map(small_store, model, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    dask = pytest.importorskip("dask")
    path = image_like(tmp_path / "a.tif", (40, 50))
    trust.trust(f"{__name__}:dies")
    deadly = untrained(small_store, preprocess=[f"{__name__}:dies"])
    with (
        # not handed to a second worker: Dask starts none again that dies while it starts, as that one may
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as there,
        distributed.Client(there) as client,
        pytest.raises(ValueError, match="Several Dask workers died"),
    ):
        many.predict_rasters(deadly, [path], tmp_path / "out", client=client)
    assert not list((tmp_path / "out").glob("a_*"))
    assert states(many.predict_rasters(model, [path], tmp_path / "out")) == {"a.tif": "done"}


def test_a_given_cluster_on_this_machine_is_not_waited_for_without_workers(model, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(cluster, "ALONE_S", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as there,
        distributed.Client(there) as client,
        pytest.raises(RuntimeError, match="none came back"),
    ):
        many.predict_rasters(model, [image_like(tmp_path / "a.tif", (40, 50))], tmp_path / "out", client=client)


def test_workers_without_dask_say_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ValueError, match="pip install distributed"):
        many.predict_rasters(model, [image_like(tmp_path / "a.tif", (40, 50))], tmp_path / "out", workers=2)


def test_a_runs_maps_hold_scenes_and_rasters(small_store, model, scene, tmp_path):
    from types import SimpleNamespace

    run = SimpleNamespace(path=tmp_path / "run", predictions=tmp_path / "run/predictions.zarr", name="run")
    predict.predict_scenes(run, small_store, model, [])
    source = small_store.sources[0]
    assert source == "image"
    (tmp_path / "more").mkdir()
    other = shutil.copy(scene.image, tmp_path / "more/image.tif")  # the stem of the run's own scene
    for state in ("done", "already there"):
        report = predict.export_maps(run, model, str(other), polygons=0)
        assert report["state"].tolist() == ["done", state]
        assert [Path(p).name for p in report["class"]] == ["image_class.tif", "more-image_class.tif"]
        assert [Path(p).name for p in report["polygons"]] == ["image_polygons.gpkg", "more-image_polygons.gpkg"]
    report = predict.export_maps(run, model)
    assert report["state"].tolist() == ["done"] and not (run.path / "maps/image_polygons.gpkg").exists()
    assert pd.read_csv(run.path / "maps/report.csv")["file"].tolist() == [source]


def test_tiles_are_listed_as_the_image_they_form(tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    for x in (4, 5):
        Picture.fromarray(np.full((16, 16, 3), x, np.uint8)).save(tmp_path / f"a-{x}-3-6.png")
    (mosaic,) = many.listed(f"{tmp_path}/*.png")
    with rasterio.open(mosaic) as data:
        assert data.read(1)[0].tolist() == [4] * 16 + [5] * 16
    assert "2 tiles were placed by their names" in capsys.readouterr().out
    assert many.listed([tmp_path / "scene.tif"]) == [tmp_path / "scene.tif"]
