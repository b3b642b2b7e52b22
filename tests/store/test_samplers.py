from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from geonb.store import loaders as store_loaders
from geonb.store import samplers
from geonb.store.samplers import Order, order_of
from geonb.workloads.segmentation import loaders


def epoch_of(order, epoch):
    order.set_epoch(epoch)
    keys = np.array(list(order))
    assert len(keys) == len(order)
    return keys % order.length, keys // order.length


@pytest.fixture
def several(small_store):
    """The store, its windows said to come from three datasets of very different size."""
    n = len(small_store.index)
    other = replace(small_store, meta={**small_store.meta, "datasets": [{"name": name} for name in ("a", "b", "c")]})
    names = np.where(np.arange(n) % 10 == 0, "b", np.where(np.arange(n) % 25 == 1, "c", "a"))
    other.__dict__["index"] = small_store.index.assign(dataset=names)
    return other


def test_shuffle_is_that_of_before():
    seen, epochs = epoch_of(Order(50, 7, "shuffle"), 3)
    assert seen.tolist() == np.random.default_rng([7, 3, 0]).permutation(50).tolist()
    assert set(epochs) == {3}


@pytest.mark.parametrize("within", [True, False])
def test_blocks_come_one_after_the_other_each_window_once(small_store, within):
    windows = loaders.Windows(small_store, "train")
    order = order_of(windows, small_store, f"blocks:within={str(within).lower()}", seed=1)
    block = small_store.index["block"].to_numpy()[windows.rows]
    sequences = []
    for epoch in (0, 1):
        seen, _ = epoch_of(order, epoch)
        assert sorted(seen) == list(range(len(windows)))
        changes = np.flatnonzero(np.diff(block[seen])) + 1
        assert len(changes) + 1 == len(set(block)) > 5  # each block in one piece
        pieces = np.split(seen, changes)
        rising = [bool((np.diff(piece) > 0).all()) for piece in pieces if len(piece) > 2]
        assert all(rising) if not within else not all(rising)
        sequences.append([block[piece[0]] for piece in pieces])
    assert sequences[0] != sequences[1]
    again = order_of(windows, small_store, f"blocks:within={str(within).lower()}", seed=1)
    assert epoch_of(again, 1)[0].tolist() == seen.tolist()  # a resumed training has not seen epoch 0


def test_sequential_is_the_tables_order():
    assert epoch_of(Order(9, 1), 2)[0].tolist() == list(range(9))


@pytest.mark.parametrize("method", ["shuffle", "blocks", "sequential"])
def test_balanced_datasets_have_the_same_share(several, method):
    windows = loaders.Windows(several, "train")
    order = order_of(windows, several, f"{method}:balance=dataset", seed=2)
    names = several.index["dataset"].to_numpy()[windows.rows]
    most = max(np.bincount(np.unique(names, return_inverse=True)[1]))
    assert len(order) == 3 * most
    shown = []
    for epoch in (0, 1):
        seen, epochs = epoch_of(order, epoch)
        assert all((names[seen] == name).sum() == most for name in "abc")
        times = np.bincount(seen, minlength=len(windows))
        for name in "abc":  # every window, and none much more often than another
            assert times[names == name].min() >= 1 and np.ptp(times[names == name]) <= 1
        keys = set(zip(seen.tolist(), epochs.tolist(), strict=True))
        assert len(keys) == len(seen)  # shown again, a window is changed in another way
        assert set(epochs % samplers.EPOCHS) == {epoch}
        shown.append(seen.tolist())
    assert method == "sequential" or shown[0] != shown[1]


def test_a_window_shown_again_is_turned_anew(several):
    data = store_loaders.data_module(
        several, batch=4, augment="flips,rotations,noise:p=1", seed=1, sampler="shuffle:balance=dataset"
    )
    train = data.train_dataloader()
    found = {}
    for batch in train:
        for i, row in enumerate(batch["index"].tolist()):
            found.setdefault(row, []).append(batch["inputs"][i].clone())
    again = max(found.values(), key=len)
    assert len(again) > 5 and len({item.numpy().tobytes() for item in again}) == len(again)


def test_balance_by_source_and_by_class(small_store):
    windows = loaders.Windows(small_store, "train")
    commonest = []
    for item in windows:
        labels = item["targets"].numpy()
        labels = labels[labels != 255]
        commonest.append(np.bincount(labels).argmax() if labels.size else len(small_store.classes))
    assert windows.commonest().tolist() == commonest
    order = order_of(windows, small_store, "shuffle:balance=class")
    counts = np.bincount(np.array(commonest)[epoch_of(order, 0)[0]], minlength=len(small_store.classes))
    there = sorted({c for c in commonest if c < len(small_store.classes)})
    assert len(there) > 1 and len({counts[c] for c in there}) == 1
    assert len(order_of(windows, small_store, "shuffle:balance=source")) == len(windows)  # one source


def test_windows_without_labels_are_shown_once():
    order = Order(10, 0, "shuffle", groups=np.array([0] * 5 + [1] * 2 + [-1] * 3))
    seen, _ = epoch_of(order, 0)
    assert len(order) == 13 and np.bincount(seen)[7:].tolist() == [1, 1, 1]


def test_what_is_held_for_another_split_is_not_missed(several):
    windows, here = loaders.Windows(several, "train"), several.index["dataset"]
    several.__dict__["index"] = several.index.assign(
        dataset=here.where(here != "c", "a"), source=np.where(here == "b", "b", "a")
    )
    (own,) = several.meta["sources"]
    several.meta["sources"] = [own | {"name": name, "dataset": name} for name in ("a", "b", "c")]
    with pytest.raises(ValueError, match=r"balance = source: c has no training windows"):
        order_of(windows, several, "shuffle:balance=source")
    several.meta["split"] = several.meta["split"] | {"held": {"c": "test"}}
    for by in ("source", "dataset"):
        assert set(samplers.constituents(windows, several, by)) == {"a", "b"}


def test_a_constituent_without_training_windows_is_named(several):
    index = several.index
    several.__dict__["index"] = index.assign(split=index["split"].where(index["dataset"] != "c", "val"))
    windows = loaders.Windows(several, "train")
    with pytest.raises(ValueError, match=r"balance = dataset: c has no training windows"):
        order_of(windows, several, "blocks:balance=dataset")
    assert len(order_of(windows, several, "blocks")) == len(windows)


def test_whole_sources_dealt_to_another_split_need_no_training_windows(small_store):
    names = np.where(small_store.index["split"] == "train", "one", "other")
    meta = {**small_store.meta, "sources": [{**small_store.meta["sources"][0], "name": n} for n in ("one", "other")]}
    dealt = {split: replace(small_store, meta={**meta, "split": {"method": split}}) for split in ("source", "block")}
    windows = loaders.Windows(small_store, "train")
    for store in dealt.values():
        store.__dict__["index"] = small_store.index.assign(source=names)
    assert len(order_of(windows, dealt["source"], "shuffle:balance=source")) == len(windows)
    with pytest.raises(ValueError, match="balance = source: other has no training windows"):
        order_of(windows, dealt["block"], "shuffle:balance=source")


def test_the_table_of_an_epoch(several):
    table = samplers.epoch_table(several, "shuffle:balance=dataset").set_index("dataset")
    names = several.index["dataset"][several.index["split"] == "train"]
    pd.testing.assert_series_equal(table["windows"], names.value_counts().sort_index(), check_names=False)
    assert set(table["shown"]) == {table["windows"].max()}
    assert samplers.epoch_table(several)["shown"].sum() == len(names)


def test_mistakes_list_what_is_known():
    with pytest.raises(ValueError, match=r"Unknown sampler 'shufle'.*'shuffle'.*blocks, sequential, shuffle"):
        samplers.check_sampler("shufle")
    with pytest.raises(ValueError) as told:
        samplers.check_sampler("blocks:within=maybe,balance=size,around=1")
    for part in (
        "'around'; it takes within, balance",
        "one of dataset, source, class",
        "within = 'maybe' must be true or false",
    ):
        assert part in str(told.value)
