"""The site's scheduler, as dask-jobqueue knows it: headers of scripts, commands, and the configuration files that sites already have.

``~/.config/dask/jobqueue.yaml`` (and the other places of Dask's configuration) says queue, account, prologue and directives once, for
Dask's workers and for geonb's jobs alike. What a run asks for itself stands in ``--on`` and ``--job``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geonb.base.specs import Option, check_options, load

CORES, MEMORY = 2, "8 GB"  # where neither the run nor the site's configuration says
ANSWER_S = 60  # a scheduler that does not answer by then is told as such
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)")


def _walltime(text: Any) -> str:
    if not isinstance(text, str) or not seconds_of(text):
        raise ValueError("must be HH:MM:SS, or D-HH:MM:SS, as 08:00:00")
    return text


def _memory(text: Any) -> str:
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(text) if isinstance(text, str) else 0
    except ValueError:
        size = 0
    if size < 2**20:
        raise ValueError("must be a size with its unit, as 16GB")
    return text


RESOURCES = {
    "cores": Option(None, int, 1, help="of one machine"),
    "memory": Option(read=_memory, help="as 16GB"),
    "walltime": Option(read=_walltime, help="HH:MM:SS, after which the scheduler kills the job"),
    "gpus": Option(0, int, 0),
    "queue": Option(help="or partition"),
    "account": Option(help="or project, that pays"),
    "warn": Option(None, int, 1, help="s before the end of walltime to stop and be submitted again; by itself a tenth, 10 to 300"),
}  # fmt: skip


@dataclass(frozen=True)
class Scheduler:
    """What differs between schedulers beyond what dask-jobqueue knows.

    Attributes
    ----------
    job : str
        dask-jobqueue's class, ``"module:Class"``; empty for jobs that are processes of this machine.
    ask : tuple of str
        Command that tells of a job, to which its id is added.
    state : callable
        (exit code, what the command printed, id) -> the scheduler's own word, or "" for a job that it knows no more.
    gpus : callable
        (number, resources) -> further arguments of the class.
    """

    job: str
    ask: tuple[str, ...] = ()
    state: Callable[[int, str, str], str] = lambda code, text, job: ""
    gpus: Callable[[int, Mapping[str, Any]], dict[str, Any]] = lambda number, resources: {}


def _slurm_state(code: int, text: str, job: str) -> str:
    if code:
        if "Invalid job id" in text:
            return ""
        raise ValueError(text.strip())
    return text.strip().splitlines()[0] if text.strip() else ""


def _pbs_state(code: int, text: str, job: str) -> str:
    if code:
        if re.search(r"Unknown Job|has finished", text, re.IGNORECASE):
            return ""
        raise ValueError(text.strip())
    words = {
        "Q": "queued",
        "R": "running",
        "H": "held",
        "E": "ending",
        "C": "",
        "F": "",
        "W": "waiting",
        "S": "suspended",
    }
    rows = [line.split() for line in text.splitlines() if line.startswith(job)]
    return words.get(rows[0][-2], rows[0][-2]) if rows and len(rows[0]) > 2 else ""


def _sge_state(code: int, text: str, job: str) -> str:
    if code:
        raise ValueError(text.strip())
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == [job]]
    words = {
        "qw": "queued",
        "r": "running",
        "hqw": "held",
        "Eqw": "error: see qstat -j",
        "t": "starting",
        "dr": "ending",
    }
    return words.get(rows[0][4], rows[0][4]) if rows else ""


def _pbs_gpus(number: int, resources: Mapping[str, Any]) -> dict[str, Any]:
    from dask.utils import parse_bytes

    megabytes = -(-parse_bytes(resources["memory"]) // 2**20)
    return {"resource_spec": f"select=1:ncpus={resources['cores']}:mem={megabytes}MB:ngpus={number}"}


SCHEDULERS = {
    "slurm": Scheduler(
        "dask_jobqueue.slurm:SLURMJob", ("squeue", "-h", "-o", "%T %r", "-j"), _slurm_state, lambda n, r: {"directive": f"--gres=gpu:{n}"}
    ),
    "pbs": Scheduler("dask_jobqueue.pbs:PBSJob", ("qstat",), _pbs_state, _pbs_gpus),
    "sge": Scheduler("dask_jobqueue.sge:SGEJob", ("qstat", "-u", "*"), _sge_state, lambda n, r: {"directive": f"-l gpu={n}"}),
    "local": Scheduler(""),
}  # fmt: skip
TABLE = dict.fromkeys(SCHEDULERS, RESOURCES)


def check_on(text: str) -> tuple[str, dict[str, Any]]:
    """Resolve ``"slurm:walltime=08:00:00,memory=32GB"``: which scheduler, and what every job asks for; a ValueError lists all faults."""
    return check_options("--on", text, TABLE)


def settled(on: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a job asks for: of the run itself, else of the site's configuration, else two cores and 8 GB."""
    if on == "local":
        return {"cores": None, "memory": None} | dict(asked)
    import dask

    _engine(on)  # its defaults come with it
    site = dask.config.get(f"jobqueue.{on}")
    found = dict(asked)
    found["cores"] = asked["cores"] or site.get("cores") or CORES
    found["memory"] = asked["memory"] or site.get("memory") or MEMORY
    for name, theirs in (
        ("walltime", "walltime"),
        ("queue", "queue"),
        ("account", "project" if on == "sge" else "account"),
    ):
        found[name] = asked[name] or site.get(theirs)
    return found


def script(on: str, resources: Mapping[str, Any], name: str, body: str, folder: Path) -> str:
    """A job's script: the site's header and prologue, then `body`.

    Parameters
    ----------
    resources : see :func:`settled`
    name : str
        Of the job, as the scheduler lists it.
    folder : Path
        Where the scheduler writes what it has to say itself.
    """
    if on == "local":
        return f"#!/usr/bin/env bash\n{body}\n"
    import dask

    site = dask.config.get(f"jobqueue.{on}")
    more = SCHEDULERS[on].gpus(resources["gpus"], resources) if resources["gpus"] else {}
    directives = [*site.get("job-extra-directives", []), *filter(None, [more.pop("directive", None)])]
    payer = {"project" if on == "sge" else "account": resources["account"]}
    job = _engine(on)(
        scheduler="none", name=name, job_name=name, cores=resources["cores"], memory=resources["memory"], walltime=resources["walltime"],
        queue=resources["queue"], log_directory=str(folder), python=sys.executable, job_extra_directives=directives, **payer, **more,
    )  # fmt: skip
    prologue = "\n".join(site.get("job-script-prologue") or [])
    return "\n".join(filter(None, [job.shebang, job.job_header, prologue, body])) + "\n"


def submit(on: str, file: Path) -> str:
    """Hand a script to the scheduler; give the job's id.

    Raises
    ------
    ValueError
        With the scheduler's own words where it refuses; if its command is not on this machine.
    """
    if on == "local":
        # a session of its own: it stays when the terminal closes
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return str(subprocess.Popen(["bash", str(file)], start_new_session=True, **nothing).pid)  # type: ignore[call-overload]
    engine = _engine(on)
    code, told = _call([*shlex.split(engine.submit_command), str(file)])
    found = re.search(engine.job_id_regexp, told)
    if code or found is None:
        raise ValueError(f"{engine.submit_command} took no job: {told.strip() or f'exit code {code}'}")
    # PBS and its relatives know a job by the number with the server's name
    whole = re.search(rf"{found['job_id']}[\w.\[\]-]*", told)
    return whole[0] if on == "pbs" and whole else found["job_id"]


def state(on: str, job: str) -> str:
    """What the scheduler says of a job, in its own word; "" if it knows the job no more.

    Raises
    ------
    ValueError
        If it does not answer; with its own words.
    """
    if on == "local":
        import psutil

        try:
            process = psutil.Process(int(job))
            return "" if process.status() == psutil.STATUS_ZOMBIE else "running"
        except psutil.NoSuchProcess:
            return ""
    known = SCHEDULERS[on]
    return known.state(*_call([*known.ask, *([job] if on != "sge" else [])]), job)


def cancel(on: str, job: str) -> None:
    """Ask the scheduler to end a job; one that is gone is no fault.

    Raises
    ------
    ValueError
        With the scheduler's own words.
    """
    if on == "local":
        try:
            os.kill(int(job), signal.SIGTERM)
        except ProcessLookupError:
            return
        return
    code, told = _call([*shlex.split(_engine(on).cancel_command), job])
    if code and state(on, job):
        raise ValueError(f"{_engine(on).cancel_command} {job}: {told.strip() or f'exit code {code}'}")


def seconds_of(walltime: str | None) -> float | None:
    """Seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; None for what is written otherwise (then no warning comes before the end)."""
    found = WALLTIME.fullmatch(str(walltime))
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _engine(on: str) -> Any:
    try:
        return load(SCHEDULERS[on].job)
    except ModuleNotFoundError as error:
        raise ValueError(f"--on {on} needs dask-jobqueue, which is not installed: pip install dask-jobqueue") from error


def _call(command: list[str]) -> tuple[int, str]:
    if shutil.which(command[0]) is None:
        raise ValueError(f"There is no {command[0]} on this machine. Is this a login node, and is its module loaded?")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{' '.join(command)} did not answer within {ANSWER_S} s") from None
    return done.returncode, done.stdout + done.stderr
