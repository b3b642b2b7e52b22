"""Items of STAC as images: bands in order on one grid, values as the item says them, found by file, by address and by an API."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import stores
from scenes import make_scene, write_raster
from stores import bucket, s3_server, web  # noqa: F401  (fixtures)

from geonb.base import stac
from geonb.base.project import existing_files, objects_folder
from geonb.workloads.chips import dataset as chips
from geonb.workloads.clouds import dataset as clouds
from geonb.workloads.segmentation import dataset as segmentation
from geonb.workloads.segmentation import store as segmentation_store

TOLD = ("crs", "transform", "shape", "descriptions", "nodatavals", "dtypes")
DAY = datetime(2024, 5, 10, 10, 30, tzinfo=UTC)


def item(folder, name="one", hrefs=None, facts=None, cloud=None, day=DAY, **more):
    """Write rasters red (10 m) and swir (20 m), and an item of them beside; gives the item's file."""
    rng = np.random.default_rng(len(name))
    red, swir = rng.integers(1, 5000, (64, 96)).astype(np.uint16), rng.integers(1, 5000, (32, 48)).astype(np.uint16)
    red[:5], swir[-3:] = 0, 0
    write_raster(folder / f"{name}_red.tif", red, nodata=0)
    write_raster(folder / f"{name}_swir.tif", swir, nodata=0, pixel_m=20.0)
    made = pystac.Item(name, None, None, day, {} if cloud is None else {"eo:cloud_cover": cloud})
    for band in ("red", "swir"):
        href = (hrefs or {}).get(band, f"./{name}_{band}.tif")
        made.add_asset(band, pystac.Asset(href, extra_fields=(facts or {}).get(band, {}), **more))
    path = folder / f"{name}.json"
    path.write_text(json.dumps(made.to_dict(include_self_link=False)))
    return path, red, swir


def read(path):
    """Pixels, and the file closed again, which tells of its grid still."""
    with rasterio.open(path) as data:
        return data.read(), SimpleNamespace(**{key: getattr(data, key) for key in TOLD})


@pytest.fixture
def project(tmp_path, monkeypatch):
    return stores.own_project(tmp_path / "project", monkeypatch)


def test_bands_come_in_the_order_asked_for_on_the_finest_grid(tmp_path, project):
    path, red, swir = item(tmp_path)
    (place,) = existing_files(f"stac:{path},assets=swir+red")
    values, data = read(place)
    np.testing.assert_array_equal(values[1], red)
    np.testing.assert_array_equal(values[0], swir.repeat(2, 0).repeat(2, 1))  # an oracle of its own: pixels repeated
    with rasterio.open(tmp_path / "one_red.tif") as fine:
        assert (data.crs, data.transform, data.shape) == (fine.crs, fine.transform, fine.shape)
    assert data.descriptions == ("swir", "red") and data.nodatavals == (0, 0) and place.name == "one.tif"
    assert stac.time_of(place) == "2024-05-10T10:30:00+00:00"


@pytest.mark.parametrize("form", ["raster:bands", "bands", "asset"])
def test_scale_offset_and_no_data_are_those_of_the_item(tmp_path, project, form):
    told = {"scale": 1e-4, "offset": -0.1, "nodata": 0}
    own = {f"raster:{key}" if key != "nodata" else key: value for key, value in told.items()}
    facts = {"raster:bands": [told]} if form == "raster:bands" else {"bands": [own]} if form == "bands" else own
    path, red, _ = item(tmp_path, facts={"red": facts})
    values, data = read(existing_files(f"stac:{path},assets=red+swir")[0])
    assert data.dtypes == ("float32", "float32") and all(np.isnan(n) for n in data.nodatavals)
    np.testing.assert_array_equal(np.isnan(values[0]), red == 0)
    np.testing.assert_allclose(values[0][red > 0], (red[red > 0] * 1e-4 - 0.1), atol=1e-6)


def test_a_file_that_says_another_no_data_than_its_item_is_refused(tmp_path, project):
    path, *_ = item(tmp_path, facts={"red": {"raster:bands": [{"nodata": 255}]}})
    with pytest.raises(ValueError, match=r"one: asset red: no data is 255 by the item, 0 by the file"):
        existing_files(f"stac:{path},assets=red")


def test_assets_that_make_no_one_image_are_refused(tmp_path, project):
    path, *_ = item(tmp_path)
    write_raster(tmp_path / "one_swir.tif", np.ones((32, 48), np.uint16), crs="EPSG:32618", pixel_m=20.0, nodata=0)
    with pytest.raises(ValueError, match=r"swir has another CRS than red"):
        existing_files(f"stac:{path},assets=red+swir")
    write_raster(tmp_path / "one_swir.tif", np.ones((20, 20), np.uint16), pixel_m=20.0)
    with pytest.raises(ValueError, match=r"swir does not cover red, and nothing says what stands for no data"):
        existing_files(f"stac:{path},assets=red+swir")
    assert not list((objects_folder() / "stac").rglob("*.tif"))


def test_a_mask_of_a_file_is_heeded(tmp_path, project):
    path, red, _ = item(tmp_path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        tmp_path / "one_red.tif", "w", driver="GTiff", dtype="uint16", count=1, height=64, width=96, crs="EPSG:32617",
        transform=rasterio.transform.from_origin(500_000, 4_000_000, 10, 10)) as data:  # fmt: skip
        data.write(red, 1)
        data.write_mask(red > 2500)
    with rasterio.open(existing_files(f"stac:{path},assets=red")[0]) as data:
        np.testing.assert_array_equal(data.read_masks(1) > 0, red > 2500)
    with pytest.raises(ValueError, match=r"red has a mask of its own, which says nothing of the others"):
        existing_files(f"stac:{path},assets=red+swir")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stac:{item}", r"no assets are named: write assets=red\+green\+blue"),
        ("stac:{item},assets=red+nir", r"one: no asset nir; it has red, swir"),
        ("stac:{item},assets=red,clouds=3", r"cloud.*"),
        ("stac:{item},assets=red,cloud=300", r"300"),
        ("stac:gone.json,assets=red", r"no file is at gone\.json"),
        ("stac:{other},assets=red", r"neither an item nor a collection of items \(type 'Catalog'\)"),
        ("stac:https://anna:pw@host/v1,collections=a,assets=red", r"holds a password or a signature"),
        ("stac:https://host/v1,collections=a,bbox=9+8+7,assets=red", r"bbox=9\+8\+7: write west\+south\+east\+north"),
        (
            "stac:http://127.0.0.1:9/v1,collections=a,assets=red",
            r"(?i)the catalogue (cannot be reached|does not answer)",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path, project, text, told):
    path, *_ = item(tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"type": "Catalog", "id": "x"}))
    with pytest.raises(ValueError, match=told) as error:
        existing_files(text.format(item=path, other=tmp_path / "other.json"))
    assert "anna:pw" not in str(error.value)


def test_signed_assets_are_refused_with_words_and_without_the_signature(tmp_path, project):
    path, *_ = item(tmp_path, hrefs={"red": "https://host/red.tif?sv=1&sig=c2VjcmV0"})
    with pytest.raises(
        ValueError, match=r"asset red: .*sig=\*\*\*.*must sign first \(Planetary Computer\) are not read"
    ) as error:
        existing_files(f"stac:{path},assets=red")
    assert "c2VjcmV0" not in str(error.value)


def test_a_collection_of_items_is_several_images_less_the_cloudy(tmp_path, project, capfd):
    told = []
    for name, cloud in (("a", 5), ("bb", 60), ("ccc", None)):
        path, *_ = item(tmp_path, name, cloud=cloud)
        told.append(json.loads(path.read_text()))
    (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    assert [p.name for p in existing_files(f"stac:{tmp_path}/all.json,assets=red")] == ["a.tif", "bb.tif", "ccc.tif"]
    assert [p.name for p in existing_files(f"stac:{tmp_path}/all.json,assets=red,cloud=20")] == ["a.tif"]
    assert "1 of 3 items do not say how cloudy they are, and are left out" in capfd.readouterr().out
    with pytest.raises(ValueError, match="more than limit=2 items match"):
        existing_files(f"stac:{tmp_path}/all.json,assets=red,limit=2")


def test_items_whose_ids_look_alike_on_a_disk_are_two_images(tmp_path, project):
    told = []
    for name, called in (("a", "day 1"), ("bb", "day/1")):
        path, *_ = item(tmp_path, name)
        told.append(json.loads(path.read_text()) | {"id": called})
    (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    first, second = (read(place)[0] for place in existing_files(f"stac:{tmp_path}/all.json,assets=red"))
    for values, name in ((first, "a"), (second, "bb")):
        np.testing.assert_array_equal(values, read(tmp_path / f"{name}_red.tif")[0])


def test_an_item_in_a_bucket_is_read_in_place(tmp_path, bucket, monkeypatch):
    _, red, swir = item(tmp_path / "x")
    bucket.put(tmp_path / "x", "x")
    text = f"stac:s3://{bucket.name}/x/one.json,assets=red+swir"
    (place,) = existing_files(text)
    values, _ = read(place)
    assert (values[0] == red).all() and (values[1] == swir.repeat(2, 0).repeat(2, 1)).all()
    assert all(p.stat().st_size < 20_000 for p in objects_folder().rglob("*.tif")), "pixels were fetched"
    before = segmentation_store.base_files.fingerprints(stac_sources(place))
    write_raster(tmp_path / "x" / "one_red.tif", red + 1, nodata=0)
    bucket.put(tmp_path / "x", "x")
    stores.forget(monkeypatch)
    (place,) = existing_files(text)
    assert (read(place)[0][0] == red + 1).all()
    assert segmentation_store.base_files.fingerprints(stac_sources(place)) != before


def stac_sources(place):
    from geonb.rasters.sources import files_of

    found = files_of(place)
    assert len(found) == 3  # itself, and what it shows
    return found


def test_an_api_is_searched(tmp_path, web):
    folder, address = web
    features = []
    for name, cloud, day in (("a", 5, 10), ("bb", 60, 10), ("ccc", 1, 20)):
        path, *_ = item(
            folder,
            name,
            cloud=cloud,
            day=DAY.replace(day=day),
            hrefs={b: f"{address}/{name}_{b}.tif" for b in ("red", "swir")},
        )
        features.append(json.loads(path.read_text()) | {"collection": "s2", "bbox": [9, 46, 10, 47]})
    with stores.served("stac", folder) as api:
        (folder / "features.json").write_text(json.dumps(features))
        search = f"stac:{api}/v1,collections=s2,bbox=9+46+10+47,datetime=2024-05-01/2024-05-15,assets=red+swir"
        assert [p.name for p in existing_files(search)] == ["a.tif", "bb.tif"]
        (place,) = existing_files(f"{search},cloud=20")
        assert place.name == "a.tif" and read(place)[0].shape == (2, 64, 96)
        asked = [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]
        assert (
            asked[0]["collections"] == ["s2"]
            and asked[0]["bbox"] == [9, 46, 10, 47]
            and asked[0]["datetime"].startswith("2024-05-01")
        )
        with pytest.raises(ValueError, match="no item is left of 0"):
            existing_files(search.replace("=s2", "=s1"))


def test_without_a_network_the_items_of_the_last_search_are_used(tmp_path, web, monkeypatch, capfd):
    folder, address = web
    path, *_ = item(folder, hrefs={b: f"{address}/one_{b}.tif" for b in ("red", "swir")})
    (folder / "features.json").write_text(json.dumps([json.loads(path.read_text()) | {"collection": "s2"}]))
    with stores.served("stac", folder) as api:
        search = f"stac:{api}/v1,collections=s2,assets=red"
        first = existing_files(search)
    stores.forget(monkeypatch)
    assert existing_files(search) == first
    assert "what it had the last time is used" in capfd.readouterr().out


def test_items_are_images_of_segmentation_chips_and_clouds_with_their_times(tmp_path, project):
    scene = make_scene(tmp_path / "scene")
    made = pystac.Item("scene", None, None, DAY, {})
    made.add_asset("image", pystac.Asset("./image.tif"))
    path = tmp_path / "scene" / "item.json"
    path.write_text(json.dumps(made.to_dict(include_self_link=False)))
    text, time = f"stac:{path},assets=image", pd.Timestamp(DAY)
    pairs = segmentation.open_pairs(text, str(scene.mask), scene.classes)
    store = segmentation_store.write_store(pairs, patch=16, stride=8, block=16, root=tmp_path)
    assert (store.index["time"] == time).all()
    plain = segmentation_store.write_store(
        segmentation.open_pairs(str(scene.image), str(scene.mask), scene.classes),
        patch=16,
        stride=8,
        block=16,
        root=tmp_path / "b",
    )
    assert plain.index["time"].isna().all()
    np.testing.assert_array_equal(store.index[["y", "x"]], plain.index[["y", "x"]])
    for i in (0, len(store) // 2):
        np.testing.assert_array_equal(store[i]["inputs"], plain[i]["inputs"])
    assert [strip.date for strip in chips.open_imagery(text, "xyz", 16, 64).strips] == [DAY.isoformat()]
    series = clouds.open_scenes(text, patch=16).series[0]
    assert list(series.times) == [time.tz_localize(None)]
    assert Path(clouds.scene_files(text, tmp_path)[0]).name == "scene.tif"
