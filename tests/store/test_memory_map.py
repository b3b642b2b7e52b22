"""A store's arrays as memory maps: decoded once a machine, whole or not at all."""

import errno
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from geonb.store import memory_map as memory
from geonb.store.memory_map import Plane
from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation import store as segmentation_store

PLANES = {f"image-{p}": Plane(f"image/{p}", p == "inputs") for p in ("inputs", "targets", "valid")}


@pytest.mark.parametrize(
    ("dims", "shape", "chunks"),
    [("cyx", (2, 30, 40), (2, 7, 40)), ("yx", (30, 40), (9, 9)), ("tcyx", (5, 3, 30, 40), (2, 1, 30, 40)),
     ("tyx", (5, 30, 40), (1, 30, 40)), ("stcyx", (4, 2, 3, 8, 8), (3, 2, 3, 8, 8))],
)  # fmt: skip
def test_any_array_lies_with_its_channels_last(dims, shape, chunks, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "TILE_PX", 16)
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    array = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=chunks)
    memory._decode(array, tmp_path / "a.npy", "c" in dims)
    expected = np.moveaxis(values, dims.index("c"), -1) if "c" in dims else values
    np.save(tmp_path / "expected.npy", np.ascontiguousarray(expected))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_no_chunk_is_decompressed_twice_however_long_it_is(tmp_path, monkeypatch):
    """Records of a network are one chunk each, far longer than a tile is wide."""
    monkeypatch.setattr(memory, "TILE_PX", 16)
    values = np.random.default_rng(0).normal(size=(4, 3, 500)).astype(np.float32)
    array, reads = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(1, 3, 500)), []

    class Counted:
        shape, dtype, chunks = array.shape, array.dtype, array.chunks

        def __getitem__(self, key):
            reads.append(key)
            return array[key]

    memory._decode(Counted(), tmp_path / "a.npy", channels=False)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    assert len(reads) == 4


def test_no_hole_is_left_in_a_file(tmp_path):
    """Of nothing but zeros, too: its space is taken before it is written through a map."""
    array = zarr.create_array(tmp_path / "a.zarr", shape=(600, 600), chunks=(600, 600), dtype="float32", fill_value=0)
    memory._decode(array, tmp_path / "a.npy", channels=False)
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes


def test_the_map_is_made_once_and_shared_by_splits(small_store, scene, monkeypatch, tmp_path):
    first = memory.memory_map(small_store, PLANES)
    pairs = dataset.open_pairs(str(scene.image), str(scene.mask), classes=scene.classes, name="small")
    other = segmentation_store.write_store(pairs, patch=8, block=16, seed=5, root=tmp_path)
    monkeypatch.setattr(memory, "_decode", lambda *args: pytest.fail("decoded again"))
    assert memory.memory_map(other, PLANES) == first


def test_a_map_that_lost_a_file_is_made_again(small_store, monkeypatch, tmp_path):
    monkeypatch.setenv("GEONB_SCRATCH", str(tmp_path))
    folder = small_store.windows().folder
    before = np.load(folder / "image-targets.npy")
    (folder / "image-targets.npy").unlink()
    assert small_store.windows().folder == folder
    np.testing.assert_array_equal(np.load(folder / "image-targets.npy"), before)
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.npy" for name in PLANES]


def test_a_full_disk_leaves_no_map(small_store, monkeypatch, tmp_path):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("GEONB_SCRATCH", str(tmp_path))
    monkeypatch.setattr(memory.os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"0\.1 MB are needed"):
        small_store.windows()
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


def test_scratch_of_somebody_else_is_not_used(monkeypatch, tmp_path):
    monkeypatch.delenv("GEONB_SCRATCH")
    monkeypatch.setattr(memory.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = memory.scratch_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(folder)
    folder.mkdir()
    monkeypatch.setattr(memory.os, "getuid", lambda: int(folder.name.split("-")[1]) + 0)
    monkeypatch.setattr(type(folder), "stat", lambda self, **k: SimpleNamespace(st_uid=12345, st_mode=0o40700))
    with pytest.raises(PermissionError, match="Set GEONB_SCRATCH"):
        memory.scratch_folder()


def test_a_map_that_was_cut_short_is_made_again(small_store, monkeypatch, tmp_path):
    monkeypatch.setenv("GEONB_SCRATCH", str(tmp_path))
    folder = small_store.windows().folder
    file = folder / "image-targets.npy"
    whole = file.read_bytes()
    for left in (whole[: len(whole) // 2], whole[:9], b""):
        file.write_bytes(left)
        small_store.windows()
        assert file.read_bytes() == whole


def test_no_map_is_made_of_arrays_that_lost_a_chunk(small_store, monkeypatch, tmp_path):
    home = shutil.copytree(small_store.path.parent, tmp_path / "segmentation", symlinks=True)
    monkeypatch.setenv("GEONB_SCRATCH", str(tmp_path / "scratch"))
    copied = segmentation_store.PatchStore.open(home / small_store.path.name)
    next((copied.path / "arrays.zarr").resolve().glob("image/targets/c/*/*")).unlink()
    with pytest.raises(ValueError, match=r"(?s)are damaged:\n- image/targets/c/0/0 is missing\n.*notebook 01"):
        copied.windows()
    assert not list((tmp_path / "scratch").glob("*/*.npy"))


def test_a_computed_map_is_whole_or_not_there_and_made_once(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)

    def dies():
        yield rows[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.computed_map(tmp_path / "a.npy", rows.shape, dies)
    assert not (tmp_path / "a.npy").exists()
    memory.computed_map(tmp_path / "a.npy", rows.shape, lambda: iter(rows))
    found = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(found, rows)
    memory.computed_map(tmp_path / "a.npy", rows.shape, lambda: pytest.fail("computed again"))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])  # cut short
    memory.computed_map(tmp_path / "a.npy", rows.shape, lambda: iter(rows))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
