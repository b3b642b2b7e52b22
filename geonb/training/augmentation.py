"""Random changes of training windows by specification: ``"flips,rotations,affine:rotate_deg=15,noise:std=0.05,p=0.3"``.

Image and mask move together. All but ``colour-jitter`` take any bands in any unit, as they act on standardised bands: a
``std`` or ``limit`` of 0.1 is a tenth of a band's standard deviation. Each change happens with probability ``p``.

| name | what it does |
| --- | --- |
| flips, rotations | mirror and quarter turns, exact: one drawn of all those asked for, the window as it is among them |
| affine | turn by up to rotate_deg, zoom by 1 +- scale, shift by up to translate of a side, shear by up to shear_deg |
| noise | add normal noise of standard deviation std |
| blur | smooth by a Gaussian, its standard deviation drawn up to sigma pixels |
| brightness | add up to +- limit to all bands |
| contrast | scale the distance to the window's mean, band by band, by 1 +- limit |
| gamma | raise each band, between its least (0) and largest (1) value in the window, to the power 1 +- limit |
| colour-jitter | brightness, contrast, saturation by 1 +- each, hue by +- hue of the circle; three bands, red green blue |
| fancy-pca | move along the principal components of the training pixels (Krizhevsky et al. 2012, section 4.1) |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geonb.base.conventions import IGNORE
from geonb.base.specs import Option, check_list, options_of, parse_specs
from geonb.store.turns import EXACT

# A window in the making: inputs (channel, y, x) float32, standardised; targets (y, x), class indices (IGNORE: none) or float
# numbers (NaN: none); valid (y, x) bool, None = all.
Window = dict[str, Any]


def affine(
    window: Window,
    random: np.random.Generator,
    facts: dict[str, Tensor],
    rotate_deg: float = 15,
    scale: float = 0.1,
    translate: float = 0.1,
    shear_deg: float = 5,
) -> None:
    """Bilinear for the image, over its valid pixels alone, nearest for the mask; what comes from outside is ignored."""
    from torchvision.transforms.v2 import functional

    inputs, targets, valid = window["inputs"], window["targets"], window["valid"]
    height, width = targets.shape
    moved = {
        "angle": random.uniform(-rotate_deg, rotate_deg),
        "translate": [random.uniform(-translate, translate) * side for side in (width, height)],
        "scale": 1 + random.uniform(-scale, scale),
        "shear": [random.uniform(-shear_deg, shear_deg) for _ in range(2)],
    }
    inside = torch.ones(1, height, width) if valid is None else valid[None].float()
    smooth = torch.cat([inputs if valid is None else inputs * inside, inside])
    smooth = functional.affine(smooth, **moved, interpolation=functional.InterpolationMode.BILINEAR)
    numbers = targets.is_floating_point()
    # zeros come in from outside: so class indices are counted down from IGNORE
    sharp = torch.cat([targets[None] if numbers else IGNORE - targets[None].float(), inside])
    sharp = functional.affine(sharp, **moved, interpolation=functional.InterpolationMode.NEAREST)
    window["inputs"] = smooth[:-1] / smooth[-1:].clamp(min=1e-3)
    window["targets"] = torch.where(sharp[1] > 0, sharp[0], torch.nan) if numbers else IGNORE - sharp[0].long()
    window["valid"] = (sharp[1] > 0.5) & (smooth[-1] > 1e-3)


def noise(window: Window, random: np.random.Generator, facts: dict[str, Tensor], std: float = 0.05) -> None:
    """Independent in every pixel and band. Torch draws it three times as fast as numpy, from a seed of numpy's."""
    generator = torch.Generator().manual_seed(int(random.integers(2**63)))
    window["inputs"].add_(torch.randn(window["inputs"].shape, generator=generator), alpha=std)


def blur(window: Window, random: np.random.Generator, facts: dict[str, Tensor], sigma: float = 1) -> None:
    """Over the valid pixels alone: divided by the smoothed mask (normalised convolution, Knutsson & Westin 1993)."""
    drawn = max(random.uniform(0, sigma), 0.2)  # below, no neighbour weighs anything
    if window["valid"] is None:
        window["inputs"] = _smooth(window["inputs"], drawn)
        return
    inside = window["valid"][None].float()
    blurred = _smooth(torch.cat([window["inputs"] * inside, inside]), drawn)
    window["inputs"] = blurred[:-1] / blurred[-1:].clamp(min=1e-6)


def _smooth(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian over y and x of (channel, y, x), to 3 sigma, mirrored at the edge.

    Shifted planes are added up: 3-5 times as fast as torchvision's gaussian_blur, whose convolution prepares itself anew
    for each size of kernel.
    """
    height, width = planes.shape[1:]
    reach = min(int(np.ceil(3 * sigma)), min(height, width) - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).tolist()
    padded = torch.nn.functional.pad(planes, [reach] * 4, mode="reflect")
    across = padded[:, :, :width] * weights[0]
    for k, weight in enumerate(weights[1:], 1):
        across.add_(padded[:, :, k : k + width], alpha=weight)
    smooth = across[:, :height] * weights[0]
    for k, weight in enumerate(weights[1:], 1):
        smooth.add_(across[:, k : k + height], alpha=weight)
    return smooth


def brightness(window: Window, random: np.random.Generator, facts: dict[str, Tensor], limit: float = 0.2) -> None:
    """The same shift in all bands, in their standard deviations."""
    window["inputs"].add_(random.uniform(-limit, limit))


def contrast(window: Window, random: np.random.Generator, facts: dict[str, Tensor], limit: float = 0.2) -> None:
    """Around the mean of the window's valid pixels, band by band."""
    middle, factor = _mean(window), 1 + random.uniform(-limit, limit)
    window["inputs"].sub_(middle).mul_(factor).add_(middle)


def gamma(window: Window, random: np.random.Generator, facts: dict[str, Tensor], limit: float = 0.2) -> None:
    """A power needs values from 0 to 1: those of the window's valid pixels, band by band; the ends stay where they are."""
    from torchvision.transforms.v2 import functional

    low, high = _ends(window)
    span = (high - low).clamp(min=1e-6)
    power = 1 + random.uniform(-limit, limit)
    scaled = window["inputs"].sub(low).div_(span).clamp_(0, 1)
    window["inputs"] = functional.adjust_gamma(scaled, power).mul_(span).add_(low)


def colour_jitter(
    window: Window,
    random: np.random.Generator,
    facts: dict[str, Tensor],
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.05,
) -> None:
    """In the image's own units, scaled by the window's least and largest value of all three bands, so that grey stays grey."""
    from torchvision.transforms.v2 import functional

    factors = [1 + random.uniform(-limit, limit) for limit in (brightness, contrast, saturation)]
    turn = random.uniform(-hue, hue)
    own = window["inputs"] * facts["std"] + facts["mean"]
    if window["valid"] is not None:  # what is not there must not weigh in the image's mean
        own = torch.where(window["valid"], own, _mean(window) * facts["std"] + facts["mean"])
    low, high = own.min(), own.max()
    span = (high - low).clamp(min=1e-6)
    colours = (own - low) / span
    colours = functional.adjust_brightness(colours, factors[0])
    colours = functional.adjust_contrast(colours, factors[1])
    colours = functional.adjust_saturation(colours, factors[2])
    colours = functional.adjust_hue(colours, turn)
    window["inputs"] = (colours * span + low - facts["mean"]) / facts["std"]


def fancy_pca(window: Window, random: np.random.Generator, facts: dict[str, Tensor], alpha_std: float = 0.3) -> None:
    """Add sum_k a_k l_k v_k, a_k ~ N(0, alpha_std), l and v of the training pixels' covariance (standardised bands)."""
    drawn = torch.from_numpy(random.normal(0, alpha_std, len(facts["values"])).astype(np.float32))
    window["inputs"].add_((facts["vectors"] @ (drawn * facts["values"]))[:, None, None])


def _mean(window: Window) -> Tensor:
    """Mean (channel, 1, 1) of the valid pixels."""
    inputs, valid = window["inputs"], window["valid"]
    if valid is None:
        return inputs.mean(dim=(1, 2), keepdim=True)
    return (inputs * valid).sum(dim=(1, 2), keepdim=True) / valid.sum().clamp(min=1)


def _ends(window: Window) -> tuple[Tensor, Tensor]:
    """Least and largest value (channel, 1, 1) of the valid pixels."""
    inputs, valid = window["inputs"], window["valid"]
    if valid is None or not valid.any():
        return inputs.amin(dim=(1, 2), keepdim=True), inputs.amax(dim=(1, 2), keepdim=True)
    outside = (~valid).float().mul_(1e30)  # a sum is far quicker than a choice by mask
    return (inputs + outside).amin(dim=(1, 2), keepdim=True), (inputs - outside).amax(dim=(1, 2), keepdim=True)


CHANGES: dict[str, Callable[..., None]] = {
    "affine": affine, "noise": noise, "blur": blur, "brightness": brightness, "contrast": contrast, "gamma": gamma,
    "colour-jitter": colour_jitter, "fancy-pca": fancy_pca,
}  # fmt: skip
# largest allowed value of each option; the least is 0
_LARGEST = {
    "rotate_deg": 180, "scale": 0.9, "translate": 1, "shear_deg": 60, "std": 10, "sigma": 50, "limit": 0.99,
    "alpha_std": 10, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5,
}  # fmt: skip
_OPTIONS = {key: Option(None, float, 0, most) for key, most in _LARGEST.items()}
_SHARE = Option(0.5, float, 0, 1, help="probability")
TURNS = {name: {"p": replace(_SHARE, default=1.0)} for name in EXACT} | {"none": {}}
OPTIONS = TURNS | {name: options_of(function, _OPTIONS) | {"p": _SHARE} for name, function in CHANGES.items()}


def check_augment(spec: str, channels: int = 3) -> list[tuple[str, dict[str, float]]]:
    """Resolve a specification without using it.

    Parameters
    ----------
    spec : str
        Names with options, e.g. ``flips,rotations,noise:std=0.05,p=0.3``; ``none`` for nothing. Without ``p``, flips and
        rotations are always drawn (the window as it is being one of the draws), the others in half of the windows.
    channels : int
        Bands of the store; with the default, which allows everything, only the text is checked.

    Returns
    -------
    list of (name, options); all options are there, ``p`` among them

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    names = [name for name, _ in parse_specs(spec)]

    def together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
        if name == "none" and len(names) > 1:
            yield "none stands alone"
        if names.count(name) > 1:
            yield f"{name} is given twice"
        if name == "colour-jitter" and channels != 3:
            yield (
                f"colour-jitter needs 3 bands, red, green and blue; there are {channels}. Use brightness, contrast or fancy-pca"
            )

    steps = check_list("augment", spec, OPTIONS, together)
    return [step for step in steps if step[0] != "none"]


def change(
    window: Window, steps: list[tuple[str, dict[str, float]]], facts: dict[str, Tensor], random: np.random.Generator
) -> Window:
    """Apply the steps, but for exact turns, in their order, each with its probability; pixels without data end as 0."""
    for name, options in steps:
        if name not in EXACT and random.random() < options["p"]:
            CHANGES[name](window, random, facts, **{key: value for key, value in options.items() if key != "p"})
    if window["valid"] is not None:
        window["inputs"] = window["inputs"] * window["valid"]
    return window


def colour_facts(statistics: dict[str, Any], covariance: Any) -> dict[str, Tensor]:
    """What changes of colour need to know of the training pixels.

    Parameters
    ----------
    statistics : dict with mean and std (channel,), of native units
    covariance : array (channel, channel) of native units, or None where no step asks for it

    Returns
    -------
    dict of float32 tensors: mean, std (channel, 1, 1); values (component,) and vectors (channel, component) of the
    covariance of standardised bands
    """
    mean, std = (np.asarray(statistics[key], np.float64) for key in ("mean", "std"))
    facts = {"mean": mean[:, None, None], "std": std[:, None, None]}
    if covariance is not None:
        values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64) / np.outer(std, std))
        facts |= {"values": values.clip(min=0), "vectors": vectors}
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in facts.items()}
