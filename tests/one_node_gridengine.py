"""A real Grid Engine of one node on loopback (Debian's gridengine packages, as root), for as long as the tests last."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from one_node_slurm import free_ports

PROGRAMS, HOME, SHARE = Path("/usr/lib/gridengine"), Path("/var/lib/gridengine"), Path("/usr/share/gridengine")
NEEDED = ("sge_qmaster", "sge_execd", "qsub", "qconf", "spoolinit")


def missing():
    """Why no Grid Engine can be started here; empty if one can."""
    lacking = [name for name in NEEDED if not (PROGRAMS / name).exists()]
    if lacking:
        return f"no {', '.join(lacking)}: apt-get install gridengine-master gridengine-exec gridengine-client"
    return "" if os.geteuid() == 0 else "Grid Engine's daemons are started by root here"


def _edited(text, **lines):
    """Text of Grid Engine's own form, ``name value``, with other values for some names."""
    rows = [row.split(None, 1) for row in text.splitlines() if row and not row.startswith("#")]
    return "".join(f"{row[0]} {lines.get(row[0], row[1])}\n" for row in rows)


def _lay_out(folder, host):
    """A cell of its own beside links to the programs."""
    common = folder / "root" / "default" / "common"
    for path in (common, folder / "qmaster" / "job_scripts", folder / "execd", folder / "spooldb"):
        path.mkdir(parents=True)
    for name in ("bin", "lib", "util", "utilbin"):
        (folder / "root" / name).symlink_to(HOME / name)
    (common / "act_qmaster").write_text(f"{host}\n")
    (common / "host_aliases").write_text(f"{host} localhost\n")
    (common / "bootstrap").write_text(
        "admin_user none\ndefault_domain none\nignore_fqdn false\nspooling_method berkeleydb\nspooling_lib libspoolb\n"
        f"spooling_params {folder}/spooldb\nbinary_path /usr/sbin\nqmaster_spool_dir {folder}/qmaster\nsecurity_mode none\n"
        "listener_threads 2\nworker_threads 2\nscheduler_threads 1\n"
    )
    settings = _edited(
        (SHARE / "default-configuration").read_text(),
        execd_spool_dir=folder / "execd",
        min_uid=0,
        min_gid=0,
        administrator_mail="none",
    )
    (folder / "conf").write_text(settings)


@contextmanager
def grid_engine(folder):
    """Start it in a folder of its own; within, the environment names it."""
    host, (port, port_d) = socket.gethostname().partition(".")[0], free_ports(2)
    _lay_out(folder, host)
    named = {
        "SGE_ROOT": str(folder / "root"),
        "SGE_CELL": "default",
        "SGE_QMASTER_PORT": str(port),
        "SGE_EXECD_PORT": str(port_d),
    }
    patch = pytest.MonkeyPatch()
    for name, value in named.items():
        patch.setenv(name, value)

    def call(*command):
        return subprocess.run(
            [PROGRAMS / command[0], *map(str, command[1:])], capture_output=True, text=True, check=False, timeout=60
        )

    try:
        call("spoolinit", "berkeleydb", "libspoolb", folder / "spooldb", "init")
        for kind, what in (
            ("configuration", folder / "conf"), ("complexes", SHARE / "util/resources/centry"),
            ("usersets", SHARE / "util/resources/usersets"), ("managers", "root"),
        ):  # fmt: skip
            call("spooldefaults", kind, what)
        call("sge_qmaster")
        _until(lambda: call("qconf", "-sh").returncode == 0, folder)
        call("qconf", "-as", host)
        call("sge_execd")
        queue = _edited(
            call("qconf", "-sq").stdout,
            qname="main.q",
            hostlist=host,
            slots=2,
            pe_list="NONE",
            load_thresholds="NONE",
            notify="00:00:05",
        )
        (folder / "queue").write_text(queue)
        _until(lambda: call("qconf", "-Aq", folder / "queue").returncode == 0, folder)
        _until(lambda: " lx-" in call("qstat", "-f").stdout, folder)
        yield
    finally:
        call("qdel", "-f", "-u", "*")
        for one in psutil.process_iter():
            if one.name() in ("sge_execd", "sge_qmaster") and _belongs(one, folder):
                one.send_signal(signal.SIGTERM)
                psutil.wait_procs([one], timeout=20)
        patch.undo()
        shutil.rmtree(folder / "spooldb", ignore_errors=True)


def _belongs(process, folder):
    try:
        return process.environ().get("SGE_ROOT") == str(folder / "root")
    except psutil.Error:
        return False


def _until(condition, folder):
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            log = folder / "qmaster" / "messages"
            pytest.skip(
                f"Grid Engine is installed and does not start here: {log.read_text()[-500:] if log.is_file() else 'no log'}"
            )
        time.sleep(0.3)
