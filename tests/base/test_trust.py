"""Code that files name: what was named on this machine runs, and nothing else, as long as its source stays as it is."""

import json
import pickle
import re
import sys
from pathlib import Path

import pytest

from geonb import cli
from geonb.base import trust


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A file of functions, a package with a module, all of which leave a mark where they run; the mark."""
    mark = tmp_path / "executed"
    code = (
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef scale(values):\n    return values\nother = scale\n"
    )
    (tmp_path / "lib" / "planted_package" / "inner").mkdir(parents=True)
    (tmp_path / "lib" / "planted_folder" / "inner").mkdir(parents=True)  # without __init__.py
    for name in (
        "own.py",
        "planted_folder/inner/deep.py",
        "planted_package/__init__.py",
        "planted_package/inner/__init__.py",
        "planted_package/inner/deep.py",
    ):
        (tmp_path / "lib" / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.chdir(tmp_path / "lib")
    return mark


def another_process(monkeypatch):
    monkeypatch.setattr(trust, "_HERE", set())


@pytest.mark.parametrize(
    "path", ["own.py:scale", "planted_package.inner.deep:scale", "planted_folder.inner.deep:scale"]
)
def test_what_was_named_is_known_on_this_machine_until_it_changes(path, executed, tmp_path, monkeypatch):
    assert not trust.trusted(path)
    note = trust.trust(path)
    another_process(monkeypatch)
    assert trust.trusted(path) and note.is_file() and note.parent == trust.folder()
    assert not trust.trusted(path.replace("scale", "other")), "another function of the same file"
    trust.demand(path)
    place = path.partition(":")[0]
    source = tmp_path / "lib" / (place if ".py" in path else place.replace(".", "/") + ".py")
    source.write_text(source.read_text() + "# changed\n")
    assert not trust.trusted(path)
    with pytest.raises(ValueError, match=rf"would run scale of .*{source.name}.*changed since.*geonb trust "):
        trust.demand(path)
    trust.trust(path)
    assert trust.trusted(path) and len(trust.listed()) == 2
    assert not executed.exists() and not {"planted_package", "planted_folder"} & {*sys.modules}, (
        "nothing is imported to find out"
    )


def test_the_packages_around_a_module_run_with_it_and_count(executed, tmp_path):
    trust.trust("planted_package.inner.deep:scale")
    around = tmp_path / "lib" / "planted_package" / "__init__.py"
    around.write_text(around.read_text() + "# changed\n")
    assert not trust.trusted("planted_package.inner.deep:scale")


def test_the_same_file_elsewhere_is_the_same_code_and_another_of_its_name_is_not(executed, tmp_path, monkeypatch):
    trust.trust("own.py:scale")
    (tmp_path / "moved").mkdir()
    text = (tmp_path / "lib" / "own.py").read_text()
    (tmp_path / "moved" / "own.py").write_text(text)
    monkeypatch.chdir(tmp_path / "moved")
    assert trust.trusted("own.py:scale") and trust.trusted(f"{tmp_path}/moved/own.py:scale")
    (tmp_path / "moved" / "own.py").write_text(text.replace("return values", "return 0 * values"))
    assert not trust.trusted("own.py:scale")


def test_the_message_says_what_would_run_and_the_cure_works_from_anywhere(executed, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a model's card names code to run") as error:
        trust.demand("own.py:scale", "a model's card")
    cure = re.search(r"`geonb trust ([^`]+)`", str(error.value))[1]
    assert cure == f"{tmp_path / 'lib' / 'own.py'}:scale"
    monkeypatch.chdir(tmp_path)
    trust.trust(cure)
    assert trust.trusted(cure)


@pytest.mark.parametrize("path", ["own.py:scael", "planted_package.inner.deep:scael"])
def test_a_name_that_the_source_does_not_have_is_refused(path, executed, tmp_path):
    with pytest.raises(ValueError, match=r"has no scael\. It has: scale"):
        trust.check_name(path)
    assert cli.main(["trust", path.replace("scael", "scale"), path]) == 2
    assert not trust.listed() and not executed.exists()
    trust.check_name(path.replace("scael", "other"))
    (tmp_path / "lib" / "own.py").write_text("def scale(:\n")
    with pytest.raises(ValueError, match=r"own\.py is no Python that can be read"):
        trust.check_name("own.py:scale")
    (tmp_path / "lib" / "own.py").write_text("from planted_package.inner.deep import *\n")
    trust.check_name("own.py:scale")


def test_where_nothing_can_be_written_it_holds_in_this_process(executed, tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert not trust.trust("own.py:scale").exists()
    assert trust.trusted("own.py:scale")
    another_process(monkeypatch)
    assert not trust.trusted("own.py:scale")


def test_what_is_not_there_and_what_is_in_python_itself(executed):
    with pytest.raises(ValueError, match=r"there is no file .*gone\.py"):
        trust.demand("gone.py:f")
    with pytest.raises(ValueError, match=r"no module 'no_such'.*PYTHONPATH"):
        trust.demand("no_such.inner:f")
    for path in ("own", ":scale", "own.py:"):
        with pytest.raises(ValueError, match="names no code"):
            trust.trust(path)
    for path in ("sys:exit", "os:system", "pickle:loads", "numpy:sqrt"):
        with pytest.raises(ValueError, match=f"would run {path.partition(':')[2]} of"):
            trust.demand(path)


class Touch:
    """What leaves a mark as it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def pickled_zarr(folder, mark, name="x", **codecs):
    """A Zarr of format 2 whose chunks are pickles, by its own word."""
    array = {"zarr_format": 2, "shape": [3], "chunks": [3], "dtype": "|O", "order": "C", "fill_value": 0, "compressor": None,
             "filters": None, **codecs}  # fmt: skip
    (folder / name).mkdir(parents=True)
    for file, content in (
        (".zgroup", {"zarr_format": 2}),
        (f"{name}/.zarray", array),
        (f"{name}/.zattrs", {"_ARRAY_DIMENSIONS": ["x"]}),
    ):
        (folder / file).write_text(json.dumps(content))
    (folder / name / "0").write_bytes(pickle.dumps(Touch(mark)))
    return folder


def embeddings(folder):
    from geonb.embeddings import embedding

    embedding.open_embeddings(folder).load()


def predictions(folder):
    from geonb.prediction import predictions

    predictions.open_predictions(folder).load()


def scenes(folder):
    from geonb.workloads.clouds import values

    with values.opened(folder) as data:
        data.load()


def store(folder):
    from geonb.workloads.segmentation.store import PatchStore

    (folder.parent / "arrays.zarr").symlink_to(folder)
    PatchStore(folder.parent, {}).arrays.load()


@pytest.mark.parametrize("read", [embeddings, predictions, scenes, store])
@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [{"id": "pickle"}]}, {"filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]},
        {"filters": [{"id": "pickle"}], "dtype": "<f4"},
        {"filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle", "protocol": 5}},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated metadata")
def test_a_zarr_of_pickles_runs_nothing(read, codecs, tmp_path):
    """Numcodecs holds it, from the version on that is asked for."""
    pickled_zarr(tmp_path / "received.zarr", tmp_path / "executed", **codecs)
    with pytest.raises((ValueError, RuntimeError), match=r"pickle|Pickle"):
        read(tmp_path / "received.zarr")
    assert not (tmp_path / "executed").exists()
