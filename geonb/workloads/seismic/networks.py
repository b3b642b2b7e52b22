"""Networks with two heads, noise or event and earthquake or explosion: ``"resnet1d:width=32"``, ``"alexnet1d"``, ``"cnn_dense"``.

`alexnet1d` and `cnn_dense` are the original's. `resnet1d` is a residual network (He et al. 2016) along time, each block with a gate by
channel (squeeze and excitation, Hu et al. 2018); `spectrogram` looks with any backbone of timm at the logarithm of the power by
frequency and time. What comes before the heads is the window's vector, by which windows are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from geonb.base.specs import Option, check_options
from geonb.training.backbones import backbone_faults, create_backbone, feature_maps

HEADS = ("event", "explosion")
INITS: dict[str, Callable[[Tensor], Any]] = {
    "glorot": nn.init.xavier_uniform_,
    "he": nn.init.kaiming_normal_,
    "lecun": lambda weight: nn.init.normal_(weight, std=(1 / weight[0].numel()) ** 0.5),
    "orthogonal": nn.init.orthogonal_,
}


def _numbers(count: int | None = None) -> Callable[[Any], tuple[int, ...]]:
    """Read whole numbers joined by hyphens, so many of them if `count` is given."""

    def read(value: Any) -> tuple[int, ...]:
        numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not all(type(n) is int and n > 0 for n in numbers) or count not in (None, len(numbers)):
            raise ValueError(f"must be {count or 'some'} whole numbers above 0 joined by hyphens, as 11-5-3")
        return numbers

    return read


_DROPOUT = Option(0.5, float, 0, below=1)
_INIT = Option("he", choices=tuple(INITS), help="how weights are drawn at first")
OPTIONS: dict[str, dict[str, Option]] = {
    "resnet1d": {
        "width": Option(32, int, 4, 512, help="channels of the first stage"),
        "blocks": Option(
            (2, 2, 2, 2), read=_numbers(), help="of each stage; from the second on time is halved, channels doubled"
        ),
        "kernel": Option(7, int, 3, 63, help="samples, odd"),
        "dropout": Option(0.2, float, 0, below=1),
        "init": _INIT,
    },
    "spectrogram": {
        "backbone": Option("resnet10t", help="of timm"),
        "seconds": Option(3.2, float, above=0, help="length of a window of the Fourier transform"),
        "dropout": Option(0.2, float, 0, below=1),
    },
    "alexnet1d": {
        "kernels": Option((11, 5, 3, 3, 3), read=_numbers(5)),
        "filters": Option((96, 256, 384, 384, 256), read=_numbers(5)),
        "dense": Option(4096, int, 1, 2**14, help="width of its two dense layers"),
        "dropout": _DROPOUT,
        "init": _INIT,
    },
    "cnn_dense": {
        "kernels": Option((7, 7, 3), read=_numbers(3)),
        "filters": Option((32, 128, 128), read=_numbers(3)),
        "dense": Option((128, 128), read=_numbers()),
        "dropout": _DROPOUT,
        "init": _INIT,
    },
}


def _together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> list[str]:
    kernels = options.get("kernels", [options["kernel"]] if "kernel" in options else [])
    faults = [f"kernels must be odd, and {kernel} is even" for kernel in kernels if kernel % 2 == 0]
    return faults + list(backbone_faults(options["backbone"], {}, {}) if "backbone" in options else [])


def check_network(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification without building it: (name, options); a ValueError lists all that is wrong, and what is known."""
    return check_options("network", spec, OPTIONS, _together)


def build_network(spec: str, channels: int, samples: int, rate_hz: float) -> TwoHeads:
    """Build a network from its specification.

    Parameters
    ----------
    channels : int
    samples : int
        Of a window; networks take other lengths too, and were trained on this one.
    rate_hz : float

    Raises
    ------
    ValueError
        If the specification is wrong, or windows are too short for it.
    """
    name, options = check_network(spec)
    least = {"alexnet1d": 256, "cnn_dense": 64, "resnet1d": 2 ** (2 + len(options.get("blocks", ())))}.get(name, 1)
    if name == "spectrogram":
        least = 8 * round(options["seconds"] * rate_hz)
    if samples < least:
        raise ValueError(
            f"network = {spec!r} needs windows of {least} samples at least, and they have {samples}: give a longer window_s"
        )
    if name == "spectrogram":
        body: nn.Module = Spectrogram(channels, round(options["seconds"] * rate_hz), options["backbone"])
        dims = int(body.backbone.num_features)
    else:
        body, dims = {"alexnet1d": _alexnet, "cnn_dense": _cnn_dense, "resnet1d": _resnet}[name](channels, options)
    network = TwoHeads(body, dims, options["dropout"])
    if "init" in options:
        for module in body.modules():  # of the heads as PyTorch does: what they begin with should say next to nothing
            if isinstance(module, nn.Conv1d | nn.Linear):
                INITS[options["init"]](module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network


class TwoHeads(nn.Module):
    """A body that makes a vector of a window (sample, channel, time), and a line from it to each head's logit."""

    def __init__(self, body: nn.Module, dims: int, dropout: float) -> None:
        super().__init__()
        self.body, self.heads = body, nn.Sequential(nn.Dropout(dropout), nn.Linear(dims, len(HEADS)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, head): of an event, and of an explosion if there is an event."""
        return self.heads(self.body(inputs))


def _alexnet(channels: int, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """AlexNet along time; before its dense layers the mean of each of 6 parts, so that windows of any length fit (torchvision's way)."""
    layers: list[nn.Module] = []
    for i, (kernel, filters) in enumerate(zip(options["kernels"], options["filters"], strict=True)):
        layers += [
            nn.Conv1d(channels, filters, kernel, 4 if i == 0 else 1, kernel // 2),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
        ]
        layers += [nn.MaxPool1d(3, 2)] if i in (0, 1, 4) else []
        channels = filters
    dense, width = [channels * 6, options["dense"], options["dense"]], options["dropout"]
    layers += [nn.AdaptiveAvgPool1d(6), nn.Flatten(), *_dense(dense, width)]
    return nn.Sequential(*layers), dense[-1]


def _cnn_dense(channels: int, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for kernel, filters in zip(options["kernels"], options["filters"], strict=True):
        layers += [
            nn.Conv1d(channels, filters, kernel, 1, kernel // 2),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
            nn.MaxPool1d(4),
        ]
        channels = filters
    layers += [nn.AdaptiveMaxPool1d(8), nn.Flatten(), *_dense([channels * 8, *options["dense"]], options["dropout"])]
    return nn.Sequential(*layers), options["dense"][-1]


def _dense(widths: Sequence[int], dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return layers[:-1]  # the heads have their own dropout


def _resnet(channels: int, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
    width, kernel = options["width"], options["kernel"]
    layers: list[nn.Module] = [
        nn.Conv1d(channels, width, 15, 2, 7, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.MaxPool1d(2),
    ]
    before = width
    for stage, blocks in enumerate(options["blocks"]):
        for i in range(blocks):
            layers.append(Residual(before, width * 2**stage, kernel, 2 if i == 0 and stage else 1))
            before = width * 2**stage
    return nn.Sequential(*layers, MeanAndMax()), 2 * before


class Residual(nn.Module):
    """Two convolutions beside a shortcut, and a gate by channel."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv1d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(),
            nn.Conv1d(after, after, kernel, 1, kernel // 2, bias=False),
            nn.BatchNorm1d(after),
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(after, max(4, after // 8), 1),
            nn.ReLU(),
            nn.Conv1d(max(4, after // 8), after, 1),
            nn.Sigmoid(),
        )
        same = before == after and stride == 1
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv1d(before, after, 1, stride, bias=False), nn.BatchNorm1d(after))
        )

    def forward(self, inputs: Tensor) -> Tensor:
        change = self.change(inputs)
        return torch.relu(self.short(inputs) + change * self.gate(change))


class MeanAndMax(nn.Module):
    """Mean and largest value over time: what is there throughout, and what is there once."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs.mean(-1), inputs.amax(-1)], 1)


class Spectrogram(nn.Module):
    """The logarithm of each channel's power by frequency and time, less its mean over time, seen by a backbone of timm."""

    def __init__(self, channels: int, length: int, backbone: str) -> None:
        super().__init__()
        self.length = max(16, length)
        self.backbone = create_backbone(backbone, channels, 224, pretrained=False)
        self.register_buffer("taper", torch.hann_window(self.length), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        step, shape = self.length // 4, inputs.shape
        lines = torch.stft(
            inputs.float().flatten(0, 1), self.length, step, window=self.taper, center=True, return_complex=True
        )
        power = (lines.abs().square() + 1e-6).log().unflatten(0, shape[:2])
        return feature_maps(self.backbone, (power - power.mean((2, 3), keepdim=True)) / 3).mean(-1)
