"""Fixtures that many test modules use: small simulated rasters (scenes.py) and a sample store made of them."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite("killing")  # its asserts tell what they compared, as those of tests do

import chains  # noqa: E402
import scenes  # noqa: E402

from geonb.base import trust  # noqa: E402

# tests interrupt and hang up on what they start, also where pytest itself runs under nohup or behind an "&"
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests beside each other must not fight for the cores


@pytest.fixture(scope="session", autouse=True)
def scratch():
    """Memory maps of tests, and notes of what they trust, go to a folder of their own, which is removed."""
    patch = pytest.MonkeyPatch()
    folder = tempfile.mkdtemp(prefix="geonb-tests-")
    patch.setenv("GEONB_SCRATCH", folder)
    patch.setenv("XDG_STATE_HOME", str(Path(folder, "state")))
    yield Path(folder)
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def trusts_nobody(scratch, monkeypatch):
    """A test trusts what it names itself, and nothing that others named."""
    monkeypatch.setenv("XDG_STATE_HOME", tempfile.mktemp(prefix="state-", dir=scratch))  # made if something is named
    monkeypatch.setattr(trust, "_HERE", set())


@pytest.fixture(scope="session", autouse=True)
def float32():
    """What this process computes by ``precision=auto`` is compared to the pixel, so it must not depend on the CPU it has.

    Runs of the command line compute in the precision of the machine.
    """
    import torch

    patch = pytest.MonkeyPatch()
    patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    yield
    patch.undo()


@pytest.fixture
def bfloat16(monkeypatch):
    """A machine that computes in bfloat16, so that ``precision=auto`` is that."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """image.tif (4 bands) and mask.tif (3 classes), 96 x 128 px, with nodata; see scenes.Scene."""
    return scenes.make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="session")
def small_store(scene, tmp_path_factory):
    """A sample store of `scene`: windows of 16 px every 8 px, blocks of 16 px."""
    from geonb.workloads.segmentation import dataset
    from geonb.workloads.segmentation import store as segmentation_store

    pairs = dataset.open_pairs(str(scene.image), str(scene.mask), classes=scene.classes, simulated=True, name="small")
    return segmentation_store.write_store(pairs, patch=16, stride=8, block=16, root=tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`geonb run segmentation` on a small simulated pair of files, from the command line: (project folder, its output)."""
    from geonb.rasters import landsat

    root, folder = Path(__file__).parents[1], tmp_path_factory.mktemp("finished")
    (folder / "pyproject.toml").write_text("")
    shutil.copytree(root / "notebooks", folder / "notebooks")
    landsat.write_scene(folder, *landsat.simulate((160, 192), seed=1))
    small = {
        "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 32, "block": 32, "epochs": 1, "samples": 40,
        "draws": 50, "rasters": "image.tif", "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8",
    }  # fmt: skip
    return folder, chains.run_anywhere("segmentation", folder, small)
