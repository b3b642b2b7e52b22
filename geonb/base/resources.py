"""What a job of a site's scheduler asks for: the options of a text, and what the site's own configuration says (dask-jobqueue's)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from geonb.base.specs import Option

CORES, MEMORY = 2, "8 GB"  # where neither the run nor the site's configuration says
# what jobs are given of our environment, as not every scheduler hands it over
CARRIED = ("PYTHONPATH", "DASK_CONFIG", "XDG_STATE_HOME", "GEONB_CACHE")
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)")


def seconds_of(walltime: str | None) -> float | None:
    """Seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; None for what is written otherwise (then no warning comes before the end)."""
    found = WALLTIME.fullmatch(str(walltime))
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _walltime(text: Any) -> str:
    if not isinstance(text, str) or not seconds_of(text):
        raise ValueError("must be HH:MM:SS, or D-HH:MM:SS, as 08:00:00")
    return text


def _memory(text: Any) -> str:
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(text) if isinstance(text, str) else 0
    except ValueError:
        size = 0
    if size < 2**20:
        raise ValueError("must be a size with its unit, as 16GB")
    return text


def _name(text: Any) -> str:
    # of 2024-05 and 1e5 a list and a number are made before, and how they were written is lost
    if isinstance(text, list | tuple | float | bool):
        raise ValueError("must be a name: put it in quotes, as '2024-05'")
    return str(text)


SIZE = Option(read=_memory, help="as 16GB")
RESOURCES = {
    "cores": Option(None, int, 1, help="of one machine"),
    "memory": SIZE,
    "walltime": Option(read=_walltime, help="HH:MM:SS, after which the scheduler kills the job"),
    "queue": Option(read=_name, help="or partition"),
    "account": Option(read=_name, help="or project, that pays"),
}  # fmt: skip


def settled(asked: Mapping[str, Any], site: Mapping[str, Any], payer: str = "account") -> dict[str, Any]:
    """What a job asks for: what was `asked` itself, else what the site's configuration says, else two cores and 8 GB.

    Parameters
    ----------
    payer : what the configuration calls who pays
    """
    found = dict(asked)
    for name, theirs, ours in (
        ("cores", "cores", CORES), ("memory", "memory", MEMORY), ("walltime", "walltime", None), ("queue", "queue", None),
        ("account", payer, None),
    ):  # fmt: skip
        found[name] = asked[name] or site.get(theirs) or ours
    return found
