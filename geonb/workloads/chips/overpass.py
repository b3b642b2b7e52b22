"""OpenStreetMap by quadkey from an Overpass server: one box a request, politely, and what was fetched is never asked for again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from geonb.base import files
from geonb.base.conventions import short
from geonb.base.download import check_address
from geonb.rasters.osm import broken_off
from geonb.workloads.chips.quadkeys import Cell

ENDPOINT = "https://overpass-api.de/api/interpreter"
QUERY = "[out:json][timeout:{timeout}][bbox:{south},{west},{north},{east}];nwr;out geom;"
PAUSE_S = 2.0  # between two requests, which the public server's policy asks for
LONGEST_S = 300.0  # of a wait that a server may ask for
NAME = "osm_data.json"


def fetch_osm(
    cells: Sequence[Cell], folder: str | Path, *, endpoint: str = ENDPOINT, pause_s: float = PAUSE_S, attempts: int = 5,
    timeout_s: float = 180.0, say: Callable[[str], None] = files.say,
) -> list[Path]:  # fmt: skip
    """Fetch all nodes, ways and relations of cells, whatever their tags; called again it asks only for what is missing.

    Parameters
    ----------
    cells : sequence of Cell
        Of level 12 or so: one request each.
    folder : where ``<quadkey>/osm_data.json`` goes, on ARD ``<zone>/<quadkey>/osm_data.json``: quadkey, bounds (west, south, east,
        north in degrees, the area of which it tells), nodes, ways, relations
    endpoint : str
        Address of an Overpass API.
    pause_s : float, s
        Between requests; doubled at each failure of a request, or as long as the server asks for.
    attempts : int
        How often one box is tried.
    timeout_s : float, s
        Of an answer; the server is told the same.

    Returns
    -------
    list of Path, a file a cell

    Raises
    ------
    ValueError
        If the address cannot be used, a cell lies across 180 degrees, or the server refuses the query itself.
    ConnectionError
        If a box cannot be fetched; the others before it stay, and the next call goes on there.
    """
    check_address(endpoint)
    found, asked = [], False
    for cell in dict.fromkeys(cells):
        path = Path(folder) / (f"{cell.zone:02d}" if cell.zone else "") / cell.quadkey / NAME
        found.append(path)
        if path.is_file():
            continue
        west, south, east, north = (round(float(v), 7) for v in cell.footprint.bounds)
        if west < -180 or east > 180:
            raise ValueError(
                f"{cell.label} lies across 180 degrees, and an Overpass box cannot. Fetch it as an .osm.pbf extract"
            )
        if asked:
            time.sleep(pause_s)
        query = QUERY.format(timeout=int(timeout_s), south=south, west=west, north=north, east=east)
        every = _ask(query, endpoint, pause_s, attempts, timeout_s, f"{cell.label} ({len(found)} of {len(cells)})", say)
        asked = True
        parts = {f"{kind}s": [e for e in every if e["type"] == kind] for kind in ("node", "way", "relation")}
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps({"quadkey": cell.quadkey, "bounds": [west, south, east, north], **parts}))
    return found


def _ask(
    query: str, endpoint: str, pause_s: float, attempts: int, timeout_s: float, what: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The elements of an answer that came whole, tried again after ever longer waits."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    reason = ""
    for attempt in range(attempts):
        wait = pause_s * 2 ** (attempt + 1)
        try:
            request = Request(endpoint, urlencode({"data": query}).encode(), {"User-Agent": "geonb"})
            with urlopen(request, timeout=timeout_s) as answer:
                return _elements(answer.read())
        except HTTPError as error:
            if error.code != 429 and error.code < 500:
                raise ValueError(
                    f"{endpoint} refused the query for {what}: {error.code} {error.reason}. Is it the address of an Overpass API?"
                ) from None
            reason, asked_for = f"{error.code} {error.reason}", error.headers.get("Retry-After", "")
            wait = max(wait, min(float(asked_for), LONGEST_S)) if asked_for.isdecimal() else wait
        except (OSError, HTTPException, ValueError) as error:  # slow, broken off, or of which a part came only
            reason = short(error) or type(error).__name__
        if attempt < attempts - 1:
            say(f"{what}: {reason}; again in {wait:g} s")
            time.sleep(wait)
    raise ConnectionError(
        f"{endpoint} gave no whole answer for {what} in {attempts} attempts ({reason}). What was fetched stays: call again later to go on "
        "there, with a longer pause_s if it was too busy (429, 504), or smaller cells if it took too long"
    )


def _elements(answer: bytes) -> list[dict[str, Any]]:
    """The elements of an answer; ValueError where it is cut, or the server says that it is not all."""
    content = json.loads(answer)
    if not isinstance(content, dict) or not isinstance(content.get("elements"), list):
        raise ValueError("the answer holds no elements")
    if said := broken_off(content):
        raise ValueError(f"the server stopped half-way: {said}")
    return content["elements"]
