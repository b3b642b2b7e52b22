"""The server: who has the token gets tiles and TileJSON; the others, and what is asked wrongly, a sentence and no trace."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, unquote

import made_rasters as made
import mercantile
import numpy as np
import pytest
from tornado.netutil import bind_sockets
from tornado.testing import AsyncHTTPTestCase

from geonb.tileserver import drawing, layers, server

ROOT = Path(__file__).parents[2]
TILED = {"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64}


class TestServer(AsyncHTTPTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp())
        made.class_map(cls.folder / "classes.tif")
        made.write(
            cls.folder / "a scene.tif",
            np.stack([made.gradient()] * 4),
            compress="deflate",
            tiled=True,
            blockxsize=64,
            blockysize=64,
        )
        cls.layers, _ = layers.layers_of([cls.folder])
        shutil.copy(cls.folder / "a scene.tif", cls.folder / "cut.tif")
        cls.layers |= {"cut": layers.layers_of([cls.folder / "cut.tif"])[0]["cut"]}
        with (cls.folder / "cut.tif").open("r+b") as file:  # after it was looked at, as on a disk that fails
            size = file.seek(0, os.SEEK_END)
            file.seek(size // 3)
            file.write(b"\0" * (size // 3))
        west, south, east, north = cls.layers["a scene"].bounds
        at = mercantile.tile((west + east) / 2, (south + north) / 2, cls.layers["a scene"].zooms[1])
        cls.at = f"{at.z}/{at.x}/{at.y}"
        cls.tms = f"{at.z}/{at.x}/{2**at.z - 1 - at.y}"

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        super().tearDownClass()

    def get_app(self):
        return server.application(self.layers, "secret")

    def told(self, address, code):
        """The sentence of a refusal."""
        answer = self.fetch(address)
        text = answer.body.decode()
        assert answer.code == code, (address, answer.code, text)
        assert answer.headers["Content-Type"].startswith("text/plain") and "Traceback" not in text and ".py" not in text
        return text

    def test_everything_wants_the_token(self):
        for rest in ("", "/", "/tilejson.json", "/classes/tilejson.json", f"/classes/{self.at}.png"):
            for token in ("secre", "secrets", "sécret", "%00"):
                assert "Take the whole address" in self.told(f"/{urllib.request.quote(token)}{rest}", 403)
        assert "Take the whole address" in self.told("/", 403) and "Take the whole address" in self.told(
            "/?token=x", 403
        )
        assert self.fetch("/?token=secret").code == 200

    def test_a_page_that_asks_nobody_else(self):
        page = self.fetch("/secret/")
        assert page.code == 200 and page.headers["Referrer-Policy"] == "no-referrer"
        assert "//" not in re.sub(r"// .*|http://www.w3.org|ignored", "", page.body.decode()).replace("</", "")

    def test_tiles_are_what_is_drawn(self):
        one = self.layers["a scene"]
        z, x, y = map(int, self.at.split("/"))
        for ending, form, kind in (("png", "png", "image/png"), ("jpg", "jpg", "image/jpeg"), ("jpeg", "jpg", "image/jpeg"),
                                   ("webp", "webp", "image/webp"), ("PNG", "png", "image/png")):  # fmt: skip
            answer = self.fetch(f"/secret/a%20scene/{self.at}.{ending}")
            assert answer.code == 200 and answer.headers["Content-Type"] == kind
            assert answer.body == drawing.draw(one, z, x, y, drawing.style_of(one, {}), form)
        assert made.pixels(self.fetch(f"/secret/a%20scene/{self.at}@2x.png").body).shape == (512, 512, 4)
        asked = {"bands": "4", "rescale": "0,2000", "colormap": "magma"}
        answer = self.fetch(f"/secret/a%20scene/{self.at}.png?bands=4&rescale=0,2000&colormap=magma")
        assert answer.body == drawing.draw(one, z, x, y, drawing.style_of(one, asked))
        assert (
            self.fetch(f"/secret/a%20scene/{self.tms}.png?scheme=tms").body
            == self.fetch(f"/secret/a%20scene/{self.at}.png").body
        )

    def test_tilejson_hands_on_what_was_asked_and_its_addresses_answer(self):
        told = json.loads(self.fetch("/secret/tilejson.json").body)
        assert [one["name"] for one in told["layers"]] == list(self.layers) and told["name"] == next(iter(self.layers))
        for one in told["layers"][:-1]:
            assert (
                json.loads(self.fetch(one["tilejson"].split(str(self.get_http_port()))[1]).body)["name"] == one["name"]
            )
        told = json.loads(
            self.fetch(
                "/secret/a%20scene/tilejson.json?bands=4&colormap=magma&rescale=0,9&scheme=tms&token=secret"
            ).body
        )
        address, _, query = told["tiles"][0].partition("?")
        assert (
            address == f"http://127.0.0.1:{self.get_http_port()}/secret/a%20scene/{{z}}/{{x}}/{{y}}.png"
            and told["scheme"] == "tms"
        )
        assert parse_qs(query) == {"bands": ["4"], "colormap": ["magma"], "rescale": ["0,9"], "scheme": ["tms"]}
        assert "no such colour map" in self.told("/secret/classes/tilejson.json?colormap=x", 400)

    def test_wrong_addresses_are_told(self):
        for rest, code, said in (
            ("absent/1/0/0.png", 404, "no layer 'absent'. There are: a scene, classes"),
            ("..%2f..%2fetc/1/0/0.png", 404, "no layer"),
            ("../../../etc/passwd", 404, "nothing at"),
            ("../../etc/passwd", 404, "no layer '..'"),
            ("absent/tilejson.json", 404, "no layer"),
            ("x/y", 404, "nothing at this address"),
            ("%2e%2e/%2e%2e/1/2/3.png", 404, "nothing at"),
            ("classes/a/0/0.png", 400, "z = a: zoom, column"),
            ("classes/1/1.5/x.png", 400, "x = 1.5, y = x"),
            ("classes/1/0/0.gif", 400, "ends in .png, .jpg, .webp"),
            ("classes/1/0/0", 400, "ends in"),
            ("classes/31/0/0.png", 400, "Zoom 31 is none"),
            ("classes/-1/0/0.png", 400, "Zoom -1"),
            ("classes/3/8/0.png", 400, "from 0 to 7"),
            ("classes/3/0/-1.png", 400, "from 0 to 7"),
            ("classes/3/0/8.png?scheme=tms", 400, "from 0 to 7"),
            (f"classes/{'9' * 400}/0/0.png", 400, "whole numbers"),
            ("classes/1e3/0/0.png", 400, "z = 1e3"),
            ("classes/1/%C2%B2/0.png", 400, "whole numbers"),
            ("classes/1/0/0.png?bands=%25s", 400, "bands=%s: give"),
            ("classes/1/0/0.png?x=1", 400, "nothing is asked"),
        ):
            assert said in self.told(f"/secret/{rest}", code), rest

    def test_a_file_that_breaks_is_told_and_the_others_go_on(self):
        z, x, y = map(int, self.at.split("/"))
        codes = {
            self.fetch(f"/secret/cut/{z + 2}/{4 * x + i}/{4 * y + j}.png?rescale=0,9").code
            for i in range(4)
            for j in range(4)
        }
        assert 500 in codes and codes <= {200, 500}
        every = [f"/secret/cut/{z + 2}/{4 * x + i}/{4 * y + j}.png?rescale=0,9" for i in range(4) for j in range(4)]
        broken = next(address for address in every if self.fetch(address).code == 500)
        assert "cut.tif: it cannot be read here" in self.told(broken, 500)
        assert self.fetch(f"/secret/classes/{self.at}.png").code == 200

    def test_a_file_that_is_replaced_is_served_anew(self):
        path = made.write(self.folder / "turn.tif", np.full((20, 30), 100, "uint8"))
        one = self.layers["turn"] = layers.layers_of([path])[0]["turn"]
        west, south, east, north = one.bounds
        at = mercantile.tile((west + east) / 2, (south + north) / 2, 16)
        address = f"/secret/turn/{at.z}/{at.x}/{at.y}.png"
        assert made.pixels(self.fetch(address).body)[..., 0].max() == 100
        made.write(path, np.full((20, 30), 200, "uint8"))
        os.utime(path, ns=(1, 1))
        one._looked = -layers.LOOK_S  # as if it were long ago
        assert made.pixels(self.fetch(address).body)[..., 0].max() == 200
        del self.layers["turn"]

    def test_maps_of_this_machine_may_ask_and_other_sites_may_not(self):
        for origin, may in (("http://localhost:8000", True), ("http://127.0.0.1", True), ("null", True), ("https://evil.example", False),
                            ("http://127.0.0.1.evil.example", False)):  # fmt: skip
            answer = self.fetch(f"/secret/classes/{self.at}.png", headers={"Origin": origin})
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if may else None)


def test_what_is_printed_can_be_pasted(tmp_path):
    for name in ("a b", "c"):
        made.write(tmp_path / f"{name}.tif", made.gradient())
    found, _ = layers.layers_of([tmp_path], "both/of them")
    told = server.directions(found, "http://127.0.0.1:9/t")
    assert "  both/of them  (2 files)" in told and "http://127.0.0.1:9/t/both%2Fof%20them/{z}/{x}/{y}.png" in told
    source = parse_qs(re.search(r"type=xyz\S+", told)[0])
    assert (
        unquote(source["url"][0]) == "http://127.0.0.1:9/t/both/of them/{z}/{x}/{y}.png"
        and int(source["zmax"][0]) == found["c"].zooms[1]
    )
    many = {f"l{i}": found["c"] for i in range(30)}
    assert "... and 10 more" in server.directions(many, "x")


def test_a_port_that_is_taken_is_told_with_one_that_is_free(tmp_path):
    made.class_map(tmp_path / "a.tif")
    found, _ = layers.layers_of([tmp_path])
    taken = bind_sockets(0, "127.0.0.1")
    try:
        for port in (taken[0].getsockname()[1], 99_999_999):
            with pytest.raises(
                ValueError, match=rf"Port {port} cannot be used .*(\d+) is free: --port \d+; or leave it out"
            ):
                server.serve(found, port)
    finally:
        taken[0].close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_on_loopback_until_it_is_stopped(tmp_path, stop):
    made.class_map(tmp_path / "classes.tif")
    made.write(tmp_path / "nowhere.tif", made.gradient(), crs=None)
    command = [sys.executable, "-m", "geonb.cli", "serve", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            shown = ""
            while "ssh -N" not in shown:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                shown += line
            base = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{30,}/", shown)[0]
            told = json.loads(urllib.request.urlopen(f"{base}tilejson.json", timeout=60).read())
            tile = told["tiles"][0].format(z=0, x=0, y=0)
            assert urllib.request.urlopen(tile, timeout=60).read()[:4] == b"\x89PNG"
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(base.replace(base.split("/")[3], "other"), timeout=60)
        finally:
            process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 5 and f"Stopped by {stop.name}." in err and "Traceback" not in err + out
    assert "nowhere.tif: it has no CRS" in err
