"""``convlstm``: ConvLSTM layers with peepholes, and an encoder-decoder of them laid out by a structure matrix.

The cell is that of Shi et al. 2015 (arXiv 1506.04214, eq. 3). One convolution over input and hidden state makes all four
gates: eight separate ones do the same arithmetic, in smaller pieces that a processor fills less well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PEEPHOLES = ("channel", "pixel", "none")
HEADS = ("conv", "none")
SMALL = 64 * 64  # cells
State = tuple[Tensor, Tensor]


class ConvLSTMCell(nn.Module):
    """One step of one layer (Shi et al. 2015, eq. 3; o is elementwise, * a convolution).

        i  = s(Wxi * x + Whi * h + bi + Wci o c)        f = s(Wxf * x + Whf * h + bf + Wcf o c)
        c' = f o c + i o tanh(Wxc * x + Whc * h + bc)
        o  = s(Wxo * x + Who * h + bo + Wco o c')       h' = o o tanh(c')

    Parameters
    ----------
    channels, hidden : int
        Channels of x, and of h and c.
    kernel : int, odd
    peephole : channel, pixel, none
        One weight per channel (any size), one per channel and cell (windows of `size` only), or no Wc at all. They begin at 0.
    size : tuple (height, width), cells
        For ``pixel``.
    """

    def __init__(
        self, channels: int, hidden: int, kernel: int = 3, peephole: str = "channel", size: tuple[int, int] = (16, 16)
    ) -> None:
        super().__init__()
        self.channels, self.hidden = channels, hidden
        # rows of the weight: i, f, c, o
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel, padding=kernel // 2)
        self.size = tuple(size) if peephole == "pixel" else None
        places = (3, hidden, *(self.size or (1, 1)))
        self.peepholes = None if peephole == "none" else nn.Parameter(torch.zeros(places))  # i, f, o

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """Next (h, c), each (sample, hidden, y, x), from x (sample, channel, y, x); without a state, h and c are 0.

        Raises
        ------
        ValueError
            If peepholes are per pixel and x has another size.
        """
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            raise ValueError(
                f"Windows of {' x '.join(map(str, x.shape[-2:]))} cells, but the peepholes per pixel are for "
                f"{' x '.join(map(str, self.size))}. Give peephole=channel, which takes any size, or windows of that size."
            )
        if state is None:
            # nothing to convolve: h = 0
            gates = functional.conv2d(
                x, self.gates.weight[:, : self.channels], self.gates.bias, padding=self.gates.padding
            )
            i, f, g, o = gates.chunk(4, dim=1)
            c = i.sigmoid() * g.tanh()
        else:
            h, c = state
            i, f, g, o = self.gates(torch.cat([x, h.to(x.dtype)], dim=1)).chunk(4, dim=1)
            if self.peepholes is not None:
                i, f = torch.addcmul(i, self.peepholes[0], c), torch.addcmul(f, self.peepholes[1], c)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        if self.peepholes is not None:
            o = torch.addcmul(o, self.peepholes[2], c)
        return o.sigmoid() * c.tanh(), c


class ConvLSTM(nn.Module):
    """Layers of ConvLSTM, each reading the hidden states of the one before.

    Parameters
    ----------
    channels : int
        Of the input.
    hidden : sequence of int
        Channels of each layer's states, the lowest first.
    kernel, peephole, size
        As for :class:`ConvLSTMCell`.
    """

    def __init__(
        self,
        channels: int,
        hidden: Sequence[int],
        kernel: int = 3,
        peephole: str = "channel",
        size: tuple[int, int] = (16, 16),
    ) -> None:
        super().__init__()
        before = [channels, *hidden[:-1]]
        self.cells = nn.ModuleList(
            ConvLSTMCell(m, n, kernel, peephole, size) for m, n in zip(before, hidden, strict=True)
        )

    def forward(self, inputs: Tensor, states: Sequence[State | None] | None = None) -> tuple[Tensor, list[State]]:
        """The last layer's hidden states of all steps, and the final (h, c) of every layer.

        Parameters
        ----------
        inputs : Tensor (sample, step, channel, y, x)
        states : list of (h, c) or None, one per layer
            Where to begin; None is zeros.

        Returns
        -------
        Tensor (sample, step, hidden, y, x), list of (h, c), each (sample, hidden, y, x)
        """
        outputs = []
        for after in self._walk(inputs, states):
            outputs.append(after[-1][0])
        return torch.stack(outputs, dim=1), after

    def read(self, inputs: Tensor) -> list[State]:
        """The final (h, c) of every layer alone, of which only one step is in memory where nothing is learnt."""
        return deque(self._walk(inputs), maxlen=1).pop()

    def _walk(self, inputs: Tensor, states: Sequence[State | None] | None = None) -> Iterator[list[State]]:
        before = states or [None] * len(self.cells)
        for step in range(inputs.shape[1]):
            before = after = self.step(inputs[:, step], before)
            yield after

    def step(self, x: Tensor, states: Sequence[State | None]) -> list[State]:
        """Every layer's next (h, c) after x (sample, channel, y, x)."""
        # In small maps convolutions are faster with channels last; in large ones the gates, read as strips of a few channels,
        # would cost more than that gains.
        if x.shape[-2] * x.shape[-1] <= SMALL:
            x = x.contiguous(memory_format=torch.channels_last)
        after = []
        for cell, state in zip(self.cells, states, strict=True):
            after.append(cell(x, state))
            x = after[-1][0]
        return after


class Shortcut(nn.Module):
    """What the last month, and the mean of all months, of a cell say by themselves: a logistic regression on inputs.

    Its weights begin at 0, so that at first it says nothing.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2 * channels, outputs, 1, bias=False)
        nn.init.zeros_(self.weigh.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weigh(torch.cat([inputs[:, -1], inputs.mean(dim=1)], dim=1))


class EncoderDecoder(nn.Module):
    """Encoder and decoder of ConvLSTM layers by the structure matrix.

    The encoder reads the months. The decoder is fed the encoder's last output, once per lead, its states carried on; a
    layer linked to an encoder layer begins with that one's final (h, c), the others with zeros.

    Parameters
    ----------
    channels, outputs, horizon : int
        Channels in; outputs of each lead; leads.
    structure : 2 x N list of int
        See :func:`check_structure`.
    kernel, peephole, size
        As for :class:`ConvLSTMCell`.
    head : conv, none
        A 1x1 convolution on the last hidden state; or none: its first channels are the logits, as in the original, so that
        probabilities stay within 0.27-0.73.
    dropout : float, 0-1
        Share of channels left out between encoder and decoder and before the head.
    skip : bool
        Add a :class:`Shortcut` from the inputs to each lead.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        horizon: int,
        structure: list[list[int]],
        kernel: int = 3,
        peephole: str = "channel",
        size: int | tuple[int, int] = 16,
        head: str = "conv",
        dropout: float = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        encoder, decoder, links = check_structure(structure)
        sides = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.outputs, self.horizon, self.links = outputs, horizon, links
        self.encoder = ConvLSTM(channels, encoder, kernel, peephole, sides)
        self.decoder = ConvLSTM(encoder[-1], decoder, kernel, peephole, sides)
        self.head = nn.Conv2d(decoder[-1], outputs, 1) if head == "conv" else None
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.shortcut = Shortcut(channels, horizon * outputs) if skip else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, lead, output, y, x) of inputs (sample, step, channel, y, x)."""
        read = self.encoder.read(inputs)
        x, leads = self.dropout(read[-1][0]), []
        states: Sequence[State | None] = [None if k is None else read[k] for k in self.links]
        for _ in range(self.horizon):
            states = after = self.decoder.step(x, states)
            h = self.dropout(after[-1][0])
            leads.append(h[:, : self.outputs] if self.head is None else self.head(h))
        logits = torch.stack(leads, dim=1)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.shortcut is not None:
            logits = logits + self.shortcut(inputs).unflatten(1, logits.shape[1:3])
        return logits

    def begin_at(self, logits: Tensor) -> None:
        """Let the first outputs begin at these logits (output,): rare events need not be learnt to be rare."""
        if self.head is not None:
            with torch.no_grad():
                self.head.bias[: len(logits)] = logits

    def begin_at_zero(self) -> None:
        """Let all outputs begin at exactly 0, as what is added to a floor must; there must be a head."""
        if self.head is not None:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def features(self, inputs: Tensor) -> Tensor:
        """The encoder's last output (sample, hidden, y, x)."""
        return self.encoder.read(inputs)[-1][0]


def check_structure(structure: Any) -> tuple[list[int], list[int], list[int | None]]:
    """Read the structure matrix of an encoder-decoder.

    Row 0: hidden channels of the encoder's layers, then zeros. Row 1: zeros, then those of the decoder. A column with both
    links them: the decoder layer begins with the encoder layer's final states.

    >>> check_structure([[6, 12, 0], [0, 12, 6]])
    ([6, 12], [12, 6], [1, None])

    Parameters
    ----------
    structure : 2 x N list of int

    Returns
    -------
    Hidden channels of the encoder, of the decoder, and for each decoder layer the encoder layer it is linked to, or None

    Raises
    ------
    ValueError
        Lists every fault, with the matrix and the column.
    """
    rows = _rows(structure)
    faults = _value_faults(rows) or _layout_faults(rows)
    if faults:
        shown = "\n".join(f"    {list(row)}" for row in rows)
        told = "\n".join(f"- {fault}" for fault in faults)
        raise ValueError(
            f"The structure matrix\n{shown}\nis not right:\n{told}\n"
            "Write encoder sizes then zeros, and zeros then decoder sizes, e.g. 12-24-0-0-0/0-24-12-6-5."
        )
    encoder, decoder = ([n for n in row if n] for row in rows)
    first = len(rows[1]) - len(decoder)
    return encoder, decoder, [k if k < len(encoder) else None for k in range(first, len(rows[1]))]


def _rows(structure: Any) -> list[list[Any]]:
    if hasattr(structure, "tolist"):
        structure = structure.tolist()
    nested = isinstance(structure, list | tuple) and all(isinstance(row, list | tuple) for row in structure)
    if not nested or len(structure) != 2:
        rows = len(structure) if nested else "none"
        raise ValueError(
            f"structure = {structure!r} must have two rows, encoder and decoder; it has {rows}. "
            "Write 12-24-0-0-0/0-24-12-6-5 or [[12,24,0,0,0],[0,24,12,6,5]]."
        )
    return [list(row) for row in structure]


def _value_faults(rows: list[list[Any]]) -> list[str]:
    if len(rows[0]) != len(rows[1]) or not rows[0]:
        return [
            f"rows of {len(rows[0])} and {len(rows[1])} columns; both need one number per column: fill up with zeros"
        ]
    return [
        f"column {k + 1}, {name}: {value!r} must be a whole number, 0 or more"
        for name, row in zip(("encoder", "decoder"), rows, strict=True)
        for k, value in enumerate(row)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0
    ]


def _layout_faults(rows: list[list[int]]) -> list[str]:
    faults = []
    for name, row, ordered, rule in (
        ("encoder", rows[0], rows[0], "begins in column 1 and has no zero between its layers"),
        ("decoder", rows[1], rows[1][::-1], "ends in the last column and has no zero between its layers"),
    ):
        if not any(row):
            faults.append(f"the {name} (row {1 if name == 'encoder' else 2}) has no layer: all columns are 0")
            continue
        layers = len([n for n in row if n])
        if not all(ordered[:layers]):
            gap = ordered.index(0)
            column = gap + 1 if name == "encoder" else len(row) - gap
            faults.append(f"column {column}: 0 in the {name}, which {rule}")
    both = [k for k, pair in enumerate(zip(*rows, strict=True)) if all(pair)]
    if any(rows[0]) and any(rows[1]) and not both:
        last = max(k for k, n in enumerate(rows[0]) if n) + 1
        faults.append(
            f"no column links encoder and decoder; let them overlap, e.g. in column {last}, where the encoder ends"
        )
    faults += [
        f"column {k + 1}: {rows[0][k]} in the encoder, {rows[1][k]} in the decoder; linked layers need equal sizes"
        for k in both
        if rows[0][k] != rows[1][k]
    ]
    return faults
