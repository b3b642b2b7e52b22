"""What a training shows while it runs: a line that changes and curves that grow for who watches, one line an epoch for all."""

import os
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from geonb.runs import kernels
from geonb.runs.monitor import Log
from geonb.training import progress

SHOWN = """
from pathlib import Path
from geonb import plots
from geonb.training.progress import Display
shown, log = Display(plots.learning_curves), Path("log.csv")
log.write_text("epoch,train_loss,val_loss\\n1,2,3\\n2,1,2\\n")
shown.say("epoch 3 of 4, step 1 of 2", 0.625)
shown.print("epoch 3/4")
shown.grow(log)
"""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (8.24, "8.2 s"), (9.96, "10 s"), (99.4, "99 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_spans_of_time_in_words(seconds, said):
    assert progress.spoken(seconds) == said


@pytest.fixture
def notebook(tmp_path):
    def written(*cells):
        file = tmp_path / "live.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells]), file)
        return file

    return written


@pytest.mark.notebook
@pytest.mark.parametrize("close", ["", "shown.close('2 of 2 epochs')", "shown.close('Interrupted', keep=True)"])
def test_in_a_live_notebook_a_bar_and_curves_stand_above_the_lines(notebook, tmp_path, monkeypatch, close):
    monkeypatch.delenv("GEONB_HEADLESS", raising=False)
    made = nbformat.read(notebook(SHOWN + close), as_version=4)
    NotebookClient(made, resources={"metadata": {"path": str(tmp_path)}}).execute()
    line, curves, lines = made.cells[0].outputs
    assert lines.text == "epoch 3/4\n", "nothing else is printed, and no figure once more at the end"
    if not close:
        assert (
            '<progress value="0.6250"' in line.data["text/html"]
            and "epoch 3 of 4, step 1 of 2" in line.data["text/html"]
        )
    else:
        assert line.data["text/plain"] == close.split("'")[1] and "<progress" not in line.data["text/html"]
    assert ("image/png" in curves.data) == ("2 of 2" not in close), "in the end the notebook draws them itself"


@pytest.mark.notebook
def test_headless_the_line_goes_to_the_runner_and_not_into_the_notebook(notebook, tmp_path):
    heard = []
    log = Log(tmp_path / "log.txt")
    outcome = kernels.execute(
        notebook("# imports", SHOWN + "shown.close('done')"), tmp_path / "executed.ipynb", {}, log,
        env={"GEONB_HEADLESS": "1"}, on_progress=heard.append,
    )  # fmt: skip
    log.close()
    assert outcome.exit_code == 0, outcome.error
    assert heard == ["epoch 3 of 4, step 1 of 2", "done"]
    executed = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    assert [out.text for cell in executed.cells for out in cell.outputs] == ["epoch 3/4\n"]
    assert "\r" not in (tmp_path / "log.txt").read_text()


def test_curves_take_a_share_of_the_time_and_never_end_a_training(monkeypatch, capsys):
    now, drawn = [0.0], []

    def draw(log):
        now[0] += 2
        drawn.append(now[0])
        return "figure"

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.Display()
    shown.draw, shown.figure = draw, SimpleNamespace(update=lambda figure: None)
    for _ in range(200):
        now[0] += 1
        shown.grow(None)
    assert 6 <= len(drawn) <= 11, drawn  # 2 s each, one tenth of the time
    shown.draw, shown.next = (lambda log: 1 / 0), 0.0
    shown.grow(None)
    shown.grow(None)
    assert capsys.readouterr().out.count("The curves cannot be drawn while it trains (ZeroDivisionError") == 1


class Trainer(SimpleNamespace):
    current_epoch, max_epochs, num_training_batches, num_val_batches, global_step = 0, 4, 10, [2], 10
    state = SimpleNamespace(fn="fit")


def test_the_time_that_is_left_follows_from_steps_then_from_epochs(tmp_path, monkeypatch):
    now, said, printed = [0.0], [], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = SimpleNamespace(
        say=lambda text, done: said.append((text, done)), print=printed.append, grow=lambda log: None, live=False
    )
    log, trainer = progress.EpochLog(tmp_path / "log.csv", shown, patience=2), Trainer()
    for loss in (1.0, 2.0):
        log.on_train_epoch_start(trainer, None)
        for step in range(10):
            now[0] += 1
            log.on_train_batch_end(trainer, None, None, None, step)
        now[0] += 2
        log.on_validation_batch_end(trainer, None, None, None, 1)
        trainer.callback_metrics = {"train_loss": loss, "val_loss": loss}
        log.on_train_epoch_end(trainer, None)
        trainer.current_epoch += 1
    texts = dict(said)
    assert "epoch 1 of 4, step 0 of 10" in texts
    assert texts["epoch 1 of 4, step 5 of 10; at most 35 s more"] == pytest.approx(0.125)
    assert texts["epoch 1 of 4, validation step 2 of 2; at most 36 s more"] == pytest.approx(0.25)
    assert texts["epoch 2 of 4, step 5 of 10; at most 31 s more"] == pytest.approx(0.375)  # 3 epochs of 12 s, less 5 s
    assert printed == [
        "epoch 1/4  train_loss 1  val_loss 1  12 s, at most 36 s more  lowest",
        "epoch 2/4  train_loss 2  val_loss 2  12 s, at most 24 s more  no lower for 1/2",
    ]
    assert pd.read_csv(tmp_path / "log.csv")["epoch"].tolist() == [1, 2] and not os.environ.get("GEONB_HEADLESS")
