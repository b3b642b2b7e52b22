"""An executed notebook as a piece of HTML that asks nobody for anything: code folded, figures inside, widgets replaced."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
WIDGET = "application/vnd.jupyter.widget-view+json"
NEEDS_KERNEL = ("application/javascript", "application/vnd.bokehjs", "application/vnd.holoviews", WIDGET)
# Tags whose attribute makes a browser fetch something. Links (<a href>) are followed only when a reader clicks.
_FETCHING = re.compile(
    r"<(?P<tag>script|img|iframe|link|source|video|audio|track|embed|object|input|image|use)\b"
    r"(?P<attributes>[^>]*?\s(?:xlink:)?(?:src|href|data|srcset|poster)\s*=\s*[\"']?\s*(?P<url>(?:https?:)?//[^\s\"'>]*)[^>]*)>",
    re.I,
)
_CSS_URL = re.compile(r"@import\s+[^;]*//[^;]*;|url\(\s*[\"']?\s*(?:https?:)?//[^)]*\)", re.I)
_SCRIPT = re.compile(r"(<script\b[^>]*>)(.*?)(</script>)", re.I | re.S)
_SRCDOC = re.compile(r"(\ssrcdoc\s*=\s*)('[^']*'|\"[^\"]*\")", re.I)


def without_requests(page: str) -> str:
    """Take everything out of a piece of HTML that would make a browser ask another host, and leave a word in its place.

    Documents inside an iframe's ``srcdoc`` are treated alike; the text of inline scripts is left alone (the report's
    content security policy keeps them from asking).
    """
    inner: list[str] = []

    def set_aside(match: re.Match[str]) -> str:
        document = html.unescape(match[2][1:-1])
        clean = without_requests(document).replace("&", "&amp;").replace("'", "&#39;")
        inner.append(f"{match[1]}'{clean}'")
        return f" geonb-srcdoc-{len(inner) - 1}-"

    page = _SRCDOC.sub(set_aside, page)
    pieces, at = [], 0
    for script in _SCRIPT.finditer(page):
        pieces += [_no_fetch(page[at : script.start()])]
        fetching = _FETCHING.match(script[1])
        pieces += [_left_out(fetching) if fetching else script[0]]
        at = script.end()
    page = "".join([*pieces, _no_fetch(page[at:])])
    return re.sub(r" geonb-srcdoc-(\d+)-", lambda match: inner[int(match[1])], page)


def _no_fetch(piece: str) -> str:
    return _CSS_URL.sub("none", _FETCHING.sub(_left_out, piece))


def _left_out(match: re.Match[str]) -> str:
    if match["tag"].lower() in ("link", "script"):
        return ""
    return f'<span class="left-out">[left out, lies on another host: {html.escape(match["url"][:120])}]</span>'


def render_notebook(path: Path, saving: int = 0) -> tuple[str, str, list[str]]:
    """Render an executed notebook for the report.

    Parameters
    ----------
    path : path of the .ipynb
    saving : int
        How much to save: 0 nothing, 1 pictures at most 1200 px wide as JPEG, 2 also no output above 2 MB, 3 none above 200 kB.

    Returns
    -------
    title (its H1), HTML, and what was left out

    Raises
    ------
    ValueError
        If the file is not a notebook.
    """
    import nbformat
    from nbconvert import HTMLExporter

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises a handful of its own kinds
        raise ValueError(f"{path.name} cannot be read as a notebook ({error}). It may have been cut off.") from error
    notebook.metadata.pop("widgets", None)
    left_out: list[str] = []
    heading = path.stem
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            heading = [*re.findall(r"^#+ +(.+?)\s*$", cell.source, re.M), heading][0]
        for output in cell.get("outputs", []):
            where = f"{path.stem}, cell {number}"
            settle_output(output, saving, where, left_out, heading)
    title = _take_title(notebook) or path.stem
    exporter = HTMLExporter(raw_template=(TEMPLATES / "notebook.html.j2").read_text(), exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r"(<h[1-6][^>]*?)\sid=\"[^\"]*\"", r"\1", body)  # the same heading stands in several notebooks
    body = re.sub(r"<(/?)h([1-5])\b", lambda match: f"<{match[1]}h{int(match[2]) + 1}", body)
    body = body.replace(
        '<div class="output_html', '<div tabindex="0" class="output_html'
    )  # a keyboard moves wide ones sideways
    return title, without_requests(body), left_out


def _take_title(notebook: Any) -> str | None:
    """The first H1, taken out of its cell: the report shows it as the section's heading."""
    for cell in notebook.cells:
        found = re.search(r"^# +(.+?)\s*$", cell.source, re.M) if cell.cell_type == "markdown" else None
        if found:
            cell.source = cell.source.replace(found[0], "", 1)
            return re.sub(r"[*_`]", "", found[1])
    return None


def settle_output(output: Any, saving: int, where: str, left_out: list[str], heading: str) -> None:
    """Keep of one output what a page without kernel and network can show, and as small as asked for; a picture tells its text,
    or else the heading that it stands under."""
    if output.output_type == "stream":
        output.text = "\n".join(line.rsplit("\r", 1)[-1] for line in output.text.replace("\r\n", "\n").split("\n"))
        if len(output.text) > 20_000:
            output.text = output.text[:10_000] + "\n[... the middle left out ...]\n" + output.text[-10_000:]
    if output.output_type not in ("display_data", "execute_result"):
        return
    alive = any(kind.startswith(NEEDS_KERNEL) for kind in output.data)
    for kind in [kind for kind in output.data if kind.startswith(NEEDS_KERNEL)]:
        del output.data[kind]
    shows = [kind for kind in output.data if kind != "text/plain"]
    if alive and not shows:
        is_map = "Bokeh for the map" in output.data.get("text/plain", "")
        output.data = {"text/plain": ""} if is_map else {"text/html": NO_WIDGET}
    for kind in ("image/png", "image/jpeg"):
        if kind in output.data:
            output.metadata.setdefault(kind, {}).setdefault("alt", f"Figure: {heading}")
    if saving:
        _shrink(output, saving)
    size = sum(len(str(value)) for value in output.data.values())
    if (saving >= 2 and size > 2e6) or (saving >= 3 and size > 2e5):
        left_out.append(f"{where}: an output of {size / 1e6:.1f} MB")
        output.data = {"text/html": f'<p class="left-out">[left out to keep the report small: {size / 1e6:.1f} MB]</p>'}


NO_WIDGET = (
    '<p class="left-out">[an interactive widget: open the notebook in JupyterLab and run the cell to use it]</p>'
)


def _shrink(output: Any, saving: int) -> None:
    """Replace a PNG by a JPEG of at most 1200 (then 800) pixels, where that is smaller."""
    from PIL import Image

    if "image/png" not in output.data:
        return
    raw = base64.b64decode(output.data["image/png"])
    picture = Image.open(io.BytesIO(raw)).convert("RGBA")
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=picture.getchannel("A"))
    side = 1200 if saving < 3 else 800
    paper.thumbnail((side, 4 * side))
    small = io.BytesIO()
    paper.save(small, "JPEG", quality=82, optimize=True)
    if small.tell() < len(raw):
        del output.data["image/png"]
        output.data["image/jpeg"] = base64.b64encode(small.getvalue()).decode()
        output.metadata = {"image/jpeg": {"alt": output.metadata["image/png"]["alt"]}}
