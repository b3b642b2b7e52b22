"""What parameters may name: waveforms, catalogues and stations, looked at before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geonb.base.conventions import refuse
from geonb.base.project import expand_files
from geonb.waveforms import archives, catalogues, fetching, formats, seisbench


def waveforms(value: str, root: Path) -> list[Path]:
    """Every file that ``waveforms`` stands for, also those in folders; none of a service.

    Raises
    ------
    ValueError
        If a part of it names no file; if it is a service's address, or a SeisBench folder, with a fault in it.
    """
    if fetching.is_address(value):
        fetching.address_of(value)
        return []
    if folder := seisbench.folder_of(value, root):
        return [Path(path) for path in formats.read_seisbench(folder).attrs["files"]]
    return _files(value, "waveforms", root)


def events(value: str, root: Path) -> list[Path]:
    """The files of a catalogue; see :func:`geonb.waveforms.catalogues.read_events` for what it refuses."""
    catalogues.read_events(value, root=root)
    return expand_files(value, [], "events", root)


def stations(value: str, root: Path) -> list[Path]:
    """The files of station metadata; see :func:`geonb.waveforms.archives.read_stations` for what it refuses."""
    archives.read_stations(value, root)
    return _files(value, "stations", root)


def together(values: Mapping[str, Any], root: Path | None = None) -> list[str]:
    """What waveforms, events and stations cannot be together, for :attr:`geonb.registry.Workload.check`: every fault."""
    archive, catalogue, metadata = (values.get(name) for name in ("waveforms", "events", "stations"))
    if not (archive or catalogue or metadata) or (archive and (catalogue or seisbench.folder_of(archive, root))):
        return []
    said = "give waveforms and events, or none of the three; only a SeisBench folder brings its events along"
    return [f"waveforms = {archive!r}, events = {catalogue!r}, stations = {metadata!r}: {said}"]


def _files(value: str, what: str, root: Path) -> list[Path]:
    faults: list[str] = []
    found = archives.files_of(value, what, faults, root)
    refuse(f"These {what} cannot be used", faults)
    return found
