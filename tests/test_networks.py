"""Networks: any architecture for N bands, and errors that list what is known."""

import pytest
import torch

from geonb.networks import ARCHITECTURES, build_network, check_network


@pytest.mark.parametrize(
    "spec", ["unet:encoder=resnet18", "fpn:encoder=resnet18", "deeplabv3plus:encoder=mobilenet_v2"]
)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_bands_and_classes(spec, channels):
    network = build_network(spec, channels=channels, classes=7).eval()
    assert network(torch.zeros(2, channels, 64, 96)).shape == (2, 7, 64, 96)


def test_options_reach_the_architecture():
    network = build_network("unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8", 3, 2)
    assert len(network.decoder.blocks) == 3


def test_nothing_is_fetched_unless_asked():
    assert check_network("unet:encoder=resnet18")[1]["encoder_weights"] is None
    assert check_network("unet")[1]["encoder_name"] == "resnet18"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_resolves(name):
    check_network(name)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("unett", "Did you mean 'unet'"),
        ("unet:encodr=resnet18", r"unet takes: .*encoder,"),
        ("unet:encoder=resnet81", "Near: resnet18"),
    ],
)
def test_a_misspelt_network_names_what_is_known(spec, told):
    with pytest.raises(ValueError, match=told):
        build_network(spec, 3, 2)


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((ConnectionError, ValueError), match=r"login node|weights"):
        build_network("unet:encoder=resnet18,weights=imagenet", 3, 2)
