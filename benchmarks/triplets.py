"""A training step on triplets against the original's form, what cutting them costs, what they cost on disk, how fast tiles embed.

``Original`` states convml-tt's arithmetic anew: resnet18 and fastai's head, three passes, one each for anchors, neighbours and
distant tiles, float32, channels first. The scenes are simulated (`geonb.workloads.clouds.examples`): three bands for the steps.
"""

from __future__ import annotations

import io
import statistics
import time
from collections import defaultdict
from pathlib import Path

BATCH, ROUNDS = 32, 5
STEPS = {64: 3, 256: 1}
GOALS = {64: 1.7, 256: 3.0}
NORM_STEPS, NORM_SEEDS = 80, 6


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (AMX or AVX512_BF16), as geonb's ``precision = auto`` asks."""
    from geonb.training.task import precision_of

    return precision_of("auto") == "bfloat16"


def network(channels: int, patch: int, last: bool):
    import torch

    from geonb.workloads.clouds.networks import build_network

    built = build_network("resnet18", channels, patch)
    return built.to(memory_format=torch.channels_last) if last else built


def stepper(patch: int, form: str):
    """A function that takes one training step of the form: original (three passes, channels first) or ours; +bf16."""
    import torch

    ours = form.startswith("ours")
    net, tiles = network(3, patch, ours), torch.randn(3 * BATCH, 3, patch, patch)
    if ours:
        tiles = tiles.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=form.endswith("bfloat16")):
            a, n, d = net(tiles).chunk(3) if ours else [net(part) for part in tiles.chunk(3)]
        near, far = ((a.float() - other.float()).square().sum(1) for other in (n, d))
        loss = (near - far + 1).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def rates(functions: dict, count: int, steps: int) -> dict[str, float]:
    """Things a second of each function, in turns: medians over rounds."""
    for function in functions.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(steps):
                function()
            taken[name].append((time.perf_counter() - start) / steps)
    return {name: count / statistics.median(seconds) for name, seconds in taken.items()}


def training_rows(patch: int) -> tuple[list[list[str]], float]:
    """The rows, and the seconds of our quickest step."""
    forms = ["original", "ours, float32", *(["ours, bfloat16"] if has_bf16() else [])]
    found = rates({form: stepper(patch, form) for form in forms}, BATCH, STEPS[patch])
    rows: list[list[str]] = []
    for form in forms[1:]:
        ratio, best = found[form] / found["original"], form == forms[-1]
        rows.append([
            f"training step, resnet18, {BATCH} triplets of {patch} px: {form}", f"{found[form]:.1f} triplets/s",
            f"three passes, channels first, float32: {found['original']:.1f}/s", f"{ratio:.2f}",
            f">= {GOALS[patch]:g}" if best else "", ("yes" if ratio >= GOALS[patch] else "no") if best else "",
        ])  # fmt: skip
    return rows, BATCH / found[forms[-1]]


def small_store(folder: Path, patch: int, counts: str):
    from geonb.workloads.clouds import examples
    from geonb.workloads.clouds import store as clouds_store

    found = examples.simulated_scenes(folder, shape=(1024, 1024), days=6, frames=2, patch=patch)
    return clouds_store.write_triplet_store(found, patch=patch, counts=counts, root=folder)


def cutting_rows(folder: Path, steps: dict[int, float]) -> list[list[str]]:
    """Time to cut a batch of triplets, with and without changes, beside the step that it feeds (seconds, by px)."""
    rows = []
    for patch, step in steps.items():
        store = small_store(folder, patch, "256/32/32")
        for spec in ("flips,rotations", "flips,rotations,brightness,contrast"):
            windows = store.windows("train", spec)
            keys = list(range(BATCH))
            took = 1 / rates({"cut": lambda w=windows, k=keys: w.batch(k)}, 1, 10)["cut"]
            rows.append([
                f"cutting {BATCH} triplets of {patch} px, {spec}", f"{took * 1000:.0f} ms", f"the step {step * 1000:.0f} ms",
                f"{took / step:.1%}", "< 10 %", "yes" if took / step < 0.1 else "no",
            ])  # fmt: skip
    return rows


def disk_rows(folder: Path) -> list[list[str]]:
    """Scenes and table of 10,000 triplets of 256 px against three PNGs each, from the size of 60 of those."""
    from PIL import Image

    store = small_store(folder, 256, "8000/1000/1000")
    size = 0
    for tile in ("anchor", "neighbor", "distant"):
        for picture in store.tiles([*range(0, 10_000, 500)], tile):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            size += len(file.getvalue())
    pngs = size / 60 * 30_000
    arrays = sum(p.stat().st_size for p in (store.path / "arrays.zarr").resolve().rglob("*") if p.is_file())
    table = (store.path / "index.parquet").stat().st_size
    ratio = pngs / (arrays + table)
    return [
        ["10,000 triplets of 256 px: 12 scenes of 1024² and the table", f"{(arrays + table) / 1e6:.1f} MB",
         f"three PNGs each {pngs / 1e6:,.0f} MB", f"{ratio:.0f}x", ">= 20x", "yes" if ratio >= 20 else "no"],
        ["same, the table alone", f"{table / 1e6:.2f} MB", "", f"{pngs / table:,.0f}x", "", ""],
    ]  # fmt: skip


def embedding_rows() -> list[list[str]]:
    """Tiles of 256 px, one channel-first float32 pass as the original embeds them, and ours through `encoder`."""
    import numpy as np
    import torch

    from geonb.embeddings.embedding import encoder
    from geonb.workloads.clouds.task import Triplet

    card = {"network": "resnet18", "loss": "triplet", "lr": 1e-3, "patch": 256, "channels": [{}] * 3}
    task, plain = Triplet(card).eval(), network(3, 256, False).eval()
    tiles = torch.randn(64, 3, 256, 256)
    last = tiles.contiguous(memory_format=torch.channels_last)
    best = "bfloat16" if has_bf16() else "float32"
    embed = encoder(task, best)

    def bare() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=best == "bfloat16"):
            task.network(last)

    def original() -> None:
        with torch.inference_mode():
            plain(tiles)

    found = rates({"ours": lambda: np.asarray(embed(last)), "bare": bare, "original": original}, len(tiles), 1)
    goal = f"embedding tiles of 256 px: ours, {best}"
    least = found["ours"] / found["original"]
    return [
        [goal, f"{found['ours']:.0f} tiles/s", f"channels first, float32: {found['original']:.0f}/s", f"{least:.2f}",
         ">= 4 with bf16", ("yes" if least >= 4 else "no") if best == "bfloat16" else "no bf16 here"],
        [goal, f"{found['ours']:.0f} tiles/s", f"the bare network {found['bare']:.0f}/s", f"{found['ours'] / found['bare']:.2f}",
         ">= 0.9", "yes" if found["ours"] / found["bare"] >= 0.9 else "no"],
    ]  # fmt: skip


def scene_rows(folder: Path) -> list[list[str]]:
    """A whole scene by a sliding window, against the bare network on as many tiles that are there already."""
    import torch

    from geonb.embeddings.embedding import encoder
    from geonb.workloads.clouds.predict import embed_scene, tile_corners
    from geonb.workloads.clouds.task import Triplet

    store = small_store(folder, 64, "256/32/32")
    task = Triplet({"network": "resnet18", "loss": "triplet", "lr": 1e-3, **Triplet.card_of(store)}).eval()
    name, embed = store.sources[0], encoder(task)
    corners = tile_corners(store, name, 32)
    number = len(corners[0]) * len(corners[1])
    tiles = torch.randn(128, len(store.channels), 64, 64).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(number // 128):
                task.network(tiles)

    found = rates({"scene": lambda: embed_scene(store, name, 0, corners, embed), "bare": bare}, 1, 1)
    whole, alone = 1 / found["scene"] / number, 1 / found["bare"] / (number // 128 * 128)
    return [[
        f"a scene of 1024², {number} tiles of 64 px, half overlapping", f"{1 / whole:.0f} tiles/s", f"the bare network {1 / alone:.0f}/s",
        f"{alone / whole:.2f}", ">= 0.9", "yes" if alone / whole >= 0.9 else "no",
    ]]  # fmt: skip


def sharing_rows() -> list[list[str]]:
    """How much of a tile's work one pass over the whole scene would give exactly, where tiles lie on the network's own stride.

    A convolution pads a tile's edge with zeros, where the scene goes on: from layer to layer more of the tile differs. Of the
    part that does not, overlapping tiles could share all but one share; the rest would be computed in strips, tile by tile.
    """
    import torch

    rows = []
    for patch in STEPS:
        net, seen = network(3, patch, True).eval(), defaultdict(list)
        hooks = []
        for module in net.backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(
                    module.weight
                )  # those that end a block begin as nothing, and would hide what it does
            if isinstance(module, torch.nn.Conv2d):
                hooks.append(module.register_forward_hook(lambda m, _, out, to=seen: to[m].append(out)))
        scene = torch.randn(1, 3, 3 * patch, 3 * patch)
        with torch.inference_mode():
            for part in (scene, scene[..., patch : 2 * patch, patch : 2 * patch]):
                net.backbone.forward_features(part.contiguous(memory_format=torch.channels_last))
        for hook in hooks:
            hook.remove()
        work = same = 0.0
        for conv, (whole, tile) in seen.items():
            side = tile.shape[-1]
            macs = tile.numel() * conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]
            inside = whole[..., side : 2 * side, side : 2 * side]
            work += macs
            same += macs * float(((inside - tile).abs() < 1e-4).all(dim=1).float().mean())
        share = same / work
        rows.append([
            f"work on a tile of {patch} px that a pass over the scene gives exactly", f"{share:.0%}",
            "half overlapping, every tile in four", f"at most {1 / (1 - share * 3 / 4):.2f}", "", "",
        ])  # fmt: skip
    return rows


def normalisation_rows(folder: Path) -> list[list[str]]:
    """Validation accuracy after as many steps with one pass for all tiles, and with three: is it worse by more than seeds differ?"""
    import torch

    from geonb.embeddings.embedding import encoder
    from geonb.workloads.clouds.predict import measure
    from geonb.workloads.clouds.task import Triplet

    store = small_store(folder, 32, "2000/500/10")
    found: dict[str, list[float]] = {"one": [], "three": []}
    test = (store.index["split"] == "val").to_numpy()
    for seed in range(NORM_SEEDS):
        for form, values in found.items():
            torch.manual_seed(seed)
            card = {"network": "resnet10t:dims=32", "loss": "triplet", "lr": 1e-3, **Triplet.card_of(store)}
            task, windows = Triplet(card).train(), store.windows("train", "flips,rotations", seed)
            optimizer = torch.optim.Adam(task.parameters(), 1e-3)
            for k in range(NORM_STEPS):
                batch = windows.batch([(k * BATCH + i) % len(windows) for i in range(BATCH)])
                if form == "one":
                    near, far = task.distances(batch)
                else:
                    a, n, d = (task(batch[t]).float() for t in ("inputs", "neighbor", "distant"))
                    near, far = ((a - other).square().sum(1) for other in (n, d))
                optimizer.zero_grad()
                (near - far + 1).relu().mean().backward()
                optimizer.step()
            near, far = measure(store, encoder(task))
            values.append(float((near < far)[test].mean()))
    middle = {form: statistics.mean(values) for form, values in found.items()}
    spread = max(statistics.stdev(values) for values in found.values())
    return [[
        f"validation accuracy after {NORM_STEPS} steps, {NORM_SEEDS} seeds, batch norm over all tiles in one pass", f"{middle['one']:.3f}",
        f"three passes {middle['three']:.3f}", f"{middle['one'] - middle['three']:+.3f}",
        f">= -{spread:.3f}, the seeds' spread", "yes" if middle["one"] - middle["three"] >= -spread else "no",
    ]]  # fmt: skip


def main(folder: Path) -> list[list[str]]:
    import torch

    torch.manual_seed(0)
    rows, steps = [], {}
    for patch in STEPS:
        found, steps[patch] = training_rows(patch)
        rows += found
    rows += cutting_rows(folder, steps) + disk_rows(folder)
    return rows + embedding_rows() + scene_rows(folder) + sharing_rows() + normalisation_rows(folder)
