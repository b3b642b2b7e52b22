"""``segmentalist``: a residual U-Net whose attention, pyramid pooling and deep supervision are options of one string.

Stages of residual blocks (He et al. 2016), each at half the resolution of the one before, and back with skips
(Ronneberger et al. 2015; residual: Yi et al. 2019). Any number of bands and classes, any input size: what is halved is
rounded up, and what is enlarged takes the size of its skip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geonb.base.specs import Option, options_of


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be an odd number, such as 7")
    return value


def _list(value: Any, most: int = 1000) -> list[int]:
    """Numbers, 1 or more each; one may stand alone."""
    value = [value] if _whole(value) else value
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 16 or not all(map(_whole, value)):
        raise ValueError("must be a whole number, 1 or more, for each stage (16 at most), as 2-2-2-2")
    if max(value) > most:
        raise ValueError(f"must be whole numbers up to {most:,}")
    return list(value)


_OPTIONS = {
    "layer_blocks": Option(read=_list, help="residual blocks of each stage"),
    "initial_filters": Option(None, int, 1, 65536),
    "residual_filters": Option(
        read=partial(_list, most=65536), help="of each stage; else initial_filters, doubled at each"
    ),
    "initial_kernel": Option(None, int, 1, 101, read=_odd, help="odd"),
    "cardinality": Option(None, int, 1, 65536),
    "attention": Option(choices=("none", "spatial", "channel_spatial")),
    "cbam": Option(choices=(False, True, "encoder", "decoder")),
    "pyramid_pooling": Option(choices=(False, True, "context", "input")),
    "deep_supervision": Option(None, bool),
    "downsample": Option(choices=("pool", "stride")),
}


def size_faults(given: dict[str, Any]) -> list[str]:
    """Sizes, each right by itself, that do not go together; puts `residual_filters` where none were given."""
    blocks = given["layer_blocks"]
    filters = given["residual_filters"] or [given["initial_filters"] * 2**i for i in range(len(blocks))]
    given["residual_filters"] = filters
    if len(filters) != len(blocks):
        return [f"residual_filters = {filters!r}; give {len(blocks)} whole numbers, one per stage of layer_blocks"]
    groups = given["cardinality"]
    uneven = sorted({n for n in [given["initial_filters"], *filters] if groups > 1 and (n % 2 or n // 2 % groups)})
    if uneven:
        return [
            f"cardinality = {groups} must divide half of initial_filters and of each of residual_filters; "
            f"it does not for {', '.join(map(str, uneven))}"
        ]
    return []


class Segmentalist(nn.Module):
    """Residual U-Net.

    Parameters
    ----------
    in_channels, classes : int
        Bands in, classes out.
    layer_blocks : list of int
        Residual blocks of each stage, in the encoder and in the decoder.
    initial_filters : int
        Filters at full resolution. 64 is the size of the original; 16 trains on a CPU.
    residual_filters : list of int, optional
        Filters of each stage; default: initial_filters, doubled at each next stage.
    initial_kernel : int
        Side of the first convolution.
    cardinality : int
        Above 1, blocks are bottlenecks of half the filters in so many groups (Xie et al. 2017).
    attention : none, spatial, channel_spatial
        Gates on the skips (Oktay et al. 2018), after weighing their channels (Woo et al. 2018).
    cbam : bool, encoder, decoder
        Channel and spatial attention in each residual block of one or both (Woo et al. 2018).
    pyramid_pooling : bool, context, input
        ``context`` (and true): deepest features pooled over the window at four scales (Zhao et al. 2017);
        ``input``: the image, made coarser, enters each stage after the first (Abraham & Khan 2019).
    deep_supervision : bool
        In training mode, logits of every decoder stage, all at full resolution, the final ones first (Lee et al. 2015).
    downsample : pool, stride
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        layer_blocks: Sequence[int] = (2, 2, 2, 2),
        initial_filters: int = 16,
        residual_filters: list[int] | None = None,
        initial_kernel: int = 7,
        cardinality: int = 1,
        attention: str = "none",
        cbam: bool | str = False,
        pyramid_pooling: bool | str = False,
        deep_supervision: bool = False,
        downsample: str = "pool",
    ) -> None:
        super().__init__()
        filters = [initial_filters, *(residual_filters or [initial_filters * 2**i for i in range(len(layer_blocks))])]
        self.encoder = Encoder(
            in_channels, filters, layer_blocks, initial_kernel, cardinality,
            cbam in (True, "encoder"), pyramid_pooling == "input", downsample == "stride",
        )  # fmt: skip
        context = pyramid_pooling is True or pyramid_pooling == "context"
        self.context = PyramidPooling(filters[-1]) if context else nn.Identity()
        up = list(zip(filters[-1:0:-1], filters[-2::-1], reversed(layer_blocks), strict=True))  # (deeper, skip, blocks)
        gate = {"none": None, "spatial": AttentionGate, "channel_spatial": ChannelSpatialGate}[attention]
        self.gates = nn.ModuleList(gate(skip, deeper) for deeper, skip, _ in up) if gate else None
        self.decoder = nn.ModuleList(
            _stage(deeper + skip, skip, blocks, cardinality, cbam in (True, "decoder")) for deeper, skip, blocks in up
        )
        self.head = nn.Conv2d(filters[0], classes, 1)
        self.side_heads = (
            nn.ModuleList(nn.Conv2d(skip, classes, 1) for _, skip, _ in up[:-1]) if deep_supervision else None
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor | list[Tensor]:
        """Logits (sample, class, y, x); in training with deep supervision a list of them, the final ones first."""
        features = self.encoder(inputs)
        x, outputs = self.context(features[-1]), []
        for k, stage in enumerate(self.decoder):
            skip = features[-2 - k]
            if self.gates is not None:
                skip = self.gates[k](skip, x)
            x = stage(torch.cat([_resize(x, skip), skip], dim=1))
            if self.training and self.side_heads is not None and k < len(self.side_heads):
                outputs.append(_resize(self.side_heads[k](x), inputs))
        outputs.append(self.head(x))
        return outputs[::-1] if self.training and self.side_heads is not None else outputs[-1]


class Encoder(nn.Module):
    """Features of all resolutions: the first convolution's (full), then each stage's, halved (rounded up) every time."""

    def __init__(
        self,
        in_channels: int,
        filters: list[int],
        layer_blocks: Sequence[int],
        initial_kernel: int,
        cardinality: int,
        cbam: bool,
        input_pyramid: bool,
        stride: bool,
    ) -> None:
        super().__init__()
        self.stem = _convolution(in_channels, filters[0], initial_kernel)
        self.pool = nn.Identity() if stride else nn.MaxPool2d(2, ceil_mode=True)
        # The coarser image at what each stage after the first gets, i.e. half the input's resolution and so on.
        self.coarse = nn.ModuleList(_convolution(in_channels, n, 3) for n in filters[1:-1]) if input_pyramid else None
        self.stages = nn.ModuleList(
            _stage(
                before + (before if input_pyramid and k else 0), after, blocks, cardinality, cbam, 2 if stride else 1
            )
            for k, (before, after, blocks) in enumerate(zip(filters, filters[1:], layer_blocks, strict=False))
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Features, full resolution first, each (sample, filters, y, x)."""
        features, image = [self.stem(inputs)], inputs
        for k, stage in enumerate(self.stages):
            x = features[-1]
            if self.coarse is not None and k:
                image = functional.avg_pool2d(image, 2, ceil_mode=True)
                x = torch.cat([x, self.coarse[k - 1](image)], dim=1)
            features.append(stage(self.pool(x)))
        return features


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016); above cardinality 1 a grouped bottleneck (Xie et al. 2017)."""

    def __init__(self, before: int, after: int, cardinality: int, cbam: bool, stride: int) -> None:
        super().__init__()
        if cardinality == 1:
            layers = [_convolution(before, after, 3, stride), _convolution(after, after, 3, relu=False)]
        else:
            half = after // 2
            layers = [
                _convolution(before, half, 1),
                _convolution(half, half, 3, stride, groups=cardinality),
                _convolution(half, after, 1, relu=False),
            ]
        self.body = nn.Sequential(*layers, *([CBAM(after)] if cbam else []))
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(before, after, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ChannelAttention(nn.Module):
    """x times sigmoid(MLP(mean of x) + MLP(maximum of x)), a weight per channel (Woo et al. 2018, eq. 2)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.weigh = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean, highest = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.weigh(mean) + self.weigh(highest))


class CBAM(nn.Module):
    """Channel attention, then x times sigmoid(7x7 convolution of its channels' mean and maximum) (Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = ChannelAttention(channels)
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channels(x)
        described = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.places(described))


class AttentionGate(nn.Module):
    """Skip times sigmoid(psi relu(W_x skip + W_g deeper)), a weight per pixel (Oktay et al. 2018, eq. 1 and 2).

    The deeper features are enlarged to the skip (the paper shrinks the skip instead), so that the gate has full resolution.
    """

    def __init__(self, skip: int, deeper: int) -> None:
        super().__init__()
        hidden = max(skip // 2, 1)
        self.skip = nn.Conv2d(skip, hidden, 1, bias=False)
        self.deeper = nn.Conv2d(deeper, hidden, 1)
        self.psi = nn.Conv2d(hidden, 1, 1)

    def forward(self, skip: Tensor, deeper: Tensor) -> Tensor:
        return skip * self.weights(skip, deeper)

    def weights(self, skip: Tensor, deeper: Tensor) -> Tensor:
        """Attention (sample, 1, y, x), 0-1, at the skip's resolution."""
        # Projecting before enlarging gives the same and costs a quarter.
        joint = self.skip(skip) + _resize(self.deeper(deeper), skip)
        return torch.sigmoid(self.psi(functional.relu(joint)))


class ChannelSpatialGate(nn.Module):
    """Channel attention on the skip (Woo et al. 2018), then the spatial gate (Oktay et al. 2018)."""

    def __init__(self, skip: int, deeper: int) -> None:
        super().__init__()
        self.channels = ChannelAttention(skip)
        self.places = AttentionGate(skip, deeper)

    def forward(self, skip: Tensor, deeper: Tensor) -> Tensor:
        return self.places(self.channels(skip), deeper)


class PyramidPooling(nn.Module):
    """Means over 1, 2x2, 3x3 and 6x6 parts of the window, beside the features themselves (Zhao et al. 2017)."""

    def __init__(self, channels: int, parts: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        each = max(channels // len(parts), 1)
        # No batch norm here: the whole-window mean of a single sample has no variance.
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(channels, each, 1), nn.ReLU()) for n in parts
        )
        self.join = _convolution(channels + each * len(parts), channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([x, *(_resize(branch(x), x) for branch in self.branches)], dim=1))


def _stage(before: int, after: int, blocks: int, cardinality: int, cbam: bool, stride: int = 1) -> nn.Sequential:
    first = Residual(before, after, cardinality, cbam, stride)
    return nn.Sequential(first, *(Residual(after, after, cardinality, cbam, 1) for _ in range(blocks - 1)))


def _convolution(
    before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


OPTIONS = options_of(Segmentalist, _OPTIONS)
