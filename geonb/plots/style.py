"""What every figure has in common: style, colours of classes, splits and models, the caption and the simulated stamp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

RC = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
SPLIT_COLOURS = {"none": "#f0f0f0", "train": "#88ccee", "val": "#ddcc77", "test": "#aa3377"}
NODATA_COLOUR = "#e3e3e3"
COASTS_NOTE = "Coasts and borders: Natural Earth 1:110m, off by some kilometres."
# The network leads in every figure. Any two are told apart by protan, deutan and tritan eyes (tests/plots/test_style.py); markers
# and dashes differ too, so that nothing rests on colour alone.
MODEL_COLOURS = (
    "#b5400f", "#4b69ff", "#5a5a5a", "#0fb469", "#871e96", "#b487b4", "#2d0f3c", "#5a0000", "#0000c3",
)  # fmt: skip
MOST_NOTES = 160  # letters of what each caption repeats of the data
MODEL_MARKERS = "osD^vPX<>"
MODEL_DASHES: dict[str, Any] = {
    "o": "-", "s": "--", "D": ":", "^": "-.", "v": (0, (5, 1, 1, 1, 1, 1)), "P": (0, (1, 1)), "X": (0, (8, 2)), "<": (0, (3, 3)),
    ">": (0, (8, 2, 1, 2)),
}  # fmt: skip
# Tol's muted scheme, then five tones as far from it: told apart with the common colour deficiencies, and letters stand beside them.
CLUSTER_COLOURS = [
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#bbddbb",
    "#440000",
    "#7777dd",
    "#440055",
    "#334400",
]


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Draw in geonb's style and take the figure off pyplot's list, so that a notebook shows it once and memory is freed."""

    @functools.wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = set(plt.get_fignums())
        with plt.rc_context(RC):
            drawn = draw(*args, **kwargs)
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
        for figure in drawn if isinstance(drawn, list | tuple) else [drawn]:
            if isinstance(figure, Figure):
                told = described(figure) or (draw.__doc__ or "").strip().partition("\n")[0]
                # notebooks keep what is told beside the picture; nbconvert and the report make it the picture's alt
                figure._repr_mimebundle_ = functools.partial(_told, told)
        return drawn

    return wrapper


def _told(told: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"image/png": {"alt": told}}


def described(figure: Figure) -> str:
    """What a figure says in words, for those who cannot see it: titles, what its axes and colours mean, its caption."""
    titles = [figure.get_suptitle(), *(ax.get_title(loc) for ax in figure.axes for loc in ("left", "center"))]
    axes = [f"{name}: {label}" for name, label in _labels(figure)]
    legends = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()))]
    entries = [text.get_text() for legend in legends for text in legend.get_texts()]
    caption = [text.get_text() for text in figure.texts if text is not figure._suptitle]
    parts = [_some(titles), _some(axes), _some(entries), " ".join(caption)]
    return ". ".join(" ".join(part.split()).rstrip(".") for part in parts if part)


def _labels(figure: Figure) -> Iterable[tuple[str, str]]:
    for ax in figure.axes:
        yield from (("along", ax.get_xlabel()), ("up", ax.get_ylabel()))


def _some(words: Iterable[str], most: int = 8) -> str:
    """The first few different words, and how many more there are."""
    found = [word for word in dict.fromkeys(words) if word.strip() and not word.endswith(": ")]
    return "; ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly, with the first and the last."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})


def listed(value: Any) -> list[str]:
    """Attributes lose their list when a file holds one entry: give the list back."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value] if value else []
    return [str(entry) for entry in np.atleast_1d(np.asarray(value, dtype=object))]


def place_text(lat: float, lon: float, digits: int | None = 2) -> str:
    """A place for people: ``35.78° N, 78.64° W``; with so many decimals, or (None) as many as it needs."""
    form = "g" if digits is None else f".{digits}f"
    return f"{abs(lat):{form}}° {'N' if lat >= 0 else 'S'}, {abs(lon):{form}}° {'E' if lon >= 0 else 'W'}"


def class_colours(names: Iterable[Any], attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Colour of each class: the store's own (attribute ``colours``), else the cluster palette in class order."""
    classes, own = [str(name) for name in names], listed(attrs.get("colours"))
    palette = CLUSTER_COLOURS * (1 + len(classes) // len(CLUSTER_COLOURS))
    return dict(zip(classes, own if len(own) == len(classes) else palette, strict=False))


def model_looks(models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each model; the network (first) filled and larger."""
    return {
        str(model): {
            "color": MODEL_COLOURS[i % len(MODEL_COLOURS)],
            "marker": MODEL_MARKERS[i % len(MODEL_MARKERS)],
            "markersize": 8 if i == 0 else 6,
            "zorder": 4 if i == 0 else 3,
        }
        for i, model in enumerate(models)
    }


def dashes(look: Mapping[str, Any]) -> Any:
    """The line style of a model, where its values are joined by a line; from its look."""
    return MODEL_DASHES[look["marker"]]


def swatches(colours: Mapping[str, str]) -> list[Patch]:
    """Legend entries of a categorical map."""
    return [Patch(facecolor=colour, edgecolor="#666666", linewidth=0.4, label=name) for name, colour in colours.items()]


def legend_above(figure: Figure, ax: Axes, columns: int, **layout: float) -> None:
    """One legend for all panels, over them; the panels make room."""
    handles, labels = ax.get_legend_handles_labels()
    rows = -(-len(labels) // columns)
    figure.tight_layout(rect=(0, 0, 1, 1 - (0.12 + 0.18 * rows) / figure.get_figheight()), **layout)
    figure.legend(handles, labels, loc="upper left", ncols=columns, bbox_to_anchor=(0.005, 1.0))


def legend_beside(figure: Figure, ax: Axes) -> None:
    """One legend for all panels, to their right."""
    handles, labels = ax.get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5))


def along_whole_numbers(ax: Axes) -> None:
    """Epochs or leads along x: whole numbers, and lines across for reading the values."""
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y")


def banded(ax: Axes, rows: int) -> None:
    """Every other of the named rows on a grey ground, from top to bottom."""
    for row in range(1, rows, 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", zorder=0)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour` (relative luminance, WCAG 2)."""
    channels = np.array([int(colour.lstrip("#")[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.3 else "white"


def finish(figure: Figure, attrs: Mapping[Any, Any], *notes: str, below: float = 0.01) -> Figure:
    """Write the caption under a figure and, where the data are simulated, say so across its top.

    Notes of the data follow, up to MOST_NOTES letters: the report's "Data and split" and notebook 01 have them all. The caption
    starts `below` the figure's lower edge (share of its height): a notebook and `savefig` with tight bounds show it.
    """
    of_data = [note for note in listed(attrs.get("notes")) if note]
    short = [note for i, note in enumerate(of_data) if sum(map(len, of_data[: i + 1])) <= MOST_NOTES]
    if more := len(of_data) - len(short):
        short.append(
            f"{more} {'more ' if short else ''}note{'s' * (more > 1)} on the data: see where they were made, notebook 01."
        )
    lines = [*(note for note in notes if note), *short]
    width = max(40, int(figure.get_figwidth() * 15.5))
    wrapped = [piece for line in lines for piece in _wrap(line, width)]
    if wrapped:
        figure.text(
            0.01, -below, "\n".join(wrapped), ha="left", va="top", fontsize=7.5, color="#555555", linespacing=1.4
        )
    if attrs.get("simulated"):
        look = {"boxstyle": "round,pad=0.3", "facecolor": "#fff3bf", "edgecolor": "#c08a00", "linewidth": 0.8}
        figure.text(0.995, 1.005, "simulated data", ha="right", va="bottom", fontsize=8, color="#7a5800", bbox=look)
    return figure


def _wrap(line: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(line, width) or [""]
