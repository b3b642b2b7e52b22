"""JupyterLab on loopback with a token, and the line that reaches it from your own machine."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import sys
from importlib.util import find_spec

from geonb.base import project

OPENS = "/lab/tree/notebooks"
# Configuration of JupyterLab: whether one wants its news is asked, even where it has none to bring, unless the part that asks is off.
CONFIGURED = project.PACKAGE / "jupyter"
SUBMITTED_FROM = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "SGE_O_HOST")  # the login node that a job came from


def serve(port: int | None = None) -> int:
    """Start JupyterLab in the project root and stay until it ends.

    It listens on 127.0.0.1 only; the token is new each time and is handed over in the environment, where other users of
    the machine cannot read it.

    Raises
    ------
    ValueError
        If `port` is taken.
    """
    root = project.project_root()
    if find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(
            "JupyterLab is not installed in this environment: `geonb doctor` tells how to get it."
        )
    port = free_port(port)
    token = secrets.token_hex(24)
    print(connection(port, token), flush=True)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--ServerApp.log_level=WARN", f"--ServerApp.root_dir={root}"),
        *(f"--LabApp.default_url={OPENS}", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")  # containers; the server still listens on loopback only
    paths = os.pathsep.join(filter(None, [str(CONFIGURED), os.environ.get("JUPYTER_CONFIG_PATH")]))
    environment = os.environ | {"JUPYTER_TOKEN": token, "GEONB_ROOT": str(root), "JUPYTER_CONFIG_PATH": paths}
    os.execve(sys.executable, command, environment)


def connection(port: int, token: str, page: str = OPENS) -> str:
    """Tell how to reach the server from another machine, also through a login node."""
    user, tunnel = getpass.getuser(), f"-L {port}:127.0.0.1:{port}"
    login = next((os.environ[name] for name in SUBMITTED_FROM if os.environ.get(name)), "LOGIN-NODE")
    return (
        "On your own machine, in a terminal that stays open:\n"
        f"  ssh -N {tunnel} {user}@{host_name()}\n"
        "or, where only a login node is reached from there:\n"
        f"  ssh -N -J {user}@{login} {tunnel} {user}@{host_name()}\n"
        "then in your browser (also without ssh, if you sit at this machine):\n"
        f"  http://127.0.0.1:{port}{page}?token={token}\n"
        "Ctrl-C twice here ends it."
    )


def host_name() -> str:
    """This machine's name, in full where it has such; never the loopback's, which a table of hosts may give for it."""
    names = [socket.getfqdn(), socket.gethostname()]
    known = [name for name in names if not name.startswith(("localhost", "ip6-")) and not name.endswith(".arpa")]
    return known[0] if known else "THIS-MACHINE"


def free_port(port: int | None = None) -> int:
    """Return `port` if it is free on loopback, or any free one; ValueError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"Port {port} cannot be used ({error}). Give another --port, or none for a free one."
            ) from error
        return probe.getsockname()[1]
