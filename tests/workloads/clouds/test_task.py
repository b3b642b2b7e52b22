"""Training an embedding: the loss, what one pass does to batch normalisation, collapse said, training resumed."""

import json

import made_scenes
import numpy as np
import pytest
import torch
import trainings

from geonb.training import task as training_task
from geonb.workloads.clouds import task as clouds_task
from geonb.workloads.clouds.task import Triplet, collapse

SMALL = {
    "network": "resnet10t:dims=8,hidden=16",
    "loss": "triplet",
    "augment": "flips",
    "lr": 1e-3,
    "epochs": 2,
    "batch": 16,
    "patience": 5,
}
SMALL |= {"seed": 0, "precision": "float32", "workload": "clouds"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_scenes.store(tmp_path_factory.mktemp("project"), patch=32, counts="48/16/16")


def run_in(folder):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return trainings.folder(folder)


def card(made):
    return {"network": "resnet10t:dims=8,hidden=16", "loss": "triplet:margin=2", "lr": 1e-3, **Triplet.card_of(made)}


def test_the_loss_is_that_of_the_paper(made):
    task = Triplet(card(made)).eval()
    batch = made.windows("val").batch(list(range(8)))
    with torch.inference_mode():
        anchor, neighbor, distant = (task(batch[k]).numpy() for k in ("inputs", "neighbor", "distant"))
        near, far = (v.numpy() for v in task.distances(batch))
    np.testing.assert_allclose(near, ((anchor - neighbor) ** 2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(far, ((anchor - distant) ** 2).sum(1), rtol=1e-4)
    logged = {}
    task.log_dict = lambda found, **_: logged.update({k: float(v) for k, v in found.items()})
    loss = task.training_step(batch, 0)
    assert float(loss) == pytest.approx(np.maximum(near - far + 2, 0).mean(), rel=1e-4)
    assert logged["near_train"] == pytest.approx(near.mean()) and logged["far_train"] == pytest.approx(far.mean())
    scale = np.concatenate([near, far]).mean()
    assert logged["train_loss"] == pytest.approx(np.maximum((near - far) / scale + 1, 0).mean(), rel=1e-4)


def test_the_loss_by_which_epochs_are_chosen_does_not_know_scale():
    near, far = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([3.0, 2.0, 9.0])
    assert float(clouds_task.relative_loss(near, far)) == pytest.approx(
        float(clouds_task.relative_loss(near * 50, far * 50))
    )
    assert float(clouds_task.relative_loss(near, far * 2)) < float(clouds_task.relative_loss(near, far))


def test_a_gradient_moves_every_weight(made):
    task = Triplet(card(made)).train()
    task.log_dict = lambda *_, **__: None
    task.training_step(made.windows("train").batch(list(range(16))), 0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.network.head.parameters() if p.ndim > 1)


@pytest.mark.parametrize(
    ("near", "far", "said"),
    [
        ([1.0, 2.0], [3.0, 1.5], ""),
        ([1e-6, 2e-6], [3e-6, 1e-6], "all vectors are the same"),
        ([float("nan"), 1.0], [1.0, 1.0], "not finite"),
        ([5000.0, 5000.0] * 20, [100.0, 9000.0] * 20, "diverged"),
    ],
)
def test_collapse_is_recognised(near, far, said):
    found = collapse(torch.tensor(near), torch.tensor(far), 1.0)
    assert said in found and bool(said) == bool(found)


def test_statistics_of_normalisation_that_are_not_there_yet_are_no_collapse():
    assert collapse(torch.tensor([1e-6, 1e-6]), torch.tensor([2e-6, 2e-6]), 1.0, trained_far=3.0) == ""


@pytest.mark.parametrize(
    ("loss", "options"),
    [("triplet", ""), ("triplet", ",unit=true"), ("infonce", ",unit=true"), ("infonce", ",head=linear")],
)
def test_a_learning_rate_far_too_high_is_said(made, tmp_path, loss, options):
    settings = {"loss": loss, "network": SMALL["network"] + options, "lr": 1e3, "epochs": 6}
    with pytest.raises(ValueError, match=r"(collapsed in epoch|became nan).*smaller `lr`"):
        training_task.train(run_in(tmp_path), made, **SMALL | settings)


def test_training_writes_a_model_that_can_be_loaded_and_goes_on_where_it_stopped(made, tmp_path):
    whole, broken = run_in(tmp_path / "whole"), run_in(tmp_path / "broken")
    training_task.train(whole, made, **SMALL)
    from geonb.training import fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.WholeFiles, "save_checkpoint", _save_then_die(fit.WholeFiles.save_checkpoint))
        with pytest.raises(RuntimeError, match="killed here"):
            training_task.train(broken, made, **SMALL)
    training_task.train(broken, made, **SMALL)
    one, two = (training_task.load_model(r.path, "metric") for r in (whole, broken))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "broken" / "log.csv").read_text()
    told = json.loads((whole.checkpoints / "model.json").read_text())
    assert told["patch"] == 32 and told["channels"][0]["name"] == "vis"


def _save_then_die(save):
    """The first checkpoint that tells of the end of epoch 1 is the last thing that happens."""

    def saved(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        if str(path).endswith("last.ckpt") and checkpoint["epoch"] == 0 and not getattr(_save_then_die, "done", False):
            _save_then_die.done = True
            raise RuntimeError("killed here")

    return saved


def test_settings_that_cannot_be_are_refused_together(made):
    with pytest.raises(ValueError) as told:
        Triplet.check(made, "resnet19x", "triplet:margin=0", "flip", "shuffle:balance=class", "adam:lr=3")
    for part in ("resnet19x", "margin = 0", "flip", "balance=class", "adam"):
        assert part in str(told.value)


def test_a_learning_rate_is_suggested_and_the_task_left_as_it_was(made):
    from geonb.training import fit

    torch.manual_seed(0)
    task = Triplet(card(made))
    before = {k: v.clone() for k, v in task.state_dict().items()}
    found = fit.find_lr(task, made, batch=8, low=1e-5, high=10, steps=20)
    assert list(found.columns) == ["lr", "loss"] and len(found) > 5
    np.testing.assert_allclose(np.diff(np.log(found["lr"]))[1:], np.log(1e6) / 20, rtol=1e-3)
    assert found.attrs["suggestion"] is None or 1e-5 <= found.attrs["suggestion"] <= 10
    assert all(torch.equal(v, before[k]) for k, v in task.state_dict().items())


def test_margins_are_those_of_the_rows_asked_for(made):
    """Far minus near over their sum, row by row, in the order given, however they are batched."""
    torch.manual_seed(0)
    task = Triplet(card(made)).eval()
    rows = [40, 3, 79, 0]
    found = task.margins(made, rows, batch=3)
    for row, margin in zip(rows, found, strict=True):
        anchor, neighbor, distant = task.encode(made.windows().batch([row])["triplets"]).detach().numpy().astype(float)
        near, far = ((anchor - neighbor) ** 2).sum(), ((anchor - distant) ** 2).sum()
        assert margin == pytest.approx((far - near) / (far + near), abs=1e-4)
    assert len(set(found.round(5))) == 4 and task.margins(made, []).shape == (0,)
