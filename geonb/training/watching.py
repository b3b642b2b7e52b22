"""What stands beside a training without changing it: pictures of what the network says, every few epochs, and a tracker.

Neither may end a training: what fails in them is told once, and the training goes on without it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng

from geonb.base.conventions import short
from geonb.base.files import read_json, write_text
from geonb.training.trackers import build_tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from geonb.base.run_folder import RunFolder
    from geonb.store.loaders import Tensors
    from geonb.store.store import Store
    from geonb.training.task import Trainable

EPOCHS, TRACKER = "epochs", "tracker"  # folders of a run
MOST_WATCHED = 500  # validation windows that are asked again and again


class Seen(NamedTuple):
    """What the network says of some validation windows at the end of an epoch.

    Attributes
    ----------
    rows : array (sample,), rows of the store's table
    labels : list (sample,), what each window mostly shows (``store.labels``); empty where nobody has said
    vectors : float32 array (sample, dim) of the task's ``encode``, or None
    counts : question -> array (true, told) of int, see ``Trainable.questions``
    questions : question -> names of its classes
    about : ``simulated``, and ``legend``, label -> colour
    """

    rows: np.ndarray
    labels: list[str]
    vectors: np.ndarray | None
    counts: dict[str, np.ndarray]
    questions: Mapping[str, list[str]]
    about: dict[str, Any]


def epoch_of(file: Path) -> int:
    """Epoch of a picture or its numbers, ``plane-0003.png``; 0 of any other file."""
    found = re.fullmatch(r"[a-z]+-(\d+)", file.stem)
    return int(found[1]) if found else 0


class Pictures(Callback):
    """Ask the network about the same validation windows every few epochs, and have it drawn into ``epochs/`` of the run.

    The epoch's pictures are whole before its checkpoint is written: a training that goes on has each epoch's once.

    Parameters
    ----------
    every : int
        Epochs; 0 for no pictures.
    draw : ``(folder, epoch, Seen)``
    training : what the model's card says of the training
    """

    def __init__(
        self, run: RunFolder, store: Store, every: int, draw: Callable[[Path, int, Seen], Any] | None, training: dict
    ) -> None:
        self.folder, self.store, self.every, self.draw, self.training = (
            Path(run.path, EPOCHS),
            store,
            every,
            draw,
            training,
        )

    def begin(self, data: L.LightningDataModule, done: int) -> None:
        """Forget pictures of epochs that are to come, and draw the windows: by the seed, so that they are always the same."""
        try:
            for file in self.folder.glob("*-*"):
                if epoch_of(file) > done:
                    file.unlink()
        except OSError as error:  # a file server keeps those that somebody looks at
            self._stop("those that are there stay", error)
        if self.every:
            self.windows: Tensors = data.val_dataloader().dataset
            order = np.random.default_rng([self.training["seed"], 0xE90C]).permutation(len(self.windows))
            keys, batch = np.sort(order[:MOST_WATCHED]).tolist(), self.training["batch"]
            self.parts = [keys[start : start + batch] for start in range(0, len(keys), batch)]
            self.rows = self.windows.rows[keys]
            self.labels: list[str] | None = None  # read at the first picture

    def on_train_epoch_end(self, trainer: L.Trainer, task: Trainable) -> None:
        epoch = trainer.current_epoch + 1
        if not self.every or epoch % self.every or self.draw is None:
            return
        with isolate_rng():  # it restores nothing when an exception leaves it
            try:
                self.folder.mkdir(exist_ok=True)
                with aside(task):
                    self.draw(self.folder, epoch, self._ask(task))
            except Exception as error:  # no picture is worth the end of a training
                self._stop(f"at epoch {epoch}", error)

    def _stop(self, when: str, error: Exception) -> None:
        self.every = 0
        print(f"No more pictures of epochs: {when}, {type(error).__name__}: {short(error)}", flush=True)

    def _ask(self, task: Trainable) -> Seen:
        legend, questions = self.store.legend, task.questions
        labels = self.labels = self.labels if self.labels is not None else self._labels() if legend else []
        vectors, counts = [], {q: np.zeros((len(n), len(n)), np.int64) for q, n in questions.items()}
        bfloat16 = self.training["precision"] == "bfloat16"
        with torch.autocast(task.device.type, torch.bfloat16, enabled=bfloat16):
            for part in self.parts:
                batch = move_data_to_device(self.windows.batch(part), task.device)
                if hasattr(task, "encode"):
                    vectors.append(task.encode(batch["inputs"]).float().cpu().numpy())
                for count, truth, told in zip(
                    counts.values(), *(task.answers(batch) if counts else ((), ())), strict=True
                ):
                    known, side = truth >= 0, len(count)
                    pairs = torch.bincount(truth[known].long() * side + told[known].long(), minlength=side**2)
                    count += pairs.reshape(side, side).cpu().numpy()
        about = {"simulated": self.store.meta["simulated"], "legend": legend}
        return Seen(self.rows, labels, np.concatenate(vectors) if vectors else None, counts, questions, about)

    def _labels(self) -> list[str]:
        items = (self.windows.__getitems__(part) for part in self.parts)
        return [label for some in items for label in self.store.labels(some)]


@contextmanager
def aside(task: torch.nn.Module) -> Iterator[None]:
    """Ask a task in the middle of its training, in evaluation: afterwards the mode of every module is as it was."""
    modes = {module: module.training for module in task.modules()}
    with torch.no_grad():
        task.eval()
        try:
            yield
        finally:
            for module, was in modes.items():
                module.training = was


class Tracking(Callback):
    """Log each epoch to a tracker: the losses, the metric, the learning rate that it began with; and, once, the parameters.

    What was logged is noted in ``tracker/geonb.json``, so that a training that goes on does so in the same run of the tracker, logs
    no epoch twice, and has in a tracker that begins a file anew (csv), or takes over from another, all that was noted. Without a tracker
    nothing is noted: one that is asked for later begins with the epoch at which it was asked for.
    """

    def __init__(self, run: RunFolder, spec: str, parameters: dict[str, Any]) -> None:
        self.folder, self.spec, self.parameters = Path(run.path, TRACKER), spec, parameters
        self.name, self.rate = Path(run.path).name, float("nan")
        self.logger: Logger | None = None
        self.rows: list[dict[str, float]] = []

    def begin(self, data: L.LightningDataModule, done: int) -> None:
        note: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            note = read_json(self.folder / "geonb.json")
        self._try(self._begin, note, done)

    def _begin(self, note: dict[str, Any], done: int) -> None:
        if note and not done:  # of another training in this folder, or of one that kept nothing
            kept = self.folder.with_name(f"{TRACKER}-{time.strftime('%Y-%m-%dT%H-%M-%S')}")
            self.folder.rename(kept)  # nobody else may have what a tracker noted offline
            print(f"What the tracker noted of the training before lies in {kept} now.", flush=True)
            note = {}
        if self.spec != "none":
            self.rows = note.get("rows", [])
            self._open(note)

    def _open(self, note: dict[str, Any]) -> None:
        self.folder.mkdir(exist_ok=True)
        same = note.get("tracker") == self.spec
        self.logger = build_tracker(self.spec, self.folder, self.name, note.get("known") if same else None)
        self.logger.log_hyperparams(self.parameters)
        self._log(*(self.rows if self.spec == "csv" or not same else ()))

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self.logger is not None and epoch > max((row["epoch"] for row in self.rows), default=0):
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.rows.append({"epoch": epoch, **metrics, "lr": self.rate})
            self._try(self._log, self.rows[-1])

    def on_fit_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._close("success")

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._close("failed")

    def _close(self, status: str) -> None:
        if self.logger is not None:
            self._try(self.logger.finalize, status)
        if finish := getattr(getattr(self.logger, "experiment", None), "finish", None):
            self._try(finish)  # wandb would log the next training of this process into the same run

    def _log(self, *rows: dict[str, float]) -> None:
        if self.logger is not None:
            for row in rows:
                named = {name: value for name, value in row.items() if name != "epoch"}
                self.logger.log_metrics(named, step=int(row["epoch"]))
            self.logger.save()  # what a kill must not take
            known = self.logger.version
            write_text(
                self.folder / "geonb.json", json.dumps({"tracker": self.spec, "known": known, "rows": self.rows})
            )

    def _try(self, do: Callable[..., Any], *given: Any) -> None:
        try:
            do(*given)
        except Exception as error:  # whatever a server, a full disk or somebody's class may raise
            self.logger = None
            told = f"{type(error).__name__}: {short(error)}"
            print(f"The tracker {self.spec} failed ({told}): the training goes on without it.", flush=True)
