"""The house holds itself: imports go down, also those inside functions; strings that are imported later lead somewhere."""

import ast
import graphlib
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import grimp
import pytest

import geonb
from geonb import parameters, workloads
from geonb.base import specs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geonb"
ROOMS = sorted(workloads.ROOMS)
PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # "package.module:name"
COMPARED = ("former_tasks",)  # what cards of before say; never imported


def lint(folder, *options):
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache", *options], cwd=folder, capture_output=True, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "geonb", ignore=shutil.ignore_patterns("__pycache__", "natural_earth"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_contracts_hold(copy):
    code, told = lint(copy)
    assert code == 0, told


def test_imports_for_types_go_down_too(copy):
    """Two that know each other's type may name it, but not from above: types that two layers share live in the lower one."""
    text, counted = (copy / "pyproject.toml").read_text(), "exclude_type_checking_imports = true"
    assert counted in text
    (copy / "strict.toml").write_text(text.replace(counted, ""))
    code, told = lint(copy, "--config", "strict.toml", "--contract", "layers", "--contract", "rooms")
    assert code == 0 and "2 kept" in told, told


def test_whatever_computes_does_so_in_the_precision_of_the_machine_unless_told():
    """A function that Python calls gives what the notebook gives: `precision` is auto wherever it need not be given."""
    defaults = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                positional = [*node.args.posonlyargs, *node.args.args]
                pairs = [*zip(positional[::-1], node.args.defaults[::-1], strict=False)]
                pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                found = {a.arg: ast.unparse(d) for a, d in pairs if d is not None}
                defaults |= {f"{file.stem}.{node.name}": found["precision"]} if "precision" in found else {}
    assert {"task.train", "predict.predict_region", "embedding.encoder", "embedding.embed"} <= set(defaults)
    assert set(defaults.values()) == {"'auto'"}, defaults


INSIDE = "\n\ndef planted():\n    from {} import {}\n"


@pytest.mark.parametrize(
    ("where", "planted", "told"),
    [
        ("base/files.py", ("geonb.store", "windows"), "geonb.base is not allowed to import geonb.store"),
        ("runs/runner.py", ("geonb.workloads.conflict", "events"), "geonb.runs is not allowed to import geonb.workloads"),
        ("workloads/clouds/losses.py", ("geonb.workloads.conflict", "events"), "clouds.losses -> geonb.workloads.conflict.events"),
        ("cli.py", ("geonb.workloads.conflict", "events"), "geonb.cli -> geonb.workloads.conflict.events"),
        ("store/arrays.py", ("geonb", "__version__"), "geonb.store is not allowed to import geonb.workloads"),
        ("base/files.py", ("geonb.base", "download"), "No cycles are allowed in geonb.base"),
        ("sounds/__init__.py", ("os", "path"), "geonb.sounds"),
    ],
    ids=["up", "spine to room", "room to room", "top to room", "up by the top", "circle", "without a place"],
)  # fmt: skip
def test_what_breaks_a_contract_inside_a_function_is_seen(copy, where, planted, told):
    path = copy / "geonb" / where
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text((before or "") + INSIDE.format(*planted))
    try:
        code, said = lint(copy)
    finally:
        shutil.rmtree(path.parent) if before is None else path.write_text(before)
    assert code == 1 and told in said


def arrows() -> dict[str, set[str]]:
    """Module -> what it imports, also inside functions, and by names that a package loads when they are used; not for types."""
    graph = grimp.build_graph("geonb", cache_dir=None, exclude_type_checking_imports=True)
    found = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    for name in found:
        if graph.find_children(name):
            found[name] |= set(getattr(importlib.import_module(name), "_WHERE", {}))
    found["geonb"] |= {f"geonb.{module}" for module in geonb._PUBLIC.values()}
    return found


def test_there_is_no_circle_of_imports():
    try:
        graphlib.TopologicalSorter(arrows()).prepare()
    except graphlib.CycleError as error:
        pytest.fail("imported in a circle: " + " <- ".join(error.args[1]))


def paths_in(thing: Any, where: str) -> Iterator[tuple[str, str]]:
    """(where it stands, "package.module:name") of all such texts in a record and in what it holds, however deep."""
    if isinstance(thing, str):
        if PATH.fullmatch(thing):
            yield where, thing
    elif is_dataclass(thing):
        for field in fields(thing):
            if field.name not in COMPARED:
                yield from paths_in(getattr(thing, field.name), f"{where}.{field.name}")
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from paths_in(key, where)
            yield from paths_in(value, f"{where}[{key!r}]")
    elif isinstance(thing, list | tuple | set | frozenset):
        for i, value in enumerate(thing):
            yield from paths_in(value, f"{where}[{i}]")


def record_of(room):
    return specs.load(workloads.ROOMS[room])


STRINGS = [
    *paths_in(workloads.ROOMS, "ROOMS"),
    *paths_in(parameters.PARAMETERS, "PARAMETERS"),
    *(found for room in ROOMS for found in paths_in(record_of(room), room)),
]


@pytest.mark.parametrize(("where", "path"), STRINGS, ids=[where for where, _ in STRINGS])
def test_what_a_string_names_is_there(where, path):
    assert specs.load(path) is not None


def test_every_kind_of_string_is_looked_at():
    """Guards the walk above: a task, a tuple's, a mapping's, one of a figure and one of a parameter are among what it finds."""
    found = {where for where, _ in STRINGS}
    assert {"conflict.task", "conflict.baselines[0]", "segmentation.stores['patches']"} <= found
    assert any(where.endswith(".draw") for where in found) and any(where.endswith(".check") for where in found)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_no_other_room(room):
    others = "|".join(set(ROOMS) - {room})
    files = [p for p in (PACKAGE / "workloads" / room).rglob("*") if p.suffix in (".py", ".js", ".j2", ".html")]
    named = re.compile(rf"workloads[./]({others})\b")
    assert files and [p.name for p in files if named.search(p.read_text())] == []
    assert [s for s in paths_in(record_of(room), room) if named.search(s[1])] == []


def test_the_spine_names_no_room():
    named = re.compile(rf"geonb[./]workloads[./]({'|'.join(ROOMS)})\b|\.workloads import ({'|'.join(ROOMS)})\b")
    spine = [
        p for p in PACKAGE.rglob("*.py") if not any(p.is_relative_to(PACKAGE / "workloads" / room) for room in ROOMS)
    ]
    spine.remove(PACKAGE / "workloads" / "__init__.py")  # which tells the spine, at run time, which rooms there are
    told = [f"{p.relative_to(ROOT)}: {m[0]}" for p in spine for m in named.finditer(p.read_text())]
    assert len(spine) > 50 and told == []


@pytest.mark.parametrize("name", ["geonb", *(f"geonb.{layer}" for layer in geonb._modules())])
def test_a_package_gives_what_it_lists(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert getattr(module, public) is not None, f"{name}.{public}"
