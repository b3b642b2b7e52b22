"""Windows of months as tensors, against the store's own windows read another way, and numpy."""

import made_cubes
import numpy as np
import pytest
import torch

from geonb.store import loaders, samplers
from geonb.workloads.conflict import loaders as conflict_loaders


@pytest.fixture(scope="module", params=["any", "by-type", "wraps"])
def cube_store(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    if request.param == "wraps":
        return made_cubes.small_cube_store(root, columns=48, wraps=True, draws=1)
    return made_cubes.small_cube_store(root, outcomes=request.param, draws=1)


def some(store):
    """Rows to look at: the first, the last, and those over the dateline."""
    over = np.flatnonzero(store.index["x"] + store.index["width"] > store.valid.shape[1])
    return [0, len(store) - 1, *over[:3].tolist()]


def test_a_window_holds_what_the_store_says(cube_store):
    windows = conflict_loaders.Sequences(cube_store)
    mean, std = (np.array(cube_store.meta["statistics"][k])[None, :, None, None] for k in ("mean", "std"))
    batch = windows.batch(some(cube_store))
    assert batch["inputs"].dtype == batch["targets"].dtype == batch["deaths"].dtype == torch.float32
    for j, i in enumerate(some(cube_store)):
        window = cube_store[i]
        wanted = np.nan_to_num((window["inputs"].values.astype(np.float64) - mean) / std)
        np.testing.assert_allclose(batch["inputs"][j].numpy(), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(batch["targets"][j].numpy(), window["targets"].values)
        np.testing.assert_array_equal(batch["deaths"][j].numpy(), window["deaths"].values)
        np.testing.assert_array_equal(batch["valid"][j].numpy(), window["valid"].values)
        assert batch["index"][j] == i


def test_a_store_window_is_the_cube_cut_out_by_hand(cube_store):
    import xarray as xr

    grid = xr.open_zarr(cube_store.path / "arrays.zarr", group="grid", consolidated=False).load()
    for i in some(cube_store):
        row, window = cube_store.index.iloc[i], cube_store[i]
        for name, value in window["inputs"].groupby("channel"):
            value = value.squeeze("channel")
            for step, lag in ((0, cube_store.steps), (cube_store.steps - 1, 1)):
                month = grid["time"].values[row["t"] - lag]
                for dy, dx in ((0, 0), (0, row["width"] - 1), (3, 5)):
                    at = {"y": row["y"] + dy, "x": (row["x"] + dx) % grid.sizes["x"]}
                    if name == "wealth":
                        wanted = grid["yearly"].sel(yearly_channel=name, year=month.astype("datetime64[Y]").item().year)
                    elif name == "mountains":
                        wanted = grid["static"].sel(static_channel=name)
                    else:
                        wanted = grid["monthly"].sel(monthly_channel=name, time=month)
                    np.testing.assert_equal(value.values[step, dy, dx], wanted.isel(at).item())
        event = grid["monthly"].sel(monthly_channel=cube_store.outcomes[-1]["event"])
        month = event.isel(time=row["t"] + 2, y=row["y"] + 1, x=(row["x"] + 7) % grid.sizes["x"])
        assert window["targets"].isel(lead=2, outcome=-1, y=1, x=7) == month
        assert window["month_out"].values[0] == grid["time"].values[row["t"]]
        assert str(window.attrs["time"])[:10] == str(window["month_out"].values[0])[:10]


def test_turns_move_inputs_targets_deaths_and_valid_together(cube_store):
    plain = conflict_loaders.Sequences(cube_store, "train").batch(list(range(40)))
    turned = conflict_loaders.Sequences(cube_store, "train", "flips,rotations", seed=3).batch(list(range(40)))
    seen = set()
    for j in range(40):
        fits = [
            (flip, quarters)
            for flip in (False, True)
            for quarters in range(4)
            if all(np.array_equal(_turn(plain[k][j], flip, quarters), turned[k][j], equal_nan=True) for k in PARTS)
        ]
        assert fits, f"window {j} is no turn of itself"
        seen |= set(fits)
    assert len(seen) >= 7


PARTS = ("inputs", "targets", "deaths", "valid")


def _turn(plane, flip, quarters):
    plane = plane.numpy()
    return np.rot90(plane[..., ::-1] if flip else plane, quarters, (-2, -1))


def test_batches_do_not_depend_on_threads_or_on_what_was_read_before(cube_store):
    def epoch(number, workers):
        windows = conflict_loaders.Sequences(cube_store, "train", "flips,rotations", seed=1)
        order = samplers.order_of(windows, cube_store, "shuffle", 1)
        order.set_epoch(number)
        batches = loaders.Batches(windows, order, 64, workers, train=True)
        return [{k: v.clone() for k, v in batch.items()} for batch in batches]

    alone, again = epoch(2, 0), epoch(2, 3)
    assert len(alone) > 3
    assert all(torch.equal(a[k], b[k]) for a, b in zip(alone, again, strict=True) for k in a)
    assert not torch.equal(alone[0]["index"], epoch(1, 0)[0]["index"])


def test_items_are_the_rows_of_a_batch(cube_store):
    windows = conflict_loaders.Sequences(cube_store, "val")
    item, batch = windows[2], windows.batch([1, 2])
    assert item["index"] == batch["index"][1] == windows.rows[2]
    assert all(torch.equal(item[k], batch[k][1]) for k in PARTS)
    assert set(cube_store.index["split"].iloc[windows.rows]) == {"val"}


def test_inputs_are_channels_last_and_finite(cube_store):
    inputs = conflict_loaders.Sequences(cube_store).batch([0, 1])["inputs"]
    assert inputs[:, 0].shape[1] == len(cube_store.inputs)
    assert inputs.stride(2) == 1
    assert torch.isfinite(inputs).all()


def test_changes_made_for_images_are_refused(cube_store):
    with pytest.raises(ValueError, match="blur is made for images"):
        conflict_loaders.Sequences(cube_store, augment="flips,blur")
    with pytest.raises(ValueError, match="balance = class"):
        samplers.order_of(conflict_loaders.Sequences(cube_store), cube_store, "shuffle:balance=class")


def test_data_module_shuffles_training_alone(cube_store):
    module = loaders.data_module(cube_store, batch=16, seed=2, workers=2, sampler="blocks")
    train = next(iter(module.train_dataloader()))["index"]
    years = cube_store.index["block"].iloc[train.numpy()]
    assert years.nunique() <= 2
    assert len(set(np.diff(train.numpy()))) > 1
    val = next(iter(module.val_dataloader()))["index"].numpy()
    np.testing.assert_array_equal(val, np.flatnonzero(cube_store.index["split"] == "val")[:16])
