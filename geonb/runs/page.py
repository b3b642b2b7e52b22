"""The frame of every report page and its small pieces: tables, pictures, states, times. The page asks nobody for anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base.conventions import VERSION
from geonb.base.files import write_text
from geonb.runs.html import TEMPLATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def section(key: str, name: str, make: Callable[[], str | None]) -> tuple[str, str, str] | None:
    """(id, name in the table of contents, html) of a part of a page; None where there is nothing to show.

    Whatever is broken is told, in its place, and the rest of the page is still shown.
    """
    try:
        content = make()
    except Exception as error:
        content = f'<p class="notice bad">Could not be read: {escape(f"{type(error).__name__}: {error}")}</p>'
    return (key, name, f'<h2 id="{key}">{escape(name)}</h2>{content}') if content else None


SIMULATED = (
    '<p class="notice"><b>Simulated data.</b> The numbers say that the software works, nothing about the world.</p>'
)


def picture(figure: Figure, what: str) -> str:
    """A figure as a PNG inside the page; `what` is read to those who cannot see it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, bbox_inches="tight")
    encoded = base64.b64encode(file.getvalue()).decode()
    width = int(figure.get_figwidth() * 96 * 1.08)
    return f'<div class="output_png"><img width="{width}" alt="{escape(what, quote=True)}" src="data:image/png;base64,{encoded}"></div>'


def table(heads: list[str], rows: list[list[str]], caption: str = "", lead: int | None = None) -> str:
    """An HTML table; the cells are HTML already, the heads and the caption are text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr{' class=lead' if number == lead else ''}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for number, row in enumerate(rows)
    )
    said = f'<p class="quiet">{escape(caption)}</p>' if caption else ""
    # on a narrow screen it is moved sideways: a keyboard can, too
    return f'<div class="wide" tabindex="0"><table><tr>{head}</tr>{body}</table></div>{said}'


def state_mark(state: str) -> str:
    """The state of a run or step as a coloured mark."""
    return f'<span class="state {escape(str(state))}">{escape(str(state))}</span>'


def day(text: str | None) -> str:
    """An ISO time as 2026-11-23 09:30 UTC; empty for None."""
    return f"{text[:10]} {text[11:16]} UTC" if text and len(text) >= 16 else (text or "")


def seconds(value: float | None) -> str:
    """A duration as 12.3 s or 4 min 5 s; empty for None."""
    if value is None:
        return ""
    return f"{value // 60:.0f} min {value % 60:.0f} s" if value >= 60 else f"{value:.1f} s"


def interval(head: dict[str, Any]) -> str:
    """The headline of a run with its interval: 0.243 [0.222, 0.354]."""
    if head.get("value") is None:
        return ""
    between = f" [{head['low']:.3f}, {head['high']:.3f}]" if head.get("low") is not None else ""
    return f"{head['value']:.3f}{between}"


def whole(title: str, short: str, toc: list[tuple[str, str]], body: str) -> str:
    """A whole page around a body, with its table of contents (id, name); everything it needs lies in it."""
    from jinja2 import Environment
    from pygments.formatters import HtmlFormatter

    template = Environment(autoescape=True).from_string((TEMPLATES / "report.html.j2").read_text())
    css = (TEMPLATES / "report.css").read_text() + HtmlFormatter().get_style_defs(".highlight")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return template.render(title=title, short=short, toc=toc, body=body, css=css, version=VERSION, made=made)


def write(path: Path, page: str) -> Path:
    """Write a page whole or not at all; gives its path."""
    write_text(path, page)
    return path
