"""Networks that embed tiles: any timm backbone, any bands, and a head whose parts are where they should be."""

import numpy as np
import pytest
import torch
from torch import nn

from geonb.workloads.clouds import networks


@pytest.mark.parametrize(
    "spec",
    [
        "resnet10t:dims=8",
        "vit_tiny_patch16_224:dims=8,head=linear",
        "swin_tiny_patch4_window7_224:dims=8",
        "convnext_atto:dims=8",
    ],
)
def test_any_backbone_embeds_any_bands(spec):
    size = 64 if "swin" not in spec else 112
    network = networks.build_network(spec, 5, size).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 5, size, size)).shape == (2, 8)


def test_features_are_the_largest_and_the_mean_of_each_map():
    network = networks.build_network("resnet10t", 1, 64).eval()
    inputs = torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        maps = network.backbone.forward_features(inputs).numpy()
        features = network.features(inputs).numpy()
    np.testing.assert_allclose(features, np.concatenate([maps.max((2, 3)), maps.mean((2, 3))], 1), rtol=1e-5)


def test_tokens_that_stand_for_no_place_do_not_count():
    network = networks.build_network("vit_tiny_patch16_224", 1, 64).eval()
    inputs = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        tokens = network.backbone.forward_features(inputs)
        assert tokens.shape[1] == 17  # 4 x 4 places and the class token
        np.testing.assert_allclose(network.features(inputs)[:, :192], tokens[:, 1:].amax(1), rtol=1e-5)


def test_the_head_is_the_originals():
    head = networks.build_network("resnet18", 3, 64).head
    kinds = [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(m) for m in head] == kinds
    assert [head[1].p, head[5].p] == [0.25, 0.5]
    assert [head[2].in_features, head[2].out_features, head[6].out_features] == [1024, 512, 100]


def test_unit_vectors_have_length_one():
    network = networks.build_network("resnet10t:dims=8,unit=true", 1, 64).eval()
    np.testing.assert_allclose(network(torch.randn(4, 1, 64, 64)).norm(dim=1).detach(), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet81", "Did you mean.*resnet18"),
        ("resnet18:dims=1", "dims = 1 must be a whole number from 2"),
        ("resnet18:head=conv", "must be one of mlp, linear"),
        ("resnet18:size=3", "resnet18 has no 'size'; it takes dims"),
        ("resnet18:dropout=1", "from 0 to below 1"),
        ("resnet81:unit=1", "(?s)unit = 1 must be true or false.*no backbone of timm"),
    ],
)
def test_what_cannot_be_built_is_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        networks.check_network(spec)


def test_a_backbone_that_tiles_do_not_fit_is_refused_before_anything_is_computed():
    with pytest.raises(ValueError, match=r"does not take 1 x 8 x 8 px.*another backbone or `patch`"):
        networks.check_size("vit_tiny_patch16_224", 1, 8)
    networks.check_size("resnet18", 1, 40)
