"""The files of an index: written so that what was there before counts until what is new is whole, and checked when they are opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geonb.base.conventions import refuse
from geonb.base.files import key_of, read_json, whole_file, write_json
from geonb.base.manifest import faults, held

CONNECTIVITY, EFFORT_BUILD, EFFORT = 16, 200, 48  # of the graph: benchmarks/README.md, "Search"
CURE = "Build the index again."


def unit(vectors: np.ndarray, what: str) -> np.ndarray:
    """Vectors of length one, float32; NaN and zero ones are refused, which are like nothing."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    bad = ~np.isfinite(lengths[:, 0])
    rows = ", ".join(map(str, np.flatnonzero(bad | (lengths[:, 0] == 0))[:5]))
    if bad.any():
        raise ValueError(
            f"{what}: {bad.sum():,} of {len(vectors):,} hold NaN or infinity (rows {rows}, ...). Leave these samples out."
        )
    if not lengths.all():
        raise ValueError(
            f"{what}: {(lengths == 0).sum():,} of {len(vectors):,} are zero (rows {rows}, ...), which is like nothing. "
            "Leave these samples out."
        )
    return (vectors / lengths).astype(np.float32)


def check_model(info: Mapping[str, Any], model: str, folder: Path) -> None:
    """Refuse vectors of another model than an index was built of."""
    if model and info["model"] and model != info["model"]:
        raise ValueError(
            f"{folder} holds vectors of the model {info['model']}, not of {model}: they cannot be compared. Ask with "
            "that model, or build an index of this one."
        )


def empty_graph(dims: int) -> Any:
    """A graph of usearch for unit vectors, a byte a number."""
    from usearch.index import Index as Graph

    return Graph(
        ndim=dims, metric="cos", dtype="i8", connectivity=CONNECTIVITY, expansion_add=EFFORT_BUILD, expansion_search=EFFORT,
        enable_key_lookups=False,
    )  # fmt: skip


def write_graph(graph: Any, vectors: np.ndarray, first: int, file: Path) -> None:
    """Add vectors to a graph, numbered from `first`, and write it whole or not at all."""
    for start in range(0, len(vectors), 65536):
        part = np.array(vectors[start : start + 65536])
        graph.add(np.arange(first + start, first + start + len(part)), part)
    with whole_file(file) as partial:
        graph.save(str(partial))


def write_vectors(file: Path, vectors: np.ndarray) -> None:
    """Write vectors (sample, dim), brought to length one, as .npy."""
    with file.open("wb") as out:
        _write_header(out, len(vectors), vectors.shape[1])
        for start in range(0, len(vectors), 65536):
            out.write(unit(np.asarray(vectors[start : start + 65536]), f"The vectors from row {start:,}").tobytes())


def _write_header(out: Any, count: int, dims: int) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (count, dims)})


def header_bytes(folder: Path) -> int:
    """Where in vectors.npy the numbers begin."""
    with (folder / "vectors.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


def append(file: Path, values: np.ndarray, count: int) -> None:
    """Write behind the vectors that count; what a killed writer left there is overwritten."""
    start = header_bytes(file.parent) + count * values.shape[1] * 4
    with file.open("r+b") as out:
        out.truncate(start)
        out.seek(start)
        out.write(values.tobytes())
        out.flush()
        os.fsync(out.fileno())


def tell_count(file: Path, count: int, dims: int) -> None:
    """Let the header say how many vectors count, for others who open the file: numpy leaves room in it for that number."""
    with file.open("r+b") as out:
        _write_header(out, count, dims)


def commit(folder: Path, info: dict[str, Any]) -> None:
    """Say what counts from now on, and sweep what no longer does."""
    names = [*info["about"], *(info[key] for key in ("removed", "graph") if info[key])]
    info = {k: v for k, v in info.items() if k not in ("holds", "seal")} | {"holds": held(folder, names)}
    write_json(folder / "index.json", info | {"seal": key_of(info)})
    for old in folder.glob("*.*.*"):  # under the lock, so that what is half-written is of somebody who was killed
        if old.name.split(".")[0] in ("about", "removed", "graph", "index") and old.name not in names:
            old.unlink(missing_ok=True)


def read_info(folder: Path) -> dict[str, Any]:
    """What index.json says; a FileNotFoundError or a ValueError says what is wrong with the folder."""
    if not (folder / "index.json").is_file():
        state = "an unfinished or damaged one (no index.json)" if folder.is_dir() else "none"
        raise FileNotFoundError(f"No index at {folder}: there is {state}. {CURE}")
    info = read_json(folder / "index.json")
    if info.get("seal") != key_of({k: v for k, v in info.items() if k != "seal"}):
        raise ValueError(f"{folder / 'index.json'} is not what was written: its own sum differs. {CURE}")
    found = list(faults(folder, info["holds"]))
    file = folder / "vectors.npy"
    try:
        need = header_bytes(folder) + info["count"] * info["dims"] * 4
        if file.stat().st_size < need:
            found.append(f"vectors.npy has {file.stat().st_size:,} bytes, not {need:,}")
    except (OSError, ValueError) as error:
        found.append(f"vectors.npy cannot be read ({error})")
    refuse(f"The index {folder} is damaged", found, cure=CURE)
    return info
