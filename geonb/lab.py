"""JupyterLab on loopback with a token, and the line that reaches it from your own machine."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import sys
from importlib.util import find_spec

from geonb.base import project


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
        "--LabApp.default_url=/lab/tree/notebooks",
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")  # containers; the server still listens on loopback only
    environment = os.environ | {"JUPYTER_TOKEN": token, "GEONB_ROOT": str(root)}
    os.execve(sys.executable, command, environment)


def connection(port: int, token: str, page: str = "lab") -> str:
    """Tell how to reach the server from another machine."""
    host = f"{getpass.getuser()}@{socket.getfqdn()}"
    return (
        "On your own machine, in a terminal that stays open:\n"
        f"  ssh -N -L {port}:127.0.0.1:{port} {host}\n"
        "then in your browser (also without ssh, if you sit at this machine):\n"
        f"  http://127.0.0.1:{port}/{page}?token={token}\n"
        "Ctrl-C twice here ends it."
    )


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
