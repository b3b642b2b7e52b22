"""Tasks: a network with its loss, metrics and optimiser as a LightningModule, and the one function that trains them.

A trained task is a card, ``model.json`` (how to build the network, channels, classes, statistics), and weights beside it:
``best.safetensors`` (lowest validation loss), ``best-metric.safetensors`` (best of the task's metric on the validation
windows), where weights were averaged ``swa.safetensors`` and ``ema.safetensors``, and where the start of a training may be kept
``start.safetensors``. They need nothing else, and none can execute code when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from geonb import registry
from geonb.base import manifest, specs
from geonb.base.conventions import VERSION
from geonb.base.files import key_of, read_json, whole_file, write_text
from geonb.base.metrics import lower_is_better
from geonb.base.run_folder import RunFolder
from geonb.store.loaders import data_module
from geonb.store.sealing import named
from geonb.training.dealing import Rank, of_all_ranks
from geonb.training.devices import Devices, best_device, find_devices
from geonb.training.fit import LAST, epochs_of, fit
from geonb.training.optimizers import AVERAGED, build_optimizer, check_optimizer, first_averaged
from geonb.training.ranks import check_share, fit_together
from geonb.training.trackers import check_tracker
from geonb.training.watching import Pictures, Seen, Tracking

if TYPE_CHECKING:
    from geonb.store.store import Store

CARD, WEIGHTS = "model.json", "best.safetensors"
FILES = {
    "start": "start.safetensors",
    "loss": WEIGHTS,
    "metric": "best-metric.safetensors",
    "swa": "swa.safetensors",
    "ema": "ema.safetensors",
}


class Trainable(L.LightningModule):
    """What every task shares: its card, the optimiser and its schedule, and what training asks of the class.

    A task is made of a card (``weights=False`` loads no pretrained ones), has ``network`` and ``loss``, logs ``train_loss``,
    ``val_loss`` and its ``metric``, and has the class methods `check` and `card_of` of its own.

    Attributes
    ----------
    metric : str
        What is logged of the validation windows beside the loss: ``val_`` and the name of a metric, which tells, by
        :mod:`geonb.base.metrics` or the workload's record, whether more of it is better.
    """

    metric = "val_metric"
    card: dict[str, Any]
    network: torch.nn.Module

    @property
    def start(self) -> str | None:
        """What the task is before its first step, where that is good for something and so may be kept; None: for nothing."""
        return None

    def prepare(self, store: Store) -> dict[str, Any]:
        """Learn what the network builds on before its first step; what is given enters the card. Here: nothing."""
        return {}

    def choose(
        self, kept: dict[str, dict[str, Any]], states: dict[str, dict[str, Tensor]], store: Store
    ) -> tuple[str, dict[str, Any]]:
        """Name of the weights that are the model, and what the card tells of the choice. Here: the lowest validation loss."""
        return min(kept, key=lambda name: kept[name]["val_loss"]), {}

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        """Refuse what cannot be trained before anything is computed; one ValueError lists every fault.

        Here: a store without training or validation samples, and an unknown optimiser. A task adds what its network and loss need.
        """
        check_all(store, [lambda: check_optimizer(optimizer)])

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        """What the model's card must remember of a store. Here: its channels, its statistics, and whether it is simulated."""
        return {name: store.meta[name] for name in ("channels", "statistics", "simulated")}

    @classmethod
    def check_memory(cls, store: Store, network: str, batch: int, precision: str) -> None:
        """Refuse a training step that needs more memory than there is, where that can be told beforehand."""

    @classmethod
    def check_batch(cls, store: Store, network: str, batch: int) -> None:
        """Refuse batches of so many windows, or a store of so few, that the network cannot learn from; ValueError."""

    def beside(self, store: Store) -> dict[str, Any]:
        """What a store's windows must be asked for besides, for this task: ``store.windows("val", **task.beside(store))``."""
        return {}

    def data_module(self, store: Store, **options: Any) -> L.LightningDataModule:
        """The store's splits; `options` as for :func:`geonb.store.loaders.data_module`."""
        return data_module(store, **options, **self.beside(store))

    @property
    def questions(self) -> dict[str, list[str]]:
        """What the network is asked, each with the names of its classes, for pictures of epochs. Here: nothing with classes."""
        return {}

    def answers(self, batch: dict[str, Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Truth and what the network says of a batch of validation windows: by question, tensors of class numbers of one shape.

        Truth is below 0 where nobody knows. Asked in evaluation and only of a task that has `questions`; it must log nothing.
        """
        raise NotImplementedError

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """As Lightning's; of several processes that train together the mean over all their windows, each counted once."""
        if self._trainer is not None and self.trainer.world_size > 1:
            if self.trainer.training and getattr(self.trainer.strategy, "counted", 1) == 0:
                options["batch_size"] = 0
            options = {"sync_dist": True, **options}
        super().log(name, value, *args, **options)

    def of_all(self, own: list[Any]) -> list[Any]:
        """What this process collected of its windows, and after it what the others did that train with it."""
        return of_all_ranks(own, self.trainer)

    def set_progress(self, epoch: int, epochs: int) -> None:
        """Tell a loss with scheduled weights how far the training is: 0 in the first epoch, 1 in the last that may come."""

    def on_train_epoch_start(self) -> None:
        self.set_progress(self.current_epoch, self.trainer.max_epochs)

    def configure_optimizers(self) -> dict[str, Any]:
        """By the card's specification; see :func:`geonb.training.optimizers.check_optimizer`."""
        steps = int(self.trainer.estimated_stepping_batches)
        return build_optimizer(
            self._optimizer, self.parameter_groups(), self.card["lr"], steps, self.trainer.max_epochs
        )

    def parameter_groups(self) -> Iterable[Any]:
        """What the optimiser changes: all parameters, or groups of them as torch.optim takes them, with rates of their own."""
        return self.parameters()

    @property
    def _optimizer(self) -> str:
        return self.card.get("training", {}).get("optimizer", "adamw")

    def on_train_epoch_end(self) -> None:
        # Lightning steps a plateau after the checkpoint is written: resumed, an epoch would be missing
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(float(self.trainer.callback_metrics["val_loss"]))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if isinstance(scheduler, ReduceLROnPlateau):
            return
        constant = check_optimizer(self._optimizer)[2]["swa_lr"] is not None
        if not constant or self.current_epoch < first_averaged(self._optimizer, self.trainer.max_epochs):
            scheduler.step()


def as_function(model: Trainable, method: str, precision: str = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """A task as a function of standardised samples (n, ...), on the best device there is.

    Parameters
    ----------
    method : str
        Of the task, tensors to tensors: ``encode``, ``probabilities``.
    precision : auto, float32 or bfloat16; see :func:`precision_of`

    Returns
    -------
    function of an array, that gives float32
    """
    device, precision = best_device(), precision_of(precision)
    model = model.to(device).eval()

    def tell(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            return getattr(model, method)(torch.as_tensor(inputs).to(device)).float().cpu().numpy()

    return tell


def untrained(model: Trainable, seed: int = 0) -> Trainable:
    """The same network before it was trained, by the seed, without pretrained weights: how much does the architecture alone know?"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(model)(model.card, weights=False).eval()


def precision_of(precision: str) -> str:
    """Resolve ``precision = "auto"``: bfloat16 autocast where the device computes in it, else float32.

    Returns
    -------
    "bfloat16" or "float32"

    Raises
    ------
    ValueError
        For anything but auto, bfloat16, float32.
    """
    if precision in {"bfloat16", "float32"}:
        return precision
    if precision != "auto":
        raise ValueError(f"precision = {precision!r} is unknown. Give auto, bfloat16 or float32.")
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # Without instructions for it (AMX, or AVX-512's dot product), bfloat16 is slower on a CPU than float32.
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def train(
    run: RunFolder,
    store: Store,
    *,
    workload: str,
    network: str,
    loss: str,
    augment: str,
    lr: float,
    epochs: int,
    batch: int,
    patience: int,
    seed: int,
    precision: str = "auto",
    workers: int | None = None,
    sampler: str = "shuffle",
    optimizer: str = "adamw",
    min_steps: int | None = None,
    watch: Callable[[Path], Any] | None = None,
    watch_every: int = 0,
    pictures: Callable[[Path, int, Seen], Any] | None = None,
    tracker: str = "none",
    devices: str | int = 1,
) -> Path:
    """Train a workload's network on a sample store; interrupted, it goes on from its last finished epoch.

    Kept are the weights of the epoch with the lowest validation loss, those of the epoch with the best metric of the
    validation windows (the task's, e.g. mean IoU), with ``swa`` or ``ema`` in ``optimizer`` the averaged ones, and those of before the
    first step where the task begins as something good (a network that corrects a baseline); the model is the one of them with
    the lowest validation loss (``chosen`` in the card; a task may ask for more, see ``choose``), :func:`load_model` loads
    another by name. Every draw comes from ``seed`` and a global number (step, epoch, sample), so that a resumed training ends
    in the same weights as an
    unbroken one (float32, same machine and libraries).

    Parameters
    ----------
    run : Run
        Where ``checkpoints/`` and ``log.csv`` go.
    store : Store
        Samples; its channels, classes and statistics enter the model's card.
    workload : str
        Name or import path of the record.
    network, loss, augment : str
        Specifications, e.g. ``unet:encoder=resnet18``, ``cross-entropy+dice``, ``flips,rotations``.
    lr : float
        Peak learning rate.
    epochs, batch, patience : int
        At most so many passes; windows a step; stop after so many epochs without a better validation loss.
    precision : str
        auto, bfloat16 or float32.
    min_steps : int, optional
        `epochs` is raised until so many steps of the optimiser fit in, for a set so small that a pass is few; `patience` is raised
        in proportion, and may still stop the training before. The schedule, ``swa`` and a loss with scheduled weights go by the
        epochs that were settled so.
    workers : int, optional
        Threads that read ahead; default 2 where a GPU computes, none where the cores do.
    sampler : str
        Order and balance of an epoch, e.g. ``blocks:balance=dataset``; see :func:`geonb.store.samplers.check_sampler`.
    optimizer : str
        E.g. ``adamw:weight_decay=0.01,schedule=one-cycle,swa=0.75``; see :func:`geonb.training.optimizers.check_optimizer`.
    watch : ``(log.csv) -> Figure``, optional
        Draws curves that grow in a live notebook while it trains, e.g. ``geonb.plots.learning_curves``.
    watch_every : int
        Every so many epochs, what the network says of the same validation windows, 500 at most, is drawn into ``epochs/`` of the run,
        with the numbers beside; 0: never. The training stays as it is, to the last bit.
    pictures : ``(folder, epoch, geonb.training.watching.Seen)``, optional
        Draws it, e.g. ``geonb.plots.epoch_pictures``.
    tracker : str
        Where it is logged besides, e.g. ``tensorboard`` or ``mlflow:uri=...``; see :func:`geonb.training.trackers.check_tracker`.
    devices : str or int
        A process for each of several GPUs, ``4``, of nodes, ``2x4``, or on the cores, ``cpu:2``; see
        :func:`geonb.training.devices.check_devices`. They share each batch, so that `batch` and the steps are those of one process;
        a training that was broken off may go on on others.

    Returns
    -------
    Path of the card, ``checkpoints/model.json``.

    Raises
    ------
    ValueError
        Before any compute, listing all that is wrong: no training or validation windows, an unknown or ill-typed
        specification, windows that the network cannot halve as often as it must. Or if the loss became NaN.
    KeyboardInterrupt
        If it was interrupted: says what is kept, and how it goes on.
    """
    record = registry.get(workload)
    kind = task_of(record)
    check_tracker(tracker)
    on = find_devices(devices)
    if watch_every and pictures is None:
        raise ValueError(f"watch_every = {watch_every} needs pictures, what draws them: geonb.plots.epoch_pictures")
    with named(store.path):
        kind.check(store, network, loss, augment, sampler, optimizer)
        counts = store.index["split"].value_counts()
        check_share(on, batch, {split: int(counts[split]) for split in ("train", "val")})
        kind.check_batch(store, network, batch // on.processes)
        here = -(-batch // (on.processes if on.kind == "gpu" else on.nodes))  # GPUs have memory of their own
        kind.check_memory(store, network, here, precision_of(precision))
        of_store = kind.card_of(store)
    training = {"augment": augment, "sampler": sampler, "optimizer": optimizer, "epochs": epochs, "batch": batch,
                "patience": patience, "seed": seed, "precision": precision_of(precision), "store": store.meta["key"]}  # fmt: skip
    if min_steps:
        training |= _enough(store, training, min_steps) | {"min_steps": min_steps}
    card = {
        "geonb": VERSION, "workload": workload, "task": record.task, "network": network, "loss": loss, "lr": lr, **of_store,
        "training": training,
    }  # fmt: skip
    path = Path(run.checkpoints) / CARD
    if _trained(path, card):
        print(_finished(path), flush=True)
        return path
    if workers is None:
        workers = 2 if torch.cuda.is_available() else 0
    torch.manual_seed(seed)
    task = kind(card)
    with named(store.path):
        learnt = task.prepare(store)
    told = {"headline": record.headline, "lower_is_better": record.lower_is_better}
    lower = lower_is_better(task.metric.removeprefix("val_"), told)
    parameters = {"workload": workload, "network": network, "loss": loss, "lr": lr, **training}
    beside = (Pictures(run, store, watch_every, pictures, training), Tracking(run, tracker, parameters))
    with named(store.path):
        how = {"training": card["training"], "workers": workers, "lower": lower, "watch": watch, "beside": beside}
        found = _fitted(on, task, learnt, run, store, **how)
    kept = found["checkpoints"]
    chosen, why = task.choose(kept, found["states"], store)
    if chosen == "start":
        print(f"Training found nothing beyond {task.start} on the validation samples: epoch 0, which is that, is kept.")
    best = {**kept[chosen], "epochs_run": found["epochs_run"]}
    losses = ", ".join(f"{name} {facts['val_loss']:.4g} (epoch {facts['epoch']})" for name, facts in kept.items())
    print(f"lowest validation loss: {losses}; chosen: {chosen}", flush=True)
    _save(found["states"], path, {**card, **learnt, **why, "best": best, "checkpoints": kept, "chosen": chosen})
    return path


def _fitted(
    on: Devices, task: Trainable, learnt: dict[str, Any], run: RunFolder, store: Store, **how: Any
) -> dict[str, Any]:
    """Fit by one process, or by several; the run remembers by which, from which epoch on."""
    done, batch = epochs_of(Path(run.checkpoints) / LAST), how["training"]["batch"]
    before = [one for one in run.info.get("trained_by", []) if one["from_epoch"] <= done]
    device = best_device() if on.kind == "best" else on.kind
    here = {"from_epoch": done + 1, "processes": on.processes, "nodes": on.nodes, "device": device, "batch": batch}
    run.update(trained_by=[*before, here | {"batch_of_a_process": -(-batch // on.processes)}])
    if on.processes == 1:
        return fit(task, run, store, **how, rank=Rank(0, on))
    there = f", {on.each} on each of {on.nodes} nodes" if on.nodes > 1 else ""
    print(f"{on.processes} processes ({on.kind}{there}) share each batch of {batch} windows", flush=True)
    return fit_together(on, task, learnt, run, store, **how)


def _enough(store: Store, training: dict[str, Any], min_steps: int) -> dict[str, int]:
    """Epochs in which so many steps fit, and at least those that were asked for; told where they are more.

    Patience grows with them: it is a share of the schedule, and a training that ends while the rate is still high was seen to be
    worse than a short one.
    """
    with named(store.path):
        data = data_module(store, **{key: training[key] for key in ("batch", "augment", "seed", "sampler")})
        steps, epochs, patience = len(data.train_dataloader()), training["epochs"], training["patience"]
    enough = max(epochs, -(-min_steps // steps))
    settled = {"epochs": enough, "patience": patience * enough // epochs}
    if enough > epochs:
        print(
            f"at most {enough} epochs, not {epochs}, and a patience of {settled['patience']}: one is {steps} steps, and "
            f"min_steps = {min_steps}",
            flush=True,
        )
    return settled


def check_all(store: Store, checks: Iterable[Callable[[], Any]]) -> None:
    """Refuse a store without training or validation windows, and what any of `checks` refuses; one ValueError lists all."""
    faults = []
    counts = store.index["split"].value_counts()
    missing = [split for split in ("train", "val") if not counts.get(split, 0)]
    if missing:
        faults.append(
            f"The store {store.path} has no {' and no '.join(missing)} windows ({dict(counts)}). "
            "Make it with a smaller `patch` or `block`, or other `shares`, in notebook 01."
        )
    for check in checks:
        try:
            check()
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError(faults[0] if len(faults) == 1 else "Cannot train:\n" + "\n".join(f"- {f}" for f in faults))


def _trained(path: Path, new: dict[str, Any]) -> bool:
    """Whether this very training has ended, and what it left is whole."""
    try:
        old = read_json(path)
    except (OSError, ValueError):  # none, or damaged
        return False
    same = all(old.get(key) == value for key, value in json.loads(json.dumps(new)).items() if key != "geonb")
    found = [*_changed(old), *manifest.faults(path.parent, old.get("files", {}), deep=True)] if same else []
    for fault in found:
        print(f"{path.parent.name}/{fault}; it is trained again", flush=True)
    return same and not found


def _finished(path: Path) -> str:
    """That a training was done before, when, how far, and what to change for another one."""
    card, written = read_json(path), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    best, epochs = card["best"], card["training"]["epochs"]
    return (
        f"Trained before, nothing was trained now: it ended on {written:%Y-%m-%d at %H:%M} UTC after {best.get('epochs_run', '?')} of "
        f"{epochs} epochs; {card.get('chosen', 'loss')} is chosen, of epoch {best['epoch']}, validation loss {best['val_loss']:.4g}.\n"
        f"To train anew, change a setting (another `seed` is enough), or delete {path.parent}."
    )


def _changed(card: dict[str, Any]) -> list[str]:
    """What is wrong with a card that says its own sum; those of an earlier geonb do not."""
    kept = {key: value for key, value in card.items() if key != "sum"}
    return [f"{CARD} is not what was written: its sum differs"] * (card.get("sum", key_of(kept)) != key_of(kept))


def _save(states: dict[str, dict[str, Tensor]], path: Path, card: dict[str, Any]) -> None:
    """Write the weights, then the card; an older card goes first, as it tells of other weights."""
    path.unlink(missing_ok=True)
    for name, file in FILES.items():
        target = path.with_name(file)
        if name not in states:
            target.unlink(missing_ok=True)
            continue
        # each tensor a copy of its own: the format refuses shared memory
        with whole_file(target) as partial:
            save_file({key: value.detach().cpu().clone().contiguous() for key, value in states[name].items()}, partial)
    files = manifest.held(path.parent, [FILES[name] for name in states])
    card = {**card, "files": files}
    write_text(path, json.dumps({**card, "sum": key_of(card)}, indent=1))
    run = path.parents[1]
    manifest.note_made(run, "log.csv", *(f"{path.parent.name}/{name}" for name in (path.name, *files)))


def task_of(record: registry.Workload) -> type[Trainable]:
    """The class of a workload's task; ValueError if the record names something else."""
    kind = specs.load(record.task)
    if not (isinstance(kind, type) and issubclass(kind, Trainable)):
        raise ValueError(
            f"The task {record.task!r} of the workload {record.name!r} is no geonb.training.task.Trainable. Name a subclass of it in "
            "the record."
        )
    return kind


def task_of_card(card: dict[str, Any], workload: str | None = None) -> type[Trainable]:
    """The class of a card's task. It comes from the record of a known workload: what the card calls it is only compared.

    Parameters
    ----------
    workload : str, optional
        Name or import path of the record, if the user gave one; the card's own must be known already.

    Raises
    ------
    ValueError
        If the workload is not known here, or the card's task is not that of the workload. Nothing is imported for the card.
    """
    record = registry.get(workload) if workload else registry.known(card["workload"])
    spellings = (record.task, *record.former_tasks)
    if card["task"] not in spellings:
        raise ValueError(
            f"it names the task {card['task']!r}, but the task of the workload {record.name!r} is {record.task!r}. What a card "
            "names is not imported, as it could be any code. If the model is of another workload, give that: "
            "load_model(path, workload='package.module:RECORD'); if the card was changed, train again."
        )
    return task_of(record)


def load_model(path: str | Path, weights: str | None = None, workload: str | None = None) -> Trainable:
    """Load a trained task, in eval mode, on the CPU. No code that its files name is imported.

    Parameters
    ----------
    path : run folder, checkpoints folder, or model.json
    weights : str, optional
        ``start``, ``loss``, ``metric``, ``swa`` or ``ema``; by default what the validation loss chose.
    workload : str, optional
        Import path of a record of your own, where neither geonb nor :func:`geonb.registry.get` in this process knows it yet.

    Returns
    -------
    The task, with its ``card``; in it ``weights``, the name of those loaded, and ``best``, what validation said of them.

    Raises
    ------
    FileNotFoundError
        If there is no card; says where one was looked for.
    ValueError
        If the file is no geonb model (a pickle is refused unread), the card is incomplete, its workload is not known or
        its task is not that of the workload, its weights don't fit, or there are none of that name; lists those there are.
    """
    card_path = _card_path(Path(path))
    try:
        card = read_json(card_path)
    except ValueError as error:
        raise ValueError(
            f"{card_path} is no model card ({error}). It was damaged, or not written by geonb: train again."
        ) from error
    try:
        name, best = _chosen(card, card_path, weights), card["best"]
        kind = _kind(card, card_path, workload)
        task = kind(card, weights=False)
    except (KeyError, TypeError, AttributeError) as error:  # ValueErrors of these name the file
        raise ValueError(
            f"{card_path} is no model card ({error!r}). It was damaged, or not written by geonb: train again."
        ) from error
    weights_path = card_path.with_name(FILES[name])
    if weights_path.is_file() and weights_path.name in card.get("files", {}):
        found = manifest.faults(card_path.parent, {weights_path.name: card["files"][weights_path.name]}, deep=True)
        cure = f"Copy it again, with the {CARD} beside it, or train again."
        manifest.refuse_damaged(
            f"{weights_path} is not the safetensors file that was written with its card", found, cure
        )
    try:
        task.load_state_dict(load_file(weights_path))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{card_path} has no {weights_path.name} beside it. Copy both files, or train again."
        ) from error
    except SafetensorError as error:
        raise ValueError(
            f"{weights_path} is no safetensors file ({error}). It was cut short or is something else; copy it again."
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {weights_path} don't fit the network of {card_path} ({card['network']}): {error}"
        ) from error
    cure = "Copy it again, or train again; if you changed it on purpose, delete its `sum`."
    manifest.refuse_damaged(f"The model card {card_path} is damaged", _changed(card), cure)
    # whatever is done with it from here on is done by the record that was chosen above, not by the card's word for it
    task.card = {**card, "workload": workload or card["workload"]}
    task.card.pop("sum", None)  # of the file as it is
    task.card |= {"weights": name, "best": {**best, **card.get("checkpoints", {}).get(name, {})}}
    return task.eval()


def _kind(card: dict[str, Any], path: Path, workload: str | None) -> type[Trainable]:
    try:
        return task_of_card(card, workload)
    except ValueError as error:
        raise ValueError(f"The model card {path} cannot be used: {error}") from error


def _chosen(card: dict[str, Any], path: Path, weights: str | None) -> str:
    """Which weights to load; cards written before there was a choice have those of the lowest loss."""
    known = card.get("checkpoints", {"loss": {}})
    name = card.get("chosen", "loss") if weights is None else weights
    if name not in known:
        cure = (
            f" Averaged weights come with {name} in `optimizer`, e.g. adamw:{AVERAGED[name]}."
            if name in AVERAGED
            else ""
        )
        raise ValueError(f"weights = {name!r} are not in {path}. There are: {', '.join(known)}.{cure}")
    return name


def _card_path(path: Path) -> Path:
    if path.is_file() and path.suffix in {".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".bin"}:
        raise ValueError(
            f"{path} is a pickle, which can execute code when it is read, so geonb does not open it. "
            f"Give the run folder, or the {CARD} beside its {WEIGHTS}."
        )
    places = [path] if path.suffix == ".json" else [path / CARD, path / "checkpoints" / CARD]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(map(str, places))
    raise FileNotFoundError(
        f"No trained model at {looked}. Run notebooks/02_training.ipynb first, or give another `run`."
    )
