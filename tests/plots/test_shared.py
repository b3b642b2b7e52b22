"""What the shared notebooks show of a workload: every figure is there, and asks for what its notebook gives."""

import inspect
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from geonb import registry
from geonb.base import specs
from geonb.plots import shared, style

ROOT = Path(__file__).parents[2]
FIGURES = [
    pytest.param(record, notebook, figure, id=f"{record.name}-{notebook[:2]}-{figure.title or figure.draw or 'words'}")
    for record in map(registry.get, registry.WORKLOADS)
    for notebook, shown in record.figures.items()
    for figure in shown
]


@pytest.mark.parametrize(("record", "notebook", "figure"), FIGURES)
def test_every_figure_can_be_drawn_from_what_its_notebook_gives(record, notebook, figure):
    assert notebook in registry.GIVES and notebook in record.steps
    assert len(figure.text.split()) > 10, "it says how to read the figure"
    if figure.draw:
        parameters = inspect.signature(specs.load(figure.draw)).parameters.values()
        needed = {one.name for one in parameters if one.default is one.empty}
        assert needed and needed <= set(registry.GIVES[notebook])


@pytest.mark.parametrize("notebook", registry.GIVES)
def test_notebooks_give_what_is_written(notebook):
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    calls = [line for c in cells for line in "".join(c["source"]).splitlines() if line.startswith("geonb.show(")]
    count = len(registry.GIVES[notebook])
    assert len(calls) == 1 and calls[0].startswith(f'geonb.show(workload, "{notebook}", ')
    assert calls[0].count(",") == 1 + count


def test_figures_are_shown_in_order_and_left_out_where_there_is_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    first, second, third = Figure(), Figure(), Figure()
    drawn = {"one": [first, second], "two": third, "three": None}
    monkeypatch.setattr(specs, "load", lambda path: lambda store, most=3: drawn[path] if store == "it" else 1 / 0)
    record = registry.Workload(
        "mine", "Mine", "What?", "notebooks/01.ipynb", "mean_iou",
        figures={"06_explore": (registry.Figure("A", "how", "one"), registry.Figure("", "what", "two"), registry.Figure("C", "x", "three"),
                              registry.Figure("", "words"))},
    )  # fmt: skip
    monkeypatch.setattr(registry, "get", lambda name: record)
    shared.show("mine", "06_explore", "predictions", "it")
    assert [getattr(s, "data", s) for s in shown] == ["### A\n\nhow", first, second, "what", third, "words"]
    shared.show("mine", "04_analytics", "scores", "it")
    assert len(shown) == 6


def test_a_caption_repeats_few_notes_of_the_data_and_counts_the_others():
    figure = style.finish(Figure(), {"notes": ["short.", "x" * 150, "y" * 20]}, "Its own.")
    said = figure.texts[0].get_text().replace("\n", "")
    assert said.startswith("Its own.short.xxx") and "y" not in said.split("more")[0]
    assert "1 more note on the data" in said.replace("\n", " ")
    alone = style.finish(Figure(), {"notes": ["z" * 161]}).texts[0].get_text()
    assert alone.startswith("1 note on the data")
