"""Backbones with weights of a file: by name, or by order where another library named them; what does not fit is refused."""

import pytest
import torch

from geonb.workloads.chips import networks


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights of a resnet10t for three bands, under timm's names, and under others."""
    torch.manual_seed(1)
    backbone = networks.build_network("resnet10t", 3, 2, 32).backbone
    folder = tmp_path_factory.mktemp("weights")
    torch.save(backbone.state_dict(), folder / "timm.pth")
    other = {f"_other{i}.{k.rsplit('.', 1)[1]}": v for i, (k, v) in enumerate(backbone.state_dict().items())}
    torch.save(other | {"_fc.weight": torch.zeros(1000, 512)}, folder / "other.pth")
    return folder, backbone


@pytest.mark.parametrize("name", ["timm.pth", "other.pth"])
def test_weights_are_taken_by_name_or_by_order(weights, name):
    folder, backbone = weights
    made = networks.build_network(f"resnet10t:weights={folder / name}", 3, 2, 32).backbone
    for key, value in backbone.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(made.state_dict()[key], value), key


def test_the_first_layer_is_made_for_more_bands(weights):
    folder, backbone = weights
    made = networks.build_network(f"resnet10t:weights={folder / 'timm.pth'}", 5, 2, 32).backbone
    first = next(key for key, value in made.state_dict().items() if value.ndim == 4)
    assert made.state_dict()[first].shape[1] == 5
    assert torch.equal(made.state_dict()["layer1.0.conv1.weight"], backbone.state_dict()["layer1.0.conv1.weight"])


def test_weights_of_another_network_and_no_file_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match=r"has \d+ of the \d+ tensors of resnet18"):
        networks.build_network(f"resnet18:weights={weights[0] / 'timm.pth'}", 3, 2, 32)
    with pytest.raises(ValueError, match=r"is no file\. Give none, imagenet, or a file"):
        networks.check_build(f"resnet18:weights={tmp_path / 'gone.pth'}")


def test_a_frozen_backbone_thaws_in_stages():
    from types import SimpleNamespace

    from geonb.workloads.chips.task import MultiLabel

    card = {"network": "resnet10t:freeze=true,unfreeze=1-2", "loss": "bce", "channels": [{}] * 3, "classes": [{}] * 2, "patch": 32,
            "prevalence": [0.5, 0.5], "lr": 1e-3}  # fmt: skip
    task = MultiLabel(card)
    task._trainer = SimpleNamespace(max_epochs=3, current_epoch=0)
    learn = []
    for epoch in range(3):
        task._trainer.current_epoch = epoch
        task._freeze()
        learn.append(sum(p.requires_grad for p in task.network.backbone.parameters()))
    assert learn[0] == 0 < learn[1] < learn[2] == len(list(task.network.backbone.parameters()))
    assert all(p.requires_grad for p in task.network.head.parameters())
    rest, backbone = task.parameter_groups()
    assert backbone["lr"] == pytest.approx(1e-4) and "lr" not in rest
    with pytest.raises(ValueError, match="must be one or two epochs that rise"):
        networks.check_network("resnet10t:unfreeze=9-3")


@pytest.mark.parametrize(
    ("network", "patch", "learns"),
    [("resnet10t", 32, False), ("resnet10t:head=linear", 32, False), ("resnet10t:head=linear", 64, True),
     ("vit_tiny_patch16_224:head=linear", 32, True)],
)  # fmt: skip
def test_one_chip_at_a_time_is_refused_where_it_ends_in_torch_s_error(network, patch, learns):
    """Told from shapes: as the network itself says in a step of training."""
    from types import SimpleNamespace

    import pandas as pd

    from geonb.workloads.chips.task import MultiLabel

    made = networks.build_network(network, 3, 2, patch).train()
    if learns:
        made(torch.zeros(1, 3, patch, patch))
    else:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            made(torch.zeros(1, 3, patch, patch))
    for batch, chips, cure in ((1, 9, "Give batch = 2 or more"), (32, 1, "Label more chips"), (2, 2, "")):
        splits = pd.DataFrame({"split": ["train"] * chips + ["val", "test"]})
        samples = SimpleNamespace(index=splits, channels=["r", "g", "b"], meta={"parameters": {"size": patch}})
        if learns or not cure:
            MultiLabel.check_batch(samples, network, batch)
        else:
            with pytest.raises(
                ValueError, match=rf"batch = {batch}, of {chips} training chips: {network} cannot learn.*{cure}"
            ):
                MultiLabel.check_batch(samples, network, batch)
