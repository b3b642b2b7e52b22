"""Objects of a store: found, seen in place or fetched once, found again, fetched anew when changed; every fault in words."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
import stores
from scenes import write_raster
from stores import bucket, s3_server, web  # noqa: F401  (fixtures)

from geonb.base import download, in_place, objects
from geonb.base.project import existing_files, expand_files, find_files, objects_folder


def raster(path, seed=0, **more):
    values = np.random.default_rng(seed).integers(1, 255, (2, 64, 96), np.uint8)
    write_raster(path, values, nodata=0, tiled=True, blockxsize=32, blockysize=32, compress="deflate", **more)
    return values


def raster_file(folder):
    raster(folder / "a.tif")
    return folder / "a.tif"


def read(path):
    with rasterio.open(path) as data:
        return data.read()


def test_a_raster_is_seen_in_place_with_all_that_it_says(tmp_path, bucket):
    values = raster(tmp_path / "a.tif")
    (place,) = find_files(bucket.put(tmp_path / "a.tif", "scenes/a.tif"), tmp_path).popitem()[1]
    assert place == objects_folder() / bucket.name / "scenes" / "a.tif"
    assert b"VRTDataset" in place.read_bytes()[:100], "the pixels were fetched"
    with rasterio.open(place) as seen, rasterio.open(tmp_path / "a.tif") as own:
        assert (seen.read() == values).all()
        for what in ("crs", "transform", "nodatavals", "dtypes", "block_shapes", "colorinterp", "shape"):
            assert getattr(seen, what) == getattr(own, what)


def test_a_mask_beside_a_raster_is_heeded_and_its_change_noticed(tmp_path, bucket, monkeypatch):
    raster(tmp_path / "a.tif")
    mask = np.full((64, 96), 255, np.uint8)
    address = bucket.put(tmp_path / "a.tif", "m/a.tif")
    marks = []
    for row in (0, 10):
        mask[: row + 5] = 0
        write_raster(tmp_path / "a.tif.msk", mask)
        with rasterio.open(tmp_path / "a.tif.msk", "r+") as data:
            data.update_tags(INTERNAL_MASK_FLAGS_1="2", INTERNAL_MASK_FLAGS_2="2")
        bucket.put(tmp_path / "a.tif.msk", "m/a.tif.msk")
        stores.forget(monkeypatch)
        (place,) = find_files(address, tmp_path)[address]
        marks.append(place.read_bytes())
    assert marks[0] != marks[1]


def test_a_pattern_names_what_matches_and_a_folder_what_lies_below(tmp_path, bucket):
    for name in ("a.csv", "b.csv", "c.txt", "deep/d.csv"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text(name)
    folder = bucket.put(tmp_path / "x", "x")
    faults = []
    found = expand_files(f"{folder}*.csv, s3://{bucket.name}/x/c.txt", faults, "files")
    assert [path.read_text() for path in found] == ["a.csv", "b.csv", "c.txt"] and not faults
    assert [path.read_text() for path in existing_files(f"{folder}**/*.csv")] == ["a.csv", "b.csv", "deep/d.csv"]
    ((home,),) = find_files(folder, tmp_path).values()
    assert sorted(path.read_text() for path in home.rglob("*") if path.is_file()) == [
        "a.csv",
        "b.csv",
        "c.txt",
        "deep/d.csv",
    ]
    ((again,),) = find_files(folder.rstrip("/"), tmp_path).values()  # without the slash, too, as of a folder here
    assert again == home


def test_what_is_fetched_is_fetched_once_until_it_changes(tmp_path, bucket, monkeypatch):
    (tmp_path / "a.csv").write_text("one")
    address = bucket.put(tmp_path / "a.csv")
    (place,) = existing_files(address)
    first = place.stat()
    stores.forget(monkeypatch)
    monkeypatch.setattr(objects, "_fetch", lambda *_: pytest.fail("fetched again"))
    assert existing_files(address) == [place] and place.stat() == first
    monkeypatch.undo()


def test_a_changed_object_is_fetched_anew_and_its_stamp_differs(tmp_path, bucket, monkeypatch):
    stamps = []
    for text in ("one", "two"):  # as long, and within one second maybe
        (tmp_path / "a.csv").write_text(text)
        address = bucket.put(tmp_path / "a.csv")
        stores.forget(monkeypatch)
        (place,) = existing_files(address)
        assert place.read_text() == text
        stamps.append(place.stat().st_mtime_ns)
    assert stamps[0] != stamps[1]


def test_a_changed_raster_shows_its_new_pixels_in_the_same_process(tmp_path, bucket, monkeypatch):
    contents = []
    for seed in range(2):
        values = raster(tmp_path / "a.tif", seed)
        address = bucket.put(tmp_path / "a.tif")
        stores.forget(monkeypatch)
        (place,) = existing_files(address)
        assert (read(place) == values).all()
        contents.append(place.read_bytes())
    assert contents[0] != contents[1], "a content key would not notice"


def test_what_is_gone_from_a_folder_goes_here_too(tmp_path, bucket, monkeypatch):
    for name in ("a.csv", "b.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / name).write_text(name)
    folder = bucket.put(tmp_path / "x", "x")
    ((home,),) = find_files(folder, tmp_path).values()
    bucket.client.delete_object(Bucket=bucket.name, Key="x/b.csv")
    stores.forget(monkeypatch)
    find_files(folder, tmp_path)
    assert [path.name for path in home.iterdir()] == ["a.csv"]
    (home / "mine.csv").touch()
    stores.forget(monkeypatch)
    with pytest.raises(ValueError, match=r"mine\.csv is none of the store's objects.*Move the file elsewhere"):
        find_files(folder, tmp_path)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://{bucket}/no.tif", r"no such object, and none below it \(asked http://127.*Look at the bucket"),
        ("s3://{bucket}/*.tif", r"no object matches"),
        ("s3://no-such-bucket/a.tif", r"no such bucket or object"),
        ("s3://{bucket}/../a.tif", "names no object"),
        ("s3:///a.tif", r"names no object\. Write s3://bucket/key"),
        ("gs://bucket/a.tif", r"only s3://, https:// and http:// are"),
        ("https://host/scenes/*.tif", r"does not list.*one by one"),
        ("https://host/scenes/", r"does not list"),
        ("https://anna:pw@host/a.tif", r"https://\*\*\*@host/a\.tif holds a password"),
        (
            "https://host/a.tif?X-Amz-Credential=AKIA&X-Amz-Signature=0a1b",
            r"Signature=\*\*\* holds a password or a signature",
        ),
        ("https://no-such-host.invalid/a.tif", r"cannot be reached.*never fetched.*login node"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_address_and_a_cure(bucket, address, told):
    address = address.format(bucket=bucket.name)
    with pytest.raises(ValueError, match=told) as error:
        existing_files(address)
    for secret in ("anna:pw", "0a1b", "AKIA", "very-secret"):
        assert secret not in str(error.value)


def test_what_may_not_be_read_is_told(tmp_path, bucket, monkeypatch):
    address = bucket.put(raster_file(tmp_path))
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    with pytest.raises(ValueError, match=rf"{address} may not be read.*AWS_ACCESS_KEY_ID.*AWS_NO_SIGN_REQUEST=YES"):
        existing_files(address)


def test_without_keys_they_are_asked_for(tmp_path, bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ValueError, match=r"may not be read.*credentials.*AWS_NO_SIGN_REQUEST=YES"):
        existing_files(f"s3://{bucket.name}/a.tif")


def test_a_public_bucket_is_read_unsigned(tmp_path, bucket, monkeypatch):
    values = raster(tmp_path / "a.tif")
    (tmp_path / "a.csv").write_text("one")
    addresses = [bucket.put(tmp_path / name, ACL="public-read") for name in ("a.tif", "a.csv")]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    image, table = existing_files(", ".join(addresses))
    assert (read(image) == values).all() and table.read_text() == "one"


def test_without_a_network_what_was_fetched_is_used(tmp_path, bucket, monkeypatch, capfd):
    (tmp_path / "a.csv").write_text("one")
    raster(tmp_path / "a.tif")
    table, image = bucket.put(tmp_path / "a.csv"), bucket.put(tmp_path / "a.tif")
    (place,) = existing_files(table)
    existing_files(image)
    # the same address, and nobody there: as far as the records tell, it is the same store
    monkeypatch.setattr(
        objects, "_listed", lambda address: (_ for _ in ()).throw(ConnectionError(f"{address}: cannot be reached"))
    )
    stores.forget(monkeypatch)
    assert existing_files(table) == [place]
    assert "cannot be reached: what was fetched before is used" in capfd.readouterr().out
    with pytest.raises(ValueError, match=rf"1 of its 1 objects are not on this disk.*geonb fetch WORKLOAD {image}"):
        existing_files(image)


def test_a_raster_fetched_whole_serves_where_there_is_no_network(tmp_path, bucket, monkeypatch):
    values = raster(tmp_path / "a.tif")
    address = bucket.put(tmp_path / "a.tif")
    (place,) = objects.local(address, objects_folder(), whole=True)
    assert place.read_bytes() == (tmp_path / "a.tif").read_bytes()
    stores.forget(monkeypatch)
    assert existing_files(address) == [place] and place.read_bytes() == (tmp_path / "a.tif").read_bytes(), (
        "no longer whole"
    )
    monkeypatch.setattr(
        objects, "_listed", lambda address: (_ for _ in ()).throw(ConnectionError(f"{address}: cannot be reached"))
    )
    stores.forget(monkeypatch)
    assert (read(existing_files(address)[0]) == values).all()


def test_a_store_that_is_down_costs_seconds_not_minutes(tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(ValueError, match=r"127\.0\.0\.1:9"):
            existing_files(f"s3://{bucket.name}/a.tif")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("gdal", [False, True], ids=["as AWS says it", "as GDAL says it"])
def test_the_endpoint_is_found_however_it_is_told(tmp_path, bucket, s3_server, monkeypatch, gdal):
    values = raster(tmp_path / "a.tif")
    (tmp_path / "a.csv").write_text("one")
    addresses = [bucket.put(tmp_path / name) for name in ("a.tif", "a.csv")]
    if gdal:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        for name, value in {
            "AWS_S3_ENDPOINT": s3_server.removeprefix("http://"),
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }.items():
            monkeypatch.setenv(name, value)
    image, table = existing_files(", ".join(addresses))
    assert (read(image) == values).all() and table.read_text() == "one"


def test_a_process_that_only_opens_rasters_finds_the_store(tmp_path, bucket):
    values = raster(tmp_path / "a.tif")
    (place,) = existing_files(bucket.put(tmp_path / "a.tif"))
    code = f"from geonb.rasters import images; print(images.to_xarray(images.open_image({str(place)!r})).inputs.sum().item())"
    plain = {k: v for k, v in os.environ.items() if k not in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING")}
    told = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert int(told.stdout) == values.sum()


@pytest.mark.parametrize(
    "section", ["endpoint_url = {}", "services = ours\n[services ours]\ns3 =\n  endpoint_url = {}"]
)
def test_the_endpoint_of_awss_own_file_is_gdals_too(tmp_path, bucket, s3_server, monkeypatch, section):
    values = raster(tmp_path / "a.tif")
    (tmp_path / "a.csv").write_text("one")
    addresses = [bucket.put(tmp_path / name) for name in ("a.tif", "a.csv")]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "")  # so that what is found is undone
    (tmp_path / "config").write_text(f"[profile of-the-lab]\n{section.format(s3_server)}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "of-the-lab")
    image, table = existing_files(", ".join(addresses))
    assert (read(image) == values).all() and table.read_text() == "one"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "")
    monkeypatch.delenv("AWS_S3_ENDPOINT")
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(ValueError, match="Look at AWS_PROFILE"):
        existing_files(bucket.put(tmp_path / "a.csv", "another.csv"))
    in_place.bridge()  # whoever reads from elsewhere, or only imports what opens rasters, is not stopped by it


def test_who_reads_pays_where_it_is_said(tmp_path, bucket, monkeypatch):
    (tmp_path / "a.csv").write_text("one")
    address, asked = bucket.put(tmp_path / "a.csv"), []
    fetch = download.resume
    monkeypatch.setattr(download, "resume", lambda url, *rest, **more: (asked.append(url), fetch(url, *rest, **more)))
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    (table,) = existing_files(address)
    assert table.read_text() == "one" and "x-amz-request-payer=requester" in asked[0]
    assert objects._SYSTEM["is_"].req_kw == {"RequestPayer": "requester"}


def test_the_bridge_leaves_what_is_set(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example.org/base/")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "TRUE")
    for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS"):
        monkeypatch.setenv(name, "before")
    in_place.bridge()
    said = {name: os.environ[name] for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING")}
    assert said == {"AWS_S3_ENDPOINT": "store.example.org/base", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "TRUE"}


def test_the_web_is_read_in_place_where_it_gives_parts_else_fetched(tmp_path, web):
    folder, address = web
    values = raster(folder / "a b.tif")
    (folder / "whole").mkdir()
    (folder / "whole" / "a.tif").write_bytes((folder / "a b.tif").read_bytes())
    (folder / "a.csv").write_text("one")
    seen, whole, table = existing_files(f"{address}/a%20b.tif, {address}/whole/a.tif, {address}/a.csv")
    assert b"VRTDataset" in seen.read_bytes()[:100] and whole.read_bytes() == (folder / "a b.tif").read_bytes()
    assert (
        seen.name == "a b.tif"
        and (read(seen) == values).all()
        and (read(whole) == values).all()
        and table.read_text() == "one"
    )
    with pytest.raises(ValueError, match=r"/none\.tif cannot be had: the server says 404"):
        existing_files(f"{address}/none.tif")


def test_a_page_that_comes_in_place_of_a_file_is_refused(web):
    folder, address = web
    (folder / "login.csv").write_text("<!doctype html><html>log in</html>")
    with pytest.raises(ValueError, match=r"login\.csv could not be fetched: a web page came in its place"):
        existing_files(f"{address}/login.csv")
    assert not list(objects_folder().rglob("login.csv"))


def test_a_web_page_behind_a_password_is_read_with_the_one_of_netrc(tmp_path, web, monkeypatch):
    folder, address = web
    (folder / "locked").mkdir()
    (folder / "locked" / "a.csv").write_text("one")
    values = raster(folder / "locked" / "a.tif")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GDAL_HTTP_USERPWD", raising=False)
    with pytest.raises(ValueError, match=r"the server says 401.*~/\.netrc or GDAL_HTTP_USERPWD"):
        existing_files(f"{address}/locked/a.csv")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login anna password pw\n")
    (tmp_path / ".netrc").chmod(0o600)
    table, image = existing_files(f"{address}/locked/a.csv, {address}/locked/a.tif")
    assert table.read_text() == "one" and (read(image) == values).all()
    for file in objects_folder().rglob("*"):
        assert not file.is_file() or b"pw" not in file.read_bytes()


def test_what_lies_beside_a_picture_or_a_shapefile_comes_along(tmp_path, bucket):
    import geopandas as gpd
    from shapely import box

    (tmp_path / "s").mkdir()
    gpd.GeoDataFrame({"kind": ["a"]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "s" / "a.shp")
    bucket.put(tmp_path / "s", "s")
    (place,) = existing_files(f"s3://{bucket.name}/s/a.shp")
    frame = gpd.read_file(place)
    assert frame.crs == 4326 and list(frame["kind"]) == ["a"]


def test_no_key_is_written_anywhere(tmp_path, bucket):
    raster(tmp_path / "a.tif")
    (tmp_path / "a.csv").write_text("one")
    existing_files(", ".join(bucket.put(tmp_path / name) for name in ("a.tif", "a.csv")))
    for file in objects_folder().parents[2].rglob("*"):
        assert not file.is_file() or not any(
            key in file.read_bytes() for key in (b"very-secret", b"Signature", b"anna")
        )
