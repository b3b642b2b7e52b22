"""Segmentalist: every option changes the network, survives reloading, and does what its paper says."""

import pytest
import torch

from geonb.workloads.segmentation.networks import build_network
from geonb.workloads.segmentation.segmentalist import CBAM, AttentionGate, PyramidPooling

torch.set_num_threads(1)
PLAIN = "segmentalist:layer_blocks=1-1,initial_filters=8"
OPTIONS = [
    "",
    ",layer_blocks=2-1-1",
    ",initial_filters=12",
    ",residual_filters=8-24",
    ",initial_kernel=3",
    ",cardinality=4",
    ",attention=spatial",
    ",attention=channel_spatial",
    ",cbam=true",
    ",cbam=encoder",
    ",cbam=decoder",
    ",pyramid_pooling=true",
    ",pyramid_pooling=input",
    ",deep_supervision=true",
    ",downsample=stride",
    ",cardinality=2,attention=channel_spatial,cbam=true,pyramid_pooling=input,deep_supervision=true,downsample=stride",
]


def spec_of(more):
    """The plain specification with some options replaced."""
    options = dict(option.split("=") for option in (PLAIN.split(":")[1] + more).split(","))
    return "segmentalist:" + ",".join(f"{key}={value}" for key, value in options.items())


def build(more, channels=3, classes=4):
    torch.manual_seed(0)
    return build_network(spec_of(more), channels, classes)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("more", OPTIONS)
@pytest.mark.parametrize(("channels", "classes", "height", "width"), [(1, 2, 32, 32), (7, 5, 37, 51), (3, 3, 5, 1)])
def test_any_bands_classes_and_size(more, channels, classes, height, width):
    network = build(more, channels, classes).eval()
    inputs = torch.zeros(2, channels, height, width).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert network(inputs).shape == (2, classes, height, width)
        features = network.encoder(inputs)
    halved = (-(-height // 2), -(-width // 2))
    assert features[0].shape[2:] == (height, width) and features[1].shape[2:] == halved
    assert len(features) == len(network.decoder) + 1


@pytest.mark.parametrize("more", OPTIONS)
def test_the_gradient_reaches_every_parameter(more):
    network = build(more).train()
    outputs = network(torch.randn(2, 3, 24, 28))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum((output**2).sum() for output in outputs).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_every_option_makes_another_network():
    shapes = [tuple((name, tuple(p.shape)) for name, p in build(more).named_parameters()) for more in OPTIONS]
    strides = [[m.stride for m in build(more).modules() if isinstance(m, torch.nn.Conv2d)] for more in OPTIONS]
    assert len({str(pair) for pair in zip(shapes, strides, strict=True)}) == len(OPTIONS)


@pytest.mark.parametrize("more", OPTIONS)
def test_reloading_restores_every_option(more):
    network = build(more).train()
    inputs = torch.randn(2, 3, 24, 28)
    network(inputs)  # Moves the batch norms' means, which are saved too.
    again = build_network(spec_of(more), 3, 4)
    again.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(again.eval()(inputs), network.eval()(inputs))


@pytest.mark.parametrize("more", [more for more in OPTIONS if more not in {"", ",downsample=stride"}])
def test_weights_of_another_option_do_not_load_unnoticed(more):
    with pytest.raises(RuntimeError, match="state_dict"):
        build("").load_state_dict(build(more).state_dict(), strict=True)


def test_deep_supervision_gives_all_logits_in_training_and_the_final_ones_in_eval():
    network = build(",layer_blocks=1-1-1,deep_supervision=true")
    inputs = torch.randn(2, 3, 21, 26)
    outputs = network.train()(inputs)
    assert [tuple(output.shape) for output in outputs] == [(2, 4, 21, 26)] * 3
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
            norm.track_running_stats = False  # Batch statistics in eval too, to compare with training.
            norm.running_mean = norm.running_var = None
    with torch.no_grad():
        assert torch.allclose(network.eval()(inputs), network.train()(inputs)[0], atol=1e-5)
    # The coarser outputs are smooth: enlarged from a quarter of the resolution.
    rough = [output.diff(dim=-1).diff(dim=-1).abs().mean().item() / output.std().item() for output in outputs]
    assert rough[0] > rough[1] > rough[2]


def test_the_original_size_is_one_option_away():
    # ResNet-18 has 11.2 M parameters in such stages without its last layer; the decoder comes on top.
    assert 11e6 < count(build_network("segmentalist:initial_filters=64", 3, 2).encoder) < 11.5e6
    assert 0.5e6 < count(build_network("segmentalist", 3, 2)) < 2e6


def test_attention_gate_by_hand():
    gate = AttentionGate(skip=2, deeper=1)
    with torch.no_grad():
        gate.skip.weight.copy_(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1))
        gate.deeper.weight.fill_(3.0)
        gate.deeper.bias.fill_(-1.0)
        gate.psi.weight.fill_(0.5)
        gate.psi.bias.fill_(0.25)
    skip = torch.tensor([[[[1.0, 0.0]], [[2.0, -4.0]]]])  # (1, 2, 1, 2)
    deeper = torch.tensor([[[[1.0]]]])
    # First pixel: 1 + 2*2 + 3*1 - 1 = 7, times 0.5, plus 0.25 = 3.75. Second: 2*-4 + 3 - 1 = -6, relu 0, so 0.25.
    weights = torch.sigmoid(torch.tensor([3.75, 0.25]))
    assert torch.allclose(gate.weights(skip, deeper).flatten(), weights)
    assert torch.allclose(gate(skip, deeper), skip * weights)


def test_cbam_by_hand():
    block = CBAM(2)
    first, _, second = block.channels.weigh
    with torch.no_grad():
        for p in block.parameters():
            p.zero_()
        first.weight[0, 0], second.weight[0, 0] = 1.0, 1.0  # Channel 0 is weighed by itself, channel 1 by 1/2.
        block.places.weight[0, :, 3, 3] = torch.tensor([1.0, 2.0])
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 4.0]]]])
    mean_and_highest = torch.sigmoid(torch.tensor(2.0 + 3.0))
    weighed = torch.stack([x[0, 0] * mean_and_highest, x[0, 1] * 0.5])
    places = torch.sigmoid(weighed.mean(dim=0) + 2 * weighed.amax(dim=0))
    assert torch.allclose(block(x)[0], weighed * places)


def test_pyramid_pooling_sees_the_whole_window():
    torch.manual_seed(0)
    pooled = PyramidPooling(8)
    x = torch.randn(1, 8, 30, 30, requires_grad=True)
    pooled.eval()(x)[..., 0, 0].sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()


def test_the_input_pyramid_brings_the_image_to_the_second_stage():
    network = build(",layer_blocks=1-1-1,residual_filters=12-16-24,pyramid_pooling=input").eval()
    with torch.no_grad():
        for p in network.encoder.stages[0].parameters():
            p.zero_()  # Nothing passes the first stage: only the coarser image can.
        features = [network.encoder(torch.full((1, 3, 16, 16), value)) for value in (1.0, -1.0)]
    assert torch.equal(features[0][1], features[1][1])
    assert not torch.allclose(features[0][2], features[1][2])


def test_cardinality_groups_the_bottleneck():
    groups = {m.groups for m in build(",cardinality=4").modules() if isinstance(m, torch.nn.Conv2d)}
    assert groups == {1, 4}


def test_a_single_sample_trains():
    build(",pyramid_pooling=true,attention=channel_spatial,cbam=true").train()(torch.randn(1, 3, 24, 24))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("attention=foo", "attention = 'foo' must be one of none, spatial, channel_spatial"),
        ("cbam=both", "cbam = 'both' must be one of false, true, encoder, decoder"),
        ("cbam=1", "cbam = 1 must be one of"),
        ("deep_supervision=yes", "deep_supervision = 'yes' must be true or false"),
        ("downsample=strides", "must be one of pool, stride. Did you mean 'stride'"),
        ("layer_blocks=2-0", r"layer_blocks = \[2, 0\] must be a whole number, 1 or more, for each stage"),
        ("layer_blocks=many", "layer_blocks = 'many'"),
        ("initial_filters=0", "initial_filters = 0 must be a whole number from 1 to 65536"),
        ("initial_filters=true", "initial_filters = True must be a whole number"),
        ("initial_kernel=4", "initial_kernel = 4 must be an odd number"),
        ("residual_filters=8-16", r"residual_filters = \[8, 16\]; give 4 whole numbers"),
        ("cardinality=3", "cardinality = 3 must divide half .* 16, 32, 64, 128"),
        (
            "atention=spatial",
            "segmentalist has no 'atention'; it takes layer_blocks, initial_filters.*Did you mean 'attention'",
        ),
        ("atention=spatial,cbam=7,initial_kernel=2", "(?s)no 'atention'.*cbam = 7.*initial_kernel = 2"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options, told):
    with pytest.raises(ValueError, match=told):
        build_network(f"segmentalist:{options}", 3, 2)


def test_none_and_false_leave_out():
    plain = count(build_network("segmentalist", 3, 2))
    same = build_network("segmentalist:attention=none,cbam=none,pyramid_pooling=false,deep_supervision=false", 3, 2)
    assert count(same) == plain
