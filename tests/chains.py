"""`geonb run` of a whole workload on small data, from the command line: as jobs of a real Slurm where one can be started, else in here."""

import os
import subprocess
import sys
from pathlib import Path

import one_node_slurm

ROOT = Path(__file__).parents[1]
JOB = "slurm:cores=1,memory=3GB,walltime=00:30:00"


def project(folder):
    """Make a folder a project with the notebooks of this one."""
    (folder / "pyproject.toml").write_text("")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    return folder


def run(workload, folder, settings, *more):
    """What the command line said of a run that came to its end."""
    options = [part for key, value in settings.items() for part in ("-p", f"{key}={value}")]
    done = subprocess.run(
        [Path(sys.executable).with_name("geonb"), "run", workload, *options, *more],
        cwd=folder, env={**os.environ, "GEONB_ROOT": str(folder), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_anywhere(workload, folder, settings):
    """As :func:`run`, through the scheduler where one can be started."""
    if one_node_slurm.missing():
        return run(workload, folder, settings)
    daemons = folder / "slurm"
    daemons.mkdir()
    with one_node_slurm.slurm(daemons):
        return run(workload, folder, settings, "--on", JOB)
