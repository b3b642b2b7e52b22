import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from geonb.store import loaders, samplers
from geonb.store import turns as store_turns
from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation import loaders as segmentation_loaders
from geonb.workloads.segmentation import store as segmentation_store


def drain(batches):
    return [{k: v.clone() for k, v in batch.items()} for batch in batches]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def module(store_, **options):
    return loaders.data_module(store_, **({"batch": 5, "seed": 7} | options))


# ---- a window as tensors


def test_a_window_is_the_stores_standardised(small_store):
    windows = segmentation_loaders.Windows(small_store)
    mean, std = (np.array(small_store.meta["statistics"][k])[:, None, None] for k in ("mean", "std"))
    assert len(windows) == len(small_store)
    for i in range(0, len(windows), 9):
        item, window = windows[i], small_store[i]
        expected = np.where(window["valid"], (window["inputs"] - mean) / std, 0)
        np.testing.assert_allclose(item["inputs"], expected, atol=1e-5)
        np.testing.assert_array_equal(item["targets"], window["targets"])
        assert item["inputs"].dtype == torch.float32 and item["targets"].dtype == torch.int64 and item["index"] == i
    assert not small_store[0]["valid"].all()  # so that the corner without data was among them


def test_a_split_has_its_windows_only(small_store):
    for split in ("train", "val", "test"):
        windows = segmentation_loaders.Windows(small_store, split)
        assert {small_store.index["split"].iloc[item["index"]] for item in windows} == {split}
        assert len(windows) == (small_store.index["split"] == split).sum()
    with pytest.raises(ValueError, match="split = 'dev' is none of train, val, test"):
        segmentation_loaders.Windows(small_store, "dev")


def test_indices(small_store):
    windows = segmentation_loaders.Windows(small_store)
    assert windows[-1]["index"] == len(small_store) - 1
    with pytest.raises(IndexError):
        windows[-len(small_store) - 1]


def test_a_batch_is_channels_last_and_equals_its_items(small_store):
    windows = segmentation_loaders.Windows(small_store)
    batch = windows.batch([4, 0, 9])
    assert batch["inputs"].shape == (3, 4, 16, 16)
    assert batch["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert batch["index"].tolist() == [4, 0, 9]
    for j, i in enumerate((4, 0, 9)):
        assert torch.equal(batch["inputs"][j], windows[i]["inputs"])


def test_several_sources_each_from_its_own_map(scene, tmp_path):
    from scenes import write_raster

    later = write_raster(tmp_path / "later.tif", scene.inputs + np.uint16(500), nodata=500)
    pairs = dataset.open_pairs(f"{scene.image},{later}", str(scene.mask), scene.classes)
    made = segmentation_store.write_store(pairs, patch=16, block=16, root=tmp_path)
    windows, std = segmentation_loaders.Windows(made), np.array(made.meta["statistics"]["std"])[:, None]
    half = len(made) // 2
    assert made.index["source"].nunique() == 2
    valid = made[half - 1]["valid"].to_numpy()
    difference = windows[len(made) - 1]["inputs"].numpy() - windows[half - 1]["inputs"].numpy()
    np.testing.assert_allclose((difference * std[..., None])[:, valid], 500, atol=0.1)


# ---- the same every time


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_and_epoch_give_the_same_batches(small_store, workers):
    train, again = module(small_store).train_dataloader(), module(small_store, workers=workers).train_dataloader()
    for epoch in (0, 3):
        train.sampler.set_epoch(epoch)
        again.sampler.set_epoch(epoch)
        assert same(drain(train), drain(again))


def test_another_epoch_or_seed_gives_others(small_store):
    train = module(small_store).train_dataloader()
    first = drain(train)
    train.sampler.set_epoch(1)
    assert not same(first, drain(train))
    assert not same(first, drain(module(small_store, seed=8).train_dataloader()))


def test_an_epoch_shows_each_window_once(small_store):
    train = module(small_store, batch=4).train_dataloader()
    seen = torch.cat([batch["index"] for batch in train])
    assert sorted(seen.tolist()) == np.flatnonzero(small_store.index["split"] == "train").tolist()
    assert seen.tolist() != sorted(seen.tolist())
    assert len(list(train)) == len(train)


def test_validation_is_in_order_and_as_it_is(small_store):
    batches = drain(module(small_store).val_dataloader())
    plain = segmentation_loaders.Windows(small_store, "val")
    assert torch.cat([b["index"] for b in batches]).tolist() == plain.rows.tolist()
    assert torch.equal(torch.cat([b["inputs"] for b in batches]), plain.batch(list(range(len(plain))))["inputs"])


def test_a_last_batch_of_one_is_left_out_in_training_only(small_store):
    n = int((small_store.index["split"] == "train").sum())
    train = module(small_store, batch=n - 1).train_dataloader()
    assert [len(b["index"]) for b in train] == [n - 1] and len(train) == 1
    n = int((small_store.index["split"] == "val").sum())
    assert [len(b["index"]) for b in module(small_store, batch=n - 1).val_dataloader()] == [n - 1, 1]


def test_torchs_own_loader_with_processes_reads_the_same(small_store):
    windows = segmentation_loaders.Windows(small_store, "train", "flips,rotations", seed=7)
    torchs = torch.utils.data.DataLoader(windows, 5, sampler=samplers.Order(len(windows), 7, "shuffle"), num_workers=2)
    ours = module(small_store, batch=5, augment="flips,rotations").train_dataloader()
    for a, b in zip(torchs, ours, strict=False):
        assert all(torch.equal(a[k], b[k]) for k in b)


def test_windows_travel_light(small_store):
    windows = segmentation_loaders.Windows(small_store)
    expected = windows[3]["inputs"]
    parcel = pickle.dumps(windows)
    assert len(parcel) < 50_000
    assert torch.equal(pickle.loads(parcel)[3]["inputs"], expected)


# ---- augmentation


@pytest.mark.parametrize("augment", ["flips", "rotations", "flips,rotations"])
def test_image_and_mask_are_turned_together(small_store, augment):
    plain = segmentation_loaders.Windows(small_store, "train")
    turned = segmentation_loaders.Windows(small_store, "train", augment, seed=1)
    n, seen = len(plain), set()
    for epoch in range(6):
        for i in range(0, n, 3):
            flip, quarters = turned._turn(epoch, i)
            seen.add((flip, quarters))
            item, still = turned[epoch * n + i], plain[i]
            for k in ("inputs", "targets"):
                expected = still[k].numpy()[..., ::-1] if flip else still[k].numpy()
                np.testing.assert_array_equal(item[k], np.rot90(expected, quarters, axes=(-2, -1)))
    assert seen == set(store_turns.TURNS[augment])


def test_the_eight_turns_are_eight():
    square = np.arange(9).reshape(3, 3)
    turns = {store_turns.turned(square, *turn).tobytes() for turn in store_turns.TURNS["flips,rotations"]}
    assert len(turns) == 8
    assert {store_turns.turned(square, *t).tobytes() for t in store_turns.TURNS["flips"]} == {
        a.tobytes() for a in (square, square[:, ::-1], square[::-1], square[::-1, ::-1])
    }


def test_unknown_augmentation_lists_the_known(small_store):
    with pytest.raises(ValueError, match=r"Unknown augment 'wobble'.*affine.*flips, gamma, noise,( none,)? rotations"):
        segmentation_loaders.Windows(small_store, "train", "wobble")
    a, b = (
        segmentation_loaders.Windows(small_store, "train", spec) for spec in (" rotations , flips ", "flips,rotations")
    )
    assert [a._turn(2, i) for i in range(9)] == [b._turn(2, i) for i in range(9)]


def test_windows_that_are_not_square_only_flip(small_store):
    oblong = replace(small_store)
    oblong.__dict__["index"] = small_store.index.assign(width=8)
    assert segmentation_loaders.Windows(oblong, "train", "flips")[0]["inputs"].shape == (4, 16, 8)
    with pytest.raises(ValueError, match=r"not square. Use 'flips'"):
        segmentation_loaders.Windows(oblong, "train", "rotations")


# ---- Lightning


def test_lightning_sets_the_epoch_also_after_resuming(small_store, tmp_path):
    import lightning as L

    class Watch(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

        def training_step(self, batch, _):
            self.seen.append(batch["index"].tolist())
            return self.weight * batch["inputs"].mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def fit(epochs, checkpoint=None):
        watch = Watch()
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = L.Trainer(max_epochs=epochs, default_root_dir=tmp_path, **options)
        trainer.fit(watch, datamodule=module(small_store), ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return watch.seen

    whole = fit(3)
    half = fit(1) + fit(3, tmp_path / "last.ckpt")
    assert half == whole
    assert len({tuple(map(tuple, whole[i :: len(whole) // 3])) for i in range(3)}) == 3


def test_wrong_numbers(small_store):
    with pytest.raises(ValueError, match="batch = 0"):
        loaders.data_module(small_store, batch=0)


def test_memory_is_used_again_but_never_while_somebody_holds_it(small_store):
    windows = segmentation_loaders.Windows(small_store)
    held = [windows.batch([i, i + 1])["inputs"] for i in range(6)]
    part, expected = held[0][1], [batch.clone() for batch in held]
    again = [windows.batch([9, 8])["inputs"] for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(held, expected, strict=True))
    places = {batch.data_ptr() for batch in held[1:]}
    assert len(places) == 5 and not places & {batch.data_ptr() for batch in again}
    del held, again
    assert windows.batch([3, 4])["inputs"].data_ptr() != part.untyped_storage().data_ptr()
    assert torch.equal(part, expected[0][1])
    assert len({windows.batch([3, 4])["inputs"].data_ptr() for _ in range(9)}) == 1
