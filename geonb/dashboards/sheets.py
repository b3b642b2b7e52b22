"""Figures of a place below the map: what no pixels on ground can say, drawn by Python anew for each choice."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from geonb.dashboards.layers import webp
from geonb.plots.style import described

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = 64  # figures, the latest


@dataclass(frozen=True)
class Sheet:
    """A figure of the place that is shown, and what can be chosen of it.

    A kernel, and `geonb app`, draw what is asked for; a frozen page holds the figures of its first places as first chosen.

    Attributes
    ----------
    title : str, above the figure
    draw : function of the position of a place and its choices (name -> label) -> matplotlib Figure
    choices : dict of a name -> its labels; the first is what is shown first
    """

    title: str
    draw: Callable[[int, Mapping[str, str]], Figure]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _drawn: dict[tuple, tuple[str, bytes]] = field(default_factory=dict, repr=False, compare=False)

    def facts(self) -> dict[str, Any]:
        """What the viewer needs to know before it asks."""
        return {"title": self.title, "choices": {name: list(labels) for name, labels in self.choices.items()}}

    def picture(self, place: int, chosen: Mapping[str, str] | None = None) -> tuple[str, bytes]:
        """What the figure of a place says in words, and the figure as WebP.

        Parameters
        ----------
        chosen : dict of a name -> label; what it leaves out is as first chosen

        Raises
        ------
        ValueError
            Another choice than those that there are.
        """
        at = {name: labels[0] for name, labels in self.choices.items()} | dict(chosen or {})
        for name, label in at.items():
            if label not in self.choices.get(name, ()):
                raise ValueError(
                    f"{name} = {label!r}: the choices are {', '.join(self.choices.get(name, self.choices))}."
                )
        key = (place, *at.values())
        if key not in self._drawn:
            self._drawn[key] = _picture(self.draw(place, at))
            if len(self._drawn) > KEPT:
                self._drawn.pop(next(iter(self._drawn)))
        return self._drawn[key]


def _picture(figure: Figure) -> tuple[str, bytes]:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return described(figure), webp(np.asarray(Image.open(file).convert("RGB")), 85)
