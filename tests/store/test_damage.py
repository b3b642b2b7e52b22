"""Whatever is done to any file of a store, of each workload: the check names it, step 1 makes it again, nothing whole is touched."""

import json
import shutil

import harm
import made_scenes
import numpy as np
import pytest
import xarray as xr

from geonb.base import manifest
from geonb.store import sealing, store
from geonb.store.arrays import quiet_zarr
from geonb.workloads.conflict import dataset as conflict_dataset
from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation import store as segmentation_store

WORKLOADS = ("segmentation", "conflict", "clouds")


def write(workload, root, scene):
    """A small store, the same each time."""
    if workload == "segmentation":
        pairs = dataset.open_pairs(str(scene.image), str(scene.mask), classes=scene.classes, name="small")
        return segmentation_store.write_store(pairs, patch=16, stride=8, block=16, root=root)
    if workload == "conflict":
        return conflict_dataset.write_conflict_store(
            conflict_dataset.open_events(),
            region="box:-3,7,0,10",
            period="2001-01:2005-12",
            steps=3,
            horizon=2,
            root=root,
        )
    return made_scenes.store(root, made_scenes.DAYS[:4], patch=16, counts="30/10/10", split="area")


@pytest.fixture(scope="module", params=WORKLOADS)
def made(request, scene, tmp_path_factory):
    """(workload, project folder, store)"""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, root, write(request.param, root, scene)


def test_every_harm_to_every_file_is_named_and_nothing_else_is_raised(made):
    _, _, samples = made
    store.check_store(samples.path, deep=True)
    passed, unnamed = [], []
    for file, kind in harm.each(samples.path):
        if (file.name, kind) == (manifest.MANIFEST, "deleted"):  # as an earlier geonb would have written it
            continue
        with harm.harmed(file, kind):
            try:
                store.check_store(samples.path, deep=True)
                passed.append((kind, file))
            except ValueError as error:
                if file.name not in str(error) or "cannot be checked to its end" in str(error):
                    unnamed.append((kind, file, str(error)))
    assert passed == [] and unnamed == []
    store.check_store(samples.path, deep=True)


def test_what_is_gone_or_cut_short_is_told_when_it_is_opened(made):
    _, _, samples = made
    for file, kind in harm.each(samples.path):
        if kind == "flipped" or (file.name, kind) == (manifest.MANIFEST, "deleted"):
            continue
        with harm.harmed(file, kind), pytest.raises((ValueError, FileNotFoundError)) as error:
            store.open_store(samples.path)
        assert file.name in str(error.value) and "01" in str(error.value), (kind, file)


@pytest.mark.parametrize("kind", ["deleted", "flipped"])
def test_step_1_makes_again_what_is_damaged(made, kind, scene, capsys, tmp_path, monkeypatch):
    workload, root, samples = made
    monkeypatch.setenv("GEONB_SCRATCH", str(tmp_path))
    chunk = next(f for f in harm.files_of(samples.path) if "/inputs/c/" in str(f) or "/monthly/c/" in str(f))
    before = {file: file.read_bytes() for file in harm.files_of(samples.path)}
    harm.HARMS[kind](chunk)
    if kind == "flipped":  # found when it is read, and then remembered
        with pytest.raises(ValueError, match=rf"(?s)are damaged:\n- .*{chunk.name} is damaged.*notebook 01"):
            samples.windows()
    capsys.readouterr()
    again = write(workload, root, scene)
    assert again.path == samples.path and "it is made again" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in harm.files_of(samples.path)} == before
    store.check_store(samples.path, deep=True)
    assert write(workload, root, scene).path == samples.path and capsys.readouterr().out == "", (
        "what is whole is found again"
    )


def test_a_damaged_seal_is_made_again(made, scene):
    workload, root, samples = made
    for kind in ("deleted", "cut", "flipped"):
        harm.HARMS[kind](samples.path / "store.json")
        write(workload, root, scene)
        store.check_store(samples.path, deep=True)


def test_a_store_of_an_earlier_geonb_opens_and_is_checked_as_before(made, tmp_path):
    workload, _, samples = made
    shutil.copytree(samples.path.parent, tmp_path / workload, symlinks=True)
    folder = tmp_path / workload / samples.path.name
    harm.unsealed(tmp_path / workload)
    assert sealing.damage(folder) == sealing.damage(folder, deep=True) == []
    assert len(store.check_store(folder, deep=True)) == len(store.open_store(folder)) == len(samples)
    chunk = max((f for f in harm.files_of(folder) if "/c/" in str(f)), key=lambda file: file.stat().st_size)
    with harm.harmed(chunk, "cut"), pytest.raises(ValueError, match=f"{chunk.name} is damaged"):
        store.check_store(folder, deep=True)


@pytest.mark.parametrize("text", ["null", "[]", "{}", "3", '"x"', "{", "", "[1"])
def test_a_seal_that_is_something_else_is_a_fault(made, text):
    _, _, samples = made
    seal = samples.path / "store.json"
    with harm.harmed(seal, "cut"):
        seal.write_text(text)
        for check in (store.check_store, store.open_store):
            with pytest.raises(ValueError, match=r"store\.json"):
                check(samples.path)
    (samples.path / store.PROOF).write_text(text)
    assert store.proof_of(samples) == store.check_split(samples)


def test_every_chunk_carries_a_sum_and_is_there(made):
    """The checksum is the format's own: any reader of Zarr compares it."""
    _, _, samples = made
    arrays = samples.path / "arrays.zarr"
    for file in arrays.rglob("zarr.json"):
        about = json.loads(file.read_text())
        if about["node_type"] == "array":
            assert about["codecs"][-1]["name"] == "crc32c", file
            chunks = np.ceil(np.divide(about["shape"], about["chunk_grid"]["configuration"]["chunk_shape"]))
            there = [f for f in file.parent.rglob("*") if f.is_file() and f != file]
            assert len(there) == int(np.prod(chunks)), file
    with quiet_zarr(), xr.open_datatree(arrays, engine="zarr") as tree:
        tree.load()
