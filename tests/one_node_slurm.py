"""A real Slurm on loopback, of one node or more (Debian's slurm-wlm and munge, as root), for as long as the tests last.

Without accounting and without cgroups: memory is not held to what a job asked for.
"""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONF = """\
ClusterName=geonb
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
MpiDefault=none
ReturnToService=2
KillWait=5
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostName={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=4000 State=UNKNOWN\n"


def found(name):
    """A command's path; daemons lie where a user's PATH does not lead."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing():
    """Why no Slurm can be started here; empty if one can."""
    lacking = [name for name in NEEDED if found(name) is None]
    if lacking:
        return f"no {', '.join(lacking)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started by root here"


@contextmanager
def slurm(folder, nodes=1):
    """Start it in a folder of its own; within, SLURM_CONF names its configuration. Several nodes are daemons of this machine, too."""
    host, (port, *ports) = socket.gethostname().partition(".")[0], free_ports(1 + nodes)
    names = [host] if nodes == 1 else [f"{host}-{n}" for n in range(nodes)]
    for name in ("state", "munge", *(f"spool.{name}" for name in names)):
        (folder / name).mkdir()
    folder.chmod(0o711)
    (folder / "munge").chmod(0o711)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    conf = folder / "slurm.conf"
    about = {"host": host, "cores": os.cpu_count()}
    rows = [NODE.format(name=name, port=own, **about) for name, own in zip(names, ports, strict=True)]
    conf.write_text(CONF.format(folder=folder, port=port, **about) + "".join(rows))
    before, os.environ["SLURM_CONF"] = os.environ.get("SLURM_CONF"), str(conf)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{name}={folder}/munge/{file}" for name, file in files.items()]
    daemons = []
    try:
        for command in (
            ["munged", "-F", "--force", *munge],
            ["slurmctld", "-D", "-f", str(conf)],
            *(["slurmd", "-D", "-f", str(conf), "-N", name] for name in names),
        ):
            daemons.append(
                subprocess.Popen(
                    [found(command[0]), *command[1:]],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        until = time.monotonic() + 30
        while states() != ["idle"] * nodes:
            if time.monotonic() > until:
                log = folder / "slurmctld.log"
                pytest.skip(
                    f"Slurm is installed and does not start here: {log.read_text()[-500:] if log.is_file() else 'no log'}"
                )
            time.sleep(0.2)
        yield conf
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=20)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def states():
    """What Slurm says of each node."""
    return subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False).stdout.split()


def free_ports(number):
    with_ports = [socket.socket() for _ in range(number)]
    for one in with_ports:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in with_ports]
    for one in with_ports:
        one.close()
    return found
