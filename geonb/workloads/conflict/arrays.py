"""How the arrays of conflict's stores are called and laid out: those of a cube, and those of samples somebody else has cut."""

from __future__ import annotations

import numpy as np
import pandas as pd

GROUP = "grid"  # of a cube
WINDOWS = "windows"  # of samples
KINDS = ("monthly", "yearly", "static")
MONTHS_AT_ONCE = 12  # as many as a chunk of the arrays holds


def years_of(times: pd.DatetimeIndex, years: np.ndarray) -> np.ndarray:
    """The position in `years` of each month's year."""
    at = np.searchsorted(years, times.year)
    if len(times) and ((at >= len(years)) | (years[np.minimum(at, len(years) - 1)] != times.year)).any():
        raise ValueError(
            f"The yearly channels have the years {years.min()} to {years.max()}, not all of {times.year.unique()}"
        )
    return at
