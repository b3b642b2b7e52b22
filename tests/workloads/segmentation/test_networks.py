"""Networks: any architecture for N bands, and errors that list what is known."""

import pytest
import torch

from geonb.workloads.segmentation.networks import (
    ARCHITECTURES,
    build_network,
    check_network,
    check_size,
    describe_network,
    size_multiple,
)

torch.set_num_threads(1)


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
    assert check_network("unet") == (ARCHITECTURES["unet"], {"encoder_name": "resnet18", "encoder_weights": None})
    assert check_network("unet:encoder_name=resnet34")[1]["encoder_name"] == "resnet34", "as earlier cards have it"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_resolves(name):
    check_network(name)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("unett", "Did you mean 'unet'"),
        ("unet:encodr=resnet18", r"unet has no 'encodr'; it takes encoder, .*Did you mean 'encoder'"),
        ("unet:encoder=resnet81", "Near: resnet18"),
        ("unet:encoder=tu-resnet81", "Near: tu-resnet"),
        ("unet:encoder=5", "Unknown encoder 5"),
        ("unet:encoder=resnet81,wieghts=ssl", "(?s)Near: resnet18.*no 'wieghts'"),
        ("unet:weights=imagnet", "Unknown weights 'imagnet' of 'resnet18'. Known: imagenet, ssl, swsl"),
        ("unet:activation=softmax", "unet has no 'activation'"),
        ("unet:encoder_depth=3", "do not go together: Model depth is 3"),
        ("unet:decoder_channels=3", "do not go together"),
        ("fpn:encoder_depth=3", "makes 512 pixels of 128"),
    ],
)
def test_a_misspelt_network_names_what_is_known(spec, told):
    with pytest.raises(ValueError, match=told):
        build_network(spec, 3, 2)


@pytest.mark.parametrize(
    ("spec", "multiple"),
    [
        ("segmentalist", 1),
        ("unet", 1),
        ("fpn", 32),
        ("unetplusplus:encoder_depth=3,decoder_channels=32-16-8", 8),
        ("deeplabv3plus", 16),
        ("linknet:encoder=tu-convnext_atto", 32),
    ],
)
def test_windows_of_the_multiple_fit_and_others_are_refused(spec, multiple):
    assert size_multiple(spec) == multiple
    network, side = build_network(spec, 2, 3).eval(), 64 + multiple
    check_size(spec, side, 64)
    with torch.no_grad():
        assert network(torch.zeros(1, 2, side, 64)).shape == (1, 3, side, 64)
    if multiple > 1:
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 2, side - 1, 64))
        with pytest.raises(ValueError, match=f"multiples of {multiple}. Give 64 or {64 + multiple}, or a network"):
            check_size(spec, 64, side - 1)


def test_describe_counts_parameters():
    # 3 x 3 convolutions are most of it: U-Net with ResNet-18 is known to have 14.3 M parameters.
    described = describe_network("unet:encoder=resnet18", 3, 2)
    assert described["parameters"] == pytest.approx(14.3e6, rel=0.01) and described["size_multiple"] == 1


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((ConnectionError, ValueError), match=r"login node|weights"):
        build_network("unet:encoder=resnet18,weights=imagenet", 3, 2)
