"""Killed at any moment, then begun again: the same store, weights, forecasts, maps, scores and embeddings as if left in peace."""

import os
import signal

import killing
import pytest

from geonb import registry

pytestmark = [pytest.mark.slow, pytest.mark.notebook, pytest.mark.timeout(killing.TIMEOUT_S)]

SETTINGS = {  # with dropout, whose draws must be the same again
    "region": "box:-5,6,1,12", "period": "1999-01:2006-12", "steps": 6, "horizon": 2, "epochs": 4, "batch": 4, "seed": 3, "draws": 50,
    "network": "unet_lstm:filters=4,depth=1,dropout=0.3", "samples": 40, "clusters": 3, "show": 4,
}  # fmt: skip
STEPS = ("01_dataset_conflict", *registry.SHARED_STEPS[:-1])  # 06 writes nothing: it is in the runs below


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return killing.chain("conflict", SETTINGS, tmp_path_factory.mktemp("kills"), lambda root: None)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_any_moment(chain, step):
    chain.disturb(step)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_written_under_the_name_that_others_read(chain, step):
    assert chain.in_place(step) == []


@pytest.mark.skipif("GEONB_KILLS" not in os.environ, reason="minutes; GEONB_KILLS=4 asks for it")
def test_geonb_run_broken_off_in_every_step(chain):
    chain.disturb_command_line([signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
