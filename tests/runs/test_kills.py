"""The runner killed, or told to stop, at any moment: no kernel is left, the state is true, and the run is resumed to its end."""

import json
import random
import signal
import tempfile
from pathlib import Path

import killing
import pytest
import tiny

pytestmark = [pytest.mark.notebook, pytest.mark.timeout(killing.TIMEOUT_S)]

KILLS = killing.KILLS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of tiny notebooks, run once in peace; what that changed on disk, and what its cells printed."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "project" / "notebooks").mkdir(parents=True)
    root = folder / "project"
    (root / "pyproject.toml").write_text("")
    (root / "tinyload.py").write_text(tiny.WORKLOAD)
    for name, cells in (("01_dataset_tiny", tiny.DATASET), ("02_tiny", tiny.TRAIN), ("03_tiny", tiny.PREDICT)):
        tiny.write_notebook(root / "notebooks" / f"{name}.ipynb", cells)
    project = killing.Killable(root, folder / "kept")
    project.save("before")
    assert project.run(killing.command, "run", tiny.RECORD) == 0, project.printed()
    project.kinds = [kind for kind, _ in project.seen()]
    project.save("after")
    return project


def run_of(root):
    runs = [p.parent for p in root.glob("runs/tiny/*/run.json")]
    return runs[0] if runs else None


def said(root):
    """What the executed notebooks hold, and the states of steps and run."""
    run = run_of(root)
    info = json.loads((run / "run.json").read_text())
    outputs = {}
    for path in sorted((run / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        text = "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))
        outputs[path.name] = text.replace(run.name, "RUN")
    return outputs, info["state"], {name: step["state"] for name, step in info["steps"].items()}


def disturb(project, signals, first):
    """Stop runs at moments from the first change of a kind on, some in a row; each is resumed to its end."""
    draw, number = random.Random(f"{killing.SEED} {signals}"), 0
    from_here = project.kinds.index(first) + 1 if first else 0
    while number < KILLS:
        project.restore("before")
        told = []
        for _ in range(min(killing.IN_A_ROW, KILLS - number)):
            place, signum = draw.randrange(from_here, len(project.kinds)), draw.choice(signals)
            kind = project.kinds[place]
            moment = killing.Moment(kind, project.kinds[: place + 1].count(kind), signum)
            told.append(moment)
            code = project.run(killing.command, "run", tiny.RECORD, *go_on(project.root), at=moment)
            text = f"seed {killing.SEED}, {told}\n{project.printed()}"
            project.check_nothing_is_left()
            killing.check_whole(project.root)
            killing.age(project.root)
            number += 1
            if signum == signal.SIGKILL and code == -signal.SIGKILL:
                continue
            assert code in (0, 5), text
            assert said(project.root)[1] == ("stopped" if code else "done"), text
            if code == 0:  # the moment did not come again, or with the last word
                break
        code = project.run(killing.command, "run", tiny.RECORD, *go_on(project.root))
        assert code == 0, f"seed {killing.SEED}, {told}\n{project.printed()}"
        project.check_nothing_is_left()
        assert said(project.root) == said(project.keep / "after"), told
        assert killing.partials(run_of(project.root)) == [], told
    assert not list(Path(tempfile.gettempdir()).glob(f"{label(project)}-*")), "the kernels' sockets"


def go_on(root):
    return ["--resume"] if run_of(root) else []


def label(project):
    from geonb.runs import run, runner

    return runner._label(run.Run(run_of(project.root)))


def test_killed_at_any_change(project):
    disturb(project, [signal.SIGKILL], None)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_told_to_stop_at_any_change(project, signum):
    disturb(project, [signum], "open .running.lock")


def test_a_report_killed_while_it_is_written(project):
    project.restore("after")
    report = run_of(project.root) / "report.html"
    for kind in ("open report.html.#.partial", "os.rename report.html"):
        before = report.read_text()
        assert project.run(killing.command, "report", at=killing.Moment(kind, 1)) == -signal.SIGKILL, project.printed()
        assert report.read_text() == before
    assert project.run(killing.command, "report") == 0, project.printed()
    assert report.read_text().rstrip().endswith("</html>")
