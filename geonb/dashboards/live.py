"""What live maps share: Bokeh from this machine, an empty map, what the browser tells of it, a still picture beside it."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from geonb.rasters.grids import crs_name

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure as BokehFigure

BOX = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}  # where an image lies, by the columns of its source


class LiveMap(Protocol):
    """The state behind a live map."""

    def still(self) -> bytes: ...


def headless() -> bool:
    """Whether the runner said that nobody sits before the notebook (``GEONB_HEADLESS=1``): maps are then frozen."""
    return os.environ.get("GEONB_HEADLESS") == "1"


def load_bokeh() -> None:
    """Give Bokeh's own code to the browser from this machine: jupyter_bokeh expects it there, and asks no network for it."""
    from bokeh import __version__
    from bokeh.resources import Resources
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is not None:
        code = json.dumps("\n".join(Resources("inline", components=["bokeh"]).js_raw))
        # a script element of its own: JupyterLab evaluates outputs where `this` is not the window Bokeh looks for
        added = "document.head.appendChild(Object.assign(document.createElement('script'), {textContent: code}))"
        wanted = f"const code = {code};\nif (window.Bokeh?.version !== '{__version__}') {added}"
        display({"application/javascript": wanted, "text/plain": "(Bokeh for the map below)"}, raw=True)


def map_frame(bounds: Sequence[float], width_px: int, height_px: int, ground: str, **more: Any) -> BokehFigure:
    """An empty Bokeh map to drag and zoom.

    Parameters
    ----------
    bounds : tuple = (west, south, east, north), in the units of its axes
    ground : str
        Colour where nothing is drawn.
    """
    from bokeh.models import BoxZoomTool, Range1d
    from bokeh.plotting import figure

    west, south, east, north = bounds
    look = {"toolbar_location": "above", "background_fill_color": ground, "output_backend": "canvas"} | more
    plot = figure(
        x_range=Range1d(west, east), y_range=Range1d(south, north), tools="pan,wheel_zoom,reset,tap",
        active_scroll="wheel_zoom", frame_width=width_px, frame_height=height_px, **look,
    )  # fmt: skip
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible, plot.toolbar.logo = False, None
    return plot


def frame_height(bounds: Sequence[float], width_px: int, stretch: float = 1.0, most: int = 700) -> int:
    """Height, px, of a map of some width; `stretch`: how much longer a unit of y is drawn than one of x."""
    west, south, east, north = bounds
    return int(np.clip(width_px * (north - south) * stretch / (east - west), 200, most))


def move_to(plot: BokehFigure, bounds: Sequence[float]) -> None:
    """Show other ground, also after a reset."""
    west, south, east, north = bounds
    plot.x_range.update(start=west, end=east, reset_start=west, reset_end=east)
    plot.y_range.update(start=south, end=north, reset_start=south, reset_end=north)


def label_axes(plot: BokehFigure, crs: Any, names: tuple[str, str] = ("x", "y"), digits: int = 2) -> None:
    """Kilometres where the CRS (of pyproj, or None) counts metres, degrees where it is geographic."""
    from bokeh.models import CustomJSTickFormatter

    if crs is not None and crs.is_projected:
        plot.xaxis.axis_label, plot.yaxis.axis_label = f"{names[0]} [km], {crs_name(crs)}", f"{names[1]} [km]"
        code = f"return (tick / 1000).toFixed(Math.abs(ticks[1] - ticks[0]) < 1000 ? {digits} : 0)"
        for axis in (*plot.xaxis, *plot.yaxis):
            axis.formatter = CustomJSTickFormatter(code=code)
    elif crs is not None:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "longitude [°]", "latitude [°]"
    else:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "x", "y"


def sources_of(**columns: str) -> dict[str, ColumnDataSource]:
    """Empty Bokeh sources, by name, with the columns given (separated by spaces)."""
    from bokeh.models import ColumnDataSource

    return {name: ColumnDataSource({column: [] for column in named.split()}) for name, named in columns.items()}


def box_of(bounds: Sequence[float]) -> dict[str, list[float]]:
    """Where an image lies, as columns of its source."""
    west, south, east, north = bounds
    return {"x": [west], "y": [south], "dw": [east - west], "dh": [north - south]}


def on_click(plot: BokehFigure, asked: ColumnDataSource, tell: Callable[[float, float], None]) -> None:
    """Call back with the place (x, y) where somebody clicks; `asked` carries it from the browser."""
    from bokeh.events import Tap
    from bokeh.models import CustomJS

    plot.js_on_event(Tap, CustomJS(args={"asked": asked}, code="asked.data = {x: [cb_obj.x], y: [cb_obj.y]}"))

    def told(attr: str, old: Any, new: Any) -> None:
        if len(asked.data["x"]):
            tell(asked.data["x"][0], asked.data["y"][0])

    asked.on_change("data", told)


def on_rest(plot: BokehFigure, seen: ColumnDataSource, tell: Callable[[tuple[float, ...]], None]) -> None:
    """Call back with the bounds that the map shows when it has come to rest; `seen` carries them from the browser."""
    from bokeh.models import CustomJS

    rest = """clearTimeout(window.geonb_rest)
        window.geonb_rest = setTimeout(() => { seen.data = {bounds: [x.start, y.start, x.end, y.end]} }, 250)"""
    args = {"seen": seen, "x": plot.x_range, "y": plot.y_range}
    for axis in (plot.x_range, plot.y_range):
        for side in ("start", "end"):
            axis.js_on_change(side, CustomJS(args=args, code=rest))

    def told(attr: str, old: Any, new: Any) -> None:
        if len(seen.data["bounds"]) == 4:
            tell(tuple(seen.data["bounds"]))

    seen.on_change("data", told)


def player(slider: Any, interval_ms: int) -> Any:
    """Buttons that move a slider of choices on, one after the other."""
    import ipywidgets as w

    last = len(slider.options) - 1
    play = w.Play(min=0, max=last, value=slider.index, interval=interval_ms, layout=w.Layout(width="140px"))
    w.link((play, "value"), (slider, "index"))
    return play


def beside(plot: BokehFigure, controls: list[Any], **layout: str) -> Any:
    """The map, and its controls beside or below it. It goes in painted: what changes before it is shown is lost."""
    import ipywidgets as w
    from jupyter_bokeh.widgets import BokehModel

    side = w.VBox(controls, layout=w.Layout(**layout))
    return w.HBox([BokehModel(plot), side], layout=w.Layout(flex_flow="row wrap"))


def with_still(widget: Any, live: LiveMap) -> Any:
    """The widget, which a converted or reopened notebook shows as a still picture when the kernel is gone."""
    widget.explorer, shown = live, widget._repr_mimebundle_

    def both(**options: Any) -> dict[str, Any]:
        return {**(shown(**options) or {}), "image/png": base64.b64encode(live.still()).decode()}

    widget._repr_mimebundle_ = both
    return widget


def picture_of(image: np.ndarray) -> Image.Image:
    """What `packed_rgba` packed, as a picture."""
    north_first = np.ascontiguousarray(image[::-1])
    return Image.fromarray(north_first.view(np.uint8).reshape(*image.shape, 4), "RGBA")


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of its file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
