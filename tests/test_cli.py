"""The command line: exit codes, what is printed, and how fast it answers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import tiny
from tiny import RECORD

from geonb import cli, doctor, lab, runs
from geonb.base import trust
from geonb.runs import kernels

pytest_plugins = ("tiny_fixtures",)  # project, reported


@pytest.fixture
def kernel(monkeypatch):
    """Stand in for the kernels: what they were asked to run, and how they end."""

    class Kernel:
        ran, outcome = [], kernels.Outcome("done")

    def execute(notebook, output, values, *args, **kwargs):
        Kernel.ran.append((notebook.stem, values))
        output.write_text("{}")
        return Kernel.outcome

    Kernel.ran = []
    monkeypatch.setattr(kernels, "execute", execute)
    return Kernel


def test_run_passes_everything_on(project, reported, kernel, capsys):
    (project / "p.yaml").write_text("rows: 5")
    assert cli.main(["run", RECORD, "--steps", "1-2", "-f", "p.yaml", "-p", "lr=1e-2", "-p", "mode=a=b"]) == 0
    run = runs.open_run("tiny")
    assert kernel.ran == [
        ("01_dataset_tiny", {"rows": 5, "table": None, "run": run.name}),
        ("02_tiny", {"lr": 0.01, "mode": "a=b", "workload": RECORD, "run": run.name}),
    ]
    assert f"Report: {run.path / 'report.html'}" in capsys.readouterr().out
    assert cli.main(["run", RECORD, "--resume", run.name.split("_")[1], "--steps", "2", "-p", "lr=2"]) == 0
    assert kernel.ran[2:] == [("02_tiny", {"lr": 2.0, "mode": "a=b", "workload": RECORD, "run": run.name})]


@pytest.mark.parametrize(("state", "code"), [("failed", 3), ("died", 4), ("stopped", 5)])
def test_exit_codes(project, reported, kernel, capsys, state, code):
    kernel.outcome = kernels.Outcome(state, error="the cause")
    assert cli.main(["run", RECORD]) == code
    assert "the cause" in capsys.readouterr().err and len(kernel.ran) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nope"], "Unknown workload 'nope'"),
        (["run", RECORD, "-p", "epochs=3"], "epochs: unknown"),
        (["run", RECORD, "-p", "lr"], "write -p name=value"),
        (["run", RECORD, "-f", "gone.yaml"], "No parameter file gone.yaml"),
        (["run", RECORD, "--resume"], "No run yet"),
        (["run", RECORD, "--steps", "9"], "name no step"),
        (["run", RECORD, "--steps", "1-99999999999"], "name no step"),
        (["run", RECORD, "--steps", "1-999999999"], "name no step"),
        (["run", RECORD, "--cell-timeout", "-5"], "The time limit of a cell, -5 s"),
        (["run", RECORD, "--cell-timeout", "0"], "The time limit of a cell, 0 s"),
        (["run", RECORD, "--resume", ""], "resume is an empty text"),
        (["run", RECORD, "-f", ""], "file is an empty text"),
        (["run", RECORD, "-f", "x" * 5000], "File name too long"),
        (["run", RECORD, "--resume", "x" * 5000], "File name too long"),
        (["run", RECORD, "-p", f"table={'x' * 5000}"], "no such file"),
        (["run", RECORD, "-p", "table="], "is empty"),
        (["run", "..:x"], "Cannot import '..'"),
        (["report", "x" * 5000], "File name too long"),
        (["report", "nope"], "No run 'nope'"),
        (["runs", "--sort", "nope"], "Columns:"),
        (["lab", "--port", "99999999"], "Port 99999999 cannot be used"),
        (["serve", "nowhere"], "There is no file or folder nowhere"),
        (["serve", ""], "is an empty text"),
        (["serve", "."], "no file ends in .tif or .tiff"),
        (["serve", ".", "--name", ""], "name is an empty text"),
    ],
)
def test_user_errors_exit_with_2_and_run_nothing(project, reported, kernel, capsys, arguments, says):
    if arguments[0] == "runs":
        runs.new_run("tiny", {}, project)
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err and kernel.ran == []


def test_gpus_that_are_not_here_are_told_before_the_first_step(project, reported, kernel, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    lines = 'workload: str = "tiny"  # which\nrun: str = "latest"  # run\ndevices: int | str = 1  # what trains'
    tiny.write_notebook(project / "notebooks" / "02_tiny.ipynb", [("markdown", "# Train"), ("parameters", lines)])
    assert cli.main(["run", RECORD, "-p", "devices=2x4"]) == 2 and kernel.ran == []
    assert "sees 0 here" in (told := capsys.readouterr().err) and "--job 2:nodes=2,gpus=4." in told
    assert not list(project.glob("runs/tiny/*"))
    assert cli.main(["run", RECORD, "--steps", "1"]) == 0
    assert cli.main(["run", RECORD, "--resume", "-p", "devices=4"]) == 0, "its training may be done, elsewhere"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("a wrong value"), 2, "a wrong value"),
        (OSError(28, "No space left on device", "runs/x"), 2, "runs/x: No space left on device."),
        (ModuleNotFoundError("No module named 'x'"), 2, "No module named 'x'"),
        (MemoryError(), 4, "Memory ran out"),
        (KeyboardInterrupt("SIGTERM"), 5, "Stopped by SIGTERM."),
        (KeyboardInterrupt(), 5, "Stopped by SIGINT."),
        (TypeError("of ours"), 3, "geonb itself failed (TypeError: of ours). Please report it, with "),
    ],
)
def test_every_way_out_has_a_code_and_a_sentence(project, monkeypatch, capsys, error, code, says):
    def table(**options):
        raise error

    monkeypatch.setattr("geonb.runs.run_table.table", table)
    assert cli.main(["runs"]) == code
    told = capsys.readouterr().err
    assert says in told and "Traceback" not in told
    if code == 3:
        log = Path(re.search(r"with (\S+\.log)", told)[1])
        assert "TypeError: of ours" in log.read_text() and "Traceback" in log.read_text()
        log.unlink()


def test_a_page_takes_the_place_of_files_only(project, reported, monkeypatch, capsys):
    from geonb.base import files

    made = [runs.new_run("tiny", {}, project) for _ in range(2)]
    os.mkfifo("device")
    for out, says in (("device", "is a device, no file"), ("runs", "is a folder, no file")):
        monkeypatch.setattr("geonb.runs.compare.write_comparison", lambda *a: files.write_text(Path(a[1]), "page"))
        assert cli.main(["report", *(run.name for run in made), "--out", out]) == 2
        assert says in capsys.readouterr().err
    assert Path("device").is_fifo()


def test_nobody_listens(project):
    """A closed pipe has heard enough; a full disk is told."""
    command = [sys.executable, "-m", "geonb.cli", "runs"]
    read, write = os.pipe()
    os.close(read)
    assert subprocess.run(command, stdout=write, check=False).returncode == 0
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "standard output: No space left on device.\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_any_command_with_a_sentence(signum):
    waits = (
        "import time, sys\nfrom geonb import cli\ncli._runs = lambda o: (print('here', flush=True), time.sleep(60))\n"
    )
    command = [sys.executable, "-c", waits + "sys.exit(cli.main(['runs']))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "here\n"
        running.send_signal(signum)
        assert running.wait(20) == 5
        assert running.stderr.read() == f"Stopped by {signum.name}.\n"


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "{}", '{"state": 3, "started": "", "steps": {}}', '{"state": "", "started": "", "steps": [1]}'],
)
@pytest.mark.parametrize(
    "arguments", [["run", RECORD, "--resume"], ["run", RECORD, "--steps", "3"], ["runs"], ["report"]]
)
def test_a_run_json_that_says_nothing_is_told(project, kernel, capsys, text, arguments):
    run = runs.new_run("tiny", {}, project)
    (run.path / "run.json").write_text(text)
    code = cli.main(arguments)
    shown = capsys.readouterr()
    assert code == (2 if arguments[0] == "run" else 0) and "itself failed" not in shown.err and kernel.ran == []
    told = (run.path / "report.html").read_text() if arguments[0] == "report" else shown.out + shown.err
    assert "run.json" in told and ("mapping" in told or "was damaged" in told)


def test_parameters_are_shown_without_running(project, kernel, capsys):
    assert cli.main(["run", RECORD, "--parameters"]) == 0
    shown = capsys.readouterr().out
    assert (
        "02_tiny\n  lr: float = 0.1, 1e-09 to 100\n      learning rate" in shown and "rows: int = 3, 1 to 10" in shown
    )
    assert kernel.ran == [] and not (project / "runs").exists()


def test_the_table_of_runs(project, capsys):
    assert cli.main(["runs"]) == 0 and "geonb run" in capsys.readouterr().out
    for value in (0.25, 0.75):
        runs.new_run("tiny", {}, project).update(headline={"metric": "mean_iou", "value": value})
    assert cli.main(["runs", "--sort", "mean_iou"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("0.75") < shown.index("0.25") and shown.count("interactive") == 2
    assert cli.main(["runs", "--query", "mean_iou > 0.9"]) == 0 and "No run fits" in capsys.readouterr().out


def test_the_table_shows_what_differs_and_everything_on_request(project, capsys):
    for lr in (0.25, 0.75):
        step = {"state": "done", "parameters": {"lr": lr, "rows": 7}}
        runs.new_run("tiny", {}, project).update(steps={"02_tiny": step})
    (project / "runs" / "tiny" / "half").mkdir()
    assert cli.main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert "lr" in shown and "rows" not in shown and "No run.json" in shown
    assert cli.main(["runs", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "lr" in shown and "rows" in shown


def test_reports_of_one_and_of_several(project, reported, capsys):
    one, two = (runs.new_run("tiny", {}, project) for _ in range(2))
    assert cli.main(["report", one.name]) == 0 and reported == [one.path]
    assert cli.main(["report", one.name, str(two.path)]) == 0
    assert reported[1:] == [one.path, two.path, ((one.path, two.path), None, None)]
    shown = capsys.readouterr().out
    assert f"Index: {project / 'runs' / 'index.html'}" in shown and "Comparison: comparison.html" in shown


def test_a_report_knows_a_workload_that_is_named(project, reported, monkeypatch):
    from geonb import registry

    monkeypatch.setattr(registry, "_NAMED", {})
    one = runs.new_run("tiny", {}, project)
    assert cli.main(["report", one.name, "--workload", "tinyload:TINY"]) == 0 and registry.known("tiny").name == "tiny"
    assert cli.main(["report", one.name, "--workload", "tinyload:NONE"]) == 2


def test_runs_to_compare_are_chosen_by_query(project, reported, capsys):
    made = [runs.new_run("tiny", {}, project) for _ in range(3)]
    for run, lr in zip(made, (0.1, 0.2, 0.3), strict=True):
        run.update(steps={"02_tiny": {"state": "done", "parameters": {"lr": lr}}})
    asked = ["report", "--query", "lr > 0.15", "--sort", "lr", "--out", "page.html"]
    assert cli.main(asked) == 0
    assert reported[-1] == ((made[1].path, made[2].path), "page.html", "lr") and len(reported) == 3
    reported.clear()
    for wrong, says in (
        (["--query", "lr > 1"], "No run fits"),
        (["--query", "nope > 1"], "Columns:"),
        (["--sort", "nope"], "Columns:"),
        ([made[0].name, "--query", "lr > 0"], "not both"),
        (["--query", "lr > 0.25", "--out", "page.html"], "two runs or more, not 1"),
    ):
        assert cli.main(["report", *wrong]) == 2 and says in capsys.readouterr().err and not reported


def test_doctor_tells_what_is_there_and_what_is_missing(project, capsys, monkeypatch):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"numpy +\d", shown) and str(project) in shown and "Nothing that geonb needs is missing" in shown
    assert cli.main(["doctor", "chips", "-p", "network=resnet10t:head=linear"]) == 0
    assert (
        f"example: NOT in {project}" in (shown := capsys.readouterr().out) and "head=linear begins at random" in shown
    )
    assert "(geonb fetch chips -p network=resnet10t:head=linear, where" in shown and shown.endswith("geonb run chips\n")
    assert cli.main(["doctor", "conflict"]) == 0 and "ucdp_ged: https://" in capsys.readouterr().out
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda name: ["numpy<1", "nosuchthing>=2", "gone; extra == 'test'"]
    )
    monkeypatch.chdir("/")
    assert cli.main(["doctor"]) == 2
    shown = capsys.readouterr().out
    assert "wants <1" in shown and "nosuchthing>=2: pip install" in shown and "No pyproject.toml" in shown
    assert re.search(r"gone .*only for tests", shown) and "gone:" not in shown


def test_help_is_quick_and_lists_only_what_there_is():
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "geonb.cli", "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 2  # half a second on an idle machine; see benchmarks
    assert all(command in done.stdout for command in ("run", "runs", "report", "doctor", "lab", "serve", "exit codes"))
    loaded = "import sys, geonb.cli; geonb.cli._parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "papermill", "pandas", "torch", "yaml"} & set(modules)


def test_a_taken_port_is_refused_and_a_free_one_found():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="cannot be used"):
            lab.free_port(taken.getsockname()[1])
    assert 1024 < lab.free_port() < 65536


@pytest.mark.parametrize(
    ("full", "short", "said"),
    [
        ("node7.cluster.org", "node7", "node7.cluster.org"),
        ("localhost", "node7", "node7"),
        ("localhost.localdomain", "node7", "node7"),
        ("1.0.0.127.in-addr.arpa", "node7", "node7"),
        ("localhost", "localhost", "THIS-MACHINE"),
    ],
)
def test_the_line_of_ssh_names_this_machine_and_never_the_loopback(monkeypatch, full, short, said):
    monkeypatch.setattr(lab.socket, "getfqdn", lambda: full)
    monkeypatch.setattr(lab.socket, "gethostname", lambda: short)
    monkeypatch.setattr(lab.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(lab, "SUBMITTED_FROM", ("TEST_SUBMIT_HOST",))
    lines = lab.connection(8888, "t").splitlines()
    assert f"  ssh -N -L 8888:127.0.0.1:8888 ada@{said}" in lines
    assert f"  ssh -N -J ada@LOGIN-NODE -L 8888:127.0.0.1:8888 ada@{said}" in lines
    monkeypatch.setenv("TEST_SUBMIT_HOST", "login2")
    assert "-J ada@login2 -L" in lab.connection(8888, "t")


@pytest.mark.notebook
def test_lab_serves_on_loopback_behind_a_token(project):
    command = [sys.executable, "-m", "geonb.cli", "lab"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            shown = "".join(server.stdout.readline() for _ in range(7))
            port, token = re.search(r"http://127\.0\.0\.1:(\d+)/lab/tree/notebooks\?token=(\w+)", shown).groups()
            assert f"ssh -N -L {port}:127.0.0.1:{port} " in shown and len(token) == 48
            assert token not in " ".join(Path(f"/proc/{server.pid}/cmdline").read_text().split("\0"))
            assert _status(port, token) == 200
            assert _status(port, "wrong") == 403
            page = (
                urllib.request.urlopen(f"http://127.0.0.1:{port}/lab/tree/notebooks?token={token}", timeout=20)
                .read()
                .decode()
            )
            config = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
            assert config["treePath"] == "notebooks" and config["news"]["disabled"] is True
            assert config["disabledExtensions"] == ["@jupyterlab/apputils-extension:announcements"]
        finally:
            server.terminate()


def _status(port, token):
    for _ in range(600):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/contents", headers={"Authorization": f"token {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert "notebooks" in [one["name"] for one in json.load(answer)["content"]]
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.1)
    raise AssertionError("JupyterLab did not come up")


def test_code_that_files_name_is_allowed_once(project, capsys, monkeypatch):
    (project / "own.py").write_text("raise SystemExit('it ran')\ndef scale(values): ...\n")
    assert cli.main(["trust"]) == 0 and "Nothing was allowed" in capsys.readouterr().out
    assert cli.main(["trust", "own.py:scale", "tinyload:TINY"]) == 0
    assert "own.py:scale may run" in capsys.readouterr().out and trust.trusted("own.py:scale")
    assert cli.main(["trust"]) == 0 and f"{project / 'own.py'}:scale" in capsys.readouterr().out
    assert cli.main(["trust", "gone.py:scale"]) == 2 and "there is no file" in capsys.readouterr().err
    (project / "full").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "full"))
    assert cli.main(["trust", "own.py:scale"]) == 2 and "Set XDG_STATE_HOME" in capsys.readouterr().err
