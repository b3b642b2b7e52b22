"""Networks that forecast by specification; the recurrent U-Net."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.conflict import networks
from geonb.workloads.conflict.convlstm import EncoderDecoder
from geonb.workloads.conflict.networks import build_network, check_network, check_size, describe_network
from geonb.workloads.conflict.unet_lstm import UNetLSTM

SEED = [[12, 24, 0, 0, 0], [0, 24, 12, 6, 5]]


@pytest.mark.parametrize(
    ("spec", "structure"),
    [
        ("convlstm", SEED),
        ("convlstm:structure=12-24-0-0-0/0-24-12-6-5", SEED),
        ("convlstm:structure=[[12,24,0,0,0],[0,24,12,6,5]]", SEED),
        ("convlstm:structure=8/8,kernel=5", [[8], [8]]),
    ],
)
def test_a_structure_is_written_in_three_ways(spec, structure):
    architecture, options = check_network(spec)
    assert architecture is EncoderDecoder and options["structure"] == structure


def test_options_reach_the_network():
    network = build_network("convlstm:structure=3-4-0/0-4-2,kernel=5,peephole=pixel,size=6-8,head=none", 2, 1, 3)
    assert network.encoder.cells[0].gates.kernel_size == (5, 5) and network.head is None
    assert network(torch.zeros(2, 4, 2, 6, 8)).shape == (2, 3, 1, 6, 8)
    assert build_network("convlstm:peephole=none,structure=2/2", 1, 1, 1).encoder.cells[0].peepholes is None
    assert check_network("convlstm:head=none,peephole=none")[1]["peephole"] == "none"


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 36),
    st.sampled_from(["all", "bottleneck"]),
    st.integers(1, 4),
)
def test_a_recurrent_unet_takes_any_size(height, width, horizon, recurrent, depth):
    network = build_network(f"unet_lstm:filters=2,depth={depth},recurrent={recurrent}", 3, 2, horizon)
    outputs = network(torch.randn(1, 2, 3, height, width))
    assert outputs.shape == (1, horizon, 2, height, width) and outputs.dtype == torch.float32


@pytest.mark.parametrize("recurrent", ["all", "bottleneck"])
def test_a_recurrent_unet_remembers_every_month(recurrent):
    torch.manual_seed(0)
    network = UNetLSTM(2, 1, 1, recurrent=recurrent, dropout=0).double()
    inputs = torch.randn(1, 4, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    network(inputs)[0, 0, 0, 4, 4].backward()
    assert (inputs.grad.abs().amax(dim=(0, 2, 3, 4)) > 0).all()


def test_a_recurrent_unet_learns_a_memory():
    """What happened first of four months, though the later ones say nothing."""
    torch.manual_seed(0)
    network = build_network("unet_lstm:depth=1,dropout=0,skip=false", 1, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        inputs = torch.zeros(8, 4, 1, 6, 6)
        inputs[:, 0] = (torch.rand(8, 1, 6, 6) < 0.5).float()
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(inputs)[:, 0], inputs[:, 0])
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_dropout_leaves_out_whole_maps_and_only_in_training():
    torch.manual_seed(0)
    network, inputs = UNetLSTM(2, 1, 1, dropout=0.5), torch.randn(1, 3, 2, 8, 8)
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))


def test_the_recurrent_unets_gradients():
    torch.manual_seed(0)
    network = UNetLSTM(1, 1, 2, filters=1, depth=1, dropout=0).double()
    inputs = torch.randn(1, 2, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, inputs, fast_mode=True)


def test_batch_norm_is_an_option():
    network = build_network("unet_lstm:norm=batch", 2, 1, 1)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in build_network("unet_lstm", 2, 1, 1).modules())


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("convlstn", r"Unknown network 'convlstn'.*Did you mean 'convlstm'\?"),
        ("convlstm:kernal=3", r"convlstm has no 'kernal'; it takes structure, kernel, .*Did you mean 'kernel'\?"),
        ("convlstm:kernel=4", r"kernel = 4 is even and has no middle; give 3 or 5"),
        ("convlstm:kernel=0", r"kernel = 0 must be a whole number from 1"),
        (
            "convlstm:peephole=pixels",
            r"peephole = 'pixels' must be one of channel, pixel, none\. Did you mean 'pixel'\?",
        ),
        ("convlstm:head=con", r"head = 'con' must be one of conv, none"),
        ("convlstm:size=20", r"size = 20 belongs to peephole=pixel"),
        ("convlstm:peephole=pixel,size=a", r"size = 'a' must be the side"),
        ("convlstm:structure=12-a/12", r"'a' must be whole numbers"),
        ("convlstm:structure=12", r"structure = 12 must have two rows"),
        ("convlstm:structure=4-6-0/0-5-3", r"column 2: 6 in the encoder, 5 in the decoder"),
        ("convlstm:dropout=1", r"dropout = 1 must be a number from 0 to below 1"),
        ("convlstm:skip=2", r"skip = 2 must be true or false"),
        ("unet_lstm:depth=0", r"depth = 0 must be a whole number from 1 to 8"),
        ("unet_lstm:filters=1.5", r"filters = 1\.5 must be a whole number"),
        ("unet_lstm:recurrent=some", r"recurrent = 'some' must be one of all, bottleneck"),
        ("unet_lstm:norm=bach", r"norm = 'bach' must be .*Did you mean 'batch'"),
        ("unet_lstm:structure=2/2", r"unet_lstm has no 'structure'"),
    ],
)
def test_what_is_wrong_is_told(spec, told):
    with pytest.raises(ValueError, match=told):
        check_network(spec)


def test_all_faults_are_told():
    with pytest.raises(ValueError) as error:
        check_network("convlstm:kernel=4,peephole=p,kernal=3,structure=1-0/0-1")
    assert all(word in str(error.value) for word in ("kernel = 4", "'p'", "'kernal'", "no column links"))


def test_a_head_that_is_none_needs_as_many_channels_as_outputs():
    with pytest.raises(ValueError, match=r"reads 3 outputs off 2 hidden channels"):
        build_network("convlstm:structure=2/2,head=none", 1, 3, 1)


def test_windows_of_another_size_than_the_peepholes_are_refused():
    check_size("convlstm", 7, 9), check_size("unet_lstm", 7, 9), check_size("convlstm:peephole=pixel,size=7-9", 7, 9)
    with pytest.raises(ValueError, match=r"Windows of 20 x 25 cells .* 16 x 16\. Give size=20-25, or peephole=channel"):
        check_size("convlstm:peephole=pixel", 20, 25)


@pytest.mark.parametrize("spec", sorted(networks.ARCHITECTURES))
def test_a_network_is_described(spec):
    facts = describe_network(spec, 5, 1, 1)
    assert facts["parameters"] == sum(p.numel() for p in build_network(spec, 5, 1, 1).parameters())
    assert facts["any_size"] is True
    if spec == "convlstm":
        assert (facts["encoder"], facts["decoder"], facts["links"]) == ([12, 24], [24, 12, 6, 5], [1, None, None, None])


@pytest.mark.parametrize("spec", ["convlstm:structure=4-6-0/0-6-3,skip=true,dropout=0.2", "unet_lstm:filters=4"])
def test_bfloat16_is_near_float32(spec):
    torch.manual_seed(0)
    network, inputs = build_network(spec, 3, 1, 2).eval(), torch.randn(2, 4, 3, 9, 10)
    with torch.no_grad():
        exact = network(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(inputs)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=0.05, rtol=0.05)
