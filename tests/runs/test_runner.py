"""Running notebooks: what is recorded, every way to end, resuming. The kernels run tiny notebooks (see tiny.py)."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tiny import RECORD, write_notebook

from geonb import runs
from geonb.base.manifest import CURED
from geonb.runs import plan, runner

pytest_plugins = ("tiny_fixtures",)  # project, reported
GEONB = [sys.executable, "-m", "geonb.cli"]


@pytest.fixture
def leaves_nothing():
    before = {p.pid for p in psutil.process_iter()}
    yield
    deadline = time.monotonic() + 5
    while left := [p for p in psutil.process_iter(["ppid", "cmdline"]) if p.pid not in before and _is_ours(p)]:
        assert time.monotonic() < deadline, f"left behind: {[p.info for p in left]}"
        time.sleep(0.1)


def _is_ours(process):
    return "ipykernel" in " ".join(process.info["cmdline"] or []) and process.info["ppid"] in (1, os.getpid())


def start(steps=None, resume=False, **values):
    planned = plan.prepare(RECORD, values, steps=steps, resume=resume)
    return (planned.run, *runner.run_steps(planned))


def outputs(run, step):
    cells = json.loads((run.notebooks / f"{step}.ipynb").read_text())["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_run_in_use_is_left_alone(project, monkeypatch):
    monkeypatch.setattr(runner, "LOCK_WAIT_S", 0.3)
    planned = plan.prepare(RECORD)
    with (planned.run.path / ".running.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="run by another process"):
            runner.run_steps(planned)
    assert planned.run.info["steps"] == {}


# --- running ---------------------------------------------------------------------------------------------------------


@pytest.mark.notebook
def test_a_run_and_its_records(project, reported, leaves_nothing, capsys):
    run = runner.run(RECORD, {"rows": 2, "lr": 1})
    info = runs.check_run(run)
    assert info["state"] == "done" and reported == [run.path]
    assert "rows 2 run " + run.name + " headless 1" in outputs(run, "01_dataset_tiny")
    assert outputs(run, "03_tiny").strip() == f"{RECORD} {run.name}"
    train = info["steps"]["02_tiny"]
    assert train["state"] == "done" and train["exit_code"] == 0 and train["parameters"] == {"lr": 1.0, "mode": "ok"}
    assert [(c["index"], c["title"]) for c in train["cells"]] == [(1, "Train"), (2, "Train"), (3, "Fit"), (4, "Break")]
    assert 0 < sum(c["seconds"] for c in train["cells"]) <= train["seconds"] and train["peak_memory_mb"] > 20
    log = (run.path / "log.txt").read_text()
    assert "=== 02_tiny" in log and "--- cell 4 of 4: Break\nabout to ok\npast ok" in log
    shown = capsys.readouterr().out
    assert "  epoch 2 of 2, lr 1.0\n" in shown and "about to" not in shown
    assert sum(line.startswith(("01_", "02_", "03_")) for line in shown.splitlines()) == 3, "one calm line a notebook"
    assert not list(run.path.rglob("*.partial*"))


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        ("fail", 3, "ValueError: the loss became NaN\nTry a smaller lr"),
        ("memory", 4, "MemoryError: no room"),
        ("kill", 4, "most likely memory ran out"),
        ("exit", 4, "exit code 7"),
    ],
)
def test_a_failure_says_where_why_and_what_next(project, reported, leaves_nothing, mode, code, says):
    run, found, message = start(steps="1-2", mode=mode)
    assert found == code
    assert '02_tiny, cell 4 of 4 ("Break"): ' in message and says in message
    assert f"The cell printed last:\n  about to {mode}\n" in message
    assert f"Partial notebook: runs/tiny/{run.name}/notebooks/02_tiny.ipynb" in message
    assert f"geonb run {RECORD} --resume {run.name.split('_')[1]} --steps 1,2" in message
    assert f"about to {mode}" in outputs(run, "02_tiny") and "past" not in outputs(run, "02_tiny")
    record = run.info["steps"]["02_tiny"]
    assert run.info["state"] == record["state"] == "failed" and record["exit_code"] == code and record["error"]
    assert reported == [run.path] and runs.check_run(run)


def test_a_training_that_was_stopped_says_what_of_it_is_kept(project):
    from geonb.runs.kernels import Outcome

    planned = plan.prepare(RECORD, steps="1-3")
    run, stopped = planned.run, Outcome("stopped", error="The cell took longer than the limit of 9 s.")
    (run.path / "log.csv").write_text("epoch,step\n0,0\n1,8\n2,16\n")
    assert "Kept:" not in runner.explain(planned, planned.steps[1], stopped), "no checkpoint"
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").touch()
    told = runner.explain(planned, planned.steps[1], stopped)
    assert (
        "Kept: epoch 2 of the training; resumed with the same settings, it goes on from there.\nResume with: " in told
    )
    assert "Kept:" not in runner.explain(planned, planned.steps[2], stopped), "another step"


@pytest.mark.notebook
def test_from_python_a_failure_raises(project, reported):
    with pytest.raises(RuntimeError, match="the loss became NaN"):
        runner.run(RECORD, {"mode": "fail"})


@pytest.mark.notebook
def test_a_cell_over_its_time_limit_is_stopped(project, reported, leaves_nothing):
    planned = plan.prepare(RECORD, {"mode": "sleep"}, steps="1-2")
    code, message = runner.run_steps(planned, cell_timeout_s=1)
    assert code == 5 and "longer than the limit of 1 s" in message and planned.run.info["state"] == "stopped"


@pytest.mark.notebook
def test_an_idle_kernel_whose_answer_is_lost_is_ended(project, reported, leaves_nothing, monkeypatch):
    from geonb.runs import kernels

    monkeypatch.setattr(kernels, "STALL_S", 1.0)
    _, code, message = start(steps="1-2", mode="hang")
    assert code == 4 and "idle" in message and "hanging" in message


@pytest.mark.notebook
def test_output_widgets_do_not_hang(project, reported, leaves_nothing):
    run, code, message = start(steps="1-2", mode="output")  # hung in one run of two without the client's wake-up
    assert code == 0, message
    assert "past output" in outputs(run, "02_tiny")


@pytest.mark.notebook
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_a_signal_stops_calmly_and_resumably(project, reported, leaves_nothing, signum):
    usual = signal.getsignal(signum)

    def later():
        wait_for(lambda: any("about to sleep" in p.read_text() for p in project.glob("runs/tiny/*/log.txt")))
        os.kill(os.getpid(), signum)

    threading.Thread(target=later, daemon=True).start()
    run, code, message = start(steps="1-2", mode="sleep")
    assert code == 5 and f"Stopped by {signal.Signals(signum).name}" in message and "--resume" in message
    assert run.info["state"] == "stopped" == run.info["steps"]["02_tiny"]["state"]
    assert signal.getsignal(signum) == usual
    assert not psutil.pid_exists(int((project / "notebooks" / "kernel.pid").read_text()))


@pytest.mark.notebook
def test_after_kill_9_the_kernel_ends_and_the_run_resumes(project, reported, leaves_nothing, capsys):
    with subprocess.Popen([*GEONB, "run", RECORD, "-p", "mode=sleep"], stdout=subprocess.DEVNULL) as running:
        wait_for(lambda: any("about to sleep" in p.read_text() for p in project.glob("runs/tiny/*/log.txt")))
        running.kill()
    wait_for(lambda: not psutil.pid_exists(int((project / "notebooks" / "kernel.pid").read_text())), 3)
    left = runs.open_run("tiny")
    written = json.loads((left.path / "run.json").read_text())
    assert written["state"] == "running" == written["steps"]["02_tiny"]["state"], "nobody was there to write it"
    assert left.info["state"] == "died" == left.info["steps"]["02_tiny"]["state"]
    row = runs.table().iloc[0]
    assert row["state"] == "died" and row["fault"].startswith(
        f"02_tiny died: the process that ran it ({running.pid} on "
    )
    (left.path / "run.json.7.partial").touch()
    run, code, message = start(resume=True, mode="ok")
    assert code == 0, message
    assert "01_dataset_tiny              done before" in capsys.readouterr().out
    assert {s["state"] for s in run.info["steps"].values()} == {"done"} and len(run.info["steps"]) == 3
    assert not list(run.path.rglob("*.partial*")) and not (run.path / runner.RESERVE).exists()


@pytest.mark.notebook
def test_a_signal_before_the_first_cell_stops_too(project, reported, leaves_nothing, monkeypatch):
    @contextmanager
    def at_once(stop):
        stop.reason = "SIGTERM"
        yield

    monkeypatch.setattr(runner, "_signals", at_once)
    run, code, message = start(steps="1")
    assert code == 5 and "Stopped by SIGTERM" in message, message
    assert run.info["state"] == "stopped" == run.info["steps"]["01_dataset_tiny"]["state"] and reported == [run.path]


@pytest.mark.notebook
def test_who_hung_up_finds_the_run_stopped_and_its_report(project, leaves_nothing):
    """SIGHUP with a terminal that takes nothing more, as after a lost connection."""
    read, write = os.pipe()
    with subprocess.Popen([*GEONB, "run", RECORD, "-p", "mode=sleep"], stdout=write, stderr=write) as running:
        os.close(write)
        wait_for(lambda: any("about to sleep" in p.read_text() for p in project.glob("runs/tiny/*/log.txt")))
        os.close(read)
        running.send_signal(signal.SIGHUP)
        assert running.wait(30) == 5
    run = runs.open_run("tiny")
    assert run.info["state"] == "stopped" and "Stopped by SIGHUP" in (run.path / "report.html").read_text()


@pytest.mark.notebook
def test_two_runs_at_once_share_nothing(project, leaves_nothing):
    command = [*GEONB, "run", RECORD, "--steps", "1-2", "-p", "mode=sockets"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        one.wait(60)
    found = [runs.Run(p) for p in (project / "runs" / "tiny").iterdir()]
    assert len(found) == 2 and all(r.info["steps"]["02_tiny"]["state"] == "done" for r in found)
    connections = [json.loads("{" + outputs(r, "02_tiny").split("{")[1].split("}")[0] + "}") for r in found]
    assert {c["transport"] for c in connections} == {"ipc"}, "sockets in a private folder: no port to share"
    assert len({c["ip"] for c in connections}) == len({c["key"] for c in connections}) == 2
    assert not any(Path(c["ip"]).parent.exists() for c in connections), "and the folder is gone"


@pytest.mark.notebook
def test_children_count_in_the_peak_and_end_with_the_kernel(project, reported, leaves_nothing):
    run, code, _ = start(steps="1-2", mode="child")
    assert code == 0 and 300 < run.info["steps"]["02_tiny"]["peak_memory_mb"] < 600
    start(steps="1-2", mode="orphan")
    wait_for(lambda: not psutil.pid_exists(int((project / "notebooks" / "child.pid").read_text())), 3)


@pytest.mark.notebook
def test_what_libraries_print_past_python_is_in_the_log(project, reported):
    run, _, _ = start(steps="1-2", mode="stderr")
    assert "straight to the terminal" in (run.path / "log.txt").read_text()


@pytest.mark.notebook
def test_resume_runs_what_changed_and_what_follows(project, reported, capsys):
    (project / "t.csv").write_text("1")
    run, code, _ = start(table="t.csv")
    shown = []
    assert code == 0

    def again(**values):
        capsys.readouterr()
        start(resume=True, **values)
        shown.append(capsys.readouterr().out)
        lines = [line for line in shown[-1].splitlines() if line[:2].isdigit()]
        return "".join(line[1] for line in lines if " peak " in line)

    assert again() == "", "all finished, all equal: nothing runs"
    assert again(lr=0.2) == "23" and run.parameters["lr"] == 0.2
    assert "02_tiny                      was done, but runs again: lr changed" in shown[-1]
    assert again() == "", "the parameters of the run are the run's own"
    (project / "t.csv").write_text("22")
    assert again() == "123", "an input file changed: the step, and all after it"
    write_notebook(project / "notebooks" / "03_tiny.ipynb", [("code", "print('new')")])
    assert again() == "3", "a notebook changed"
    assert again(mode="fail") == "2"
    assert again(mode="ok") == "23"


def test_with_nohup_a_terminal_may_hang_up():
    from geonb.runs import kernels

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with runner._signals(stop := kernels.Stop()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN and signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_is_a_failure_with_its_cause(project, reported, monkeypatch):
    from geonb.runs import kernels

    monkeypatch.setattr(
        kernels, "execute", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    run, code, message = start()
    assert code == 3 and "No space left on device" in message and run.info["state"] == "failed"


def test_what_is_damaged_is_resumed_with_all_steps(project, reported, monkeypatch):
    """The step that stumbles over it reads it; another one makes it again."""
    from geonb.runs import kernels

    start(steps="1-2")
    for cure, line in (("Run it again", "--steps 2"), (f"As said: {CURED}.", "")):
        outcome = kernels.Outcome("failed", error=f"ValueError: it is damaged\n{cure}")
        monkeypatch.setattr(kernels, "execute", lambda *a, outcome=outcome, **k: outcome)
        run, _, message = start(steps="2", resume=True, lr=0.3)
        assert (
            message.splitlines()[-2]
            == f"Resume with: geonb run {RECORD} --resume {plan.two_words(run)} {line}".rstrip()
        )


def test_on_a_full_disk_the_last_word_is_written_where_room_was_kept(project, reported, monkeypatch):
    """What every write of a full disk does: no space, until the room that was kept is given back."""
    from geonb.runs import kernels

    sync, full = os.fsync, []

    def fsync(descriptor):
        if full and any(project.glob(f"runs/tiny/*/{runner.RESERVE}")):
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr("geonb.base.files.os.fsync", fsync)
    monkeypatch.setattr(kernels, "execute", lambda *a, **k: full.append(1) or kernels.Outcome("done"))
    run, code, message = start()
    assert (
        code == 3
        and "could not go on: OSError" in message
        and "MB are free. Free some space, then:\nResume with" in message
    )
    assert run.info["state"] == "failed" == run.info["steps"]["01_dataset_tiny"]["state"] and reported == [run.path]
    assert not list(run.path.rglob("*.partial*")) and not (run.path / runner.RESERVE).exists()


def test_a_disk_that_is_full_from_the_start_runs_nothing(project, reported, monkeypatch):
    planned = plan.prepare(RECORD)
    before = (planned.run.path / "run.json").read_text()

    def fsync(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("geonb.base.files.os.fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            runner.run_steps(planned)
        with pytest.raises(PermissionError, match="No space left"):
            plan.prepare(RECORD)
    assert (planned.run.path / "run.json").read_text() == before and reported == []
    assert [p.name for p in (project / "runs" / "tiny").iterdir()] == [planned.run.name]
    assert not list(planned.run.path.rglob("*.partial*")) and not (planned.run.path / runner.RESERVE).exists()


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (TypeError("of ours"), 3, "geonb itself failed (TypeError: of ours)"),
        (MemoryError("no room"), 4, "Memory ran out beside the kernel"),
        (OSError(12, "Cannot allocate memory"), 4, "Cannot allocate memory"),
        (KeyboardInterrupt(), 5, "Stopped by SIGINT"),
    ],
)
def test_a_run_that_breaks_off_by_itself_says_how(project, reported, monkeypatch, error, code, says):
    from geonb.runs import kernels

    def execute(*arguments, **options):
        raise error

    monkeypatch.setattr(kernels, "execute", execute)
    run, found, message = start()
    assert (found, run.info["state"]) == (code, "stopped" if code == 5 else "failed") and says in message
    step = run.info["steps"]["01_dataset_tiny"]
    assert step["state"] == run.info["state"] and step["exit_code"] == code and step["error"] and "--resume" in message
    assert ("Traceback" in (run.path / "log.txt").read_text()) == (code == 3) and reported == [run.path]


def test_time_limits_that_are_none(project):
    for limit in (-5, 0, 10**12, 1.5, True):
        with pytest.raises(ValueError, match="time limit of a cell"):
            runner.run(RECORD, cell_timeout_s=limit)
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("name", "value", "traceback", "memory"),
    [
        ("MemoryError", "", "", True),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 20 GiB", "", True),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", "", True),
        ("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed.", "", True),
        ("OSError", "[Errno 12] Cannot allocate memory", "", True),
        (
            "ValueError",
            "a.tif cannot be read",
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB",
            True,
        ),
        (
            "ValueError",
            "a.tif cannot be read",
            "\x1b[31mMemoryError\x1b[39m      Traceback (most recent call last)",
            True,
        ),
        ("ValueError", "the loss became NaN", "     3 except MemoryError: # is caught", False),
        ("KeyError", "memory", "", False),
    ],
)
def test_memory_that_ran_out_is_recognised_however_it_is_told(name, value, traceback, memory):
    from types import SimpleNamespace

    from geonb.runs import kernels

    assert kernels._is_memory(SimpleNamespace(ename=name, evalue=value, traceback=traceback.split("\n"))) == memory


def test_a_report_that_fails_hides_nothing(project, monkeypatch, reported):
    from geonb.runs import kernels

    monkeypatch.setattr("geonb.runs.report.write_report", lambda path: 1 / 0)
    monkeypatch.setattr(kernels, "execute", lambda *a, **k: kernels.Outcome("failed", error="X: the cause"))
    _, code, message = start()
    assert code == 3 and "the cause" in message and "ZeroDivisionError" in message and "geonb report" in message


# --- the log ---------------------------------------------------------------------------------------------------------


def test_a_redrawn_line_is_written_now_and_then(tmp_path):
    from geonb.runs import monitor

    lines = []
    log = monitor.Log(tmp_path / "log.txt", on_line=lines.append, every_s=1000)
    for percent in range(100):
        log.write(f"\r{percent}%", "stderr")
    log.write("\r100%\n", "stderr")
    log.write("epoch 1 ")
    log.write("done\nno newline\x1b[31m")
    log.close()
    assert (tmp_path / "log.txt").read_text() == "0%\n100%\nepoch 1 done\nno newline\n"
    assert lines == ["epoch 1 done", "no newline"]


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    from geonb.runs import monitor

    heard = []
    log = monitor.Log(Path("/dev/full"), on_line=heard.append)
    for text in ("one\n", "two\n", "three"):
        log.write(text)
    log.close()
    assert heard == ["one", "two", "three"]
