"""Overpass by quadkey, against a server on this machine that misbehaves as the public ones do."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from geonb.rasters import osm
from geonb.workloads.chips import overpass, quadkeys

CELLS = quadkeys.cells_in((24.90, 60.10, 25.02, 60.20), "xyz", 12)
ANSWER = {
    "elements": [
        {"type": "node", "id": 1, "lat": 60.15, "lon": 24.95, "tags": {"amenity": "cafe"}},
        {"type": "node", "id": 2, "lat": 60.15, "lon": 24.96},
        {"type": "way", "id": 3, "nodes": [1, 2], "geometry": [{"lat": 60.15, "lon": 24.95}, {"lat": 60.15, "lon": 24.96}],
         "tags": {"highway": "path"}},
        {"type": "relation", "id": 4, "members": [], "tags": {"type": "route"}},
    ]
}  # fmt: skip
WHOLE = json.dumps(ANSWER).encode()


@contextmanager
def server(*behaviour):
    """An address; requests meet one behaviour after the other, then whole answers. What was asked is kept in `asked`."""
    asked, left = [], list(behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["data"][0])
            act = left.pop(0) if left else WHOLE
            if isinstance(act, int):
                self.send_response(act)
                self.send_header("Retry-After", "0")
                self.end_headers()
            elif act == "slow":
                stop.wait(2)
            else:
                body = WHOLE if act == "cut" else act
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if act == "cut" else body)

        def log_message(self, *_):
            pass

    stop = threading.Event()
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/api/interpreter", asked
    finally:
        stop.set()
        served.shutdown()
        served.server_close()
        thread.join()


def fetch(address, folder, cells=CELLS, **options):
    said = []
    options = {"pause_s": 0.01, "attempts": 3, "timeout_s": 0.5, "say": said.append} | options
    return overpass.fetch_osm(cells, folder, endpoint=address, **options), said


def test_a_file_a_tile_and_one_box_a_request(tmp_path):
    with server() as (address, asked):
        paths, _ = fetch(address, tmp_path)
        assert len(asked) == len(paths) == len(CELLS) > 3
        fetch(address, tmp_path)
        assert len(asked) == len(CELLS)  # nothing is asked for twice
    content = json.loads(paths[0].read_text())
    assert list(content) == ["quadkey", "bounds", "nodes", "ways", "relations"]
    assert content["quadkey"] == CELLS[0].quadkey == paths[0].parent.name
    assert content["bounds"] == pytest.approx(CELLS[0].footprint.bounds, abs=1e-6)
    assert [len(content[k]) for k in ("nodes", "ways", "relations")] == [2, 1, 1]
    west, south, east, north = content["bounds"]
    assert f"[bbox:{south},{west},{north},{east}];nwr;" in asked[0]  # no tag filter
    table = osm.read_osm(paths)
    assert table["osm_id"].tolist() == [1, 3]  # each once, though every tile holds them
    assert table.attrs["extent"].bounds == pytest.approx((
        min(c.footprint.bounds[0] for c in CELLS), min(c.footprint.bounds[1] for c in CELLS),
        max(c.footprint.bounds[2] for c in CELLS), max(c.footprint.bounds[3] for c in CELLS),
    ))  # fmt: skip


def test_ard_tiles_lie_as_the_original_s_do(tmp_path):
    cell = quadkeys.cells_at(15.3, 47.85, "ard", 12)[0]
    with server() as (address, _):
        paths, _ = fetch(address, tmp_path, [cell])
    assert paths == [tmp_path / "33" / cell.quadkey / "osm_data.json"]


PART = json.dumps({"elements": [], "remark": 'runtime error: Query timed out in "query" at line 1'}).encode()


@pytest.mark.parametrize(
    ("act", "told"),
    [(429, "429"), (504, "504"), ("cut", "IncompleteRead"), ("slow", "timed out|closed connection"), (b'{"elem', "Unterminated|Expecting"),
     (PART, "stopped half-way"), (b"[]", "no elements")],
)  # fmt: skip
def test_what_goes_wrong_once_is_asked_again(tmp_path, act, told):
    import re

    with server(act, act) as (address, asked):
        paths, said = fetch(address, tmp_path, CELLS[:1])
    assert len(asked) == 3 and len(said) == 2
    assert re.search(told, said[0]) and "again in 0.02 s" in said[0] and "again in 0.04 s" in said[1]
    assert len(json.loads(paths[0].read_text())["nodes"]) == 2


def test_what_goes_on_going_wrong_ends_and_is_resumed(tmp_path):
    with server(WHOLE, 429, 429, 429) as (address, asked):
        with pytest.raises(
            ConnectionError, match=r"no whole answer for 12.* \(2 of 3\) in 3 attempts \(429 .*call again later"
        ):
            fetch(address, tmp_path, CELLS[:3])
        assert len(list(tmp_path.rglob("osm_data.json"))) == 1 and not list(tmp_path.rglob("*.partial"))
        fetch(address, tmp_path, CELLS[:3])
        assert len(asked) == 1 + 3 + 2


def test_a_refused_query_is_not_tried_again(tmp_path):
    with server(400) as (address, asked):
        with pytest.raises(ValueError, match=r"refused the query for 12.*: 400"):
            fetch(address, tmp_path)
        assert len(asked) == 1
    with pytest.raises(ValueError, match="only addresses of http"):
        fetch("file:///etc/passwd", tmp_path)


def test_a_box_across_180_degrees(tmp_path):
    edge = [
        c
        for c in quadkeys.cells_in((179.9, -17.1, -179.9, -17.0), "ard", 12)
        if c.footprint.bounds[0] < -180 or c.footprint.bounds[2] > 180
    ]
    with pytest.raises(ValueError, match="lies across 180 degrees"):
        fetch("http://127.0.0.1:1/", tmp_path, edge)
