"""What the live and the frozen map of embeddings show: distances as colours, legends, the text and pictures of one tile."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from PIL import Image

from geonb.dashboards import page
from geonb.dashboards.layers import RAMP, packed_rgba, paint_probability
from geonb.dashboards.live import encoded
from geonb.plots.style import COASTS_NOTE, NODATA_COLOUR
from geonb.workloads.clouds.explore_tiles import APART_H, Clouds, SceneSeries, Tile

LAYERS = {"components": "what the network sees, as colours", "distance": "distance to the tile", "nothing": "nothing"}
CHOSEN, ALIKE, AROUND = "#e0218a", "#f28e1c", "white"
TILE_PX = 92  # a side of a tile in the readout


def paint_distances(clouds: Clouds, squared: np.ndarray) -> np.ndarray:
    """Squared distances (y, x) -> uint32 colours, bright where near; transparent where there is no tile."""
    return paint_probability(1 - np.sqrt(np.minimum(squared / clouds.top, 1)))


def paint_components(clouds: Clouds, series: str, time: int) -> np.ndarray:
    """The first three components of a scene's tiles -> uint32 colours; transparent where there is no tile."""
    known = np.isfinite(clouds.series[series].vectors(time)).all(-1)
    return packed_rgba(clouds.rgb(series, time), known)


def legend_html(clouds: Clouds, layer: str) -> str:
    """What the colours on top mean, and what the data are."""
    said = {"components": _components_html, "distance": _distances_html}.get(layer, lambda _: "")(clouds)
    legend = f'<div style="font:12px sans-serif;line-height:1.5;min-height:62px">{said}</div>'
    return legend + page.notes_html(clouds.attrs, COASTS_NOTE)


def _components_html(clouds: Clouds) -> str:
    shares = zip(("red", "green", "blue"), clouds.held[:3], strict=False)
    told = ", ".join(f'<b style="color:{c}">{c}</b> {share:.0%}' for c, share in shares)
    return (
        f"Tiles of one colour look alike to the network: three principal components of its embedding, {told} of the variance. "
        "Fitted over all scenes: a colour means the same in each."
    )


def _distances_html(clouds: Clouds, width_px: int = 318) -> str:
    """The colours of distances as a bar, with what is near and what is far."""
    ramp = ",".join(f"rgb{colour}" for colour in reversed(RAMP))
    words = (
        ("two neighbours (median)", "distant tiles (median)")
        if clouds.measured
        else ("a tenth of pairs is nearer", "half of pairs is nearer")
    )
    ticks = ""
    for value, word, top in ((clouds.near, words[0], 0), (clouds.far, words[1], 15)):
        left = width_px * min(1.0, float(np.sqrt(value / clouds.top)))
        side, off = ("left", left) if left < width_px / 2 else ("right", width_px - left)  # the words stay on the bar
        look = f"position:absolute;{side}:{off:.0f}px;top:{top}px;border-{side}:1px solid #333;padding-{side}:3px"
        ticks += f'<span style="{look};line-height:15px;white-space:nowrap">{number(value)} {word}</span>'
    bar = f'<div style="width:{width_px}px;height:10px;border:1px solid #999;background:linear-gradient(90deg,{ramp})"></div>'
    ticks = f'<div style="position:relative;height:30px;width:{width_px}px">{ticks}</div>'
    return f"squared distance: from alike to unlike{bar}{ticks}"


def number(value: float) -> str:
    """Three figures, never an exponent for what one meets."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def data_uri(colours: np.ndarray | None, side: int | None = TILE_PX, quality: int = 82) -> str | None:
    """Colours (y, x, 4) uint8 as a JPEG that stands in the page itself, on the grey of no data."""
    if colours is None or not colours.size:
        return None
    picture = on_paper(colours)
    if side:
        picture = picture.resize((side, max(1, round(side * picture.height / picture.width))), Image.Resampling.LANCZOS)
    return page.data_uri(encoded(picture, "JPEG", quality=quality, optimize=True), "jpeg")


def on_paper(colours: np.ndarray) -> Image.Image:
    """Colours (y, x, 4) uint8 as a picture on the grey of no data; of one channel where it is grey."""
    picture = Image.fromarray(np.ascontiguousarray(colours), "RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, NODATA_COLOUR), picture).convert("RGB")
    grey = (colours[..., 0] == colours[..., 1]).all() and (colours[..., 1] == colours[..., 2]).all()
    return picture.convert("L") if grey else picture


def tile_html(clouds: Clouds, tile: Tile, alike: list[tuple[Tile, float]], series: str, time: int) -> str:
    """One tile: where and when, how far the others of the scene that is shown are, and the most alike of all as pictures."""
    own = clouds.series[tile.series]
    x, y = own.place(tile.row, tile.column)
    about = f"{escape(tile.series)}, " if len(clouds.series) > 1 else ""
    head = f"<b>{own.place_text(tile.row, tile.column)}</b>, {about}{own.label(tile.time)}"
    km = f"x {x / 1000:,.0f} km, y {y / 1000:,.0f} km; " if own.crs is not None and own.crs.is_projected else ""
    size = f"{own.patch} x {own.patch} pixels" if own.image is not None else ""
    pictures = picture_html(clouds, tile, None) + "".join(
        picture_html(clouds, *one, rank) for rank, one in enumerate(alike, 1)
    )
    apart = (
        f"None overlaps another within {APART_H:g} hours."
        if any(len(s.times) > 1 for s in clouds.series.values())
        else "None overlaps another."
    )
    part = sum(map(len, clouds.searched.values())) / sum(len(s.times) for s in clouds.series.values())
    searched = "" if part > 0.99 else f" Searched: {part:.0%} of the scenes."
    return (
        f'<div style="font:12px sans-serif;max-width:325px">{head}<br><span style="color:#666">{km}{size}</span>'
        f"{distances_html(clouds, tile, series, time)}"
        f'<div style="margin-top:4px">It, and the five most alike of all scenes:</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:6px">{pictures}</div>'
        f'<div style="color:#666;font-size:11px">{apart}{searched}</div></div>'
    )


def distances_html(clouds: Clouds, tile: Tile, series: str, time: int) -> str:
    """How far the tiles of the scene that is shown are from a tile, as a table."""
    there = clouds.series[series]
    squared = there.distances(time, clouds.vector(tile))
    known = squared[np.isfinite(squared)]
    if not len(known):
        return "<div>No tile in the scene that is shown.</div>"
    same = (series, time) == (tile.series, tile.time)
    share = (known < clouds.near).mean()
    rows = [("the median of its tiles", number(float(np.median(known))))]
    if not same and series == tile.series and np.isfinite(squared[tile.row, tile.column]):
        rows.insert(0, ("the same place", number(float(squared[tile.row, tile.column]))))
    if not same:
        rows.insert(0, ("its nearest tile", number(float(known.min()))))
    what = "neighbours" if clouds.measured else "a tenth of pairs"
    rows.append((f"share nearer than {what} ({number(clouds.near)})", f"{share:.1%}"))
    cells = "".join(f'<tr><td>{name}</td><td style="text-align:right">{value}</td></tr>' for name, value in rows)
    head = f'<div style="margin-top:4px">Squared distance to the tiles of {there.label(time)}:</div>'
    return f'{head}<table style="border-spacing:6px 0">{cells}</table>'


def picture_html(clouds: Clouds, tile: Tile, squared: float | None, rank: int = 0) -> str:
    """One tile as a small picture with its distance, time and place."""
    series: SceneSeries = clouds.series[tile.series]
    uri = data_uri(series.tile_picture(tile))
    look = f"width:{TILE_PX}px;min-height:{TILE_PX if uri else 8}px;border:3px solid {ALIKE if rank else CHOSEN};display:block"
    picture = f'<img src="{uri}" style="{look}" alt="tile">' if uri else f'<div style="{look}"></div>'
    told = f"<b>{rank}</b>: {number(squared)}" if squared is not None else "<b>the tile</b>"
    told += f"<br>{escape(series.name)}" if len(clouds.series) > 1 else ""
    return (
        f'<div style="width:{TILE_PX + 6}px;font-size:10.5px;line-height:1.25;white-space:nowrap">{picture}{told}<br>'
        f"{series.label(tile.time, short=True)}<br>"
        f"{series.place_text(tile.row, tile.column, 1)}</div>"
    )


def squares(
    clouds: Clouds, series: str, time: int, tile: Tile | None, alike: list[tuple[Tile, float]]
) -> dict[str, list[Any]]:
    """Outlines of the tile and of its most alike that lie in a scene: x, y, width, height, text, colour, dash."""
    shown: dict[str, list[Any]] = {name: [] for name in ("x", "y", "width", "height", "text", "colour", "dash")}
    there = clouds.series[series]
    marked = (
        [] if tile is None else [(tile, "", CHOSEN), *((one, str(i), ALIKE) for i, (one, _) in enumerate(alike, 1))]
    )
    for one, text, colour in reversed(marked):  # the tile itself is drawn last, above the others
        here = (one.series, one.time) == (series, time)
        if not here and (one is not tile or one.series != series):
            continue
        x, y = there.place(one.row, one.column)
        values = x, y, there.side[0], there.side[1], text, colour, "solid" if here else "dashed"
        for name, value in zip(shown, values, strict=True):
            shown[name].append(value)
    return shown
