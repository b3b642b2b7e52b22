"""Killed at any moment, then begun again: the same store, weights, predictions, maps, scores and embeddings as if left in peace."""

import os
import random
import signal

import killing
import pytest

from geonb import registry
from geonb.rasters import landsat

pytestmark = [pytest.mark.slow, pytest.mark.notebook, pytest.mark.timeout(killing.TIMEOUT_S)]

SETTINGS = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 16, "block": 32, "epochs": 4, "samples": 40, "draws": 50, "seed": 3,
    "network": "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8", "rasters": "north/image.tif", "polygons": 0.0, "clusters": 3,
    "show": 4,
}  # fmt: skip
STEPS = ("01_dataset_segmentation", *registry.SHARED_STEPS[:-1])  # 06 writes nothing: it is in the runs below
MORE = ("north", "middle", "south")


def _inputs(root):
    landsat.write_scene(root, *landsat.simulate((160, 192), seed=2))
    for seed, name in enumerate(MORE):
        landsat.write_scene(root / name, *landsat.simulate((224, 96), seed))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return killing.chain("segmentation", SETTINGS, tmp_path_factory.mktemp("kills"), _inputs)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_any_moment(chain, step):
    chain.disturb(step)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_written_under_the_name_that_others_read(chain, step):
    assert chain.in_place(step) == []


@pytest.mark.skipif("GEONB_KILLS" not in os.environ, reason="minutes; GEONB_KILLS=4 asks for it")
def test_geonb_run_broken_off_in_every_step(chain):
    chain.disturb_command_line([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])


@pytest.mark.skipif("GEONB_KILLS" not in os.environ, reason="minutes; GEONB_KILLS=4 asks for it")
def test_many_rasters_over_dask_workers(chain):
    """With the workers of the killed process gone, and the copy of the model that they shared."""
    chain.restore("after 02_training")
    files, run, draw = [chain.root / name / "image.tif" for name in MORE], chain.run_folder, random.Random(killing.SEED)
    assert chain.run(killing.label, run, files, chain.root / "alone", 0) == 0, chain.printed()
    kinds = sorted({kind for kind, _ in chain.seen() if kind.startswith("os.rename")})
    for _ in range(max(2, killing.KILLS // 3)):
        after = {"at": killing.Moment(draw.choice(kinds).replace("alone", "spread"), 1)} if draw.random() < 0.5 else {}
        code = chain.run(
            killing.label, run, files, chain.root / "spread", 2, **(after or {"after_s": draw.uniform(2, 8)})
        )
        assert code in (0, -signal.SIGKILL), chain.printed()
        chain.check_nothing_is_left()
    assert chain.run(killing.label, run, files, chain.root / "spread", 2) == 0, chain.printed()
    chain.check_nothing_is_left()
    assert killing.partials(chain.root / "spread") == []
    killing.check_same(*({p.name: p for p in (chain.root / place).glob("*_*.*")} for place in ("alone", "spread")))
