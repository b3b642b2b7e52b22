"""What frozen maps share: a page in one piece that asks no network, its data packed small, and the words under a map."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Hashable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.plots.style import listed

if TYPE_CHECKING:
    from IPython.display import HTML


def framed(page: str, title: str, height_px: int = 760, kind: str = "map") -> HTML:
    """A page as HTML that works on its own: in JupyterLab, in a converted notebook and in the report."""
    from IPython.display import HTML

    # The document is an attribute in single quotes: Bokeh's own code is full of double ones, which then stay one byte.
    quoted = page.replace("&", "&amp;").replace("'", "&#39;")
    style = f"width:100%;height:{height_px}px;border:0"
    return HTML(f"<div class='geonb-{kind}'><iframe title='{title}' style='{style}' srcdoc='{quoted}'></iframe></div>")


def packed(planes: Iterable[np.ndarray], level: int = 6) -> str:
    """Arrays of bytes, one after the other, compressed and written as text."""
    stack = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)
    return base64.b64encode(gzip.compress(stack, level, mtime=0)).decode()


def filled(template: Path, facts: Mapping[str, Any]) -> str:
    """``<template>.html`` with the code of ``<template>.js`` and the facts that it reads."""
    code, page = (template.with_suffix(end).read_text(encoding="utf-8") for end in (".js", ".html"))
    told = json.dumps(facts, separators=(",", ":")).replace("</", "<\\/")
    return page.replace("/*FACTS*/null", told).replace("/*CODE*/", code)


def data_uri(file: bytes, form: str = "png") -> str:
    """A picture's file as an address that stands in the page itself."""
    return f"data:image/{form};base64,{base64.b64encode(file).decode()}"


def notes_html(attrs: Mapping[Hashable, Any], *first: str, last: Iterable[str] = ()) -> str:
    """What the data are: the stamp of simulated ones, some words, the notes they carry, and some words more."""
    stamp = '<b style="background:#fff3bf;border:1px solid #c08a00;padding:0 5px">simulated data</b> '
    said = escape(" ".join([*first, *listed(attrs.get("notes")), *last]))
    return f'<div style="color:#666;font-size:11px">{stamp if attrs.get("simulated") else ""}{said}</div>'


def swatch(colour: str, name: str) -> str:
    """A colour of the legend, and what it means."""
    look = f"display:inline-block;width:11px;height:11px;border:1px solid #666;background:{colour};margin:0 4px 0 10px"
    return f'<span style="white-space:nowrap"><span style="{look}"></span>{escape(name)}</span>'


def bar_cell(value: float, colour: str, width_px: int, form: str) -> str:
    """A probability in a table, with a bar behind its number."""
    if not np.isfinite(value):
        return '<td style="color:#999">-</td>'
    fill = f"linear-gradient(90deg,{colour} {value:.0%},transparent {value:.0%})"
    return f'<td style="min-width:{width_px}px;background:{fill}">{value:{form}}</td>'
