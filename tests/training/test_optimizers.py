import pytest
import torch

from geonb.training.optimizers import build_optimizer, check_optimizer, first_averaged


def built(spec, lr=0.1, steps=20, epochs=10):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    config = build_optimizer(spec, [weight], lr, steps, epochs)
    return weight, config["optimizer"], config.get("lr_scheduler")


def rates(spec, steps=20, taken=None):
    _, optimizer, config = built(spec, steps=steps)
    found = []
    for _ in range(taken or steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        config["scheduler"].step()
    return found


def test_the_default_is_adamw_of_torch_under_one_cycle():
    weight, optimizer, config = built("adamw")
    other = torch.nn.Parameter(weight.detach().clone())
    torchs = torch.optim.AdamW([other], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(torchs, 0.1, total_steps=20)
    for _ in range(20):
        for one, its, w in ((optimizer, config["scheduler"], weight), (torchs, schedule, other)):
            one.zero_grad()
            (w**4).sum().backward()
            one.step()
            its.step()
    assert torch.equal(weight, other) and config["interval"] == "step"


def test_arguments_reach_the_optimiser():
    group = built("adam:weight_decay=0.02,beta1=0.8,eps=1e-6,amsgrad=true,schedule=none")[1].param_groups[0]
    assert (
        group["weight_decay"] == 0.02 and group["betas"] == (0.8, 0.999) and group["eps"] == 1e-6 and group["amsgrad"]
    )
    _, optimizer, schedule = built("sgd:momentum=0.7,nesterov=true,schedule=none")
    assert type(optimizer) is torch.optim.SGD and schedule is None
    assert optimizer.param_groups[0]["momentum"] == 0.7 and optimizer.param_groups[0]["nesterov"]
    assert built("sgd")[1].param_groups[0]["momentum"] == 0.9


def test_one_sgd_step_by_hand():
    weight, optimizer, _ = built("sgd:momentum=0,weight_decay=0.5,schedule=none", lr=0.1)
    (3 * weight).sum().backward()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([1 - 0.1 * (3 + 0.5), -2 - 0.1 * (3 - 1.0)]))


def test_schedules():
    cosine = rates("adamw:schedule=cosine")
    assert cosine[0] == 0.1 and cosine[10] == pytest.approx(0.05) and cosine[-1] < 0.001
    cycle = rates("sgd:momentum=0.7")
    assert max(cycle) == pytest.approx(0.1) and 0 < cycle.index(max(cycle)) < 10 and cycle[-1] < 1e-5
    _, optimizer, config = built("sgd:schedule=plateau,factor=0.5,plateau_patience=1")
    assert config["monitor"] == "val_loss" and config["interval"] == "epoch"
    found = []
    for loss in (3, 2, 2.5, 2.5, 1, 1, 1):
        config["scheduler"].step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025])


def test_a_momentum_that_was_asked_for_is_not_cycled():
    _, optimizer, config = built("sgd:momentum=0.7")
    optimizer.step()
    config["scheduler"].step()
    assert optimizer.param_groups[0]["momentum"] == 0.7


@pytest.mark.parametrize(
    ("swa", "epochs", "first"), [(0.75, 100, 75), (0.5, 5, 3), (0, 4, 0), (0.99, 3, 2), (0.75, 1, 0)]
)
def test_where_averaging_begins(swa, epochs, first):
    assert first_averaged(f"adamw:swa={swa}", epochs) == first
    assert first_averaged("adamw", epochs) is None


def test_before_a_constant_rate_the_cycle_is_whole():
    assert rates("adamw:swa=0.5,swa_lr=0.01", taken=10) == pytest.approx(rates("adamw", steps=10))


def test_mistakes_are_all_told_at_once():
    with pytest.raises(ValueError, match=r"Unknown optimizer 'adamv'.*Did you mean 'adamw?'\?.*adam, adamw, sgd"):
        check_optimizer("adamv")
    with pytest.raises(ValueError) as told:
        check_optimizer("sgd:beta1=0.5,schedule=step,swa=2,ema=1,momentum=true,nesterov=1,plateau_patience=2")
    for part in (
        "sgd has no 'beta1'; it takes weight_decay, momentum",
        "ema = 1 must be a number from 0 to 0.99999",
        "schedule = 'step' must be one of one-cycle, plateau, cosine, none",
        "swa = 2 must be a number from 0 to 0.999",
        "momentum = True must be a number",
        "nesterov = 1 must be true or false",
        "plateau_patience belongs to schedule=plateau",
    ):
        assert part in str(told.value)
    for spec, part in {
        "adamw:swa_lr=0.1": "swa_lr needs swa",
        "sgd:momentum=0,nesterov=true": "needs momentum above 0",
        "sgd:schedule=plateau,plateau_patience=1.5": "must be a whole number",
    }.items():
        with pytest.raises(ValueError, match=part):
            check_optimizer(spec)
    assert check_optimizer("adam:schedule=none")[2]["schedule"] == "none"
