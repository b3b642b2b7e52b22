"""The training loop's frame: Lightning's Trainer with a resumable log, step-wise seeds, averaged weights, a word where it ends early."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import AveragedModel, update_bn

from geonb.base.files import whole_file, write_text
from geonb.training.averaging import Averaging, RunningAverage
from geonb.training.dealing import Dealt, Rank, Together
from geonb.training.devices import Devices
from geonb.training.optimizers import check_optimizer, first_averaged
from geonb.training.progress import Display, EpochLog, Heard, spoken
from geonb.training.watching import Pictures, Tracking

if TYPE_CHECKING:
    import pandas as pd

    from geonb.base.run_folder import RunFolder
    from geonb.store.store import Store
    from geonb.training.task import Trainable

LAST = "last.ckpt"
SILENT: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False,
                          "num_sanity_val_steps": 0}  # fmt: skip
ALONE = Rank()


class WholeFiles(TorchCheckpointIO):
    """A checkpoint appears whole or not at all: a kill while it is written leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with whole_file(Path(path)) as partial:
            torch.save(checkpoint, partial)


class StepSeed(Callback):
    """Seed every step by its global number, so that dropout draws the same in a resumed training; each rank otherwise."""

    def __init__(self, seed: int, rank: int = 0) -> None:
        self.seed, self.rank = seed, rank

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        torch.manual_seed((self.seed * 1_000_003 + trainer.global_step + self.rank * 2**48) % 2**63)


class Patience(EarlyStopping):
    """Stop after so many epochs without a lower validation loss; a training that had stopped does not go on when resumed."""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def fit(
    task: Trainable,
    run: RunFolder,
    store: Store,
    training: dict[str, Any],
    workers: int = 0,
    lower: bool = False,
    watch: Callable[[Path], Any] | None = None,
    beside: Sequence[Pictures | Tracking] = (),
    rank: Rank = ALONE,
    display: Display | None = None,
) -> dict[str, Any]:
    """Fit a task; go on from ``checkpoints/last.ckpt`` if the same training wrote it.

    Of several ranks each calls this, with the same task; the first alone writes and tells.

    Parameters
    ----------
    lower : bool
        Less of the task's metric is better.
    watch : ``(log.csv) -> Figure``, optional
        Draws the curves that grow in a live notebook.
    beside : callbacks that are told at the start how many epochs are done
    rank : Rank
        Which of the processes that train together this is.
    display : Display, optional
        What tells of it; by default one that draws by `watch`.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted: says what is kept, and how it goes on.

    Returns
    -------
    dict with ``checkpoints``: name (start, loss, metric, swa, ema) -> ``epoch`` (from 1), ``val_loss`` and the task's ``metric``;
    ``states``: name -> state_dict; and ``epochs_run``; swa and ema where they were asked for, swa only if averaging began before the
    training stopped; start, epoch 0, only where the task's start may be kept.
    """
    folder = Path(run.checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    display = display or Display(watch)
    log = EpochLog(Path(run.path) / "log.csv", display, training["patience"], writes=rank.number == 0)
    monitors = {"loss": ("val_loss", "min"), "metric": (task.metric, "min" if lower else "max")}
    # names that stay the same: a kill between two files never leaves one that is told of and gone
    keepers = {
        name: _keeper(folder, f"best-{name}", monitor=monitor, mode=mode, save_weights_only=True)
        for name, (monitor, mode) in monitors.items()
    }
    patience = Patience("val_loss", patience=training["patience"], check_on_train_epoch_end=True)
    callbacks = [
        log,
        StepSeed(training["seed"], rank.number),
        patience,
        *keepers.values(),
        _keeper(folder, Path(LAST).stem),
    ]
    first, frame = first_averaged(training["optimizer"], training["epochs"]), check_optimizer(training["optimizer"])[2]
    averaging = None if first is None else Averaging(task.network, first, frame["swa_lr"])
    with warnings.catch_warnings(), interruptible(log, folder, training["epochs"]):
        _quiet()
        options = {key: training[key] for key in ("batch", "augment", "seed", "sampler")}
        whole = task.data_module(store, workers=workers, **options)
        data = whole
        if rank.of > 1:
            data = task.data_module(store, workers=workers, **options, rank=(rank.number, rank.of))
            callbacks.insert(0, Together())
        running = None
        if frame["ema"] is not None:
            running = RunningAverage(task, frame["ema"], data, _trainer(training, [], folder, rank.devices))
            callbacks.insert(callbacks.index(log), running)  # the log tells of it
        trainer = _trainer(training, [*callbacks, *([averaging] if averaging else []), *beside], folder, rank.devices)
        last = rank.last if rank.of > 1 else usable(folder, task.card)
        start, first_rank = _start(task), rank.number == 0
        done = epochs_of(last) if last is not None else 0
        for one in beside:
            one.begin(data, done)
        if done:
            display.print(f"goes on after epoch {done} of {training['epochs']}, from {folder.name}/{LAST}")
        if start and last is None:
            display.say(f"epoch 0 of {training['epochs']}: validating {task.start}, which it begins as")
            found = trainer.validate(task, data.val_dataloader(), verbose=False)[0]
            log.begin(found, training["epochs"])
            patience.best_score = torch.tensor(found["val_loss"])
        _go(trainer, task, data, last)
        kept = keepers if first_rank else {}  # on another node a file may be seen later
        states = start | {name: _weights(keeper.best_model_path) for name, keeper in kept.items()}
        rows = {row["epoch"]: row for row in log.rows}
        facts = {name: _facts(rows[state.pop("epoch")], task.metric) for name, state in states.items()}
        epochs_run = trainer.current_epoch
        if averaging and averaging.averaged:
            facts["swa"] = {
                "epoch": epochs_run,
                **_settle_average(task, trainer, averaging.model, whole, data, training),
            }
            facts["swa"]["averaged"] = averaging.averaged
            states["swa"] = {"state_dict": _copied(task)}
        if running and running.best:
            facts["ema"], states["ema"] = running.best, {"state_dict": running.state}
        before = f" ({epochs_run - len(log.took)} of them before)" if len(log.took) < epochs_run else ""
        display.close(f"{epochs_run} of {training['epochs']} epochs{before}, {spoken(sum(log.took))}")
    if epochs_run < training["epochs"] and first_rank:
        print(
            f"Stopped early, after epoch {epochs_run} of {training['epochs']}: no epoch of the last {training['patience']} (`patience`) "
            f"had a lower validation loss than epoch {log.lowest['epoch']}, {log.lowest['val_loss']:.4g}.",
            flush=True,
        )
    return {
        "checkpoints": facts,
        "states": {name: state["state_dict"] for name, state in states.items()},
        "epochs_run": epochs_run,
    }


class Keeper(ModelCheckpoint):
    """Keeps a checkpoint, and knows it again where the run was moved, or is worked on elsewhere: by its name in the folder of now.

    Lightning forgets which was the best where the folder is another one, and keeps a worse one over it.
    """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = {name: here(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): value for path, value in state["best_k_models"].items()}
        super().load_state_dict(state | paths | {"dirpath": self.dirpath, "best_k_models": best})


def _keeper(folder: Path, name: str, **options: Any) -> ModelCheckpoint:
    return Keeper(folder, name, save_on_train_epoch_end=True, enable_version_counter=False, **options)


def _trainer(training: dict[str, Any], callbacks: list[Callback], folder: Path, devices: Devices) -> L.Trainer:
    together: dict[str, Any] = {"devices": 1}
    if devices.processes > 1:
        # buffers are one set by then, see `Together`; a network may learn in parts, and then some weights have no gradient
        strategy = Dealt(find_unused_parameters=True, broadcast_buffers=False)
        together = {"devices": devices.each, "num_nodes": devices.nodes, "strategy": strategy,
                    "use_distributed_sampler": False, "sync_batchnorm": devices.kind == "gpu"}  # fmt: skip
    return L.Trainer(
        max_epochs=training["epochs"],
        precision="bf16-mixed" if training["precision"] == "bfloat16" else "32-true",
        accelerator="auto" if devices.kind == "best" else devices.kind,
        # Lightning would else take a job's Slurm for its own, which it requeues by itself; ranks are begun by `geonb.training.ranks`
        plugins=[WholeFiles(), LightningEnvironment()],
        callbacks=callbacks,
        default_root_dir=folder,
        inference_mode=False,  # a metric that was validated in that mode before the first step cannot go on in training
        **together,
        **SILENT,
    )


@contextmanager
def interruptible(log: EpochLog | Heard, folder: Path, epochs: int) -> Iterator[None]:
    """An interrupt in here says what is kept and how to go on. Lightning makes a SystemExit of it, and then ignores the next one."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if here else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stopped:
        kept = epochs_of(folder / LAST)
        told = f"Interrupted in {log.at}. " if log.at else "Interrupted before the first epoch. "
        if kept:
            told += (
                f"Kept is epoch {kept} of {epochs}, in {folder.name}/ of the run {folder.parent.name}. Run this again with the same "
                "settings (in a notebook, this cell) to go on from there; it ends in the same weights as if it had never stopped."
            )
        else:
            told += "No epoch had ended, so nothing is kept: run again, it begins anew."
        log.display.close(told, keep=True)
        kind = SystemExit if isinstance(stopped, SIGTERMException) else KeyboardInterrupt
        raise kind(told) from None
    finally:
        if here and before is not None:
            signal.signal(signal.SIGINT, before)


def epochs_of(last: Path) -> int:
    """Epochs that a checkpoint is the end of; 0 where there is none, or one that cannot be read: going on from it tells."""
    try:
        return int(torch.load(last, weights_only=True, map_location="cpu", mmap=True)["epoch"]) + 1
    except (OSError, pickle.UnpicklingError, EOFError, RuntimeError, KeyError):
        return 0


def _go(trainer: L.Trainer, task: L.LightningModule, data: L.LightningDataModule, last: Path | None) -> None:
    try:
        trainer.fit(task, data, ckpt_path=last, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        if last is None or trainer.global_step:
            raise
        raise ValueError(
            f"{last} cannot be read ({str(error).splitlines()[0]}). Delete it to train from the beginning."
        ) from error


def _weights(path: str) -> dict[str, Any]:
    found = torch.load(path, weights_only=True, map_location="cpu")
    return {"state_dict": found["state_dict"], "epoch": found["epoch"] + 1}


def _start(task: Trainable) -> dict[str, dict[str, Any]]:
    """The state before the first step, where it may be kept; it is drawn from the seed, the same when a training is resumed."""
    if task.start is None:
        return {}
    return {"start": {"state_dict": _copied(task), "epoch": 0}}


def _copied(task: Trainable) -> dict[str, Any]:
    """A task's state that stays as it is when other weights are loaded."""
    return {key: value.detach().cpu().clone() for key, value in task.state_dict().items()}


def _facts(row: dict[str, Any], metric: str) -> dict[str, Any]:
    return {key: row[key] for key in ("epoch", "val_loss", metric)}


def _settle_average(
    task: Trainable,
    trainer: L.Trainer,
    average: AveragedModel,
    whole: L.LightningDataModule,
    data: L.LightningDataModule,
    training: dict,
) -> dict[str, float]:
    """Put the averaged weights into the task: batch-norm statistics of the training windows anew, then validate.

    The windows are those of an epoch that was not trained, so that they are the same however often a training was broken; each rank
    takes all of them, for the statistics cannot be added up.
    """
    device = trainer.strategy.root_device
    loader = whole.train_dataloader()
    loader.sampler.set_epoch(training["epochs"])
    torch.manual_seed(training["seed"])
    update_bn((batch["inputs"] for batch in loader), average.to(device), device)
    task.network.load_state_dict(average.module.state_dict())
    task.set_progress(trainer.current_epoch - 1, training["epochs"])
    found = trainer.validate(task, data.val_dataloader(), verbose=False)[0]
    return {name: round(float(found[name]), 6) for name in ("val_loss", task.metric)}


def usable(folder: Path, card: dict[str, Any]) -> Path | None:
    """The last checkpoint if this very training wrote it; leftovers of another one, and damaged ones, are removed."""
    stamp, wanted = folder / "training.txt", repr(sorted(card.items()))
    if stamp.exists() and stamp.read_text(errors="replace") == wanted:
        damaged = [file.name for file in sorted(folder.glob("*.ckpt")) if not _whole(file)]
        if not damaged:
            return folder / LAST if (folder / LAST).exists() else None
        print(f"{', '.join(damaged)} in {folder} cannot be read: it trains from the beginning", flush=True)
    for old in folder.glob("*.ckpt"):
        old.unlink()
    write_text(stamp, wanted)
    return None


def _whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is what was written: it is a zip archive, which has a sum of each of its members."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile raises half a dozen kinds for bytes that are no archive
        return False


def _quiet() -> None:
    # Advice about loader workers and the like repeats in every report; errors and real warnings still show.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # a job of one process needs none
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)


def find_lr(
    task: Trainable,
    store: Store,
    batch: int = 32,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Let the learning rate grow step by step and watch the training loss (Smith 2017, arXiv 1506.01186, section 3.3).

    Parameters
    ----------
    task : a task that is not trained yet; it is left as it was
    store : Store of its workload
    low, high : float
        The rate of the first and the last step; it stops early where the loss has become four times the least.
    steps : int

    Returns
    -------
    DataFrame with ``lr`` and ``loss``, a row a step; ``attrs["suggestion"]`` is the rate at which the loss fell most steeply, a
    good peak for one-cycle, or None where it never fell
    """
    import tempfile

    import pandas as pd
    from lightning.pytorch.tuner import Tuner

    task.prepare(store)
    task.lr = task.card["lr"]  # the tuner asks for an attribute of that name
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        _quiet()
        torch.manual_seed(seed)
        trainer = L.Trainer(
            max_epochs=steps + 1,
            limit_val_batches=0,
            default_root_dir=folder,
            devices=1,
            plugins=[LightningEnvironment()],
            **SILENT,
        )
        loader = task.data_module(store, batch=batch, augment="none", seed=seed).train_dataloader()
        options = {"min_lr": low, "max_lr": high, "num_training": steps, "update_attr": False, "attr_name": "lr"}
        found = Tuner(trainer).lr_find(task, loader, **options)
    table = pd.DataFrame({"lr": found.results["lr"], "loss": found.results["loss"]})
    table.attrs["suggestion"] = found.suggestion()
    return table
