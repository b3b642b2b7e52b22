"""JupyterLab as a job: reached, found again, ended; through a real ssh tunnel from a node of a real Slurm."""

import json
import os
import re
import shutil
import stat
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import one_node_slurm
import pytest
from browsing import browser_page, free_port

from geonb import cli
from geonb.batch import labs, schedulers

pytest_plugins = ("tiny_fixtures",)  # project
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(300)]
HERE = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def link(text):
    return re.search(r"http://127\.0\.0\.1:(\d+)/lab/tree/notebooks\?token=(\w+)", text).groups()


def asked(port, token, seconds=60):
    """What the server answers to a token, once it is up; 0 if it never is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/contents", headers={"Authorization": f"token {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return len(json.load(answer)["content"]) and answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.2)
    return 0


def test_a_lab_is_reached_found_again_and_ended(project, capfd):
    assert cli.main(["lab", "--on", "local"]) == 0
    first = capfd.readouterr().out
    port, token = link(first)
    try:
        assert "It answers some seconds after it began" in first and "no limit" not in first
        assert (
            f"ssh -N -L {port}:127.0.0.1:{port} " in first and "geonb cancel lab" in first and asked(port, token) == 200
        )
        assert asked(port, "wrong") == 403
        assert cli.main(["lab", "--on", "local"]) == 0
        again = capfd.readouterr().out
        assert "runs already" in again and link(again) == (port, token)
        folder = project / labs.FOLDER
        assert (
            stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE((folder / labs.OUT).stat().st_mode) == 0o600
        )
        assert token not in (folder / labs.RECORD).read_text()
    finally:
        assert cli.main(["cancel", "lab"]) == 0
    until = time.monotonic() + 30
    while labs._running(project / labs.FOLDER) and time.monotonic() < until:
        time.sleep(0.2)
    assert asked(port, token, seconds=1) == 0
    assert cli.main(["cancel", "lab"]) == 2 and "No lab" in capfd.readouterr().err


def test_a_lab_that_does_not_stand_says_why(project, capfd):
    assert cli.main(["lab", "--on", "local", "--port", "99999999"]) == 2
    assert "ended before the lab stood" in (told := capfd.readouterr().err) and "99999999" in told


def test_a_lab_that_waits_for_its_turn_is_waited_for(project, monkeypatch):
    """Of a reason that has "run" in it, too."""
    said = iter(["PENDING AssocGrpCPURunMinutesLimit"] * 5 + [""])
    monkeypatch.setattr(schedulers, "state", lambda on, job: next(said))
    monkeypatch.setattr(labs, "START_S", 0.05)
    monkeypatch.setattr(labs, "POLL_S", 0.05)
    with pytest.raises(ValueError, match="ended before the lab stood"):
        labs._connection(project, {"on": "slurm", "id": "7", "walltime": None})


@contextmanager
def sshd(folder):
    """A server of ssh on loopback, that lets in a key of its own; gives the options that reach it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    options = {
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
    }
    options |= {"UsePAM": "no", "PidFile": "none", "PasswordAuthentication": "no"}
    command = [
        SSHD,
        "-D",
        "-e",
        "-f",
        "/dev/null",
        "-p",
        str(port),
        *(f"-o{name}={value}" for name, value in options.items()),
    ]
    with (folder / "sshd.log").open("w") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            reach = {
                "HostName": "127.0.0.1",
                "Port": port,
                "IdentityFile": folder / "user",
                "StrictHostKeyChecking": "no",
            }
            reach |= {"UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "ExitOnForwardFailure": "yes"}
            yield [f"-o{name}={value}" for name, value in reach.items()]
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="no ssh server on this machine (apt-get install openssh-server)"
)
@pytest.mark.skipif(bool(one_node_slurm.missing()), reason=f"no Slurm can be started: {one_node_slurm.missing()}")
def test_a_notebook_runs_on_a_node_through_a_real_tunnel(project, tmp_path_factory, capfd):
    if os.geteuid() != 0:
        pytest.skip("the server of ssh is started by root here")
    with one_node_slurm.slurm(tmp_path_factory.mktemp("slurm")), sshd(tmp_path_factory.mktemp("sshd")) as reach:
        assert cli.main(["lab", "--on", "slurm:cores=1,memory=1GB,walltime=00:10:00"]) == 0
        printed = capfd.readouterr().out
        port, token = link(printed)
        line = next(line.split() for line in printed.splitlines() if line.strip().startswith("ssh -N -L"))
        # the node is this machine, where the lab has its port already: another one here
        here = free_port()
        line[line.index("-L") + 1] = f"{here}:127.0.0.1:{port}"
        tunnel = subprocess.Popen([line[0], *reach, *line[1:]])
        try:
            assert asked(here, token) == 200
            with browser_page() as page:
                page.goto(f"http://127.0.0.1:{here}/lab/tree/notebooks/03_tiny.ipynb?token={token}")
                page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
                page.click(".jp-Dialog .jp-mod-accept", timeout=60_000)  # the tiny notebook names no kernel: which?
                page.wait_for_selector(
                    "#jp-main-statusbar :text('Idle')", timeout=60_000
                )  # before, what is asked for is lost
                page.click(".lm-MenuBar-item:has-text('Run')")
                page.click(".lm-Menu-item[data-command='runmenu:run-all']")
                page.wait_for_selector(".jp-OutputArea-output:has-text('tiny latest')", timeout=60_000)
                assert not page.troubles
        finally:
            tunnel.terminate()
            tunnel.wait(10)
            assert cli.main(["cancel", "lab"]) == 0
