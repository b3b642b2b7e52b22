"""Look around in forecasts: a map of cells with month, lead, model and layer, and a click for one cell's history and forecasts.

`explore` is live (ipywidgets that drive one Bokeh figure), `frozen` one HTML that needs neither kernel nor network, `show`
takes the one that fits: frozen where the runner said so (``GEONB_HEADLESS=1``), else live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from PIL import Image

from geonb.dashboards import live
from geonb.plots.cells import BORDER, COAST, LAND, SEA, ground
from geonb.workloads.conflict.explore_cells import LAYERS, THRESHOLDS, Forecasts, cell_html, legend_html
from geonb.workloads.conflict.frozen import frozen

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure as BokehFigure

__all__ = ["explore", "frozen", "show"]


def show(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Show forecasts on a map: live in JupyterLab, frozen when the runner set ``GEONB_HEADLESS=1``.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, with group ``grid``
    arrays : DataTree, optional
        A store's `arrays`: adds each cell's history.
    """
    return frozen(predictions, arrays) if live.headless() else explore(predictions, arrays)


def explore(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Make the live map: widgets that drive one Bokeh figure.

    Returns
    -------
    ipywidgets.VBox; its `explorer` is the `Explorer` behind it

    Raises
    ------
    ValueError
        If the predictions hold no forecasts.
    """
    forecasts = Forecasts(predictions, arrays)
    live.load_bokeh()
    return Explorer(forecasts).widget


class Explorer:
    """The state of a live map: what is asked for, and the figure that shows it."""

    def __init__(self, forecasts: Forecasts) -> None:
        self.forecasts = forecasts
        self.sources = live.sources_of(cells="image value x y dw dh", click="x y", asked="x y", came="x y")
        self.cell: tuple[int, int] | None = None
        self.plot = forecast_figure(forecasts, self.sources)
        live.on_click(self.plot, self.sources["asked"], self.click)
        self._controls()
        self.draw()
        self._assemble()

    def _controls(self) -> None:
        import ipywidgets as w

        f = self.forecasts
        wide = {"style": {"description_width": "70px"}, "layout": w.Layout(width="330px")}
        months = [(month, i) for i, month in enumerate(f.months)]
        self.month = w.SelectionSlider(options=months, value=len(f.months) - 1, description="month", **wide)
        self.play = live.player(self.month, 900)
        leads = [(f"{lead} month{'s' if lead > 1 else ''}", i) for i, lead in enumerate(f.leads)]
        self.lead = w.SelectionSlider(options=leads, value=0, description="lead", **wide)
        self.model = w.Dropdown(options=list(zip(f.models, range(len(f.models)), strict=True)), description="model", **wide)  # fmt: skip
        self.outcome = w.Dropdown(
            options=[(o["name"], i) for i, o in enumerate(f.outcomes)], description="outcome", **wide
        )
        layers = [(text, name) for name, text in LAYERS.items() if name != "spread" or f.has_spread]
        self.layer = w.Dropdown(options=layers, description="layer", **wide)
        shares = [(f"{share:.3g} %", share / 100) for share in THRESHOLDS]
        self.threshold = w.SelectionSlider(
            options=shares, value=f.threshold(0, 0), description="warn from", disabled=True, **wide
        )
        self.marks = w.Checkbox(True, description="outline cells where it came true", indent=False)
        self.about = w.HTML("<i>Click a cell: its history, and what every model expects of it.</i>")
        for control in (self.month, self.lead, self.model, self.outcome, self.layer, self.threshold, self.marks):
            control.observe(lambda _: self.draw(), "value")
        self.layer.observe(lambda change: setattr(self.threshold, "disabled", change["new"] != "hits"), "value")
        self.legend, self.said = w.HTML(), w.HTML()

    def _assemble(self) -> None:
        import ipywidgets as w

        controls = [self.play, self.month, self.lead, self.model, self.layer, self.threshold, self.marks, self.said]
        if len(self.forecasts.outcomes) > 1:
            controls.insert(4, self.outcome)
        shown = live.beside(self.plot, [*controls, self.about])
        self.widget = live.with_still(w.VBox([shown, self.legend]), self)

    def still(self, pixels: int = 20) -> bytes:
        """The cells as they are now, on paper, as PNG."""
        cells = live.picture_of(self.sources["cells"].data["image"][0])
        times = max(1, min(pixels, 900 // max(cells.size)))
        cells = cells.resize((cells.width * times, cells.height * times), Image.Resampling.NEAREST)
        return live.encoded(Image.alpha_composite(Image.new("RGBA", cells.size, LAND), cells))

    def draw(self) -> None:
        """Paint the cells and what a pointer finds under itself, and say how the forecast did."""
        f, choice = self.forecasts, self.choice()
        image, values = f.paint(self.layer.value, **choice, threshold=self.threshold.value)
        shown = {"image": [image], "value": [np.ascontiguousarray(values[::-1])]}
        self.sources["cells"].data = shown | live.box_of(f.bounds)
        rows, columns = f.came_true(choice["outcome"], choice["month"], choice["lead"])
        if not self.marks.value:
            rows, columns = rows[:0], columns[:0]
        self.sources["came"].data = {"x": f.data.x.values[columns], "y": f.data.y.values[rows]}
        self.plot.title.text = f.title(self.layer.value, **choice)
        self.said.value = f.counts_html(**choice, threshold=self.threshold.value)
        self.legend.value = legend_html(f, self.layer.value, choice["outcome"])
        if self.cell is not None:
            self.about.value = cell_html(f, *self.cell, choice["outcome"], choice["month"])

    def choice(self) -> dict[str, int]:
        """Positions of the model, outcome, month and lead asked for."""
        return {name: int(getattr(self, name).value) for name in ("model", "outcome", "month", "lead")}

    def click(self, x: float, y: float) -> None:
        """Tell the history and the forecasts of the cell that was clicked."""
        self.cell = self.forecasts.cell(x, y)
        if self.cell is None:
            self.sources["click"].data = {"x": [], "y": []}
            self.about.value = "<i>Outside the region.</i>"
            return
        row, column = self.cell
        centre = self.forecasts.data.x.values[column], self.forecasts.data.y.values[row]
        self.sources["click"].data = {"x": [float(centre[0])], "y": [float(centre[1])]}
        choice = self.choice()
        self.about.value = cell_html(self.forecasts, row, column, choice["outcome"], choice["month"])


def forecast_figure(forecasts: Forecasts, sources: dict[str, ColumnDataSource], width_px: int = 460) -> BokehFigure:
    """The Bokeh figure: land, cells, coasts and borders, cells where it came true, a cross where one clicked."""
    from bokeh.models import HoverTool

    _, south, _, north = forecasts.bounds
    height = live.frame_height(forecasts.bounds, width_px, 1 / max(0.2, np.cos(np.deg2rad((south + north) / 2))))
    names = {"title": " ", "x_axis_label": "longitude [°]", "y_axis_label": "latitude [°]"}
    plot = live.map_frame(forecasts.bounds, width_px, height, SEA, **names)
    lines = ground(forecasts.bounds)
    split = {name: [[part[:, axis].tolist() for part in parts] for axis in (0, 1)] for name, parts in lines.items()}
    plot.patches(*split["land"], fill_color=LAND, line_color=None)
    plot.image_rgba(image="image", source=sources["cells"], **live.BOX)
    unseen = plot.image(image="value", source=sources["cells"], global_alpha=0.0, **live.BOX)
    plot.multi_line(*split["coast"], line_color=COAST, line_width=1.1)
    plot.multi_line(*split["borders"], line_color=BORDER, line_width=1)
    size = {name: abs(float(np.diff(forecasts.data[a].values[:2])[0])) * 0.82 for name, a in (("width", "x"), ("height", "y"))}  # fmt: skip
    plot.rect("x", "y", source=sources["came"], fill_color=None, line_color="black", line_width=1, **size)
    for colour, wide in (("white", 4), ("#1f6fd0", 2)):
        plot.scatter("x", "y", source=sources["click"], marker="cross", size=22, line_width=wide, line_color=colour)
    tips = [("place", "$y{0.00}° N, $x{0.00}° E"), ("value", "@value{0.0000}")]
    plot.add_tools(HoverTool(tooltips=tips, renderers=[unseen]))
    return plot
