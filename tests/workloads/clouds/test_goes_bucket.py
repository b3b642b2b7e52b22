import dataclasses
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from geonb import cli, registry
from geonb.base import download
from geonb.workloads import clouds, conflict, segmentation
from geonb.workloads.clouds import files, goes_bucket
from geonb.workloads.clouds.goes_bucket import sun_zenith


def key_of(product, time, channel=""):
    time = pd.Timestamp(time)
    stamp = f"{time:%Y%j%H%M%S}{time.microsecond // 100_000}"
    return f"{product}/{time:%Y/%j/%H}/OR_{product}-M6{channel}_G16_s{stamp}_e{stamp}_c{stamp}.nc"


class Bucket(BaseHTTPRequestHandler):
    """Speaks ListObjectsV2, at most `page` keys at a time, and serves objects, also parts of them."""

    objects, page, asked, cuts, broken = {}, 4, (), 0, 0

    def do_GET(self):
        kind = type(self)
        path, _, query = self.path.partition("?")
        kind.asked = (*kind.asked, self.path)
        if kind.broken:
            kind.broken -= 1
            return self.send_error(503)
        if query:
            return self._list({k: v[0] for k, v in urllib.parse.parse_qs(query).items()})
        body = kind.objects.get(urllib.parse.unquote(path.lstrip("/")))
        if body is None:
            return self.send_error(404)
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == '"tag"':
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", '"tag"')
        self.end_headers()
        rest = body[start:]
        if kind.cuts:
            kind.cuts -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        return None

    def _list(self, query):
        assert query["list-type"] == "2"
        keys = sorted(k for k in self.objects if k.startswith(query["prefix"]))
        first = int(query.get("continuation-token", "0"))
        more = first + self.page < len(keys)
        parts = ["<IsTruncated>" + str(more).lower() + "</IsTruncated>"]
        if more:
            parts.append(f"<NextContinuationToken>{first + self.page}</NextContinuationToken>")
        for key in keys[first : first + self.page]:
            parts.append(f"<Contents><Key>{key}</Key><Size>{len(self.objects[key])}</Size></Contents>")
        body = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}</ListBucketResult>'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def bucket(monkeypatch):
    kind = type("Fresh", (Bucket,), {"objects": {}})
    for time in pd.date_range("2020-04-01", "2020-04-02 23:50", freq="10min"):
        kind.objects[key_of("ABI-L2-MCMIPF", time + pd.Timedelta(seconds=16))] = f"{time} ".encode() * 100
    for minute in range(0, 60, 10):
        for channel in ("C01", "C02", "C13"):
            time = pd.Timestamp("2020-04-01 15:00") + pd.Timedelta(minutes=minute, seconds=16, milliseconds=400)
            kind.objects[key_of("ABI-L1b-RadF", time, channel)] = f"{time} {channel} ".encode() * 50
    http = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    kind.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("GEONB_URL_GOES", kind.url)
    yield kind
    http.shutdown()
    http.server_close()


def wish(**options):
    return goes_bucket.read_options({"start": "2020-04-01", "stop": "2020-04-02"} | options)


def test_the_sun_stands_where_the_solar_position_algorithm_puts_it():
    """The worked example of Reda and Andreas (2004), Solar Energy 76: zenith 50.11162 degrees with refraction."""
    found = sun_zenith("2003-10-17T19:30:30", -105.1786, 39.742476)
    height = 90 - 50.1  # Bennett's refraction at 820 hPa and 11 degrees C, minutes of arc
    refraction = 1.02 / np.tan(np.radians(height + 10.3 / (height + 5.11))) * 820 / 1010 * 283 / 284 / 60
    assert found[0] - refraction == pytest.approx(50.11162, abs=0.03)


@pytest.mark.parametrize(
    ("noon", "lat", "zenith"),
    [
        ("2020-06-20 12:01:40", 23.436, 0.0),  # June solstice 2020-06-20 21:44 UTC
        ("2020-12-21 11:58:00", -23.436, 0.0),  # December solstice 2020-12-21 10:02 UTC
        ("2020-03-20 12:07:30", 0.0, 0.1),  # equinox 2020-03-20 03:50 UTC; 8 h later the sun is 0.13 degrees north
        ("2020-03-20 12:07:30", 90.0, 89.87),
    ],
)
def test_noon_at_greenwich(noon, lat, zenith):
    assert sun_zenith(noon, 0.0, lat)[0] == pytest.approx(zenith, abs=0.12)


@pytest.mark.parametrize(
    ("day", "minutes"),
    [("2020-02-11", -14.2), ("2020-05-14", 3.65), ("2020-07-26", -6.5), ("2020-11-03", 16.4), ("2020-04-15", 0.0)],
)
def test_noon_comes_early_or_late_by_the_equation_of_time(day, minutes):
    """Its extremes and a zero, as almanacs print them."""
    times = pd.date_range(f"{day} 11:30", f"{day} 12:30", freq="5s")
    noon = times[sun_zenith(times, 0.0, 0.0).argmin()]
    assert (pd.Timestamp(f"{day} 12:00") - noon).total_seconds() / 60 == pytest.approx(minutes, abs=0.3)


def test_the_sun_is_as_high_elsewhere_when_its_noon_comes():
    hours = sun_zenith("2020-06-20 16:01:40", -60.0, 23.436)
    assert hours[0] == pytest.approx(0, abs=0.12)
    assert sun_zenith("2020-06-21 00:01:40", 0.0, 23.436)[0] == pytest.approx(180 - 2 * 23.436, abs=0.2)


def test_a_listing_goes_on_page_by_page(bucket):
    found = list(goes_bucket.list_keys(bucket.url, "ABI-L2-MCMIPF/2020/092/12/"))
    assert [k for k, _ in found] == sorted(k for k in bucket.objects if "MCMIPF/2020/092/12/" in k) and len(found) == 6
    assert all(size == len(bucket.objects[key]) for key, size in found)
    assert len(bucket.asked) == 2 and "continuation-token=4" in bucket.asked[1]


def test_times_are_from_start_until_before_stop(bucket):
    found = goes_bucket.find_files(wish(start="2020-04-01T11:50:16", stop="2020-04-01T12:20:16"))
    assert [f"{t:%H:%M:%S}" for t in found["time"]] == ["11:50:16", "12:00:16", "12:10:16"]
    assert set(found.channel) == {""}


def test_only_scenes_with_the_sun_high_are_found_and_the_night_is_not_listed(bucket):
    found = goes_bucket.find_files(wish(stop="2020-04-03", lon="-60", lat="15", zenith="40"))
    all_times = [files.time_of_name(k) for k in bucket.objects if "MCMIPF" in k]
    expected = sorted(t for t in all_times if sun_zenith(t, -60, 15)[0] <= 40)
    assert list(found["time"]) == expected and 10 < len(expected) < 100
    assert found.zenith.max() <= 40 and {t.hour for t in found["time"]} <= set(range(13, 20))
    assert not any("/2020/092/03/" in urllib.parse.unquote(path) for path in bucket.asked)


def test_channels_and_one_scene_in_so_many_minutes(bucket):
    found = goes_bucket.find_files(wish(product="ABI-L1b-RadF", channels="C02,C13", every="30"))
    assert list(found.channel) == ["C02", "C13"] * 2
    assert [f"{t:%H:%M}" for t in found["time"]] == ["15:00"] * 2 + ["15:30"] * 2


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    monkeypatch.setattr(
        registry, "get", lambda name: dataclasses.replace(segmentation.RECORD, name="clouds", fetch=(clouds.GOES,))
    )
    return tmp_path


ASK = ["-p", "start=2020-04-01T12:00", "-p", "stop=2020-04-01T12:30"]


def test_geonb_fetch_lists_then_fetches_and_does_it_once(bucket, project, capsys):
    assert cli.main(["fetch", "clouds", *ASK]) == 0
    said = capsys.readouterr().out
    assert said.index("3 files, 0.000 GB") < said.index("1 of 3: OR_ABI-L2-MCMIPF-M6_G16_s20200921200160")
    folder = project / "data" / "downloads" / "clouds" / "goes16" / "ABI-L2-MCMIPF"
    names = sorted(p.name for p in folder.iterdir() if p.suffix == ".nc")
    assert len(names) == 3 and str(folder) in said
    for name in names:
        assert (folder / name).read_bytes() == bucket.objects[f"ABI-L2-MCMIPF/2020/092/12/{name}"]
        assert (folder / f"{name}.sha256").exists()
    before = len([a for a in bucket.asked if "?" not in a])
    assert cli.main(["fetch", "clouds", *ASK]) == 0
    assert len([a for a in bucket.asked if "?" not in a]) == before == 3


def test_a_dry_run_tells_times_sizes_and_the_sun_and_fetches_nothing(bucket, project, capsys):
    assert cli.main(["fetch", "clouds", "--dry-run", *ASK, "-p", "lon=-60", "-p", "lat=15", "-p", "zenith=70"]) == 0
    said = capsys.readouterr().out
    zenith = sun_zenith("2020-04-01 12:00:16", -60, 15)[0]
    assert f"2020-04-01 12:00:16, 0.0 MB, sun {zenith:.1f} degrees" in said and "a dry run" in said
    assert not (project / "data").exists() and all("?" in a for a in bucket.asked)


def test_cut_connections_and_busy_servers_are_tried_again(bucket, project):
    bucket.cuts, bucket.broken = 1, 2
    assert cli.main(["fetch", "clouds", *ASK]) == 0


def test_files_that_fail_are_told_after_the_others_came(bucket, project, capsys, monkeypatch):
    listed = dict(bucket.objects)
    gone = key_of("ABI-L2-MCMIPF", "2020-04-01 12:10:16")
    monkeypatch.setattr(goes_bucket, "list_keys", lambda url, prefix: ((k, 1) for k in listed if k.startswith(prefix)))
    del bucket.objects[gone]
    assert cli.main(["fetch", "clouds", *ASK]) == 2
    said = capsys.readouterr().err
    assert "2 of 3 files are in" in said and "404" in said and gone.rpartition("/")[2] in said


def test_too_much_is_refused_before_anything_is_fetched(bucket, project, capsys):
    assert cli.main(["fetch", "clouds", *ASK, "-p", "limit_gb=0.000001"]) == 2
    assert "more than limit_gb" in capsys.readouterr().err and not (project / "data").exists()


def test_nothing_there_is_said(bucket, project, capsys):
    assert cli.main(["fetch", "clouds", "-p", "start=2021-01-01", "-p", "stop=2021-01-01T02"]) == 0
    assert "has no ABI-L2-MCMIPF from 2021-01-01" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "start is missing"),
        (["start=2020-04-02", "stop=2020-04-01"], "is not after start"),
        (["start=yesterdayish", "stop=2020-04-01"], "start = 'yesterdayish': first time, UTC"),
        (["product=ABI-L2-MCMIP"], "product = 'ABI-L2-MCMIP': one of ABI-L1b-RadF"),
        (["zenit=40"], "Unknown option 'zenit'. Did you mean 'zenith'?"),
        (["zenith=40"], "zenith needs lon and lat"),
        (["channels=C17", "product=ABI-L1b-RadF"], "channels = 'C17'"),
        (["channels=C01"], "each file of ABI-L2-MCMIPF holds all of them"),
        (["lat=95"], "lat = '95'"),
        (["satellite=12"], "satellite = '12': 16, 17, 18 or 19"),
    ],
)
def test_options_that_cannot_be_used_are_told_with_what_can(bucket, project, capsys, options, says):
    texts = [part for option in options for part in ("-p", option)]
    assert cli.main(["fetch", "clouds", *texts]) == 2
    said = capsys.readouterr().err
    assert says in said and "Options, -p name=value" in said
    assert bucket.asked == () and not (project / "data").exists()


def test_a_place_that_is_no_bucket(project, monkeypatch, capsys):
    monkeypatch.setenv("GEONB_URL_GOES", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "TIMEOUT_S", 2)
    assert cli.main(["fetch", "clouds", *ASK]) == 2
    assert "could not be listed" in capsys.readouterr().err


def test_the_satellite_is_a_part_of_the_address(monkeypatch):
    monkeypatch.delenv("GEONB_URL_GOES", raising=False)
    assert wish(satellite="18").bucket == "https://noaa-goes18.s3.amazonaws.com"


def test_options_are_refused_where_there_is_nothing_to_choose(tmp_path):
    with pytest.raises(ValueError, match="take no options, but start is given"):
        download.fetch_all(conflict.RECORD.fetch, tmp_path, ["hdx"], {"start": "2020"})
    assert download.fetch_all(conflict.RECORD.fetch, tmp_path, ["ucdp_ged"], dry=True)[0].startswith(
        "ucdp_ged: https://"
    )
