"""Remake the table in benchmarks/README.md: ``python -m benchmarks [name ...]`` (``make bench``).

Each benchmark is a module with ``main(folder) -> list of rows``, none where there is nothing to measure it on; it runs in a process of
its own, with the data made once in a temporary folder. Times are medians; a ratio compares two things measured in the same run.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

NAMES = (
    "preparing",
    "reading",
    "training",
    "inference",
    "answering",
    "dask",
    "huge",
    "cube",
    "windows",
    "convlstm",
    "triplets",
    "chips",
    "interpretation",
    "checksums",
    "explorer",
    "search",
    "tiles",
    "beams",
    "live",
    "records",
    "batch",
    "startup",
    "gpu",
)
HERE = Path(__file__).parent
README = HERE / "README.md"


def main() -> None:
    if len(sys.argv) > 3 and sys.argv[1] == "--one":
        module = __import__(f"benchmarks.{sys.argv[2]}", fromlist=["main"])
        print("ROWS " + json.dumps(module.main(Path(sys.argv[3]))))
        return
    names = sys.argv[1:] or NAMES
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"No benchmark {', '.join(sorted(unknown))}. Known: {', '.join(NAMES)}.")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="geonb-bench-") as folder:
            rows = run(name, folder)
        if rows:
            put(name, rows)


def run(name: str, folder: str) -> list[list[str]]:
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", "benchmarks", "--one", name, folder]
    rows = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process:
        for line in process.stdout:
            if line.startswith("ROWS "):
                rows = json.loads(line[5:])
            else:
                print(line, end="", flush=True)
    if rows is None:
        sys.exit(f"Benchmark {name} failed.")
    return rows


def put(name: str, rows: list[list[str]]) -> None:
    """Replace the table between this benchmark's markers."""
    text = README.read_text()
    head = ["| what | measured | against | ratio | aim | met |", "| --- | --- | --- | --- | --- | --- |"]
    table = "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])
    when = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    block = f"<!-- {name} -->\n{table}\n\nMeasured {when}.\n<!-- /{name} -->"
    pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
    if not re.search(pattern, text, flags=re.S):
        sys.exit(f"{README} has no place for {name!r}: add the two lines <!-- {name} --> and <!-- /{name} -->.")
    README.write_text(re.sub(pattern, lambda _: block, text, flags=re.S))
    print(table)


def machine() -> str:
    import psutil
    import torch

    from geonb.training.task import precision_of

    capability = torch.backends.cpu.get_cpu_capability()
    if precision_of("auto") == "bfloat16":
        capability += " with bfloat16"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({platform.machine()}, {capability}), {memory:.0f} GiB, {gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
