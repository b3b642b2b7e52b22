"""The site's scheduler, as dask-jobqueue knows it: headers of scripts, commands, and the configuration files that sites already have.

``~/.config/dask/jobqueue.yaml`` (and the other places of Dask's configuration) says queue, account, prologue and directives once, for
Dask's workers and for geonb's jobs alike. What a run asks for itself stands in ``--on`` and ``--job``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geonb.base import resources as base_resources
from geonb.base.specs import Option, check_options, load

ANSWER_S = 60  # a scheduler that does not answer by then is told as such
HEADER_WALLTIME = re.compile(r"#(?:SBATCH\s+(?:-t\s*|--time[ =])|PBS\s+-l\s.*?walltime=|\$\s+-l\s.*?h_rt=)([\d:-]+)")
# in Slurm's words, that no such job will ever run
NEVER = re.compile(r"[Ii]nvalid|configuration is not available|[Mm]ore processors")

RESOURCES = {
    **base_resources.RESOURCES,
    "gpus": Option(0, int, 0, help="of each node"),
    "scratch": Option(help="folder of the node to work in, as $TMPDIR; what is made there is brought back"),
    "warn": Option(None, int, 1, help="s before the end of walltime to stop and be submitted again; by itself a tenth, 10 to 300"),
}  # fmt: skip


Answer = Callable[
    [int, str, str], str
]  # (exit code, what was printed, id of a job) -> the scheduler's word for it, "" if it is gone


@dataclass(frozen=True)
class Queue:
    """A scheduler whose headers and commands dask-jobqueue knows.

    Attributes
    ----------
    job : str
        dask-jobqueue's class, ``"module:Class"``.
    ask : tuple of str
        Command that tells of a job.
    answer : callable
        Reads what it printed; a ValueError with the scheduler's own words where that is no answer.
    gpus : callable
        (number, resources) -> arguments of the class, or a `directive`.
    payer : str
        What the class calls who pays.
    names_job : bool
        Whether `ask` takes the job's id.
    always : tuple of str
        Directives of every job, after the site's own.
    nodes : callable, optional
        Of a scheduler by which a training can use several nodes: number -> directives, and what they stand for in dask-jobqueue's
        header.
    trial : tuple of str
        Command that says of a script whether it would be taken, and submits nothing; empty where the scheduler has none.
    path : callable
        Writes a path so that a directive names it.
    """

    job: str
    ask: tuple[str, ...]
    answer: Answer
    gpus: Callable[[int, Mapping[str, Any]], dict[str, Any]]
    payer: str = "account"
    names_job: bool = True
    always: tuple[str, ...] = ()
    nodes: Callable[[int], tuple[list[str], list[str]]] | None = None
    trial: tuple[str, ...] = ()
    path: Callable[[str], str] = str

    @property
    def engine(self) -> Any:
        try:
            return load(self.job)
        except ModuleNotFoundError as error:
            raise ValueError(f"{self.job} is not installed: pip install dask-jobqueue") from error

    @property
    def site(self) -> dict[str, Any]:
        """What the site's configuration says."""
        import dask

        return dask.config.get(f"jobqueue.{self.engine.config_name}")  # its defaults come with the class

    def check_here(self) -> None:
        _find(shlex.split(self.engine.submit_command)[0])

    def settled(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return base_resources.settled(asked, self.site, self.payer)

    def script(self, resources: Mapping[str, Any], name: str, body: str, folder: Path) -> str:
        site, more = self.site, self.gpus(resources["gpus"], resources) if resources["gpus"] else {}
        directives = [*site.get("job-extra-directives", []), *self.always, *filter(None, [more.pop("directive", None)])]
        if (nodes := resources.get("nodes") or 1) > 1 and self.nodes:
            several, replaced = self.nodes(nodes)
            directives += several
            more["job_directives_skip"] = [*site.get("job-directives-skip", []), *replaced]
        job = self.engine(
            scheduler="none", name=name, job_name=name, cores=resources["cores"], memory=resources["memory"], queue=resources["queue"],
            walltime=resources["walltime"], log_directory=str(folder), python=sys.executable, job_extra_directives=directives,
            **{self.payer: resources["account"]}, **more,
        )  # fmt: skip
        prologue = "\n".join(site.get("job-script-prologue") or [])
        header = job.job_header.replace(str(folder), self.path(str(folder)))
        return "\n".join(filter(None, [job.shebang, header, prologue, body])) + "\n"

    def check_script(self, file: Path) -> None:
        if self.trial:
            code, told = _call([*self.trial, str(file)])
            if code and NEVER.search(told):
                raise ValueError(told.strip())

    def submit(self, file: Path) -> str:
        command = shlex.split(self.engine.submit_command)
        code, told = _call([*command, str(file)])
        found = re.search(self.engine.job_id_regexp, told)
        if code or found is None:
            raise ValueError(f"{command[0]} took no job: {told.strip() or f'exit code {code}'}")
        # PBS and its relatives know a job by its number with the server's name
        return re.findall(rf"{found['job_id']}[\w.\[\]-]*", told)[0]

    def state(self, job: str) -> str:
        return self.answer(*_call([*self.ask, *([job] * self.names_job)]), job)

    def cancel(self, job: str) -> None:
        command = shlex.split(self.engine.cancel_command)
        code, told = _call([*command, job])
        if code and self.state(job):
            raise ValueError(f"{command[0]} {job}: {told.strip() or f'exit code {code}'}")


class Local:
    """Processes of this machine, in sessions of their own: they stay when the terminal closes. An id holds when its process began, since
    the system gives numbers again."""

    def check_here(self) -> None:
        pass

    def settled(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return dict(asked)

    def script(self, resources: Mapping[str, Any], name: str, body: str, folder: Path) -> str:
        return f"#!/usr/bin/env bash\n{body}\n"

    def check_script(self, file: Path) -> None:
        pass

    def submit(self, file: Path) -> str:
        import psutil

        nothing: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = subprocess.Popen(["bash", str(file)], start_new_session=True, **nothing)
        return f"{process.pid}@{psutil.Process(process.pid).create_time():.2f}"

    def state(self, job: str) -> str:
        return "running" if self._process(job) else ""

    def cancel(self, job: str) -> None:
        if process := self._process(job):
            process.terminate()

    def _process(self, job: str) -> Any:
        import psutil

        pid, _, began = job.partition("@")
        try:
            process = psutil.Process(int(pid))
            there = abs(process.create_time() - float(began)) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError):  # an id of another scheduler is no number and time
            return None
        return process if there else None


def _slurm_state(code: int, text: str, job: str) -> str:
    word = text.strip().partition("\n")[0]
    if code and "Invalid job id" not in text:
        raise ValueError(text.strip())
    # one that is over may be listed for some minutes; "None" is its word for no reason why it waits
    return "" if code or word.split(" ")[0] not in SLURM_ON_ITS_WAY else word.removesuffix(" None")


def _pbs_state(code: int, text: str, job: str) -> str:
    if code:
        if re.search(r"Unknown Job|has finished", text, re.IGNORECASE):
            return ""
        raise ValueError(text.strip())
    # long names of servers are cut off: the number alone is the job's
    number = re.split(r"\D", job)[0]
    rows = [line.split() for line in text.splitlines() if re.match(rf"{number}(\D|$)", line)]
    return PBS_WORDS.get(rows[0][-2], rows[0][-2]) if rows and len(rows[0]) > 2 else ""


def _sge_state(code: int, text: str, job: str) -> str:
    if code:
        raise ValueError(text.strip())
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == [job]]
    return SGE_WORDS.get(rows[0][4], rows[0][4]) if rows else ""


def _slurm_path(path: str) -> str:
    path = path.replace("%", "%%")  # of %j it would make the job's number
    escaped = re.sub(r"([\"\\])", r"\\\1", path)
    return f'"{escaped}"' if re.search(r"[\s\"'\\#]", path) else path


def _pbs_gpus(number: int, resources: Mapping[str, Any]) -> dict[str, Any]:
    from dask.utils import parse_bytes

    megabytes = -(-parse_bytes(resources["memory"]) // 2**20)
    return {"resource_spec": f"select=1:ncpus={resources['cores']}:mem={megabytes}MB:ngpus={number}"}


SLURM_ON_ITS_WAY = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING", "SIGNALING",
    "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
}  # fmt: skip
PBS_WORDS = {
    "Q": "queued",
    "R": "running",
    "H": "held",
    "E": "ending",
    "C": "",
    "F": "",
    "W": "waiting",
    "S": "suspended",
}
SGE_WORDS = {
    "qw": "queued",
    "r": "running",
    "hqw": "held",
    "Eqw": "error: see qstat -j",
    "t": "starting",
    "dr": "ending",
}
SCHEDULERS: dict[str, Queue | Local] = {
    "slurm": Queue(
        "dask_jobqueue.slurm:SLURMJob", ("squeue", "-h", "-o", "%T %r", "-j"), _slurm_state, lambda n, _: {"directive": f"--gres=gpu:{n}"},
        nodes=lambda n: ([f"--nodes={n}", "--ntasks-per-node=1"], ["-n 1"]), trial=("sbatch", "--test-only"),
        path=_slurm_path,
    ),
    "pbs": Queue("dask_jobqueue.pbs:PBSJob", ("qstat",), _pbs_state, _pbs_gpus),
    "sge": Queue(
        "dask_jobqueue.sge:SGEJob", ("qstat", "-u", "*"), _sge_state, lambda n, _: {"directive": f"-l gpu={n}"}, "project", names_job=False,
        always=("-S /bin/bash", "-notify"),  # it reads no first line of a script, and else kills without a word before
    ),
    "local": Local(),
}  # fmt: skip
NODES = {"nodes": Option(1, int, 1, help="with cores, memory and gpus on each, for a training by devices=NODESxGPUS")}
TABLE = {name: RESOURCES | (NODES if getattr(queue, "nodes", None) else {}) for name, queue in SCHEDULERS.items()}


def check_on(text: str) -> tuple[str, dict[str, Any]]:
    """Resolve ``"slurm:walltime=08:00:00,memory=32GB"``: which scheduler, and what every job asks for; a ValueError lists all faults."""
    return check_options("--on", text, TABLE)


def check_heeded(asked: Mapping[str, Any], unheeded: Sequence[str], what: str) -> None:
    """Refuse options that only jobs of a run heed, where something else is asked for; with a ValueError."""
    if given := [f"{name}={asked[name]}" for name in unheeded if asked[name] is not None]:
        raise ValueError(f"{', '.join(given)}: {what} does not heed it, only jobs of geonb run do. Leave it out.")


def check_here(on: str) -> None:
    """Refuse, before anything is made, what cannot be submitted from this machine; a ValueError says which command it lacks."""
    SCHEDULERS[on].check_here()


def settled(on: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a job asks for: of the run itself, else of the site's configuration, else two cores and 8 GB."""
    return SCHEDULERS[on].settled(asked)


def body(command: Sequence[str], root: Path, out: Path, cores: int | None = None, private: bool = False) -> str:
    """What a script does after the site's own lines: ``geonb COMMAND`` in place of the shell, so that a signal to the job reaches it.

    Parameters
    ----------
    root : the project's
    out : what it prints is added to this file
    cores : that it may use; by default all that it sees
    private : bool
        Nobody else may read what it writes.
    """
    exported = {"GEONB_ROOT": str(root)} | {
        name: os.environ[name] for name in base_resources.CARRIED if os.environ.get(name)
    }
    if cores:
        exported |= {"OMP_NUM_THREADS": str(cores), "GEONB_CORES": str(cores)}
    lines = [
        *(f"export {name}={shlex.quote(value)}" for name, value in exported.items()),
        f"cd {shlex.quote(str(Path.cwd()))}",
    ]
    lines += ["umask 077"] * private
    line = shlex.join([sys.executable, "-m", "geonb.cli", *command])
    return "\n".join([*lines, f"exec {line} >> {shlex.quote(str(out))} 2>&1"])


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
    return SCHEDULERS[on].script(resources, name, body, folder)


def check_script(on: str, file: Path) -> None:
    """Ask a scheduler that can tell (Slurm) whether it would take a script; nothing is submitted.

    Raises
    ------
    ValueError
        With its own words where it never will. What it refuses for now (nodes that are busy, a limit that is reached) may wait.
    """
    SCHEDULERS[on].check_script(file)


def submit(on: str, file: Path) -> str:
    """Hand a script to the scheduler; give the job's id.

    Raises
    ------
    ValueError
        With the scheduler's own words where it refuses; if its command is not on this machine.
    """
    return SCHEDULERS[on].submit(file)


def state(on: str, job: str) -> str:
    """What the scheduler says of a job, in its own word; "" if it knows the job no more.

    Raises
    ------
    ValueError
        If it does not answer; with its own words.
    """
    return SCHEDULERS[on].state(job)


def cancel(on: str, job: str) -> None:
    """Ask the scheduler to end a job; one that is gone is no fault.

    Raises
    ------
    ValueError
        With the scheduler's own words.
    """
    SCHEDULERS[on].cancel(job)


def walltime_in(script: str) -> dict[str, str]:
    """The walltime that a script's header asks for, which somebody may have edited, as ``{"walltime": ...}``; empty where it names none.

    Of ``#SBATCH -t`` or ``--time``, ``#PBS -l walltime=`` and ``#$ -l h_rt=``.
    """
    found = [one[1] for line in script.splitlines() if (one := HEADER_WALLTIME.match(line))]
    return {"walltime": found[-1]} if found else {}


def _find(command: str) -> None:
    if shutil.which(command) is None:
        raise ValueError(f"There is no {command} on this machine. Is this a login node, and is its module loaded?")


def _call(command: list[str]) -> tuple[int, str]:
    _find(command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{' '.join(command)} did not answer within {ANSWER_S} s") from None
    return done.returncode, done.stdout + done.stderr
