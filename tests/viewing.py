"""What the explorer's viewer sees: answers and frozen pages read as its JavaScript reads them, so that tests know the numbers."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from types import SimpleNamespace

import numpy as np
from PIL import Image

WIDE = 100_000  # pixels a side: every cell is sent


def numbers(codes, layer, low, high):
    """Bytes as the numbers that they stand for, NaN for nothing. `layer` : a Layer, or its facts."""
    kind, power = (layer["kind"], layer["power"]) if isinstance(layer, dict) else (layer.kind, layer.power)
    values = codes.astype(float) if kind == "classes" else low + (high - low) * (codes / 254) ** (1 / power)
    return np.where(codes == 255, np.nan, values)


def colours(file):
    """A WebP as colours (y, x, 4) uint8."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))


def seen(explorer, layer, at=None, place=0, view=None, pixels=WIDE, exact=False):
    """A plane that the viewer asks for, `exact` where it counts: `values` (y, x) or `colours` (y, x, 4), its `box` and `step`."""
    asked = {
        "what": "planes",
        "place": place,
        "view": view or explorer.places[place].bounds,
        "pixels": [pixels, pixels],
        "exact": exact,
    }
    told, (file,) = explorer.answer(json.loads(json.dumps(asked | {"layers": [{"layer": layer, "at": at or {}}]})))
    (plane,) = json.loads(json.dumps(told, allow_nan=False))["planes"]
    found = SimpleNamespace(
        box=plane["box"], step=plane["step"], size=len(file), **dict.fromkeys(("values", "colours"))
    )
    if plane.get("image"):
        found.colours = colours(file)
        assert found.colours.shape[:2] == (plane["height"], plane["width"])
    else:
        sent = np.frombuffer(zlib.decompress(file), "<f4" if plane["exact"] else np.uint8).reshape(
            plane["height"], plane["width"]
        )
        if plane.get("filtered"):
            sent = sent.cumsum(0, dtype=np.uint8).cumsum(1, dtype=np.uint8)
        found.values = sent if plane["exact"] else numbers(sent, explorer.layer(layer), plane["low"], plane["high"])
    return found


def clicked(explorer, x, y, at=None, place=0, layers=None):
    """What a click is told: layer -> value, nested lists along the dims that `at` leaves open, None for nothing."""
    names = layers or [one.name for one in explorer.layers if one.kind in ("classes", "numbers")]
    asked = [{"layer": name, "at": at or {}} for name in names]
    told, files = explorer.answer({"what": "values", "place": place, "x": x, "y": y, "layers": asked})
    assert files == []
    return json.loads(json.dumps(told, allow_nan=False))["values"]


def facts_of(page):
    """What stands in a page for its viewer: facts, and the planes' base64."""
    return json.loads(re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.S)[1])


def unpacked(facts, data):
    """The planes of a frozen page: for each place a dict of layer -> numbers (dims ..., y, x), of an image a list of pictures."""
    return [_place(facts, *one) for one in zip(facts["places"], data, strict=True)]


def _place(facts, place, data):
    stream, at, inside, found = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8), 0, {}, {}
    for name in place["masks"]:
        rows, columns = place["grids"][name]["shape"]
        size = -(-rows * columns // 8)
        inside[name] = np.unpackbits(stream[at : at + size])[: rows * columns].astype(bool)
        at += size
    for part in place["parts"]:
        layer = next(one for one in facts["layers"] if one["name"] == part["layer"])
        if "files" in part:
            found[part["layer"]] = [colours(base64.b64decode(place["files"][n])) for n in part["files"]]
            continue
        shape = place["grids"][part["grid"]]["shape"]
        there = inside.get(part["grid"], np.ones(shape[0] * shape[1], bool))
        counts = [len(kept) for kept in part["dims"]]
        codes = np.full((int(np.prod(counts)), there.size), 255, np.uint8)
        codes[:, there] = stream[at : at + len(codes) * there.sum()].reshape(len(codes), -1)
        at += len(codes) * there.sum()
        values = [numbers(plane, layer, *limits) for plane, limits in zip(codes, part["limits"], strict=True)]
        found[part["layer"]] = np.reshape(values, (*counts, *shape))
    assert at == len(stream), "the viewer reads to the last byte"
    return found


def vectors(facts, place):
    """Of a place's tiles in a frozen page: components (component, time, y, x), NaN where none, their nearest and how far."""
    like, stream = place["likeness"], zlib.decompress(base64.b64decode(place["vectors"]))
    shape, count, near = (
        (like["times"], like["rows"], like["columns"]),
        facts["likeness"]["components"],
        facts["likeness"]["count"],
    )
    n = int(np.prod(shape))
    steps = np.frombuffer(stream[: n * count], np.int8).reshape(count, *shape).astype(float)
    nearest = np.frombuffer(stream[n * count : n * (count + 4 * near)], "<i4").reshape(*shape, near)
    far = np.frombuffer(stream[n * (count + 4 * near) :], "<f4").reshape(*shape, near)
    return np.where(steps[0] == facts["likeness"]["no_tile"], np.nan, steps) * facts["likeness"]["scale"], nearest, far
