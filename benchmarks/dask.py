"""One and two Dask workers of a core each: a scene through a U-Net, and chips cut; once they have started and done it before."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

SIDE, REPEATS, SCENES = 2048, 3, 4


def predicting(folder: Path, client) -> float:
    from benchmarks import inference
    from geonb.prediction import many
    from geonb.workloads import get

    task, out = inference.model(), folder / "maps"
    task.card |= {"workload": "segmentation", "task": get("segmentation").task}  # by which workers load it
    image = folder / "scene.tif"
    image = image if image.exists() else inference.make(image, SIDE)
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    many.predict_rasters(task, [image], out, overlap=inference.OVERLAP, batch=4, precision="float32", client=client)
    return time.perf_counter() - started


def cutting(folder: Path, client) -> float:
    from benchmarks import chips
    from geonb.workloads.chips import cutting

    scenes, out = [folder / f"chips-{i}.tif" for i in range(SCENES)], folder / "chips"
    if not scenes[0].exists():
        made = chips.make(folder)
        for path in scenes:
            path.hardlink_to(made)
        made.unlink()
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    cutting.cut_chips(scenes, out, zoom=chips.ZOOM, quality=75, client=client)
    return time.perf_counter() - started


def main(folder: Path) -> list[list[str]]:
    from geonb.base import cluster
    from geonb.prediction import workers

    workers.SMALL_MPX = 0.0  # in bands, as a scene is that is worth a cluster
    cluster.cores_of = lambda client: 1  # else the one worker's network would take all cores
    rows, measured = [], {predicting: ([], []), cutting: ([], [])}
    with cluster.dask_client(1) as one, cluster.dask_client(2) as two:
        for function, found in measured.items():
            for turn in range(REPEATS + 1):
                for client, seconds in zip((one, two), found, strict=True):
                    took = function(folder, client)
                    seconds += [took] * bool(turn)  # the first time imports, and loads the model
                    print(f"{function.__name__}: {took:.1f} s", flush=True)
    said = {
        predicting: f"scene {SIDE}² x 3 to class + probability COG, float32",
        cutting: f"{SCENES} scenes of 4096² x 3 cut into chips of 256 px JPEG",
    }
    for function, (alone, both) in measured.items():
        ratio = statistics.median(a / b for a, b in zip(alone, both, strict=True))
        first, second = (statistics.median(seconds) for seconds in (alone, both))
        rows.append([f"{said[function]}, 2 workers", f"{second:.1f} s", f"1 worker {first:.1f} s", f"{ratio:.2f}", ">= 1.6",
                     "yes" if ratio >= 1.6 else "no"])  # fmt: skip
    return rows
