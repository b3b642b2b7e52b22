"""What jobs cost beside papermill alone, eight small runs at once, and a sweep with two workers beside its trials in a row."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SMALL = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 32, "block": 32, "epochs": 2, "samples": 40, "draws": 50,
    "rasters": "image.tif", "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8",
}  # fmt: skip
TRIALS, WORKERS, RUNS = 12, 2, 8
STEPS = ("01_dataset_segmentation", "02_training", "03_prediction", "04_analytics", "05_interpretation", "06_explore")


def project(folder: Path) -> Path:
    """A project of its own with a small simulated scene."""
    from geonb.rasters import landsat

    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    (folder / "notebooks").symlink_to(HERE / "notebooks")
    landsat.write_scene(folder, *landsat.simulate((160, 192), seed=1))
    return folder


def seconds(command: list, folder: Path, **more) -> float:
    environment = {**os.environ, "GEONB_ROOT": str(folder), "PYTHONPATH": str(HERE), **more}
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - started


def given(settings: dict) -> list[str]:
    return [part for key, value in settings.items() for part in ("-p", f"{key}={value}")]


def papermill(folder: Path) -> float:
    """The six notebooks by papermill's own command, one after the other, with the same parameters."""
    from geonb import parameters

    total = 0.0
    for step in STEPS:
        declared = parameters.read(HERE / "notebooks" / f"{step}.ipynb")
        values = {key: value for key, value in ({"workload": "segmentation"} | SMALL).items() if key in declared}
        options = [part for key, value in values.items() for part in ("-p", key, str(value))]
        command = [
            BIN / "papermill",
            HERE / "notebooks" / f"{step}.ipynb",
            folder / f"{step}.ipynb",
            "--no-progress-bar",
            *options,
        ]
        total += seconds(command, folder)
    return total


def chain(folder: Path) -> list[list[str]]:
    sys.path.insert(0, str(HERE / "tests"))
    import one_node_slurm

    plain = papermill(project(folder / "papermill"))
    print(f"papermill {plain:.1f} s", flush=True)
    run = [BIN / "geonb", "run", "segmentation", *given(SMALL)]
    ways = {"`geonb run`": [], "`--on local`, the chain one job": ["--on", "local"]}
    took = {name: seconds([*run, *more], project(folder / str(n))) for n, (name, more) in enumerate(ways.items())}
    if not one_node_slurm.missing():
        (folder / "slurm").mkdir()
        with one_node_slurm.slurm(folder / "slurm"):
            for name, more in (
                ("`--on slurm`, the chain one job", []),
                ("`--on slurm --split`, six jobs", ["--split"]),
            ):
                place = project(folder / f"slurm{len(more)}")
                took[name] = seconds([*run, "--on", "slurm:cores=1,memory=3GB,walltime=00:30:00", *more], place)
    return [
        [f"small chain of six notebooks: {name}", f"{each:.1f} s", f"papermill alone {plain:.1f} s", f"{each / plain:.2f}", "", ""]
        for name, each in took.items()
    ]  # fmt: skip


def at_once(folder: Path) -> list[list[str]]:
    """Eight runs of three tiny notebooks, as jobs of this machine, in one project."""
    sys.path.insert(0, str(HERE / "tests"))
    import tiny

    from geonb.base import files

    def tiny_project(name: str) -> Path:
        place = folder / name
        (place / "notebooks").mkdir(parents=True)
        (place / "pyproject.toml").write_text("")
        (place / "tinyload.py").write_text(tiny.WORKLOAD)
        for stem, cells in (("01_dataset_tiny", tiny.DATASET), ("02_tiny", tiny.TRAIN), ("03_tiny", tiny.PREDICT)):
            tiny.write_notebook(place / "notebooks" / f"{stem}.ipynb", cells)
        return place

    run, place = [BIN / "geonb", "run", tiny.RECORD], tiny_project("row")
    row = sum(seconds([*run, "-p", f"lr={n / 10}"], place) for n in range(1, RUNS + 1))
    place = tiny_project("together")
    started = time.perf_counter()
    for n in range(1, RUNS + 1):
        seconds([*run, "--on", "local", "--detach", "-p", f"lr={n / 10}"], place)
    while True:
        records = [files.read_json(path) for path in place.glob("runs/*/*/jobs/jobs.json")]
        if len(records) == RUNS and all(one["ended"] is not None for one in records):
            break
        time.sleep(0.2)
    together = time.perf_counter() - started
    good = sum(one["ended"] == 0 for one in records)
    what = f"{RUNS} runs of 3 tiny notebooks at once, {os.cpu_count()} cores"
    met = "yes" if good == RUNS else "no"
    return [
        [
            what,
            f"{together:.1f} s, {good} ended well",
            f"in a row {row:.1f} s",
            f"{together / row:.2f}",
            f"{RUNS} end well",
            met,
        ]
    ]


def sweep(folder: Path) -> list[list[str]]:
    place = project(folder / "sweep")
    space = "lr: [" + ", ".join(f"{(n + 1) * 1e-3:.3f}" for n in range(TRIALS)) + "]\n"
    (place / "space.yaml").write_text(space)
    settings = SMALL | {"epochs": 4}
    command = [
        BIN / "geonb",
        "sweep",
        "segmentation",
        "-f",
        "space.yaml",
        "--trials",
        TRIALS,
        "--workers",
        WORKERS,
        "--sampler",
        "grid",
    ]
    swept = seconds([*command, "--no-prune", "--metric", "val_mean_iou", *given(settings)], place)
    print(f"sweep {swept:.1f} s", flush=True)
    place = project(folder / "row-of-runs")
    row = seconds([BIN / "geonb", "run", "segmentation", "--steps", "1-2", *given(settings | {"lr": 1e-3})], place)
    for n in range(1, TRIALS):
        row += seconds(
            [BIN / "geonb", "run", "segmentation", "--steps", "1-2", *given(settings | {"lr": (n + 1) * 1e-3})], place
        )
    row += seconds([BIN / "geonb", "run", "segmentation", "--resume", "--steps", "3-4"], place)
    what, against = (
        f"sweep of {TRIALS} short trials, {WORKERS} at a time",
        f"{TRIALS} runs in a row, the last one scored, {row:.0f} s",
    )
    return [[what, f"{swept:.0f} s", against, f"{swept / row:.2f}", "< 1", "yes" if swept < row else "no"]]


def main(folder: Path) -> list[list[str]]:
    return [*chain(folder), *at_once(folder), *sweep(folder)]
