"""Many embeddings to look at: dendrogram and annotated scatter of 100,000 x 100, and Ward's tree of 20,000 against scipy's.

Simulated: eight kinds of unequal size, each of four sorts. Every figure in a process of its own, its peak memory as the system
counts it (VmHWM), libraries included. Tiles are made by a function, which counts those it was asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MANY, SOME, DIMS, CLUSTERS = 100_000, 20_000, 100, 8


def simulate(n: int):
    """Embeddings (sample, dim) with the coordinate row, and the kind of each sample."""
    import xarray as xr

    random = np.random.default_rng(0)
    kinds = random.normal(0, 0.2, (CLUSTERS, DIMS))
    sorts = kinds[:, None] + random.normal(0, 0.15, (CLUSTERS, 4, DIMS))
    kind = random.choice(CLUSTERS, n, p=random.dirichlet(np.full(CLUSTERS, 3)))
    values = sorts[kind, random.integers(0, 4, n)].astype(np.float32)
    values += random.normal(0, 0.7, values.shape).astype(np.float32)
    return xr.Dataset({"embedding": (("sample", "dim"), values)}, {"row": ("sample", np.arange(n))}), kind


def peak_gb() -> float:
    """Most memory that this process has held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def figures(folder: str) -> dict:
    """Both figures of all the samples, written as PNG."""
    from sklearn.metrics import adjusted_rand_score

    from geonb import embeddings, plots

    vectors, kind = simulate(MANY)
    read = []

    def tiles(rows: np.ndarray) -> np.ndarray:
        read.extend(rows.tolist())
        return np.broadcast_to((rows % 256).astype(np.uint8)[:, None, None, None], (len(rows), 64, 64, 3))

    start = time.perf_counter()
    tree = embeddings.link(vectors, clusters=CLUSTERS)
    linked = time.perf_counter() - start
    figure, letters = plots.dendrogram(tree, vectors, tiles, CLUSTERS)
    figure.savefig(f"{folder}/dendrogram.png", bbox_inches="tight")
    drawn = time.perf_counter() - start
    plane = embeddings.reduce(vectors)
    plots.scatter_with_tiles(plane, tiles, letters).savefig(f"{folder}/scatter.png", bbox_inches="tight")
    took = time.perf_counter() - start
    return {
        "seconds": took, "linked": linked, "dendrogram": drawn, "gb": peak_gb(), "tiles": len(read),
        "kinds": adjusted_rand_score(kind, letters), **tree.agreement,
    }  # fmt: skip


def tree(which: str) -> dict:
    """Ward's tree of some of the samples."""
    from geonb.embeddings import trees

    values = simulate(SOME)[0]["embedding"].to_numpy()
    start = time.perf_counter()
    if which == "scipy":
        from scipy.cluster.hierarchy import linkage

        linkage(values.astype(np.float64), "ward")
    elif which == "exact":
        trees.ward(values, np.ones(SOME))
    else:
        trees.ward(*trees.weighted_centres(values, trees.condense(values, trees.EXACT)))
    return {"seconds": time.perf_counter() - start, "gb": peak_gb()}


def apart(*what: str) -> dict:
    """Run a part in a process of its own."""
    code = (
        f"import json; from benchmarks import interpretation as i; print('FOUND', json.dumps(i.{what[0]}({what[1]!r})))"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True).stdout
    return json.loads(out.split("FOUND ")[1])


def main(folder: Path) -> list[list[str]]:
    found = apart("figures", str(folder))
    scipy, exact, condensed = (apart("tree", which) for which in ("scipy", "exact", "condensed"))
    parts = f"tree {found['linked']:.0f} s, {found['tiles']} tiles read"
    agreed = f"adjusted Rand {found['rand']:.2f}, cophenetic {found['cophenetic']:.2f}"
    own = f"exact trees of two such draws: {found['rand_of_two_samples']:.2f}"
    rows = [
        [f"dendrogram and scatter of {MANY:,} x {DIMS}", f"{found['seconds']:.0f} s", parts, "", "< 120 s",
         "yes" if found["seconds"] < 120 else "no"],
        ["same, peak memory", f"{found['gb']:.2f} GB", "", "", "< 1 GB", "yes" if found["gb"] < 1 else "no"],
        [f"its tree against the exact one of {found['samples']:,} samples", agreed, own, "", "", ""],
        ["its cut against the kinds that were simulated", f"adjusted Rand {found['kinds']:.2f}", "", "", "", ""],
    ]  # fmt: skip
    against = f"scipy {scipy['seconds']:.1f} s, {scipy['gb']:.2f} GB"
    for name, one in (("exact", exact), ("condensed", condensed)):
        told = f"{one['seconds']:.1f} s, {one['gb']:.2f} GB"
        rows.append(
            [
                f"Ward's tree of {SOME:,} x {DIMS}, {name}",
                told,
                against,
                f"{scipy['seconds'] / one['seconds']:.1f}x",
                "",
                "",
            ]
        )
    return rows
