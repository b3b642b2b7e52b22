"""A store is found again, or made whole: arrays once, table, and the seal last."""

import errno
import json

import pytest
import zarr

from geonb.base import conventions
from geonb.store import faults, sealing

ABOUT = {"cut": {"patch": 8}, "facts": {"title": "Made"}, "files": [], "name": "made", "workload": "any"}


def arrays(folder):
    group = zarr.open_group(folder, mode="w").create_group("a")
    group.create_array("inputs", shape=(2, 4, 4), chunks=(2, 2, 4), dtype="uint8", fill_value=0)[0, :2] = 1


def table(folder):
    assert (folder / "arrays.zarr" / "a").is_dir() and not (folder / "store.json").exists()
    (folder / "index.parquet").touch()
    return {"split": {}}


def make(root, write_arrays=arrays, write_table=table, recipe=1, **about):
    return sealing.make_store("kind", write_arrays, write_table, recipe=recipe, root=root, **(ABOUT | about))


def never(folder):
    pytest.fail("made again")


def test_what_a_store_says_and_where_it_lies(tmp_path):
    inside = {"path": str(tmp_path / "files/a.tif"), "sha256": "0"}
    folder = make(tmp_path, files=[inside], more={"datasets": []})
    said = json.loads((folder / "store.json").read_text())
    assert folder == tmp_path / "data/any" / f"made-{said['key'][:8]}" and said["inputs"][0]["path"] == "files/a.tif"
    assert said["kind"] == "kind" and said["title"] == "Made" and said["split"] == {} and said["datasets"] == []
    assert sealing.finished(folder) and (folder / "arrays.zarr").resolve().parent == tmp_path / "data/any/.arrays"


def test_found_again_and_arrays_shared(tmp_path):
    first = make(tmp_path)
    assert make(tmp_path, never, never) == first
    others = [make(tmp_path, never, **change) for change in ({"cut": {"patch": 9}}, {"facts": {}}, {"more": {"a": 1}})]
    assert len({first, *others}) == 4
    assert len({(folder / "arrays.zarr").resolve() for folder in (first, *others)}) == 1
    other = make(tmp_path, recipe=2)
    assert (other / "arrays.zarr").resolve() != (first / "arrays.zarr").resolve()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_breaks_off_leaves_no_store_but_finished_arrays(error, tmp_path):
    def broken(folder):
        raise error

    with pytest.raises(type(error)):
        make(tmp_path, broken)
    assert not list((tmp_path / "data/any/.arrays").iterdir())
    with pytest.raises(type(error), match=None if isinstance(error, KeyboardInterrupt) else "MB are needed"):
        make(tmp_path, write_table=broken)
    assert not list(tmp_path.rglob("store.json")) and not list(tmp_path.rglob("*.partial"))
    assert sealing.finished(make(tmp_path, never))


def test_shapes_chunks_and_columns_that_are_not_as_expected(tmp_path):
    folder = make(tmp_path)
    root, found = faults.open_arrays(folder)
    assert found == [] and faults.shape_faults(root, "a", {"inputs": (2, 4, 4)}) == []
    assert faults.shape_faults(root, "a", {"inputs": (2, 4, 5), "valid": (4,)}) == [
        "arrays.zarr/a/inputs: (2, 4, 4), not (2, 4, 5)",
        "arrays.zarr/a/valid: missing, not (4,)",
    ]
    assert faults.shape_faults(root, "a", {"inputs": (2, 4, 4)}, ["inputs"]) == [
        "arrays.zarr/a/inputs: 1 chunks are missing"
    ]
    assert faults.column_faults(folder, ["y"])[0].startswith("index.parquet cannot be read")
    assert faults.open_arrays(tmp_path)[1][0].startswith("arrays.zarr cannot be opened")


@pytest.mark.parametrize("wrong", [{"mean": [0.0]}, {"std": [1.0, 0.0]}, {"mean": [0.0, float("nan")]}, {"std": []}])
def test_statistics_that_nothing_can_be_divided_by(wrong):
    meta = {"statistics": {"mean": [0.0, 1.0], "std": [1.0, 2.0]}}
    assert faults.statistics_faults(meta, 2) == []
    meta["statistics"] |= wrong
    assert "2 finite numbers each, std above 0" in faults.statistics_faults(meta, 2)[0]


def test_of_many_faults_the_first_are_listed():
    conventions.refuse("All is well", [])
    with pytest.raises(ValueError, match=r"^Wrong:\n- 0\n- 1\n... and 3 more$|^Wrong:\n- 0\n- 1\n- ... and 3 more$"):
        conventions.refuse("Wrong", list("01234"), most=2)


@pytest.mark.parametrize(
    ("workload", "name"), [("../../x", "a"), ("/tmp/x", "a"), ("mine", "../../x"), ("..", "a"), ("mine", "")]
)
def test_a_store_stays_in_its_project(tmp_path, workload, name):
    root = tmp_path / "deep" / "in" / "project"
    with pytest.raises(ValueError, match="is no name for a folder"):
        sealing.make_store(
            "kind", lambda path: None, lambda path: {}, recipe=1, cut={}, facts={}, files=[], name=name, workload=workload, root=root
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
