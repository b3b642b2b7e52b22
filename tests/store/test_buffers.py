"""Memory that is lent again: never while anything of it is held, whatever the interpreter counts; always afterwards."""

import copy
import gc
import pickle
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import made_cubes
import made_scenes
import numpy as np
import pytest
import torch

from geonb.store import buffers, loaders

SHAPE = (4, 8, 8, 3)


def address(array):
    return array.__array_interface__["data"][0]


# every way to keep a little of a batch, and its values
KEPT = {
    "tensor": lambda array: torch.from_numpy(array),
    "slice": lambda array: torch.from_numpy(array)[1:2],
    "sample turned": lambda array: torch.from_numpy(array).permute(0, 3, 1, 2)[0, :, ::2],
    "detached": lambda array: torch.from_numpy(array).requires_grad_().detach()[2],
    "numpy of tensor": lambda array: torch.from_numpy(array).permute(0, 3, 1, 2).numpy()[0],
    "view of view": lambda array: array[1:][:, ::-1].T,
    "plain array": lambda array: np.asarray(array).reshape(-1)[5:9],
    "memoryview": lambda array: memoryview(array)[1:],
    "DLPack": lambda array: torch.from_dlpack(torch.from_numpy(array)[3]),
}


@pytest.mark.parametrize("way", KEPT)
def test_what_is_kept_is_not_overwritten(way):
    pool = buffers.Buffers()
    array = pool.lend(SHAPE, np.float32)
    array[:] = 7
    lent, kept = address(array), KEPT[way](array)
    del array
    for _ in range(40):
        other = pool.lend(SHAPE, np.float32)
        assert address(other) != lent
        other[:] = -1
    assert (np.asarray(kept) == 7).all()
    del kept
    gc.collect()
    assert address(pool.lend(SHAPE, np.float32)) in {lent, address(other)}
    del other
    assert {address(a) for a in [pool.lend(SHAPE, np.float32) for _ in range(2)]} >= {lent}


def test_memory_comes_back_for_the_same_shape_and_type_only():
    pool = buffers.Buffers()
    array = pool.lend(SHAPE, np.float32)
    first = address(array)
    del array
    others = [pool.lend(SHAPE, np.int32), pool.lend(SHAPE[:3], np.float32), pool.lend((8, 4, 8, 3), np.float32)]
    assert first not in {address(other) for other in others}
    assert [(o.shape, o.dtype) for o in others] == [
        (SHAPE, np.int32), (SHAPE[:3], np.float32), ((8, 4, 8, 3), np.float32)
    ]  # fmt: skip
    again = pool.lend(SHAPE, np.float32)
    assert address(again) == first and again.flags.c_contiguous and again.flags.writeable


def test_a_loop_needs_one_piece_and_a_heap_that_was_dropped_is_not_kept():
    pool, seen = buffers.Buffers(), set()
    for _ in range(50):
        seen.add(address(pool.lend(SHAPE, np.float32)))
    assert len(seen) == 1
    heap = [pool.lend(SHAPE, np.float32) for _ in range(100)]
    blocks = [weakref.ref(array.base._block) for array in heap]
    del heap
    gc.collect()
    assert sum(block() is not None for block in blocks) == buffers.MOST


def test_a_batch_outlives_its_pool():
    pool = buffers.Buffers()
    array = pool.lend(SHAPE, np.float32)
    array[:] = 3
    kept = torch.from_numpy(array)[0]
    del pool, array
    gc.collect()
    assert (kept == 3).all()


@pytest.mark.parametrize("of", [copy.copy, copy.deepcopy, lambda pool: pickle.loads(pickle.dumps(pool))])
def test_a_copy_lends_memory_of_its_own(of):
    pool = buffers.Buffers()
    first = address(pool.lend(SHAPE, np.float32))
    other = of(pool)
    assert address(other.lend(SHAPE, np.float32)) != first == address(pool.lend(SHAPE, np.float32))


def test_threads_never_share_a_piece():
    pool, ready = buffers.Buffers(), threading.Barrier(8)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def draw(me: int) -> int:
        random, held, wrong = np.random.default_rng(me), [], 0
        ready.wait()
        for turn in range(1500):
            array = pool.lend((4, int(random.integers(1, 4))), np.int64)
            array[:] = mark = me * 10_000 + turn
            held.append((torch.from_numpy(array)[1:], mark))
            while len(held) > random.integers(0, 6):
                part, own = held.pop(int(random.integers(len(held))))
                wrong += int((part != own).any())
        return wrong

    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(draw, range(8))) == [0] * 8
    finally:
        sys.setswitchinterval(before)


# ---- the loaders


@pytest.fixture(scope="module")
def cube_store(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("cube"), draws=1)


@pytest.fixture(scope="module")
def triplet_store(tmp_path_factory):
    return made_scenes.store(tmp_path_factory.mktemp("triplets"))


@pytest.mark.parametrize("kind", ["small_store", "cube_store", "triplet_store"])
def test_a_view_of_an_early_batch_stays_under_an_interpreter_that_borrows(kind, request, monkeypatch):
    windows = request.getfixturevalue(kind).windows("train")
    # from Python 3.14 on, what a local name holds counts one less; the other one is this function's own
    count = sys.getrefcount
    monkeypatch.setattr(sys, "getrefcount", lambda held: count(held) - 2)
    batch = windows.batch([0, 1])
    view = batch["inputs"][0]
    expected, place = view.clone(), view.untyped_storage().data_ptr()
    del batch
    for k in range(2, 30):
        assert windows.batch([k % len(windows), 0])["inputs"].untyped_storage().data_ptr() != place
    assert torch.equal(view, expected)


@pytest.mark.parametrize("kind", ["small_store", "cube_store", "triplet_store"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_reuses_memory_and_batches_kept_for_ever_stay(kind, workers, request):
    store = request.getfixturevalue(kind)
    batches = loaders.data_module(store, 2, "none", workers=workers).train_dataloader()
    alone = [{k: v.clone() for k, v in batch.items()} for batch in batches]
    kept = list(batches)
    assert len({batch["inputs"].untyped_storage().data_ptr() for batch in kept}) == len(kept) > 4
    places = {batch["inputs"].untyped_storage().data_ptr() for batch in batches}
    assert len(places) <= 3 + 2 * workers + 1
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(alone, kept, strict=True))
