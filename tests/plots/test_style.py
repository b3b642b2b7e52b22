"""Colours that everybody tells apart: Machado, Oliveira & Fernandes 2009 at full severity, distances in CIE Lab (CIE76)."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from geonb.plots import style

SEEN = {
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour, eye):
    """CIE Lab (D65) of a colour as an eye sees it."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(SEEN[eye] @ linear, 0, 1) / XYZ.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(colours, eye):
    return min(float(np.linalg.norm(lab(a, eye) - lab(b, eye))) for a, b in combinations(colours, 2))


def test_the_distance_is_that_of_known_colours():
    assert lab("white", "all") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("red", "all") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert nearest(["#7d7d7d", "#5b8a72"], "deutan") < 7, "two models were once as near as this"


@pytest.mark.parametrize("eye", SEEN)
def test_models_and_classes_are_told_apart(eye):
    assert nearest(style.MODEL_COLOURS, eye) > 25
    assert nearest(style.CLUSTER_COLOURS, eye) > 15


def test_models_differ_in_marker_and_dashes_too():
    looks = style.model_looks(map(str, range(len(style.MODEL_COLOURS)))).values()
    assert len({look["marker"] for look in looks}) == len({str(style.dashes(look)) for look in looks}) == len(looks)
