"""What a training says while it runs: log.csv, one line an epoch, and for who watches how far it is and curves that grow.

In a notebook the line that changes and the curves stand above the lines of the epochs; in the kernel of `geonb run` the line goes
to the bar of the terminal, and nothing of it into the executed notebook; a script in a terminal has it below its lines.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from geonb.base.conventions import PROGRESS
from geonb.base.files import write_text

OFTEN_S = 0.3  # between two changes of the line
MARK = "\x1e"  # begins a line that tells a display what to show
SHARE = 0.1  # of the time that curves may take to draw


class Display:
    """A line that changes, and in a live notebook a figure that grows.

    Parameters
    ----------
    draw : ``(log.csv) -> Figure``, optional
        Draws the curves; not called where nobody sees them.
    """

    def __init__(self, draw: Callable[[Path], Any] | None = None) -> None:
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        self.kernel = hasattr(shell, "kernel")
        self.live = self.kernel and os.environ.get("GEONB_HEADLESS") != "1"
        self.draw, self.next = draw if self.live else None, 0.0
        self.bar = tqdm(bar_format="{desc}", leave=False, file=sys.stderr, disable=self.kernel or None)
        self.line = self.figure = None
        if self.live:
            from IPython.display import display

            self.line = display(_html(""), raw=True, display_id=True)
            self.figure = display(_html(""), raw=True, display_id=True)

    def say(self, text: str, done: float | None = None) -> None:
        """Show a line, with a bar for the share that is done."""
        if self.line is not None:
            shown = (
                f'<progress value="{done:.4f}" style="width: 14em" aria-label="training"></progress> '
                if done is not None
                else ""
            )
            self.line.update(_html(f"<div>{shown}{html.escape(text)}</div>", text), raw=True)
        elif (
            self.kernel
        ):  # a change of what was never displayed: shown by nobody but who waits for it, see geonb.runs.kernels
            from IPython.display import update_display

            update_display({"text/plain": text}, raw=True, display_id=PROGRESS)
        else:
            self.bar.set_description_str(text)

    def print(self, line: str) -> None:
        """A line that stays."""
        with self.bar.external_write_mode():
            print(line, flush=True)

    def grow(self, log: Path) -> None:
        """Draw the curves anew, but not so often that it holds the training up."""
        began = time.monotonic()
        if self.draw is None or self.figure is None or began < self.next:
            return
        first = not self.next
        try:
            figure = self.draw(log)
            self.figure.update(figure)
        except Exception as error:  # no figure is worth the end of a training
            self.draw = None
            print(f"The curves cannot be drawn while it trains ({type(error).__name__}: {error}).", flush=True)
            return
        import matplotlib.pyplot as plt

        plt.close(figure)  # else the notebook shows it once more when the cell ends
        ended = time.monotonic()
        self.next = ended if first else ended + (ended - began) / SHARE  # the first loads fonts

    def close(self, text: str, keep: bool = False) -> None:
        """The last word; the curves go unless they are to be kept, as who asked for them draws them from the log."""
        self.say(text)
        if self.figure is not None and not keep:
            self.figure.update(_html(""), raw=True)
        self.bar.close()


class Teller(Display):
    """A display of a process that nobody looks at: it tells another one, on one line each, what to show; see :class:`Heard`.

    Parameters
    ----------
    out : text stream, or None to tell nothing
    live : whether somebody looks at the other one's
    """

    def __init__(self, out: TextIO | None, live: bool) -> None:
        self.out, self.live = out, live

    def say(self, text: str, done: float | None = None) -> None:
        self._tell("say", text, done)

    def print(self, line: str) -> None:
        self._tell("print", line)

    def grow(self, log: Path) -> None:
        self._tell("grow", str(log))

    def close(self, text: str, keep: bool = False) -> None:
        self._tell("close", text, keep)

    def _tell(self, *what: Any) -> None:
        if self.out is not None:
            self.out.write(f"{MARK}{json.dumps(what)}\n")
            self.out.flush()


class Heard:
    """What a :class:`Teller` in another process says, shown here.

    Attributes
    ----------
    at : str
        Where the training is, as :class:`EpochLog` says.
    """

    def __init__(self, display: Display) -> None:
        self.display, self.at = display, ""

    def hear(self, line: str) -> None:
        """Show a line of the other process; what no display has said is printed."""
        if not line.startswith(MARK):
            self.display.print(line)
            return
        what, first, *rest = json.loads(line.removeprefix(MARK))
        if what == "say" and first.startswith("epoch "):
            self.at = first.partition(";")[0]
        getattr(self.display, what)(Path(first) if what == "grow" else first, *rest)


def _html(shown: str, plain: str = "") -> dict[str, str]:
    return {"text/html": shown, "text/plain": plain}


class EpochLog(Callback):
    """Write log.csv, one row an epoch; tell of each epoch in one line, and of each step on the display.

    The rows travel in the checkpoint: a resumed training has the log of an unbroken one.

    Parameters
    ----------
    patience : epochs without a lower validation loss after which it stops
    writes : False in a process that trains beside the one that does
    """

    def __init__(self, path: Path, display: Display, patience: int, writes: bool = True) -> None:
        self.path, self.display, self.patience, self.writes = path, display, patience, writes
        self.rows: list[dict[str, Any]] = []
        self.took: list[float] = []  # seconds, of the epochs since it began or went on
        self.at = ""
        self.began = self.said = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]

    def begin(self, metrics: dict[str, float], epochs: int) -> None:
        """Row 0: the validation of what is there before the first step; there is no training loss yet."""
        found = {name: round(float(value), 6) for name, value in sorted(metrics.items())}
        self._add({"epoch": 0, "step": 0, "train_loss": None, **found})
        self.display.print(f"epoch 0/{epochs}  {_told(found)}")

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began = time.monotonic()
        self._step(trainer, "step", 0, trainer.num_training_batches, now=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, at: int
    ) -> None:
        self._step(trainer, "step", at + 1, trainer.num_training_batches)

    def on_validation_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, at: int, loader: int = 0
    ) -> None:
        if trainer.state.fn == "fit":
            self._step(trainer, "validation step", at + 1, trainer.num_val_batches[0])

    def _step(self, trainer: L.Trainer, word: str, step: int, of: float, now: bool = False) -> None:
        epoch, epochs = trainer.current_epoch, trainer.max_epochs or 1
        self.at = f"epoch {epoch + 1} of {epochs}, {word} {step} of {of}"
        if not now and time.monotonic() - self.said < OFTEN_S:
            return
        self.said = time.monotonic()
        within = step / of if word == "step" else 1
        left = self._left(epochs - epoch, within)
        self.display.say(f"{self.at}{f'; at most {spoken(left)} more' if left else ''}", (epoch + within) / epochs)

    def _left(self, epochs: int, within: float) -> float:
        """Seconds that so many epochs may take from here on, of which the first is through but for validation by a share; 0: unknown."""
        here = time.monotonic() - self.began
        if each := self._each():
            return max(each * epochs - here, each * (epochs - 1))
        return here / within * epochs - here if within > 0.02 else 0.0

    def _each(self) -> float:
        """Seconds that an epoch takes, of late; 0: unknown."""
        late = self.took[-5:]
        return sum(late) / len(late) if late else 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {name: round(float(value), 6) for name, value in sorted(trainer.callback_metrics.items())}
        if not math.isfinite(metrics["train_loss"]):
            raise ValueError(
                f"The loss became {metrics['train_loss']} at epoch {trainer.current_epoch + 1} (lr = {task.card['lr']}). "
                "Try a smaller `lr`."
            )
        if not math.isfinite(metrics.get("val_loss", 0)):
            raise ValueError(
                f"The loss of the validation samples became {metrics['val_loss']} at epoch {trainer.current_epoch + 1}, while that "
                f"of training is {metrics['train_loss']}: some hold values far from those of training, as fills that no nodata "
                "tag tells of do. Look at their range (notebook 01), or try a smaller `lr`."
            )
        self._add({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **metrics})
        self.took.append(time.monotonic() - self.began)
        self.display.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {_told(metrics)}  {self._so_far(trainer)}"
        )
        if len(self.rows) > 1:  # one point is no curve
            self.display.grow(self.path)

    @property
    def lowest(self) -> dict[str, Any]:
        """The row of the lowest validation loss."""
        return min(self.rows, key=lambda row: row["val_loss"])

    def _so_far(self, trainer: L.Trainer) -> str:
        """Time of the last epoch and, where no display says so, of the rest; how its loss compares with the lowest."""
        left = 0 if self.display.live else (trainer.max_epochs or 0) - self.rows[-1]["epoch"]
        more = f", at most {spoken(self._each() * left)} more" if left else ""
        since = self.rows[-1]["epoch"] - self.lowest["epoch"]
        return f"{spoken(self.took[-1])}{more}  {f'no lower for {since}/{self.patience}' if since else 'lowest'}"

    def _add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if not self.writes:
            return
        out = io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(row))
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, out.getvalue())


def _told(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def spoken(seconds: float) -> str:
    """A span of time in words: 8.2 s, 45 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min {whole % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
