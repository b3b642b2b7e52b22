"""What frozen maps share: a page in one piece that asks no network, its data packed small, and the words under a map."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.plots.style import listed

if TYPE_CHECKING:
    from IPython.display import HTML

TEMPLATES = Path(__file__).parent / "templates"
# The viewer's parts, in this order one script: what is pure, then what has state, then what puts them together
VIEWER = tuple(
    f"viewer/{part}.js"
    for part in (
        *("elements", "shapes", "planes", "earth", "scores"),
        *("state", "asking", "words", "map", "draw", "picture", "told", "alike", "sheet", "regions"),
        *("controls", "compare", "search", "hands", "viewer"),
    )
)


def framed(page: str, title: str, height_px: int = 760, kind: str = "map") -> HTML:
    """A page as HTML that works on its own: in JupyterLab, in a converted notebook and in the report."""
    from IPython.display import HTML

    # The document is an attribute in single quotes: Bokeh's own code is full of double ones, which then stay one byte.
    quoted = page.replace("&", "&amp;").replace("'", "&#39;")
    style = f"width:100%;height:{height_px}px;border:0"
    return HTML(f"<div class='geonb-{kind}'><iframe title='{title}' style='{style}' srcdoc='{quoted}'></iframe></div>")


def code(*scripts: str) -> str:
    """Scripts as one, which share their names."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)


def filled(facts: Mapping[str, Any], data: Sequence[str], *scripts: str) -> str:
    """A page with its scripts, the facts that they read, and data as base64."""
    told = json.dumps({"facts": facts, "data": data}, separators=(",", ":")).replace("<", "\\u003c")
    page = (TEMPLATES / "page.html").read_text(encoding="utf-8")
    style = (TEMPLATES / "viewer.css").read_text(encoding="utf-8")
    title = escape(f"geonb: {facts['title']}")
    parts = {"/*CSS*/": style, "TITLE": title, "/*FACTS*/null": told, "/*CODE*/": code(*scripts)}
    # at once: names may look like marks
    return re.sub("|".join(map(re.escape, parts)), lambda mark: parts[mark[0]], page)


def data_uri(file: bytes, form: str = "png") -> str:
    """A picture's file as an address that stands in the page itself."""
    return f"data:image/{form};base64,{base64.b64encode(file).decode()}"


def notes_html(attrs: Mapping[Hashable, Any], *first: str, last: Iterable[str] = ()) -> str:
    """What the data are: the stamp of simulated ones, some words, the notes they carry, and some words more."""
    stamp = '<b style="background:#fff3bf;border:1px solid #c08a00;padding:0 5px">simulated data</b> '
    said = escape(" ".join([*first, *listed(attrs.get("notes")), *last]))
    return f'<div style="color:#666;font-size:11px">{stamp if attrs.get("simulated") else ""}{said}</div>'


def caption_of(attrs: Mapping[Hashable, Any]) -> str:
    """What the data are, in a line under a picture."""
    said = [str(attrs.get(key, "")) for key in ("title", "attribution")]
    return "; ".join([*(["simulated data"] if attrs.get("simulated") else []), *(part for part in said if part)])
