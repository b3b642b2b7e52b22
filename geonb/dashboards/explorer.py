"""One explorer for every workload: what there is to look at, described once, and the answers to what its viewer asks.

A workload hands over an `Explorer`. `geonb.dashboards.widget` shows it live in JupyterLab, `geonb.dashboards.frozen` as a page
with the data inside, `geonb.dashboards.app` as a page that a server of its own answers. One viewer in JavaScript draws all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geonb.dashboards.layers import NOTHING, Grid, Layer, encoded, webp
from geonb.dashboards.likeness import COUNT, MARKED, Likeness
from geonb.dashboards.sheets import Sheet
from geonb.plots.style import MODEL_COLOURS
from geonb.rasters.grids import crs_name, lonlat

LONLAT_SIDES = (25, 61)  # places a side at which the viewer is told longitude and latitude
LONLAT_OFF_DEG = 0.001  # between them


@dataclass(frozen=True)
class Dim:
    """An axis that one control moves along: time, lead, model, class, outcome.

    Attributes
    ----------
    name : str, as the layers' arrays call it
    labels : what stands at each position
    slider : bool; positions in an order, to be moved and played through; otherwise a choice
    start : int, the position shown first
    remarks : shown behind the label, as the split of a time; as many as labels, or none
    gaps : positions before which something is missing, as months without data
    title : str, where people call it otherwise than the arrays
    ahead_of, ahead : the Dim of months that this one counts from, and how many months each position adds, as a lead does; what
        came before the month counted from is known
    hidden : bool; True has no control of its own: what a click draws runs along it
    """

    name: str
    labels: Sequence[str]
    slider: bool = False
    start: int = 0
    remarks: Sequence[str] = ()
    gaps: Sequence[int] = ()
    title: str = ""
    ahead_of: str = ""
    ahead: Sequence[int] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Place:
    """One piece of ground: a raster, a region, a series of scenes.

    Attributes
    ----------
    grids : dict of Grid by name; the first is the one that is clicked
    crs : pyproj CRS or None
    lines : dict of ``land``, ``coast``, ``borders``: lists of x, y (point, 2) in the CRS
    ids : tuple = (title, first, per row, per column), or None
        Number of a cell as its grid counts: first + row * per row + column * per column, rows from the north.
    labels : dict of a Dim's name -> its labels here, where they differ from place to place
    gaps : dict of a Dim's name -> its gaps here
    names : dict of a name to search for -> its bounds in the CRS
    tile : (width, height) of a tile of `Likeness`, where it is not its grid's step
    along : str; the unit of x where a place is no ground but a diagram, as "s"; y then has no numbers
    rows : names of the diagram's strips, evenly from the top
    """

    name: str
    grids: Mapping[str, Grid]
    crs: Any = None
    lines: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)
    ids: tuple[str, int, int, int] | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gaps: Mapping[str, Sequence[int]] = field(default_factory=dict)
    tile: tuple[float, float] | None = None
    along: str = ""
    rows: Sequence[str] = ()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) of the grid that is clicked."""
        return next(iter(self.grids.values())).bounds


@dataclass(frozen=True)
class Table:
    """What a click tells in rows and columns: the numbers of a layer along two of its dims.

    Attributes
    ----------
    heads : str; a classes layer along `columns`, told under each column's name; or ""
    also : (heading, classes layer along `rows`) in a column of its own; or ()
    """

    layer: str
    rows: str
    columns: str
    heads: str = ""
    also: tuple[str, str] | tuple[()] = ()


@dataclass(frozen=True)
class Chart:
    """What a click draws: a layer along one dim, a line for each position of another, after what came before.

    Attributes
    ----------
    truth : classes layer along `along`; its class 1 is a dot; or ""
    past : classes layer along its own dim `past_dim`, whose labels sort as those of `origin`; or ""
    origin : Dim at which the lines begin
    """

    layer: str
    along: str
    each: str
    truth: str = ""
    past: str = ""
    past_dim: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Explorer:
    """What a workload has to show.

    Attributes
    ----------
    title : str, of the page
    places, dims, layers : what there is
    below, top : names of the layers shown first; "" for none
    lines : (heading, layer) told where one clicks, a line each
    table, chart : more of what a click tells
    truth : str; the classes layer that regions are scored against, or ""
    guess : str; the layer that is scored, or ""
    outlined : (words, classes layer whose class 1 is outlined), or ()
    groups : str; a classes layer of the parts that one may aggregate by (countries), or ""
    split : str; a classes layer, or a Dim whose remarks tell the split: scores of a region are told by it
    threshold : dict of ``layer``, ``steps``, ``by`` (dims), ``start`` (nested lists by these dims): from where a probability warns
    likeness : of tiles; a click then chooses one, and tells those alike
    sheet : figures of the place, below the map
    notes, caption : str; what the data are, as HTML under the map, and in a line under a picture of it
    veil : (colour, words) where the top layer has nothing, or ()
    ground, land : colours under everything, and of `Place.lines["land"]`
    opacity : float 0-1, of the top layer over the one below
    outlines : dicts of title, place, colour, boxes (west, south, east, north): what is outlined and can be hidden
    place_is, group_is : what a place, and a part of `groups`, is called
    click : str, what to do to be told of a place
    packs : function of nothing that tells how much may go into a frozen page, the richest first, see `geonb.dashboards.frozen`
    """

    title: str
    places: Sequence[Place]
    dims: Sequence[Dim]
    layers: Sequence[Layer]
    below: str = ""
    top: str = ""
    lines: Sequence[tuple[str, str]] = ()
    table: Table | None = None
    chart: Chart | None = None
    truth: str = ""
    guess: str = ""
    outlined: tuple[str, str] | tuple[()] = ()
    groups: str = ""
    split: str = ""
    threshold: Mapping[str, Any] = field(default_factory=dict)
    likeness: Likeness | None = None
    sheet: Sheet | None = None
    notes: str = ""
    caption: str = ""
    veil: tuple[str, str] | tuple[()] = ()
    ground: str = "#f4f4f1"
    land: str = ""
    place_is: str = "source"
    group_is: str = "part"
    opacity: float = 1.0
    click: str = "Click the map: what is known of that place."
    outlines: Sequence[Mapping[str, Any]] = ()
    packs: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ({},)

    def layer(self, name: str) -> Layer:
        """The layer of a name; a ValueError lists those that there are."""
        known = {layer.name: layer for layer in self.layers}
        if name not in known:
            raise ValueError(f"The explorer has no layer {name!r}, but {', '.join(known)}.")
        return known[name]

    def facts(self) -> dict[str, Any]:
        """All that the viewer needs before it asks, ready for JSON."""
        chosen = None if self.likeness is None else list(self.likeness.start())
        described = {
            "places",
            "dims",
            "layers",
            "table",
            "chart",
            "likeness",
            "sheet",
            "packs",
        }  # below, or for pages only
        return {name: value for name, value in vars(self).items() if name not in described} | {
            "dims": [vars(dim) | {"labels": list(dim.labels)} for dim in self.dims], "model_colours": MODEL_COLOURS,
            "layers": [layer.facts() for layer in self.layers],
            "places": [place_facts(place) for place in self.places],
            "table": self.table and vars(self.table), "chart": self.chart and vars(self.chart), "nothing": NOTHING,
            "sheet": self.sheet and self.sheet.facts(),
            "likeness": self.likeness and {
                "layer": self.likeness.layer, "dim": self.likeness.dim, "grid": self.likeness.grid,
                "words": dict(self.likeness.words), "start": chosen,
                "marked": self.likeness.likely_layer if self.likeness.marking else "",
            },
        }  # fmt: skip

    def answer(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """What the viewer asks for, as JSON and the bytes that it names by their place.

        Parameters
        ----------
        asked : dict with ``what``: planes (of ``layers``: name and at; ``place``, ``view``, ``pixels``,
            ``exact`` for numbers in full), values (of ``layers`` at
            ``x``, ``y``; ``at``), alike (``chosen``; tiles marked ``right`` and ``wrong``) or sheet (``place``; ``chosen``)

        Raises
        ------
        ValueError
            If it asks for something else.
        """
        answers = {"planes": self._planes, "values": self._values, "alike": self._alike, "sheet": self._sheet}
        if asked.get("what") not in answers:
            raise ValueError(f"The explorer was asked for {asked.get('what')!r}: {', '.join(answers)} it can answer.")
        return answers[asked["what"]](asked)

    def _planes(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        told, files = [], []
        for one in asked["layers"]:
            layer = self.layer(one["layer"])
            grid = self.places[asked["place"]].grids[layer.grid]
            slices, box = grid.window(asked["view"], asked["pixels"])
            about, file = encoded(layer, layer.read(asked["place"], one["at"], slices), asked.get("exact", False))
            told.append(about | {"box": box, "step": slices["y"].step})
            files.append(file)
        return {"planes": told}, files

    def _values(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Exact values at a place, along all dims that `at` leaves open."""
        values: dict[str, Any] = {}
        for one in asked["layers"]:
            layer = self.layer(one["layer"])
            cell = self.places[asked["place"]].grids[layer.grid].cell(asked["x"], asked["y"])
            if cell is None:
                values[one["layer"]] = None
                continue
            here = {name: slice(i, i + 1) for name, i in zip("yx", cell, strict=True)}
            read = np.asarray(layer.read(asked["place"], one["at"], here), float)[..., 0, 0]
            values[one["layer"]] = np.where(np.isfinite(read), read, np.nan).tolist()
        return {"values": _no_nan(values)}, []

    def _alike(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        like = self.likeness
        if like is None or not like.valid(asked["chosen"]):
            return {"alike": []}, []
        right, wrong = asked.get("right") or [], asked.get("wrong") or []
        if right:  # what was marked asks, in place of the tile
            found = [(tuple(right[0]), 0.0), *like.like_marked(right, wrong)]
        else:
            found = [(tuple(asked["chosen"]), 0.0), *like.alike(asked["chosen"], MARKED if like.marking else COUNT)]
        pictures = [picture_bytes(like.picture(one)) for one, _ in found]
        told = [{"chosen": list(one), "far": far, "label": like.label(one)} for one, far in found]
        return {"alike": told}, pictures

    def _sheet(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        if self.sheet is None:
            return {"words": ""}, []
        words, file = self.sheet.picture(asked["place"], asked.get("chosen"))
        return {"words": words}, [file]


def place_facts(place: Place) -> dict[str, Any]:
    """A place as the viewer reads it."""
    geographic = place.crs is not None and place.crs.is_geographic
    middle = (place.bounds[1] + place.bounds[3]) / 2
    return {
        "name": place.name, "bounds": place.bounds, "ids": place.ids, "labels": place.labels, "names": place.names,
        "gaps": place.gaps, "tile": place.tile, "along": place.along, "rows": list(place.rows),
        "grids": {name: vars(grid) for name, grid in place.grids.items()},
        "crs": crs_name(place.crs) if place.crs is not None else "",
        "kind": "geographic" if geographic else "projected" if place.crs is not None else "none",
        "metres": place.crs.axis_info[0].unit_conversion_factor if place.crs is not None and place.crs.is_projected else None,
        "squeeze": max(0.2, float(np.cos(np.deg2rad(middle)))) if geographic else 1.0,
        "lines": {n: [np.round(line, 3 if geographic else 0).tolist() for line in lines] for n, lines in place.lines.items()},
        "lonlat": None if place.crs is None else lonlat_grid(place.crs, place.bounds),
    }  # fmt: skip


def lonlat_grid(crs: Any, bounds: Sequence[float]) -> list[list[float | None]]:
    """Longitude and latitude at places side by side, rows from the north: the viewer interpolates; None off the Earth.

    More of them where a CRS bends so much that what lies between would be off.
    """
    west, south, east, north = bounds
    for side in LONLAT_SIDES:
        x, y = np.meshgrid(np.linspace(west, east, side), np.linspace(north, south, side))
        found = np.stack(lonlat(crs, x, y))
        found[~np.isfinite(found)] = np.nan
        bent = np.abs(np.diff(found, 2, axis=1)) / 8
        if not (bent > LONLAT_OFF_DEG).any():
            break
    return [[round(float(v), 7) if np.isfinite(v) else None for v in each.ravel()] for each in found]


def picture_bytes(picture: np.ndarray | None, quality: int = 82) -> bytes:
    """Colours (y, x, 4) uint8 as WebP; nothing for None."""
    return b"" if picture is None or not picture.size else webp(picture, quality)


def _no_nan(value: Any) -> Any:
    """Nested lists with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _no_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_no_nan(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
