"""One HTML of a run, whatever became of it: scores beside baselines, split, executed notebooks, parameters, environment.

The file needs no network and asks for none: figures and map lie inside it, whatever would fetch from another host is
taken out, and a content security policy forbids the rest. A part that cannot be read says so in its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from geonb.base.files import read_json
from geonb.base.manifest import note_made
from geonb.runs.html import render_notebook
from geonb.runs.page import SIMULATED, day, interval, seconds, section, state_mark, table, whole, write
from geonb.runs.run import older_scores, read_info

LIMIT_MB = 15

MOST_OF_A_CRS = 60  # letters


def write_report(run_path: str | Path, limit_mb: float = LIMIT_MB) -> Path:
    """Write report.html into a run folder, from what is in it: finished, failed or still running.

    Parameters
    ----------
    run_path : path of a run folder
    limit_mb : float
        Above this, pictures are made smaller and then the largest outputs left out; the report says which.

    Returns
    -------
    Path of the report

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    folder = Path(run_path)
    if not folder.is_dir():
        raise FileNotFoundError(f"No run folder at {folder}. `geonb runs` lists those there are.")
    for saving in range(4):
        page = _page(folder, saving)
        if len(page.encode()) <= limit_mb * 1e6:
            break
    written = write(folder / "report.html", page)
    with suppress(OSError, ValueError):  # a run.json that is broken, as the report says, or of somebody else
        note_made(folder, "report.html")
    return written


def write_index(run_paths: Iterable[str | Path], out: str | Path) -> Path:
    """Write one page that lists runs with state, headline score and a link to each report.

    Parameters
    ----------
    run_paths : paths of run folders; a broken one gets a row that says why
    out : path of the page
    """
    out, rows = Path(out), []
    for folder in map(Path, run_paths):
        info, fault = _info(folder)
        head = info.get("headline") or {}
        name = escape(info.get("name") or folder.name)
        report = folder / "report.html"
        link = escape(os.path.relpath(report, out.parent).replace(os.sep, "/"), quote=True)
        rows.append(
            [
                f'<a href="{link}">{name}</a>' if report.is_file() else f"{name} <small>(no report)</small>",
                escape(str(info.get("workload", folder.parent.name))),
                state_mark(info.get("state", "broken")) + (f" <small>{escape(fault)}</small>" if fault else ""),
                escape(day(info.get("started"))),
                escape(str(head.get("metric", "")).replace("_", " ")),
                interval(head),
                escape(f"{head['baseline']} {head['baseline_value']:.3f}")
                if head.get("baseline_value") is not None
                else "",
            ]
        )
    heads = ["run", "workload", "state", "started (UTC)", "headline", "network", "best baseline"]
    body = f"<h1>Runs</h1><p class='quiet'>{len(rows)} runs; scores are of the test split, with 95 % intervals.</p>"
    return write(out, whole("geonb: runs", "", [], body + table(heads, rows)))


def _page(folder: Path, saving: int) -> str:
    info, fault = _info(folder)
    titles = _titles(folder, info)
    left_out: list[str] = []
    sections: list[tuple[str, str, str]] = []  # id, name in the table of contents, html

    def add(key: str, name: str, make: Callable[[], str | None]) -> None:
        made = section(key, name, make)
        if made:
            sections.append(made)

    add("scores", "How good it is", lambda: _scores(folder, info))
    add("sources", "Each source", lambda: _sources(folder))
    add("split", "Data and split", lambda: _store(folder, info))
    for path in sorted((folder / "notebooks").glob("*.ipynb")):
        _add_notebook(path, saving, sections, left_out)
    add("parameters", "Parameters", lambda: _parameters(folder, info))
    add("timings", "Time and memory", lambda: _timings(info))
    add("environment", "Environment", lambda: _environment(folder))
    title = titles.get("title") or f"geonb: {info.get('workload', folder.parent.name)}"
    head = _header(folder, info, title, titles.get("question"), fault) + _left_out(left_out)
    toc = [(key, name) for key, name, _ in sections]
    return whole(f"{title}: {folder.name}", title, toc, head + "".join(html for _, _, html in sections))


def _add_notebook(path: Path, saving: int, sections: list[tuple[str, str, str]], left_out: list[str]) -> None:
    try:
        title, content, gone = render_notebook(path, saving)
        left_out += gone
    except Exception as error:
        title, content = path.stem, f'<p class="notice bad">{escape(f"{type(error).__name__}: {error}")}</p>'
    where = f'<p class="quiet">notebooks/{escape(path.name)}</p>'
    sections.append(
        (path.stem, title, f'<h2 class="notebook" id="{escape(path.stem)}">{escape(title)}</h2>{where}{content}')
    )


def _info(folder: Path) -> tuple[dict[str, Any], str | None]:
    """run.json, and what is wrong with it."""
    try:
        return read_info(folder), None
    except FileNotFoundError:
        return {}, "There is no run.json: this folder is no run, or one that was never begun."
    except (OSError, ValueError) as error:
        return {}, f"run.json cannot be read ({error})."


def _titles(folder: Path, info: dict[str, Any]) -> dict[str, str]:
    """Title and question of the run's workload, from what the run says; nothing that it names is imported.

    Runs of an earlier geonb do not say: then of the workload, if it is known here, else of their predictions.
    """
    from geonb import registry

    said: dict[str, Any] = info
    if "title" not in info:
        try:
            record = registry.known(info.get("record") or info.get("workload") or "")
            said = {"title": record.title, "question": record.question}
        except ValueError:
            said = _attributes(folder / "predictions.zarr")
    return {name: str(said[name]) for name in ("title", "question") if said.get(name)}


def _attributes(group: Path) -> dict[str, Any]:
    """Attributes of a Zarr group; none where there is no group that can be read."""
    try:
        return json.loads((group / "zarr.json").read_text()).get("attributes") or {}
    except (OSError, ValueError, AttributeError):
        return {}


def _header(folder: Path, info: dict[str, Any], title: str, question: str | None, fault: str | None) -> str:
    facts = {
        "run": escape(folder.name),
        "state": state_mark(info.get("state", "broken")),
        "started": escape(day(info.get("started"))),
        "ended": escape(day(info.get("ended"))),
        "precision": escape(str(info.get("precision") or "")),
        "geonb": escape(str(info.get("geonb", ""))),
    }
    told = "".join(f"<span>{name} <b>{value}</b></span>" for name, value in facts.items() if value)
    notices = [fault]
    for step, about in (info.get("steps") or {}).items():
        if about.get("error"):
            notices.append(f"{step} {about.get('state', 'failed')}: {about['error']}")
    bad = "".join(f'<p class="notice bad">{escape(str(text))}</p>' for text in notices if text)
    asked = f'<p class="question">{escape(question)}</p>' if question else ""
    return f'<h1>{escape(title)}</h1>{asked}<div class="facts">{told}</div>{SIMULATED if simulated(folder, info) else ""}{bad}'


def _left_out(gone: list[str]) -> str:
    if not gone:
        return ""
    items = "".join(f"<li>{escape(entry)}</li>" for entry in gone)
    return f'<div class="notice">Left out to stay under the size limit (they are in notebooks/):<ul>{items}</ul></div>'


def _store_path(folder: Path, info: dict[str, Any]) -> Path | None:
    """The sample store of a run; its path is kept relative to the project, three folders above the run."""
    given = info.get("store")
    return None if not given else Path(given) if Path(given).is_absolute() else folder.resolve().parents[2] / given


def simulated(folder: Path, info: dict[str, Any]) -> bool:
    """Whether the store, or else (it may be gone) the scores, say that the data are simulated."""
    from geonb.scores.scores import read_scores

    path = _store_path(folder, info)
    try:
        if path is not None and (path / "store.json").is_file():
            return bool(read_json(path / "store.json").get("simulated"))
        return bool(read_scores(folder / "scores.nc").attrs.get("simulated"))
    except (OSError, ValueError):
        return False  # the section about the data says what could not be read


def _scores(folder: Path, info: dict[str, Any]) -> str | None:
    """The table of the test split: network beside baselines, with intervals, counts and prevalence."""
    from geonb.plots.scores import other_scores
    from geonb.scores.scores import read_scores
    from geonb.scores.verdicts import verdict

    if not (folder / "scores.nc").is_file():
        return None
    scores = read_scores(folder / "scores.nc")
    here = scores.sel(split="test")
    unit = str(scores.attrs.get("unit", "pixels"))
    caption = (
        f"Test split: {int(here.n_samples):,} {unit} in {int(here.n_blocks):,} blocks. Brackets: 95 % intervals from "
        f"resampling whole blocks. The baselines learnt from the same training {unit}."
    )
    share = ", ".join(f"{name} {float(part):.1%}" for name, part in _prevalence(here))
    precision = f" Predicted in {escape(str(scores.attrs['precision']))}." if scores.attrs.get("precision") else ""
    share = f"Share of the test {unit}: {escape(share)}." if share else ""
    prevalence = f'<p class="quiet">{share}{precision}</p>' if share or precision else ""
    told = f"<p><b>{escape(verdict(scores))}</b></p>" if "gain" in scores else ""
    if older := older_scores(info):
        told = f'<p class="notice bad">{escape(older)}.</p>'
    more = "".join(
        f'<p class="quiet">{escape(what)}: the same numbers.</p>'
        if one["score"].equals(scores["score"])
        else _score_table(one, f"{what}.")
        for what, one in other_scores(scores).items()
    )
    return told + _score_table(scores, caption) + more + prevalence


def _score_table(scores: Any, caption: str) -> str:
    from geonb.plots.scores import score_table

    told = score_table(scores, "test")
    rows = [
        [escape(str(model)), *map(escape, values)] for model, values in zip(told.index, told.to_numpy(), strict=True)
    ]
    return table(["model", *map(str, told.columns)], rows, caption, lead=0)


def _prevalence(scores: Any) -> list[tuple[str, float]]:
    """How common each class, or each outcome, or what is looked for, is in a split; nothing of triplets, which are all alike."""
    if "prevalence" not in scores:
        return []
    shares = scores["prevalence"]
    if not shares.dims:
        return [("what is looked for", float(shares))]
    return list(zip(map(str, shares[shares.dims[0]].values), map(float, shares), strict=True))


def _sources(folder: Path) -> str | None:
    """Headline metric of each source, network beside baselines; nothing where there is one source (or older scores)."""
    from geonb.scores.scores import read_scores

    if not (folder / "scores.nc").is_file():
        return None
    scores = read_scores(folder / "scores.nc")
    if "source_score" not in scores or scores.sizes["source"] < 2:
        return None
    from geonb.plots.scores import readable

    metric = str(scores.attrs.get("headline", scores["metric"].values[0]))
    here = scores.sel(split="test", metric=metric)
    names = ("source_score", "source_score_low", "source_score_high")
    rows = []
    for i in range(scores.sizes["source"]):
        at = here.isel(source=i)
        told = [dict(zip(("value", "low", "high"), (float(at[n].isel(model=m)) for n in names), strict=True))
                for m in range(scores.sizes["model"])]  # fmt: skip
        counts = [f"{int(at['source_samples']):,}", f"{int(at['source_blocks']):,}"]
        rows.append([escape(str(at["source"].item())), escape(str(at["dataset"].item())), *map(_finite, told), *counts])
    counted = f"test {scores.attrs.get('unit', 'pixels')}"
    heads = ["source", "dataset", *map(str, scores["model"].values), counted, "blocks"]
    caption = (
        f"{readable(metric)} on the test split of each source. Brackets: 95 % intervals from resampling the source's own "
        "blocks; none where it has one block only."
    )
    return table(heads, rows, caption)


def _finite(told: dict[str, float]) -> str:
    known = {name: value for name, value in told.items() if value == value}
    return interval(known) or "-"


def _store(folder: Path, info: dict[str, Any]) -> str | None:
    """What the sample store holds, and the proof that its splits share nothing."""
    path = _store_path(folder, info)
    if path is None:
        return None
    from geonb import store as stores

    store = stores.open_store(path)
    meta = store.meta
    notes = "".join(
        f"<li>{escape(str(note))}</li>" for note in [*meta.get("notes", []), meta.get("attribution")] if note
    )
    sources = [_source_row(source, meta) for source in meta.get("sources", [])]
    heads = [name for name in (sources[0] if sources else {}) if any(row[name] for row in sources)]
    parts = [f"<p><b>{escape(str(meta.get('title') or meta.get('name')))}</b></p><ul>{notes}</ul>"]
    parts.append(table(heads, [[escape(row[name]) for name in heads] for row in sources]))
    check = stores.proof_of(store)
    counts = check["counts"]
    rows = [[split, *(f"{named.get(split, 0):,}" for named in counts.values())] for split in ("train", "val", "test")]
    said = f"{check['said']} Checked on the table itself: {check['leaks']} samples leak."
    return "".join(parts) + table(["split", *counts], rows, said)


def _source_row(source: dict[str, Any], meta: dict[str, Any]) -> dict[str, str]:
    """What a source is; empty where it does not apply."""
    crs = str(source.get("crs") or "")
    if len(crs) > MOST_OF_A_CRS:  # the whole of its text, where no authority has a code for it
        import pyproj

        from geonb.rasters.grids import crs_name

        crs = crs_name(pyproj.CRS(crs))
    side = f"{source['pixel_m']:g} m" if source.get("pixel_m") else ""
    if source.get("months"):  # cells of a grid in degrees
        side = f"{source['resolution'][0]:g} degrees"
    return {
        "source": str(source["name"]),
        "data set": str(source.get("dataset") or meta.get("name", "")),
        "CRS": crs,
        "pixel": side,
        "rows x columns": " x ".join(map(str, source.get("shape", []))),
        "months": f"{source['months']} from {source['first_month']}" if source.get("months") else "",
        "valid pixels": f"{source['pixels_valid']:,}" if "pixels_valid" in source else "",
        "with a label": f"{source['pixels_labelled']:,}" if "pixels_labelled" in source else "",
    }


def _parameters(folder: Path, info: dict[str, Any]) -> str:
    """What repeats the run, and what each step was given."""
    text = (folder / "parameters.yaml").read_text() if (folder / "parameters.yaml").is_file() else ""
    given = {step: about.get("parameters") or {} for step, about in (info.get("steps") or {}).items()}
    rows = [
        [escape(step), escape(name), escape(json.dumps(v))]
        for step, named in given.items()
        for name, v in named.items()
    ]
    listed = f"<details><summary>every parameter of every step</summary>{table(['step', 'parameter', 'value'], rows)}</details>"
    return f"<pre>{escape(text) or 'no parameters.yaml'}</pre>{listed if rows else ''}"


def _timings(info: dict[str, Any]) -> str | None:
    steps = info.get("steps") or {}
    if not steps:
        return None
    rows = [
        [
            escape(step), state_mark(about.get("state", "?")), seconds(about.get("seconds")),
            f"{about['peak_memory_mb']:,.0f} MB" if about.get("peak_memory_mb") else "",
            escape(str(about.get("exit_code", ""))),
        ]
        for step, about in steps.items()
    ]  # fmt: skip
    cells = [
        [
            escape(step),
            escape(str(cell.get("index", ""))),
            escape(str(cell.get("title", ""))),
            seconds(cell.get("seconds")),
        ]
        for step, about in steps.items()
        for cell in about.get("cells") or []
    ]
    total = sum(about.get("seconds") or 0 for about in steps.values())
    caption = f"{seconds(total)} in all. Memory is that of the step's kernel and its children at their largest."
    each = table(["step", "cell", "section", "time"], cells)
    return table(["step", "state", "time", "peak memory", "exit code"], rows, caption) + (
        f"<details><summary>time of each cell</summary>{each}</details>" if cells else ""
    )


def _environment(folder: Path) -> str | None:
    path = folder / "environment.txt"
    if not path.is_file():
        return None
    lines = path.read_text().splitlines()
    about = [line.lstrip("# ") for line in lines if line.startswith("#")]
    packages = "\n".join(line for line in lines if not line.startswith("#"))
    listed = f"<details><summary>{len(lines) - len(about)} packages</summary><pre>{escape(packages)}</pre></details>"
    return f"<p>{'<br>'.join(map(escape, about))}</p>{listed}"
