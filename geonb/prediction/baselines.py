"""What every workload's baselines are: a guess that needs no network, and its name in every table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Baseline:
    """Standardised inputs -> what a network would say of them: called like a function, with a name."""

    name: str
    guess: Callable[[np.ndarray], np.ndarray]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self.guess(inputs)
