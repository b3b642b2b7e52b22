"""What tests of runs as jobs share: waiting, and what was written of the jobs."""

import time
from pathlib import Path

from geonb.base import files
from geonb.batch import jobs

HERE = Path(__file__).parents[1]  # jobs find the geonb under test by it


def wait(condition, seconds=120):
    """What a condition gives once it is true."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.2)
    return answer


def record_of(run):
    return files.read_json(run.path / jobs.RECORD)
