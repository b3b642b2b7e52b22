"""Search by likeness at a million vectors: the graph beside numpy, exact batches beside faiss flat, filters, marks, opening.

The vectors are simulated: 2,000 centres drawn on the sphere, each sample a centre plus 0.7 of its length of noise in all 128 directions.
Real embeddings cluster more; vectors without any structure cluster not at all, and no graph finds their neighbours cheaply: measured, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

COUNT, DIMS, QUERIES, SINGLE, BARE = 1_000_000, 128, 1000, 30, 100_000


def vectors(count: int, centres: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around centres; with none, without structure."""
    random = np.random.default_rng(seed)
    middle = random.standard_normal((centres, DIMS), dtype=np.float32)
    out = random.standard_normal((count, DIMS), dtype=np.float32)
    if centres:
        out *= 0.7
        out += middle[random.integers(centres, size=count)]
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def samples(count: int):
    import geopandas as gpd
    import pandas as pd
    import shapely

    n = np.arange(count)
    x, y = n % 2000 * 0.001, n // 2000 * 0.001
    columns = {"id": [f"1203{i:012d}" for i in n], "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(n % 1000, "D")}
    columns |= {"labels": [[f"kind {i % 100}"] for i in n], "group": [f"tile {i // 1000}" for i in n]}
    return gpd.GeoDataFrame(columns, geometry=shapely.box(x, y, x + 0.001, y + 0.001), crs="OGC:CRS84")


def median(call: Callable[[int], object], times: int) -> float:
    """Seconds of a call, which is given a number; the first one warms up."""
    spent = []
    for i in range(times + 1):
        start = time.perf_counter()
        call(i)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[1:]))


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def rows_of(name: str, index, asked: np.ndarray) -> list[list[str]]:
    """The graph beside numpy, one query at a time and many at once."""
    from geonb.embeddings import exact

    whole = np.asarray(index.vectors)
    truth, _ = exact.top(whole, asked, 10)
    found, _ = index.nearest(asked, 10)
    got = recall(found, truth)
    alone = median(lambda i: np.argpartition(-(whole @ asked[i]), 10)[:10], 5)
    single = median(lambda i: index.nearest(asked[i : i + 1], 10), SINGLE)
    brute = median(lambda i: np.argpartition(-(asked[:100] @ whole.T), 10, axis=1)[:, :10], 2) / 100
    batch = median(lambda i: index.nearest(asked, 10), 3) / len(asked)
    out = [
        [
            f"{name}: recall@10 of the graph",
            f"{got:.3f}",
            "comparing all 1.000",
            "",
            ">= 0.95",
            "yes" if got >= 0.95 else "no",
        ]
    ]
    for what, one, other in (("one query", single, alone), (f"{len(asked):,} at once, each", batch, brute)):
        met = "yes" if other / one >= 50 else "no"
        out.append(
            [
                f"{name}: {what}",
                f"{one * 1e3:.2f} ms",
                f"numpy {other * 1e3:.1f} ms",
                f"{other / one:.0f}",
                ">= 50",
                met,
            ]
        )
    return out


def exact_rows(whole: np.ndarray, asked: np.ndarray) -> list[list[str]]:
    import faiss

    from geonb.embeddings import exact

    flat = faiss.IndexFlatIP(DIMS)
    flat.add(whole)
    half = exact.halves(whole) if exact.is_fast() else None
    turns = {"geonb": lambda i: exact.top(whole, asked, 10, half=half), "faiss": lambda i: flat.search(asked, 10)}
    spent = {name: [] for name in turns}
    for i in range(4):  # in turns
        for name, call in turns.items():
            start = time.perf_counter()
            call(i)
            spent[name].append(time.perf_counter() - start)
    ours, theirs = (len(asked) / float(np.median(spent[name][1:])) for name in turns)
    same = float((exact.top(whole, asked, 10, half=half)[0] == flat.search(asked, 10)[1]).mean())
    kind = "bfloat16 candidates" if half else "float32, no bfloat16 here"
    what = f"exact, {len(whole):,}, {len(asked):,} at once ({kind}; same answers {same:.1%})"
    return [
        [
            what,
            f"{ours:,.0f}/s",
            f"faiss flat {theirs:,.0f}/s",
            f"{ours / theirs:.2f}",
            ">= 2",
            "yes" if ours >= 2 * theirs else "no",
        ]
    ]


def use_rows(folder: Path, asked: np.ndarray) -> list[list[str]]:
    """Opening, filters and marks, as a user calls them: with the table of answers."""
    from geonb.embeddings import exact, marks, search, within

    opened = median(lambda i: search.open_index(folder), 5)
    index = search.open_index(folder)
    rows = [["opening", f"{opened * 1e3:.0f} ms", "", "", "< 1 s", "yes" if opened < 1 else "no"]]
    kept = {
        "a label: 1 %": within.Within(labels=["kind 7"]), "an area: 1 %": within.Within(area=(0, 0, 0.2, 0.0499)),
        "days: 20 %": within.Within(time=("2020-01-01", "2020-07-18")),
    }  # fmt: skip
    for name, one in kept.items():
        allowed = one.mask(index.table, index.live)
        truth, _ = exact.top(index.vectors, asked[:200], 10, allowed)
        got = recall(index.nearest(asked[:200], 10, allowed)[0], truth)
        spent = median(lambda i, one=one: index.search(asked[i], 10, one), 5)
        rows.append(
            [
                f"filtered, {name}: recall@10; a query with its table",
                f"{got:.3f}; {spent * 1e3:.0f} ms",
                "",
                "",
                ">= 0.95",
                "yes" if got >= 0.95 else "no",
            ]
        )
    plain = median(lambda i: index.search(asked[i], 10), 10)
    rows.append(["no filter: a query with its table", f"{plain * 1e3:.0f} ms", "", "", "", ""])
    marked = marks.Marks(index, "benchmark", folder.parent / "marks.json")
    ids = index.table.column("id").slice(0, 40).to_pylist()
    marked.mark(ids[:20], ids[20:])
    spent = median(lambda i: marked.search(20), 5)
    rows.append(
        [
            "marks of 40 samples: model, all scored, table of 20",
            f"{spent * 1e3:.0f} ms",
            "",
            "",
            "< 1 s",
            "yes" if spent < 1 else "no",
        ]
    )
    return rows


def main(folder: Path) -> list[list[str]]:
    from geonb.embeddings import search

    whole = vectors(COUNT + QUERIES, 2000)
    whole, asked = whole[:COUNT], whole[COUNT:]
    kept = os.environ.get("GEONB_BENCH_INDEX")  # built before: a graph of a million takes minutes
    place = Path(kept) if kept else folder / "index"
    start = time.perf_counter()
    if not place.exists():
        search.build_index(place, whole, samples(COUNT))
    built = time.perf_counter() - start
    index = search.open_index(place)
    size = sum(file.stat().st_size for file in place.iterdir()) / 1e9
    rows = [
        [
            f"building {COUNT:,} x {DIMS}, on disk",
            f"{'built before' if kept else f'{built:.0f} s'}; {size:.2f} GB",
            "",
            "",
            "",
            "",
        ]
    ]
    rows += rows_of(f"{COUNT:,}, clustered", index, asked)
    rows += exact_rows(whole[:200_000], asked) + exact_rows(whole, asked)
    rows += use_rows(place, asked)
    bare = vectors(BARE + QUERIES, 0)
    index = search.build_index(folder / "bare", bare[:BARE], samples(BARE), kind="ann")
    return rows + rows_of(f"{BARE:,}, without structure", index, bare[BARE:])
