"""The README and the pages beside it say what is so: examples run, names are there, files lie where they are said to lie."""

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import geopandas as gpd
import nbformat
import numpy as np
import pytest
import rasterio
from browsing import COLOURS, PICTURE, browser_page, jupyterlab, wait_until
from shapely.geometry import box

import geonb
from geonb import parameters, registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "notebooks/README.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SMALL = {
    "network": "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8", "loss": "dice", "augment": "none",
    "lr": 1e-3, "epochs": 1, "batch": 4, "patience": 5, "seed": 0, "precision": "float32",
}  # fmt: skip


def parts():
    """README's Python blocks and the tables of what somebody knows from elsewhere, in their order."""
    found = re.finditer(
        r"```python\n(?P<code>.*?)```|\| there \| here \|\n\|[- |]+\n(?P<table>(?:\|[^\n]*\n)+)", README, re.S
    )
    return [(kind, text) for match in found for kind, text in match.groupdict().items() if text]


def spans(row):
    """The code of a table's second column; neither commands, which are looked at below, nor files."""
    cell = re.split(r"(?<!\\) \| ", row.strip("| \n"), maxsplit=1)[1]
    return [
        span
        for span in re.findall(r"`([^`]+)`", cell)
        if not span.startswith("geonb run") and not span.endswith(".zarr")
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """What the examples find where they are run: two scenes and the polygons that label them."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "pyproject.toml").write_text("")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "scenes").mkdir()
    random = np.random.default_rng(0)
    for i in range(2):
        place = rasterio.Affine(10, 0, 5e5 + 12_000 * i, 0, -10, 5e6)
        options = {"width": 1024, "height": 1024, "count": 1, "dtype": "uint8", "crs": "EPSG:32633", "transform": place}
        with rasterio.open(folder / "scenes" / f"{i}.tif", "w", driver="GTiff", **options) as file:
            file.write(np.kron(random.integers(1, 200, (1, 16, 16), dtype="uint8"), np.ones((64, 64), "uint8")))
    west, north = np.meshgrid(np.arange(5e5, 5.3e5, 1000), np.arange(4.989e6, 5e6, 1000))
    squares = [box(x, y, x + 1000, y + 1000) for x, y in zip(west.ravel(), north.ravel(), strict=True)]
    (folder / "imagery").mkdir()
    place = rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)
    options = {"width": 400, "height": 300, "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": place}
    with rasterio.open(folder / "imagery" / "strip.tif", "w", driver="GTiff", **options) as file:
        file.write(random.integers(1, 255, (3, 300, 400), dtype="uint8"))
    write_extract(folder / "city.osm.pbf", 15.0, 45.15)
    labels = gpd.GeoDataFrame({"class": random.integers(1, 3, len(squares))}, geometry=squares, crs="EPSG:32633")
    labels.to_file(folder / "labels.gpkg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEONB_ROOT", str(folder))
        patch.chdir(folder)
        yield folder


def write_extract(file, lon, lat):
    """A house and a road of OpenStreetMap."""
    import osmium
    from osmium.osm.mutable import Node, Way

    corners = [(0, 0), (0.001, 0), (0.001, 0.001), (0, 0.001)]
    with osmium.SimpleWriter(str(file)) as writer:
        for number, (x, y) in enumerate(corners, start=1):
            writer.add_node(Node(id=number, version=1, location=(lon + x, lat + y)))
        writer.add_way(Way(id=1, version=1, nodes=[1, 2, 3, 4, 1], tags={"building": "yes"}))
        writer.add_way(Way(id=2, version=1, nodes=[1, 3], tags={"highway": "residential"}))


def finish_a_run(samples):
    """What `geonb run` has done before somebody looks at its runs."""
    run = geonb.start_run("segmentation", store=samples.path)
    run.update(store=samples.path)
    geonb.train(run, samples, workload="segmentation", **SMALL)
    path = geonb.predict(run, samples, geonb.load_model(run.path), overlap=0.0, batch=8, precision="float32")
    geonb.score(run, geonb.open_predictions(path), draws=20)
    run.update(state="done")


@pytest.fixture(scope="module")
def examples(project):
    """What the examples made, in the order of the page, each with the names of those before it, as a reader would type them."""
    known, looked_at = {}, 0
    for kind, text in parts():
        if kind == "code":
            if "runs.table(" in text:
                finish_a_run(known["samples"])
            exec(compile(text, "README.md", "exec"), known)
        else:
            for row in text.strip().splitlines():
                for span in spans(row):
                    looked_at += check_span(span, known)
    return known | {"looked_at": looked_at}


def test_examples_run_and_names_of_the_tables_are_there(examples):
    known = examples
    assert known["looked_at"] > 40
    assert list(known["report"]["state"]) == ["done", "done"] and len(list(Path("maps").glob("*.gpkg"))) == 2
    assert known["network"].sizes["class"] == 2 and known["loaded"].run.info["state"] == "done"


@pytest.mark.browser
def test_the_plot_of_the_examples_is_drawn_in_jupyterlab_without_network(project, examples, tmp_path):
    """As printed, in a notebook that lies in a folder of the project."""
    code = next(text for kind, text in parts() if kind == "code" and ".hvplot" in text)
    cells = [nbformat.v4.new_code_cell(source) for source in ("import geonb", code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (project / "looks").mkdir()
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), project / "looks" / "look.ipynb"
    )
    environment = {"GEONB_ROOT": "", "GEONB_HEADLESS": ""}
    with (
        browser_page() as page,
        jupyterlab(project / "looks" / "look.ipynb", page, tmp_path / "lab.log", environment) as errors,
    ):
        assert errors == []
        page.locator(".bk-Figure").first.wait_for(timeout=30_000)
        assert wait_until(page, lambda: page.evaluate(COLOURS) > 100), "the array is painted"
        before = page.evaluate(PICTURE)
        page.locator(".jp-OutputArea-output select").select_option(index=1)
        assert wait_until(page, lambda: page.evaluate(PICTURE) != before), "another class, another picture"
        assert page.troubles == []


def check_span(span, known):
    """Every dotted name in a piece of code leads somewhere; its calls take the arguments that are written. How many names."""
    try:
        tree = ast.parse(span)
    except SyntaxError:
        return 0  # words, a file name, a piece of a command line
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    looked_at = 0
    for node in ast.walk(tree):
        names = ast.unparse(node).split(".")
        if isinstance(node, ast.Attribute) and all(map(str.isidentifier, names)) and names[0] in known:
            thing = known[names[0]]
            for name in names[1:]:
                assert hasattr(thing, name), f"{span}: no {name} in {'.'.join(names)}"
                thing = getattr(thing, name)
            looked_at += 1
            if id(node) in called and callable(thing):
                call = called[id(node)]
                given = [a for a in call.args if not (isinstance(a, ast.Constant) and a.value is ...)]
                inspect.signature(thing).bind_partial(*given, **{k.arg: None for k in call.keywords})
        elif isinstance(node, ast.Attribute) and all(map(str.isidentifier, names)):
            assert names[0] in ("model", "predictions", "time"), f"{span}: what is {names[0]}?"
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            accepted(node.targets[0].id, node.value.value)
            looked_at += 1
    return looked_at


def accepted(name, value):
    """A parameter by its name, with a value that one of the workloads takes."""
    records = [registry.get(w) for w in registry.WORKLOADS]
    faults = []
    for record in records:
        meaning = parameters.meaning_of(name, record)
        fault = parameters._fault_of_value(value, meaning, ROOT) if meaning else f"{record.name} does not know it"
        faults.append(fault)
    assert None in faults or value == "...", f"{name} = {value!r}: {faults}"


COMMANDS = [
    line
    for page in PAGES
    for text in [re.sub(r"\\\n\s*", "", page.read_text())]
    for line in re.findall(r"^    (geonb run .+)$|`(geonb run [^`]+)`", text, re.M)
    for line in line
    if line and "-p " in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_gives_parameters_that_a_notebook_declares(line):
    words = shlex.split(line, comments=True)
    workload = registry.get(words[2])
    notebooks = [ROOT / workload.dataset, *(ROOT / "notebooks" / f"{step}.ipynb" for step in workload.steps)]
    declared = set().union(*map(parameters.read, notebooks))
    given = {words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "-p"}
    assert given and given <= declared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_names_of_a_page_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for path in re.findall(r"`((?:geonb|tests|notebooks|benchmarks|docs)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\((?!http)([\w./]+)\)", text):
        assert (page.parent / path).exists(), path
    for name in re.findall(r"`(geonb(?:\.\w+)+)", text):
        assert found(name), name


def found(name):
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        return all((thing := getattr(thing, part, None)) is not None for part in parts[i:])
    return False


def test_the_map_says_where_things_are():
    section = README.split("## Where things are")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 20 and all("`geonb/" in row.split(" | ")[1] for row in rows)


def test_what_has_moved_is_where_the_changelog_says():
    rows = (ROOT / "CHANGELOG.md").read_text().split("| was | is |")[1].split("\n\n")[0].splitlines()[2:]
    for row in rows:
        was, now = (re.findall(r"`([\w.]+)`", cell) for cell in row.strip(" |").split(" | "))
        names = [name.rpartition(".")[2] for name in was]
        assert now or "gone" in row, row
        if now and now[0].rpartition(".")[2] != names[0] and now[0] != "geonb.registry.Figure":
            assert [name for name in names if not found(f"{now[0]}.{name}")] == [], row
    assert len(rows) > 15
