"""Any rasters, any size -> maps on their own grids, in constant memory: many files at once, bad ones skipped and reported.

What is there with the key of the same model, file and settings is not made again; what is there with another key, or none,
is somebody's, and not touched unasked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base import cluster
from geonb.base import files as base_files
from geonb.base.conventions import refuse, short
from geonb.prediction.bands import PixelModel, class_names, pixel_model
from geonb.prediction.jobs import Job, clean, file_key, model_key, outputs, run_job
from geonb.rasters import tiles
from geonb.rasters.corners import CORNERS
from geonb.rasters.reading import check_raster, functions_of

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

COLUMNS = ["file", "state", "reason", "class", "probability", "polygons", "Mpx", "seconds", "resampled_m", "unreadable"]
STATES = ("done", "already there", "skipped")


@dataclass(frozen=True)
class Plan:
    """What is to be done: the jobs, what was found of each file (a row of the report, state None = to do), and with whom."""

    folder: Path
    jobs: tuple[Job, ...]
    rows: dict[Path, dict[str, Any]]
    workers: int | str
    client: Client | None


def predict_rasters(
    model: PixelModel | str | Path, files: str | Sequence[str | Path], folder: str | Path, *, overlap: float = 0.5,
    batch: int = 32, precision: str = "auto", workers: int | str = 0, client: Client | None = None, overwrite: bool = False,
    polygons: float | None = None, corners: str = "pixels", damaged: str = "skip", skip: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """Label rasters of any size and number; a bad one is skipped and reported, never half-written.

    Parameters
    ----------
    model : trained task, or the path of a run that `geonb.load_model` takes
    files : paths, or one string of comma-separated files and globs
    folder : where ``<stem>_class.tif`` and ``<stem>_probability.tif`` (COG, each on the grid of its raster),
        ``<stem>_polygons.gpkg`` and ``report.csv`` go; files of one stem get their folder's name before it
    overlap, batch : share of the window by which neighbours overlap; windows at once
    precision : auto, float32 or bfloat16
    workers : over which files and bands of large files are spread: 0 = none, in here; Dask processes on this machine, or a cluster,
        see :func:`geonb.base.cluster.check_workers`
    client : a `dask.distributed.Client` of a cluster instead, whose workers see the same files and have geonb
    overwrite : replace what other models, files or settings left there
    polygons : smallest area in m2 of polygons to write, None = no polygons
    corners : of polygons: "pixels" follow the pixels, "square" are right angles, as buildings have
    damaged : "skip" a file that cannot be read to its end, or take what cannot be read as "nodata"
    skip : names of classes that need no polygons (a background)

    Returns
    -------
    DataFrame, a row a file in the order given: ``file, state`` (done, already there, skipped), ``reason, class, probability,
    polygons`` (paths), ``Mpx, seconds`` (of computing, all workers together), ``resampled_m`` (pixel side at which the network
    saw it, where that is not its own), ``unreadable`` (rows and columns)

    Raises
    ------
    ValueError
        Before any computing: settings that make no sense; outputs that exist and are not these (unless `overwrite`); a function
        of the model's that nobody on this machine named before (:mod:`geonb.base.trust`).
        After it: if not one file could be predicted; lists why.
    """
    from geonb.training.task import load_model

    labelling = pixel_model(load_model(model) if isinstance(model, str | Path) else model)
    planned = plan(
        labelling, listed(files), folder, overlap=overlap, batch=batch, precision=precision, workers=workers, client=client,
        overwrite=overwrite, polygons=polygons, corners=corners, damaged=damaged, skip=skip,
    )  # fmt: skip
    return predict_planned(labelling, planned)


def predict_raster(model: PixelModel, image: str | Path, folder: str | Path, **settings: Any) -> dict[str, Path]:
    """Label one raster; see :func:`predict_rasters`, also for the settings.

    Returns
    -------
    dict of paths: ``class``, ``probability`` and, if asked for, ``polygons``

    Raises
    ------
    ValueError
        If it does not fit the model, or cannot be read; says why and what to do.
    """
    planned = plan(pixel_model(model), [Path(image)], folder, **settings)
    row = planned.rows[_resolved(image)]
    if row["state"] == "skipped":
        raise ValueError(row["reason"])
    for job in planned.jobs:
        row |= run_job(job, model)
    return {key: Path(row[key]) for key in ("class", "probability", "polygons") if row.get(key)}


def listed(files: str | Sequence[str | Path]) -> list[Path]:
    """Files as a list; a string is taken apart at commas, and its globs looked up. Tiles become mosaics (`tiles.gather`)."""
    from geonb.base.project import existing_files as find_rasters

    found = find_rasters(files) if isinstance(files, str) else [Path(file) for file in files]
    gathered, notes = tiles.gather(found)
    print(*notes, sep="\n", end="\n" * bool(notes))
    return gathered


def plan(
    model: PixelModel, files: Sequence[Path], folder: str | Path, *, overlap: float = 0.5, batch: int = 32,
    precision: str = "auto", workers: int | str = 0, client: Client | None = None, overwrite: bool = False,
    polygons: float | None = None, corners: str = "pixels", damaged: str = "skip",
    skip: Sequence[str] = (), taken: set[str] | frozenset[str] = frozenset(),
) -> Plan:  # fmt: skip
    """Look at every file's header and at what is in the folder, before anything is computed; see :func:`predict_rasters`.

    Parameters
    ----------
    taken : names of outputs that others write into the folder
    """
    from geonb.training.task import precision_of

    folder, files = Path(folder).resolve(), list(dict.fromkeys(map(_resolved, files)))
    _check(model.card, files, folder, overlap, batch, workers, client, polygons, corners, damaged, skip)
    functions_of(model.card)
    names = _names(files, taken)
    precision, identity = precision_of(precision), model_key(model)
    rows: dict[Path, dict[str, Any]] = {}
    jobs: list[Job] = []
    for file in files:
        rows[file] = row = dict.fromkeys(COLUMNS) | {"file": file, "reason": ""}
        try:
            shape = check_raster(file, model.card).shape
            facts = [identity, file_key(file), overlap, precision]
        except (ValueError, OSError) as error:
            row |= {"state": "skipped", "reason": str(error)}
            continue
        job = Job(
            file, folder, names[file], base_files.key_of(facts), shape, model.window, overlap, batch, precision, polygons,
            corners, tuple(skip), damaged,
        )  # fmt: skip
        row["Mpx"] = job.mpx
        if job.all_there:
            clean(job)  # where a kill came before it was done
            row |= {"state": "already there", "seconds": 0.0} | outputs(job)
        else:
            jobs.append(job)
    _refuse(jobs, files, overwrite)
    return Plan(folder, tuple(jobs), rows, workers, client)


def predict_planned(model: PixelModel, planned: Plan, before: Sequence[dict] = ()) -> pd.DataFrame:
    """Do what was planned, write the report, say how it went; `before` are rows that stand first in the report.

    Raises
    ------
    ValueError
        If not one file could be predicted; lists why.
    """
    import pandas as pd

    from geonb.prediction import workers

    rows, first = planned.rows, None
    given = planned.workers if planned.client is None else planned.client
    with cluster.dask_client(given if planned.jobs else None) as client:
        for job, outcome in workers.spread(planned.jobs, model, client):
            if isinstance(outcome, Exception):
                first = first or outcome
                outcome = {"state": "skipped", "reason": reason_of(outcome)}
            rows[job.image] |= outcome
            print(_line(rows[job.image]), flush=True)
    frame = write_report(pd.DataFrame([*before, *rows.values()], columns=COLUMNS), planned.folder)
    told = summary(pd.DataFrame(list(rows.values()), columns=COLUMNS))
    if rows and all(row["state"] == "skipped" for row in rows.values()):
        raise ValueError(f"No raster could be predicted. {told}") from first
    print(told)
    return frame


def summary(report: pd.DataFrame) -> str:
    """A report in words: how many of each state, and what was wrong with those skipped."""
    counts = report["state"].value_counts()
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    skipped = report[report["state"] == "skipped"]
    bad = [
        f"- {why if str(file) in why else f'{file}: {why}'}"
        for file, why in zip(skipped["file"], skipped["reason"], strict=True)
    ]
    return "\n".join([f"{len(report)} rasters: {told}." + (" Skipped:" if bad else ""), *bad])


def write_report(report: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write ``report.csv`` whole or not at all; gives the report, its paths as text."""
    from geonb.base.project import relative

    report = report.copy()
    for column in ("file", "class", "probability", "polygons"):
        report[column] = [
            relative(p) if isinstance(p, Path) and _in_checkout() else p and str(p) for p in report[column]
        ]
    folder.mkdir(parents=True, exist_ok=True)
    with base_files.whole_file(folder / "report.csv") as partial:
        report.round({"Mpx": 3, "seconds": 2}).to_csv(partial, index=False)
    return report


def _in_checkout() -> bool:
    from geonb.base.project import project_root

    try:
        return bool(project_root())
    except FileNotFoundError:
        return False


def reason_of(error: Exception) -> str:
    """An error as the report tells it: ours as they are, others with their kind."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {short(error)}"


def _line(row: dict[str, Any]) -> str:
    if row["state"] == "skipped":
        return f"{Path(row['file']).name}: skipped"
    return f"{Path(row['file']).name}: {row['Mpx']:.1f} Mpx in {row['seconds']:.1f} s"


def _resolved(file: str | Path) -> Path:
    return Path(os.path.abspath(file))  # noqa: PTH100  (a link keeps the name its owner gave it)


def _names(files: Sequence[Path], taken: set[str] | frozenset[str]) -> dict[Path, str]:
    """A name for each file's outputs: its stem, with its folder's name before it where another has the same."""
    stems = [file.stem.casefold() for file in files]
    used = {name.casefold() for name in taken}
    names = {
        file: f"{file.parent.name}-{file.stem}" if stem in used or stems.count(stem) > 1 else file.stem
        for file, stem in zip(files, stems, strict=True)
    }
    low = [name.casefold() for name in names.values()]
    alike = [
        f"{file} ({name})" for file, name in names.items() if low.count(name.casefold()) > 1 or name.casefold() in used
    ]
    refuse(
        "The outputs of these rasters would have the same name. Predict them into different folders, or rename them",
        alike,
    )
    return names


def _refuse(jobs: Sequence[Job], files: Sequence[Path], overwrite: bool) -> None:
    """Raise before anything is lost: outputs over other files, or over inputs."""
    inputs = set(files)
    over = [p for job in jobs for p in (job.class_map, job.probability_map, job.outlines) if p in inputs]
    refuse("Outputs would replace inputs. Give another folder", over)
    refuse(
        "Nothing was predicted: these files are there already, and come from another model, file or settings (or not from "
        "geonb). Give another folder, or overwrite=True to replace them (of a run: geonb run ... --resume RUN -p overwrite=true)",
        [] if overwrite else [p for job in jobs for p in job.others()],
    )


def _check(
    card: dict[str, Any], files: Sequence[Path], folder: Path, overlap: float, batch: int, workers: int | str,
    client: Client | None, polygons: float | None, corners: str, damaged: str, skip: Sequence[str],
) -> None:  # fmt: skip
    known = class_names(card)
    unknown = [name for name in skip if name not in known]
    faults = {
        "no file is named: give at least one raster": not files,
        f"folder = {folder} is a file: give a folder": folder.is_file(),
        f"overlap = {overlap}: give 0 to 0.9": not 0 <= overlap <= 0.9,
        f"batch = {batch}: give 1 or more": batch < 1,
        f"workers = {workers} and a client: give one of the two": bool(workers) and client is not None,
        f"polygons = {polygons}: give the smallest area in m2, 0 or more, or None": polygons is not None
        and polygons < 0,
        f"corners = {corners!r}: give {' or '.join(CORNERS)}": corners not in CORNERS,
        f"damaged = {damaged!r}: give skip or nodata": damaged not in ("skip", "nodata"),
        f"skip = {', '.join(unknown)}: the classes are {', '.join(known)}": bool(unknown),
    }
    found = [fault for fault, there in faults.items() if there]
    try:
        cluster.check_workers(workers)
    except ValueError as error:
        found.append(str(error))
    refuse("Cannot predict", found)
