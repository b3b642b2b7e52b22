"""Killed at any moment, then begun again: the same store, weights, distances, maps, scores and embeddings as if left in peace."""

import os
import signal

import killing
import pytest

from geonb import registry
from geonb.workloads.clouds import examples

pytestmark = [pytest.mark.slow, pytest.mark.notebook, pytest.mark.timeout(killing.TIMEOUT_S)]

SETTINGS = {
    "scenes": "simulated-clouds-128x160-6x2-0.nc", "patch": 32, "triplets": "48/24/40", "network": "resnet10t:dims=8,hidden=32",
    "epochs": 3, "batch": 16, "seed": 3, "draws": 50, "samples": 40, "clusters": 3, "show": 4,
}  # fmt: skip
STEPS = ("01_dataset_clouds", *registry.SHARED_STEPS[:-1])  # 06 writes nothing: it is in the runs below


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    return killing.chain(
        "clouds", SETTINGS, folder, lambda root: examples.simulated_scenes(root, (128, 160), days=6, frames=2, patch=32)
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_any_moment(chain, step):
    chain.disturb(step)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_written_under_the_name_that_others_read(chain, step):
    assert chain.in_place(step) == []


@pytest.mark.skipif("GEONB_KILLS" not in os.environ, reason="minutes; GEONB_KILLS=4 asks for it")
def test_geonb_run_broken_off_in_every_step(chain):
    chain.disturb_command_line([signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
