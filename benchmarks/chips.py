"""Chips: cutting 4096 x 4096 x 3 into quadkey JPEGs beside rio-tiler's loop, and labelling 100,000 chips by 1,000,000 features."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

SIDE, ZOOM, REPEATS, MANY = 4096, 17, 3, 8
CHIPS_A_SIDE, FEATURES, CLASSES = 316, 1_000_000, 13


def make(folder: Path) -> Path:
    """A scene of smooth fields with noise (compresses like imagery), 1 m, as COG."""
    import numpy as np
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    random = np.random.default_rng(0)
    grid = {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32617", "transform": from_origin(5e5, 4e6, 1, 1),
            "tiled": True, "dtype": "uint8", "count": 3}  # fmt: skip
    with rasterio.open(folder / "plain.tif", "w", **grid) as file:
        for band in range(3):
            coarse = np.kron(random.integers(40, 200, (SIDE // 32, SIDE // 32)), np.ones((32, 32)))
            file.write((coarse + random.normal(0, 4, (SIDE, SIDE))).clip(1, 255).astype(np.uint8), band + 1)
    copy(folder / "plain.tif", folder / "scene.tif", driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=512)
    (folder / "plain.tif").unlink()
    return folder / "scene.tif"


def timed(function, *arguments) -> tuple[float, float]:
    """Seconds of a core and by the clock."""
    core, clock = time.process_time(), time.perf_counter()
    function(*arguments)
    return time.process_time() - core, time.perf_counter() - clock


def rio_tiler(scene: Path, folder: Path, size: int) -> None:
    """The loop of its documentation: a tile, encoded, written."""
    import mercantile
    from rasterio.warp import transform_bounds
    from rio_tiler.io import Reader

    folder.mkdir(exist_ok=True)
    with Reader(str(scene)) as source:
        for tile in mercantile.tiles(*transform_bounds(source.crs, "OGC:CRS84", *source.bounds), ZOOM):
            picture = source.tile(
                *tile[:2], tile.z, tilesize=size, resampling_method="bilinear", reproject_method="bilinear"
            )
            (folder / f"{mercantile.quadkey(tile)}.jpg").write_bytes(picture.render(img_format="JPEG", add_mask=False))


def ours(scenes: list[Path], folder: Path, size: int, processes: int) -> None:
    import shutil

    from geonb.workloads.chips import cutting

    shutil.rmtree(folder, ignore_errors=True)
    cutting.cut_chips(scenes, folder, zoom=ZOOM, size=size, quality=75, processes=processes)


def cutting_rows(folder: Path) -> list[list[str]]:
    import geopandas  # noqa: F401  (not part of what is measured)

    scene, rows = make(folder), []
    for size in (256, 512):
        theirs, mine, both = [], [], []
        for i in range(REPEATS):
            theirs.append(timed(rio_tiler, scene, folder / f"rio-{size}", size)[0])
            mine.append(timed(ours, [scene], folder / f"one-{size}-{i}", size, 1))
            both.append(timed(ours, [scene], folder / f"two-{size}-{i}", size, 2)[1])
        count = len(list((folder / f"one-{size}-0").glob("*.jpg")))
        peer, core = statistics.median(theirs), statistics.median(m[0] for m in mine)
        clock, two = statistics.median(m[1] for m in mine), statistics.median(both)
        ratio = peer / core
        what = f"{count} chips of {size} px JPEG from {SIDE}² x 3, of a core"
        met = "yes" if ratio >= 1.8 else "no"
        rows.append(
            [
                what,
                f"{count / core:,.0f}/s",
                f"rio-tiler {count / peer:,.0f}/s",
                f"{ratio:.1f}",
                ">= 1.8 (stretch 3)",
                met,
            ]
        )
        what = "the same by the clock, 2 processes, their start included"
        rows.append([what, f"{two:.1f} s", f"1 process {clock:.1f} s", f"{clock / two:.2f}", "", ""])
    many = [folder / f"scene-{i}.tif" for i in range(MANY)]
    for path in many:
        path.hardlink_to(scene)
    one, two = (timed(ours, many, folder / f"many-{n}", 512, n)[1] for n in (1, 2))
    what = f"{MANY} such scenes, {MANY * count:,} chips of 512 px, by the clock, 2 processes"
    return [*rows, [what, f"{two:.1f} s", f"1 process {one:.1f} s", f"{one / two:.2f}", "", ""]]


def features():
    """Houses, woods, lines and points around 100,000 chips of zoom 17."""
    import geopandas as gpd
    import numpy as np
    import shapely

    from geonb.workloads.chips import quadkeys

    random, first = np.random.default_rng(0), quadkeys.cells_at(24.9, 60.2, "xyz", ZOOM)[0].tile
    cells = [
        quadkeys.cell_at(0, ZOOM, first.x + i, first.y + j) for j in range(CHIPS_A_SIDE) for i in range(CHIPS_A_SIDE)
    ]
    chips = gpd.GeoDataFrame(
        {"name": [c.name("A") for c in cells]}, geometry=quadkeys.footprints(cells), crs="OGC:CRS84"
    )
    west, south, east, north = chips.total_bounds
    centre = np.stack([random.uniform(west, east, FEATURES), random.uniform(south, north, FEATURES)], axis=1)
    metre, houses, woods, roads = 1 / 111_320, int(0.7 * FEATURES), int(0.75 * FEATURES), int(0.95 * FEATURES)

    def rings(places, radius_m, corners):
        angle = np.sort(random.uniform(0, 2 * np.pi, (len(places), corners)), axis=1)
        ring = places[:, None] + radius_m[:, None, None] * metre * np.stack([2 * np.cos(angle), np.sin(angle)], axis=-1)
        return shapely.polygons(np.concatenate([ring, ring[:, :1]], axis=1))

    steps = random.normal(0, 30 * metre, (roads - woods, 12, 2)).cumsum(axis=1)
    shapes = np.concatenate([
        rings(centre[:houses], random.uniform(5, 20, houses), 6),
        rings(centre[houses:woods], 10 * random.lognormal(2.5, 1, woods - houses), 40),
        shapely.linestrings(centre[woods:roads, None] + steps), shapely.points(centre[roads:]),
    ])  # fmt: skip
    odd = ~shapely.is_valid(shapes)
    shapes[odd] = shapely.make_valid(shapes[odd])
    return chips, shapes, random.integers(0, CLASSES, FEATURES)


def labelling_rows() -> list[list[str]]:
    import shapely

    from geonb.workloads.chips import labels

    chips, shapes, numbers = features()
    core, clock = timed(labels.joined, chips, shapes, numbers, CLASSES, [shapely.box(*chips.total_bounds)] * CLASSES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    what = f"{len(chips):,} chips against {len(shapes):,} features, {CLASSES} classes"
    return [
        [what, f"{clock:.0f} s ({core:.0f} s of a core)", "", "", "< 60 s", "yes" if clock < 60 else "no"],
        ["the same, peak memory with the features", f"{peak:.1f} GB", "", "", "< 4 GB", "yes" if peak < 4 else "no"],
    ]


def main(folder: Path) -> list[list[str]]:
    return labelling_rows() + cutting_rows(folder)
