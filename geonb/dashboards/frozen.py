"""The explorer as one piece of HTML: no kernel, no network; its planes are inside as bytes, packed small."""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from geonb.dashboards.explorer import Explorer, Place, place_facts
from geonb.dashboards.layers import NOTHING, STEPS, Grid, Layer, webp
from geonb.dashboards.page import TEMPLATES, VIEWER, filled, framed

if TYPE_CHECKING:
    from IPython.display import HTML

    from geonb.dashboards.likeness import Likeness

MASKED = 0.8  # share of a grid's cells with anything in them, below which the others are left out
SHEETS = 8  # figures of places in a page: some 100 kB each
NO_TILE = -128  # a component's byte where there is no tile


def frozen(explorer: Explorer, budget_mb: float = 4) -> HTML:
    """Make an explorer as HTML that works on its own: in JupyterLab, in a converted notebook and in the report.

    What does not fit under the budget goes in the order of the explorer's `packs`, and the page says so. A pack is a dict of

    - ``keep``: Dim -> positions kept (or a list of positions for each place)
    - ``only``: layer -> Dim -> positions kept of that layer; ``drop``: layers left out
    - ``places``: positions of places kept; ``every``: n-th cell a side; ``steps`` of a number (254)
    - ``image_px``, ``quality``: longest side of an image, and of its WebP; ``components``: of embeddings
    - ``sheets``: how many places keep their figure, the first ones (8)
    - ``said``: what a reader must know that was left out

    Parameters
    ----------
    budget_mb : float
        Of the whole HTML.

    Raises
    ------
    ValueError
        If the budget leaves no room for the smallest pack.
    """
    return framed(frozen_page(explorer, budget_mb), explorer.title)


def frozen_page(explorer: Explorer, budget_mb: float = 4) -> str:
    """The document inside `frozen`'s iframe, whole."""
    room = budget_mb * 1e6 - smallest_page_bytes()
    smallest, share = 0.0, 1 / 12  # of the planes' bytes, as they come out; a guess until one was packed
    packs = explorer.packs()
    for how in packs:
        raw = _raw_bytes(explorer, how)
        if raw * share > 1.4 * room and how is not packs[-1]:
            continue
        page = filled(*pack(explorer, how), *VIEWER, "frozen.js")
        smallest = (len(page.encode()) + 4 * (page.count("&") + page.count("'"))) / 1e6  # quoted as an attribute
        if smallest <= budget_mb:
            return page
        share = (smallest * 1e6 - smallest_page_bytes()) / max(raw, 1)
    raise ValueError(
        f"No room for a map in {budget_mb} MB: {smallest:.2f} MB are needed. Raise budget_mb, or show less (fewer sources, a "
        "smaller region)."
    )


def smallest_page_bytes() -> int:
    """What the viewer itself takes."""
    return sum((TEMPLATES / name).stat().st_size for name in (*VIEWER, "viewer.css", "frozen.js"))


def _kept(explorer: Explorer, how: Mapping[str, Any], place: int, layer: Layer | None = None) -> dict[str, list[int]]:
    """Positions of each dim that are kept at a place, of one layer or of all."""
    kept = {}
    for dim in explorer.dims:
        count = len(explorer.places[place].labels.get(dim.name, dim.labels))
        chosen = how.get("keep", {}).get(dim.name, list(range(count)))
        kept[dim.name] = list(chosen[place]) if chosen and isinstance(chosen[0], list) else list(chosen)
        if layer is not None and layer.name in how.get("only", {}) and dim.name in how["only"][layer.name]:
            only = how["only"][layer.name][dim.name]
            kept[dim.name] = [i for i in kept[dim.name] if i in only]
    return kept


def _packed_layers(explorer: Explorer, how: Mapping[str, Any]) -> list[Layer]:
    asked = (explorer.likeness.layer, explorer.likeness.likely_layer) if explorer.likeness is not None else ()
    out = (*asked, *how.get("drop", ()))
    return [layer for layer in explorer.layers if layer.kind != "error" and layer.name not in out]


def _raw_bytes(explorer: Explorer, how: Mapping[str, Any]) -> float:
    """Bytes of all planes before they are compressed."""
    total = 0.0
    for place in how.get("places", range(len(explorer.places))):
        for layer in _packed_layers(explorer, how):
            kept = _kept(explorer, how, place, layer)
            count = np.prod([len(kept[dim]) for dim in layer.dims], initial=1.0)
            rows, columns = explorer.places[place].grids[layer.grid].shape
            total += 0 if layer.kind == "image" else count * rows * columns / how.get("every", 1) ** 2
    return total


def thinned(grid: Grid, every: int) -> tuple[dict[str, slice], Grid]:
    """Every n-th cell a side, and the grid that these stand for; never so few that there is nothing to click."""
    steps = [max(1, min(every, n // 6)) for n in grid.shape]
    starts = [(n % e or e) // 2 if e > 1 else 0 for n, e in zip(grid.shape, steps, strict=True)]
    west, south, east, north = grid.bounds
    sizes = (north - south) / grid.shape[0], (east - west) / grid.shape[1]
    rows, columns = (len(range(s, n, e)) for s, n, e in zip(starts, grid.shape, steps, strict=True))
    top, left = (north if steps[0] == 1 else north - (starts[0] - (steps[0] - 1) / 2) * sizes[0],
                 west if steps[1] == 1 else west + (starts[1] - (steps[1] - 1) / 2) * sizes[1])  # fmt: skip
    bounds = (left, top - rows * steps[0] * sizes[0], left + columns * steps[1] * sizes[1], top)
    slices = {"y": slice(starts[0], None, steps[0]), "x": slice(starts[1], None, steps[1])}
    return slices, Grid(bounds, (rows, columns))


def pack(explorer: Explorer, how: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """An explorer's facts for a page, and the base64 of each place's planes.

    Of each place: for each layer the codes (dims ..., y, x) of its kept positions, one layer after the other, then the
    components and the neighbours of tiles; DEFLATE of bytes. Cells outside of all of a grid's planes are left out where there
    are many.
    """
    chosen = list(how.get("places", range(len(explorer.places))))
    facts, data = explorer.facts(), list[str]()
    places: list[dict[str, Any]] = []
    layers = _packed_layers(explorer, how)
    gone = {layer.name for layer in explorer.layers if layer.kind != "error"} - {layer.name for layer in layers}
    gone -= {explorer.likeness.layer} if explorer.likeness is not None else set()
    for place in chosen:
        told, packed = _pack_place(explorer, how, place, layers)
        if explorer.sheet is not None and len(places) < how.get("sheets", SHEETS):
            words, file = explorer.sheet.picture(place)
            told["sheet"] = {"words": words, "file": base64.b64encode(file).decode()}
        places.append(told)
        data.append(packed)
    if explorer.likeness is not None:
        facts["likeness"] |= _pack_likeness(explorer, explorer.likeness, how, chosen, places) | {
            "marked": ""
        }  # a page does not learn
    for dim, told in zip(explorer.dims, facts["dims"], strict=True):
        kept = _kept(explorer, how, chosen[0])[dim.name]
        told["labels"] = [dim.labels[i] for i in kept] if dim.labels else []
        told["remarks"] = [dim.remarks[i] for i in kept] if dim.remarks else []
        told["gaps"] = _gaps(dim.gaps, kept)
        told["start"] = kept.index(dim.start) if dim.start in kept else len(kept) - 1 if dim.slider else 0
        told |= {"ahead": [dim.ahead[i] for i in kept]} if dim.ahead else {}
    if explorer.threshold:
        facts["threshold"] = dict(facts["threshold"]) | {"start": _thresholds(explorer, how, chosen[0])}
    facts["layers"] = [told for told in facts["layers"] if told["name"] not in gone and not gone & set(told["of"])]
    facts["lines"] = [line for line in facts["lines"] if line[1] not in gone]
    facts |= {"places": places, "whole": True, "said": how.get("said", "")}
    said = how.get("said", "")
    facts["notes"] += f"<div>Frozen. {said[:1].upper()}{said[1:]}</div>"
    return facts, data


def _thresholds(explorer: Explorer, how: Mapping[str, Any], place: int) -> Any:
    start = np.asarray(explorer.threshold["start"])
    for axis, dim in enumerate(explorer.threshold.get("by", ())):
        start = start.take(_kept(explorer, how, place)[dim], axis)
    return start.tolist()


def _pack_place(
    explorer: Explorer, how: Mapping[str, Any], index: int, layers: Sequence[Layer]
) -> tuple[dict[str, Any], str]:
    """A place as the page reads it, and the base64 of its planes."""
    place, whole, every = explorer.places[index], _kept(explorer, how, index), how.get("every", 1)
    files: list[bytes] = []
    parts: list[dict[str, Any]] = []
    grids: dict[str, Grid] = {}
    masks: dict[str, np.ndarray] = {}
    stacks: dict[str, np.ndarray] = {}
    for layer in layers:
        kept = _kept(explorer, how, index, layer)
        part: dict[str, Any] = {
            "layer": layer.name,
            "grid": layer.grid,
            "dims": [[whole[d].index(i) for i in kept[d]] for d in layer.dims],
        }
        positions = [dict(zip(layer.dims, at, strict=True)) for at in itertools.product(*(kept[d] for d in layer.dims))]
        parts.append(part)
        if layer.kind == "image":
            part["files"] = list(range(len(files), len(files) + len(positions)))
            files += [_image(layer, index, at, place, how) for at in positions]
            continue
        slices, grids[layer.grid] = thinned(place.grids[layer.grid], every)
        stack, limits, exact = _codes(
            layer, index, positions, (slices, grids[layer.grid].shape), how.get("steps", STEPS)
        )
        part |= {"limits": limits, "exact": exact}
        stacks[layer.name] = stack
        there = (stacks[layer.name] != NOTHING).any(0)
        masks[layer.grid] = masks[layer.grid] | there if layer.grid in masks else there
    small = {name: mask for name, mask in masks.items() if mask.mean() < MASKED}
    stream = b"".join(np.packbits(mask).tobytes() for mask in small.values())
    for part in parts:
        if "files" not in part:
            stack, name = stacks[part["layer"]], part["grid"]
            stream += np.ascontiguousarray(stack[:, masks[name]] if name in small else stack).tobytes()
    told = place_facts(place) | {
        "grids": {name: vars(grids.get(name, grid)) for name, grid in place.grids.items()}, "every": every,
        "labels": {dim: [names[i] for i in whole[dim]] for dim, names in place.labels.items()},
        "gaps": {dim: _gaps(gaps, whole[dim]) for dim, gaps in place.gaps.items()},
        "parts": parts, "masks": list(small), "files": [base64.b64encode(file).decode() for file in files],
    }  # fmt: skip
    return told, base64.b64encode(zlib.compress(stream, 9)).decode()


def _gaps(gaps: Sequence[int], kept: Sequence[int]) -> list[int]:
    """Gaps among the positions that are kept; what was left out of the page is none."""
    return [i for i in range(1, len(kept)) if any(kept[i - 1] < gap <= kept[i] for gap in gaps)]


def _codes(
    layer: Layer, place: int, positions: Sequence[Mapping[str, int]], thin: tuple[Mapping[str, slice], tuple[int, int]], steps: int
) -> tuple[np.ndarray, list[tuple[float, float]], bool]:  # fmt: skip
    """Bytes (position, y, x) of a layer, the values of their first and last, and whether they tell the numbers exactly."""
    slices, shape = thin
    planes, limits, exact = [], [], True
    for at in positions:
        values = layer.read(place, at, slices).astype(float)
        low, high = (0.0, float(STEPS)) if layer.kind == "classes" else layer.limits(values)
        known = values[np.isfinite(values)]
        whole = high - low == STEPS and low % 1 == 0 and bool((known % 1 == 0).all())
        exact &= whole
        codes = layer.codes(values, low, high, STEPS if whole else min(steps, layer.steps))
        planes.append(np.broadcast_to(codes, shape))  # a place that lacks the layer reads as one cell of nothing
        limits.append((low, high))
    return np.stack(planes) if planes else np.zeros((0, *shape), np.uint8), limits, exact


def _image(layer: Layer, index: int, at: Mapping[str, int], place: Place, how: Mapping[str, Any]) -> bytes:
    """An image of a whole place as WebP, so large as the pack allows."""
    most = how.get("image_px", 900)
    slices, _ = place.grids[layer.grid].window(place.grids[layer.grid].bounds, 2 * most)
    colours = layer.read(index, at, slices)
    picture = Image.fromarray(np.ascontiguousarray(colours))
    if max(picture.size) > most:
        picture = picture.resize(
            [max(1, round(side * most / max(picture.size))) for side in picture.size], Image.Resampling.BOX
        )
    return webp(np.asarray(picture), how.get("quality", 70))


def _pack_likeness(
    explorer: Explorer, like: Likeness, how: Mapping[str, Any], chosen: Sequence[int], places: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Give places the components of their tiles as signed bytes of one scale, and each tile's nearest by the whole embedding."""
    count = min(how.get("components", 16), len(like.components))
    tiles = [_kept_tiles(explorer, like, how, index, count) for index in chosen]
    keys = np.concatenate([own for _, own, _ in tiles])
    flat = np.concatenate([scores.reshape(-1, count) for *_, scores in tiles])
    known = np.isfinite(flat).all(-1)
    sizes = np.abs(flat[known])
    scale = max(min(float(sizes.max()), 4 * float(np.percentile(sizes, 99))) / 127, 1e-12) if known.any() else 1.0
    nearest, far = like.nearest_of(keys[known])
    back = np.flatnonzero(known)
    links, lengths = (np.full((len(flat), nearest.shape[1]), *fill) for fill in ((-1, "<i4"), (np.nan, "<f4")))
    links[known], lengths[known] = np.where(nearest >= 0, back[nearest], -1), far
    at = 0
    for place, (grid, own, scores) in zip(places, tiles, strict=True):
        here = slice(at, at + len(own))
        steps = np.clip(np.rint(np.nan_to_num(scores) / scale), -127, 127).astype(np.int8)
        steps[..., 0][~np.isfinite(scores[..., 0])] = NO_TILE
        stream = np.moveaxis(steps, -1, 0).tobytes() + links[here].tobytes() + lengths[here].tobytes()
        place["likeness"] = {"times": len(scores), "rows": grid.shape[0], "columns": grid.shape[1], "first": at,
                             "labels": [like.label(key) for key in own]}  # fmt: skip
        place["grids"][like.grid] = vars(grid)
        place["vectors"] = base64.b64encode(zlib.compress(stream, 9)).decode()
        at = here.stop
    off = np.where(known, np.abs(keys - np.array(like.start())) @ [1e9, 1e6, 1, 1], np.inf)
    first = int(off.argmin())  # the kept tile that is nearest to the one a live map begins with
    index = list(chosen).index(int(keys[first][0]))
    begin = np.unravel_index(first - places[index]["likeness"]["first"], tiles[index][2].shape[:3])
    return {"components": count, "scale": scale, "no_tile": NO_TILE, "count": nearest.shape[1],
            "start": [index, *(int(i) for i in begin)]}  # fmt: skip


def _kept_tiles(
    explorer: Explorer, like: Likeness, how: Mapping[str, Any], index: int, count: int
) -> tuple[Grid, np.ndarray, np.ndarray]:
    """Of a place the grid of the tiles that are kept, their keys (tile, 4), and their components (time, row, column, component)."""
    times, whole = _kept(explorer, how, index)[like.dim], explorer.places[index].grids[like.grid]
    slices, grid = thinned(whole, how.get("every", 1))
    rows, columns = (range(*slices[axis].indices(size)) for axis, size in zip("yx", whole.shape, strict=True))
    keys = np.array([(index, t, r, c) for t in times for r in rows for c in columns])
    return grid, keys, np.stack([like.scores(index, t)[slices["y"], slices["x"], :count] for t in times])
