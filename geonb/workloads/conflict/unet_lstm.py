"""``unet_lstm``: a recurrent U-Net with Monte-Carlo dropout; all leads and outcomes, event and deaths, from one pass.

Convolutions halve the map ``depth`` times (Ronneberger et al. 2015), a ConvLSTM reads the months at each scale or at the
deepest, and what it remembers goes back up. Dropout that stays on when forecasting draws from the network's doubt (Gal &
Ghahramani 2016, arXiv 1506.02142); for conflict so in HydraNet (arXiv 2506.14817). Any map size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from geonb.workloads.conflict.convlstm import ConvLSTM, Shortcut

RECURRENT = ("all", "bottleneck")
NORMS = ("none", "batch")


class UNetLSTM(nn.Module):
    """Recurrent U-Net.

    Parameters
    ----------
    channels, outputs, horizon : int
        Channels in; outputs of each lead; leads.
    filters : int
        At full resolution, doubled at each scale.
    depth : int
        How often the map is halved (rounded up).
    kernel : int, odd
    dropout : float, 0-1
        Share of channels left out after each scale's memory and each stage upwards, whole maps at a time: neighbouring
        cells doubt together.
    recurrent : all, bottleneck
        Where a ConvLSTM reads the months; elsewhere only the last month's features go up.
    norm : none, batch
        Batch norm after convolutions.
    skip : bool
        Add a :class:`~geonb.workloads.conflict.convlstm.Shortcut` from the inputs to each lead.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        horizon: int,
        filters: int = 8,
        depth: int = 2,
        kernel: int = 3,
        dropout: float = 0.1,
        recurrent: str = "all",
        norm: str = "none",
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.horizon, self.outputs = horizon, outputs
        widths = [filters * 2**k for k in range(depth + 1)]
        self.down = nn.ModuleList(
            _block(m, n, kernel, norm) for m, n in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.memories = nn.ModuleList(
            ConvLSTM(n, [n], kernel) if recurrent == "all" or k == depth else None for k, n in enumerate(widths)
        )
        for memory in self.memories:
            if memory is not None:
                _remember_at_first(memory)
        deeper = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(_block(m + n, n, kernel, norm) for m, n in deeper)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.head = nn.Conv2d(filters, horizon * outputs, 1)
        self.shortcut = Shortcut(channels, horizon * outputs) if skip else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, lead, output, y, x) of inputs (sample, step, channel, y, x)."""
        scales = self._remember(inputs)
        x = self.dropout(scales[-1])
        for skip, stage in zip(scales[-2::-1], self.up, strict=True):
            x = functional.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = self.dropout(stage(torch.cat([x, self.dropout(skip).to(x.dtype)], dim=1)))
        logits = self.head(x)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.shortcut is not None:
            logits = logits + self.shortcut(inputs)
        return logits.unflatten(1, (self.horizon, self.outputs))

    def begin_at(self, logits: Tensor) -> None:
        """Let the first outputs begin at these logits (output,), at every lead: rare events need not be learnt to be rare."""
        with torch.no_grad():
            self.head.bias.view(self.horizon, self.outputs)[:, : len(logits)] = logits

    def begin_at_zero(self) -> None:
        """Let all outputs begin at exactly 0, as what is added to a floor must."""
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def features(self, inputs: Tensor) -> Tensor:
        """What the deepest scale remembers, (sample, hidden, y, x) at that resolution."""
        return self._remember(inputs)[-1]

    def _remember(self, inputs: Tensor) -> list[Tensor]:
        """Each scale's last hidden state, or last features where nothing is recurrent; the finest first."""
        samples, steps = inputs.shape[:2]
        # the convolutions know no time: all months of all samples at once
        x, found = inputs.flatten(0, 1), []
        for k, (block, memory) in enumerate(zip(self.down, self.memories, strict=True)):
            x = block(functional.max_pool2d(x, 2, ceil_mode=True) if k else x)
            months = x.unflatten(0, (samples, steps))
            found.append(months[:, -1] if memory is None else memory.read(months)[-1][0])
        return found


def _remember_at_first(layers: ConvLSTM) -> None:
    """Forget gates begin nearly open, so that the first of many months is felt (Jozefowicz et al. 2015)."""
    for cell in layers.cells:
        nn.init.ones_(cell.gates.bias[cell.hidden : 2 * cell.hidden])


def _block(before: int, after: int, kernel: int, norm: str) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU()]
    if norm == "batch":
        layers.insert(1, nn.BatchNorm2d(after))
    return nn.Sequential(*layers)
