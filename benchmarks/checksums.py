"""What it costs that every chunk carries a checksum and every folder a manifest: a scene's arrays, with and without, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE, CHANNELS, ROUNDS = 4096, 4, 5


def main(folder: Path) -> list[list[str]]:
    import zarr
    from zarr.codecs import Crc32cCodec

    from geonb.base import manifest
    from geonb.store import arrays

    random = np.random.default_rng(0)
    rough = random.normal(0, 3, (CHANNELS, SIDE, SIDE)).cumsum(2)  # as a landscape: it packs to half, as images do
    scene = (128 + 60 * np.sin(rough / 40) + random.normal(0, 4, rough.shape)).clip(0, 255).astype(np.uint8)
    chunks = (CHANNELS, arrays.CHUNK_PX, arrays.CHUNK_PX)
    packed = arrays.compressors(1)
    kinds = {"with": packed, "without": [codec for codec in packed if not isinstance(codec, Crc32cCodec)]}
    spent: dict[tuple[str, str], list[float]] = {}

    def timed(what: str, kind: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        spent.setdefault((what, kind), []).append(time.perf_counter() - start)

    def write(place: Path, codecs: list) -> None:
        zarr.create_array(place, name="inputs", data=scene, chunks=chunks, compressors=codecs, overwrite=True)

    for _ in range(ROUNDS + 1):  # the first warms up
        for kind, codecs in kinds.items():
            timed("write", kind, lambda kind=kind, codecs=codecs: write(folder / kind, codecs))
            timed("read", kind, lambda kind=kind: zarr.open_array(folder / kind, path="inputs", mode="r")[:])
        timed("seal", "with", lambda: manifest.write_manifest(folder / "with"))
        timed("open", "with", lambda: manifest.missing(folder / "with"))
        timed("deep", "with", lambda: manifest.missing(folder / "with", deep=True))
    median = {key: float(np.median(times[1:])) for key, times in spent.items()}
    mega = scene.nbytes / 1e6

    def row(what: str, verb: str) -> list[str]:
        one, other = median[verb, "with"], median[verb, "without"]
        return [
            what,
            f"{mega / one:,.0f} MB/s",
            f"without {mega / other:,.0f} MB/s",
            f"{one / other:.2f} of the time",
            "",
            "",
        ]

    n = manifest.held(folder / "with")
    files = sum(first for name, (first, _) in n.items() if name.endswith("/"))
    return [
        row(f"writing {CHANNELS} x {SIDE}² uint8 in chunks of {arrays.CHUNK_PX} px", "write"),
        row("reading it", "read"),
        [f"the manifest of its {files} chunks: written; compared at each opening", f"{median['seal', 'with'] * 1e3:.0f} ms; "
         f"{median['open', 'with'] * 1e3:.0f} ms", "", "", "", ""],
        ["a deep look, which decodes all of them", f"{mega / median['deep', 'with']:,.0f} MB/s", "", "", "", ""],
    ]  # fmt: skip
