"""ConvLSTM: the cell against the equations written out with eight convolutions, and the structure matrix's rules."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from geonb.workloads.conflict.convlstm import ConvLSTM, ConvLSTMCell, EncoderDecoder, check_structure


def written_out(cell, x, h, c):
    """Shi et al. 2015, eq. 3, in float64: eight convolutions, and Wc as it stands or 0."""
    x, h, c = x.double(), h.double(), c.double()
    m = x.shape[1]
    weight, bias = cell.gates.weight.detach().double(), cell.gates.bias.detach().double()
    parts = dict(zip("ifco", zip(weight.chunk(4), bias.chunk(4), strict=True), strict=True))
    peep = torch.zeros(3, 1, 1, 1) if cell.peepholes is None else cell.peepholes.detach()
    w_ci, w_cf, w_co = peep.double()

    def star(gate):
        kernel, b = parts[gate]
        from_x = functional.conv2d(x, kernel[:, :m], padding="same")
        from_h = functional.conv2d(h, kernel[:, m:], padding="same")
        return from_x + from_h + b[None, :, None, None]

    def s(z):
        return 1 / (1 + torch.exp(-z))

    i, f = s(star("i") + w_ci * c), s(star("f") + w_cf * c)
    after = f * c + i * torch.tanh(star("c"))
    return s(star("o") + w_co * after) * torch.tanh(after), after


def with_peepholes(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "peepholes" in name:
                parameter.normal_()
    return module


@pytest.mark.parametrize("peephole", ["channel", "pixel", "none"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_step_is_the_equations(peephole, kernel):
    torch.manual_seed(0)
    cell = with_peepholes(ConvLSTMCell(3, 4, kernel, peephole, (5, 7)))
    x, h, c = torch.randn(2, 3, 5, 7), torch.randn(2, 4, 5, 7), torch.randn(2, 4, 5, 7)
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found = cell.to(dtype)(x.to(dtype), (h.to(dtype), c.to(dtype)))
        for one, other in zip(found, written_out(cell, x, h, c), strict=True):
            torch.testing.assert_close(one.double(), other, atol=atol, rtol=0)
        first = cell(x.to(dtype))
        for one, other in zip(first, written_out(cell, x, torch.zeros_like(h), torch.zeros_like(c)), strict=True):
            torch.testing.assert_close(one.double(), other, atol=atol, rtol=0)


def test_one_cell_by_hand():
    """A single number in and out: all kernels 1, bias 0, peepholes 1, in plain numpy."""
    cell = ConvLSTMCell(1, 1, 1).double()
    with torch.no_grad():
        cell.gates.weight.fill_(1), cell.gates.bias.zero_(), cell.peepholes.fill_(1)
    x, h, c = 0.3, -0.2, 0.5
    s = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    after = s(x + h + c) * c + s(x + h + c) * np.tanh(x + h)
    expected = s(x + h + after) * np.tanh(after), after
    state = tuple(torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (h, c))
    found = cell(torch.full((1, 1, 1, 1), x, dtype=torch.float64), state)
    assert [v.item() for v in found] == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("peephole", ["channel", "pixel", "none"])
def test_gradients_are_those_of_finite_differences(peephole):
    torch.manual_seed(0)
    network = with_peepholes(EncoderDecoder(2, 1, 2, [[2, 2, 0], [0, 2, 1]], 3, peephole, (3, 4))).double()
    inputs = torch.randn(1, 2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*network.named_parameters(), strict=True)

    def forward(inputs, *values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (inputs,))

    assert torch.autograd.gradcheck(forward, (inputs, *values), fast_mode=True)


def test_peepholes_begin_at_zero_and_the_parameters_are_those_of_eight_convolutions():
    count = {
        p: sum(v.numel() for v in ConvLSTMCell(5, 12, 3, p, (16, 16)).parameters())
        for p in ("none", "channel", "pixel")
    }
    assert count["none"] == 4 * (12 * 5 * 9 + 12 * 12 * 9 + 12)
    assert count["channel"] - count["none"] == 3 * 12 and count["pixel"] - count["none"] == 3 * 12 * 16 * 16
    assert not ConvLSTMCell(5, 12).peepholes.any()


def test_layers_alone_are_steps_of_cells():
    torch.manual_seed(0)
    layers, inputs = with_peepholes(ConvLSTM(3, [4, 2])).double(), torch.randn(2, 5, 3, 6, 7, dtype=torch.float64)
    outputs, states = layers(inputs)
    expected, sequence = [], inputs
    for cell in layers.cells:  # a layer at a time, where the module goes a step at a time
        h = c = torch.zeros(2, cell.hidden, 6, 7, dtype=torch.float64)
        hidden = []
        for step in range(5):
            h, c = written_out(cell, sequence[:, step], h, c)
            hidden.append(h)
        sequence = torch.stack(hidden, dim=1)
        expected.append((h, c))
    torch.testing.assert_close(outputs, sequence, atol=1e-10, rtol=0)
    for pair, other in zip(states, expected, strict=True):
        torch.testing.assert_close(pair, other, atol=1e-10, rtol=0)
    half, carried = layers(inputs[:, :2])
    rest, _ = layers(inputs[:, 2:], carried)
    torch.testing.assert_close(torch.cat([half, rest], dim=1), outputs)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("head", ["conv", "none"])
def test_the_decoder_begins_where_the_encoder_ended(horizon, head):
    """By hand for [[3, 4, 0], [0, 4, 2]]: decoder layer 0 is linked to encoder layer 1, layer 1 begins with zeros."""
    torch.manual_seed(0)
    network = with_peepholes(EncoderDecoder(2, 2, horizon, [[3, 4, 0], [0, 4, 2]], head=head)).double()
    inputs = torch.randn(2, 4, 2, 5, 6, dtype=torch.float64)
    below, top = network.encoder.cells
    first, last = network.decoder.cells
    zeros = [torch.zeros(2, n, 5, 6, dtype=torch.float64) for n in (3, 4, 2)]
    a, b = (zeros[0],) * 2, (zeros[1],) * 2
    for step in range(4):
        a = written_out(below, inputs[:, step], *a)
        b = written_out(top, a[0], *b)
    fed, d, e = b[0], b, (zeros[2],) * 2
    for lead in range(horizon):
        d = written_out(first, fed, *d)
        e = written_out(last, d[0], *e)
        expected = e[0] if head == "none" else network.head(e[0])
        torch.testing.assert_close(network(inputs)[:, lead], expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(network.features(inputs), fed, atol=1e-10, rtol=0)


def test_without_a_head_probabilities_stay_in_the_middle():
    network = EncoderDecoder(2, 1, 1, [[3], [3]], head="none")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(50)
        p = network(100 * torch.randn(4, 3, 2, 9, 9)).sigmoid()
    assert 0.26 < p.min() < 0.3 and 0.7 < p.max() < 0.74


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_any_size(height, width):
    assert EncoderDecoder(2, 2, 2, [[2, 0], [2, 1]], head="conv")(torch.zeros(1, 1, 2, height, width)).shape == (
        1, 2, 2, height, width,
    )  # fmt: skip


def test_per_pixel_fits_one_size():
    network = EncoderDecoder(2, 1, 1, [[2], [2]], peephole="pixel", size=(4, 6))
    assert network(torch.zeros(1, 2, 2, 4, 6)).shape == (1, 1, 1, 4, 6)
    with pytest.raises(ValueError, match=r"Windows of 6 x 4 cells, .* 4 x 6\. Give peephole=channel"):
        network(torch.zeros(1, 2, 2, 6, 4))


def test_the_middle_of_a_large_map_is_the_windows_forecast():
    """What lies further than the network sees does not matter: a window's middle is the map's."""
    torch.manual_seed(0)
    network = with_peepholes(EncoderDecoder(1, 1, 1, [[2, 0], [2, 2]])).double()
    inputs = torch.randn(1, 2, 1, 70, 70, dtype=torch.float64)  # beyond SMALL
    window = network(inputs[..., 10:31, 10:31])
    torch.testing.assert_close(window[..., 10, 10], network(inputs)[..., 20, 20])


def test_the_shortcut_says_nothing_at_first():
    torch.manual_seed(0)
    network = EncoderDecoder(2, 2, 3, [[2], [2]], skip=True)
    inputs = torch.randn(1, 4, 2, 5, 5)
    with torch.no_grad():
        before = network(inputs)
        network.shortcut.weigh.weight[0, 1] = 2.0  # lead 1, output 1: last month's second channel
        network.shortcut.weigh.weight[5, 2] = 1.0  # lead 3, output 2: mean of the first channel
        change = network(inputs) - before
    torch.testing.assert_close(change[:, 0, 0], 2 * inputs[:, -1, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(change[:, 2, 1], inputs[:, :, 0].mean(dim=1), atol=1e-6, rtol=0)
    assert change[:, 1].abs().max() < 1e-6


# ---- the structure matrix


@pytest.mark.parametrize(
    ("structure", "expected"),
    [  # those of the seed's documentation and scripts: sizes, and which layers hand their states over
        ([[6, 12, 0], [0, 12, 6]], ([6, 12], [12, 6], [1, None])),
        ([[6, 12, 24, 0, 0, 0], [0, 0, 24, 12, 8, 5]], ([6, 12, 24], [24, 12, 8, 5], [2, None, None, None])),
        ([[12, 24, 0, 0, 0], [0, 24, 12, 6, 5]], ([12, 24], [24, 12, 6, 5], [1, None, None, None])),
        ([[8, 4, 0], [8, 4, 2]], ([8, 4], [8, 4, 2], [0, 1, None])),
        ([[1], [1]], ([1], [1], [0])),
    ],
)
def test_a_matrix_is_read_as_the_original_reads_it(structure, expected):
    assert check_structure(structure) == expected == check_structure(np.array(structure))


WRONG = {
    "one row": ([[1, 2]], r"must have two rows.*it has 1"),
    "three rows": ([[1], [1], [1]], r"must have two rows.*it has 3"),
    "no rows": (7, r"structure = 7 must have two rows"),
    "ragged": ([[1, 0], [1]], r"rows of 2 and 1 columns"),
    "empty": ([[], []], r"rows of 0 and 0 columns"),
    "negative": ([[1, -2], [1, 2]], r"column 2, encoder: -2 must be a whole number, 0 or more"),
    "no whole number": ([[1, 2], [1.5, 2]], r"column 1, decoder: 1\.5 must be"),
    "a truth": ([[True, 2], [1, 2]], r"column 1, encoder: True must be"),
    "text": ([["a", 2], [1, 2]], r"column 1, encoder: 'a' must be"),
    "gap in the encoder": ([[4, 0, 6, 0], [0, 0, 6, 3]], r"column 2: 0 in the encoder"),
    "encoder begins late": ([[0, 6, 0], [0, 6, 3]], r"column 1: 0 in the encoder"),
    "gap in the decoder": ([[4, 6, 0, 0], [0, 6, 0, 3]], r"column 3: 0 in the decoder"),
    "decoder ends early": ([[4, 6, 0], [0, 6, 0]], r"column 3: 0 in the decoder"),
    "no encoder": ([[0, 0], [2, 2]], r"the encoder \(row 1\) has no layer"),
    "no decoder": ([[2, 2], [0, 0]], r"the decoder \(row 2\) has no layer"),
    "no link": ([[4, 6, 0, 0], [0, 0, 6, 3]], r"no column links encoder and decoder.*column 2"),
    "unequal": ([[4, 6, 0], [0, 5, 3]], r"column 2: 6 in the encoder, 5 in the decoder; linked layers need equal sizes"),
}  # fmt: skip


@pytest.mark.parametrize("rule", WRONG)
def test_a_matrix_that_breaks_a_rule_is_refused(rule):
    structure, told = WRONG[rule]
    with pytest.raises(ValueError, match=told) as error:
        check_structure(structure)
    if isinstance(structure, list):
        assert all(str(row) in str(error.value) for row in structure), "the error shows the matrix"


def test_all_faults_of_a_matrix_are_told():
    with pytest.raises(ValueError) as error:
        check_structure([[4, 0, 6, 0], [3, 6, 0, 1]])
    assert all(f"column {k}" in str(error.value) for k in (1, 2, 3))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.lists(st.integers(1, 30), max_size=4), st.data())
def test_every_matrix_by_the_rules_is_read(encoder, more, data):
    linked = data.draw(st.integers(1, len(encoder)))
    zeros = len(encoder) - linked
    decoder = encoder[zeros:] + more
    structure = [encoder + [0] * len(more), [0] * zeros + decoder]
    assert check_structure(structure) == (encoder, decoder, [*range(zeros, len(encoder)), *[None] * len(more)])
