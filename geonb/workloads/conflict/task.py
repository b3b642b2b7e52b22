"""The task of forecasting: months in, probabilities of events (and deaths) of the next months out, with their doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from geonb.store.samplers import check_unlabelled, order_of
from geonb.training.devices import machine_bytes
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all
from geonb.workloads.conflict.baselines import Regression, has_deaths
from geonb.workloads.conflict.death_head import class_records
from geonb.workloads.conflict.floor import choose_floor, floor_map, gain_on_start
from geonb.workloads.conflict.losses import build_loss, check_side
from geonb.workloads.conflict.networks import build_network, check_network, check_size

if TYPE_CHECKING:
    from geonb.store.store import Store
    from geonb.workloads.conflict.store import CubeStore


class Forecast(Trainable):
    """Forecast each cell's events, months ahead.

    Parameters
    ----------
    card : dict
        ``network`` and ``loss`` (specifications), ``channels`` (records of the inputs) and ``outcomes``, ``horizon``, ``lr``,
        and, to train, ``prevalence`` of the outcomes, ``training`` with ``optimizer``, ``epochs`` and ``seed``. After training,
        ``floor``: the record of the regression that the network corrects, or None. A loss that draws deaths needs ``deaths``, see
        :func:`geonb.workloads.conflict.death_head.class_records`.
    weights : bool
        False leaves the biases of the outputs as they come, where a checkpoint follows.

    Attributes
    ----------
    floor : Regression or None
        What the network corrects: its outputs are the floor's plus those of ``network``, which begin at 0
        (:mod:`geonb.workloads.conflict.floor`). Without, the network says it all.
    """

    metric = "val_average_precision"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        self.outcomes = len(card["outcomes"])
        self.loss = build_loss(card["loss"], self.outcomes)
        outputs = self.outcomes * (1 + self.loss.more)
        self.network = build_network(card["network"], len(card["channels"]), outputs, card["horizon"])
        if weights and "prevalence" in card:
            shares = [o["shares"] for o in card["deaths"]] if self.loss.draws_deaths else []
            events = torch.tensor(card["prevalence"]).clamp(1e-4, 0.5).logit()
            self.network.begin_at(torch.cat([events, torch.tensor(shares).flatten().log()]))
        self.average_precision = BinnedAveragePrecision(self.outcomes)
        self.floor = Regression.of(card["floor"]) if card.get("floor") else None

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        """Refuse what cannot be trained before anything is computed; one ValueError lists every fault."""
        checks = [
            lambda: _check_network(store, network, loss),
            lambda: _check_floor(store, network),
            lambda: _check_loss(store, loss),
            lambda: check_optimizer(optimizer),
            lambda: check_unlabelled(sampler),
            lambda: store.windows("train", augment),
        ]
        check_all(store, checks)
        order_of(store.windows("train", augment), store, sampler)  # an empty constituent cannot be shown more often

    @classmethod
    def check_memory(cls, store: Store, network: str, batch: int, precision: str) -> None:
        """Refuse a training step that keeps more than the machine holds: whole regions are large windows.

        Raises
        ------
        ValueError
            Says how much a step keeps, and what makes it smaller.
        """
        height, width = max(_sizes(store), key=lambda size: size[0] * size[1])
        split, outputs = store.meta["split"], len(store.meta["outcomes"])
        each = kept_bytes(
            network, len(_inputs(store)), outputs, int(split["steps"]), int(split["horizon"]), (height, width)
        ) * (0.5 if precision == "bfloat16" else 1)
        there, rows = machine_bytes(), min(batch, int((store.index["split"] == "train").sum()))
        if each * rows > there:
            fits = f"batch = {int(there // each)}, " if there >= each else ""
            raise ValueError(
                f"A training step of batch = {batch} windows of {height} x {width} cells keeps about {each * rows / 1e9:.0f} GB "
                f"for network = {network!r}, the machine has {there / 1e9:.0f} GB. Give {fits}smaller windows (notebook 01: "
                "windows=events:size=16), fewer `steps`, or a smaller network."
            )

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        """Channels that enter, outcomes, months, size of the windows, statistics."""
        split = store.meta["split"]
        return {
            "channels": _inputs(store), "outcomes": store.meta["outcomes"], "classes": [], "steps": int(split["steps"]),
            "horizon": int(split["horizon"]), "statistics": store.meta["statistics"],
            "patch": int(store.index["height"].max()), "simulated": bool(store.meta["simulated"]),
            "prevalence": prevalence(store),
        } | _deaths(store)  # fmt: skip

    @property
    def start(self) -> str | None:
        """The floor's name: with a correction of 0 the forecast is that baseline."""
        return None if self.floor is None else self.floor.name

    def prepare(self, store: Store) -> dict[str, Any]:
        """Fit the floor to the training months and let the network begin at no correction; see `_wanted_floor`."""
        wanted, why = _wanted_floor(store, self.card["network"])
        if wanted == "none":
            if why:
                print(f"floor: none; {why}", flush=True)
            return {"floor": None}
        self.floor, losses = choose_floor(cast("CubeStore", store), wanted, self.card["training"]["seed"])
        self.network.begin_at_zero()
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        print(
            f"floor: {self.floor.name}, which the network corrects; log loss in the validation months: {told}",
            flush=True,
        )
        return {"floor": {**self.floor.record(), "val_log_loss": losses}}

    def choose(
        self, kept: dict[str, dict[str, Any]], states: dict[str, dict[str, Tensor]], store: Store
    ) -> tuple[str, dict[str, Any]]:
        """The lowest validation loss, but the floor where the gain on it is no more than one standard error.

        The lowest of many epochs is low by luck, too. A loss that weighs events otherwise (`pos_weight`, focal, deaths beside them)
        may fall where their plain log loss rises: a forecast is not to be worse than history by that either.
        ``gain_on_start`` in the card tells of it.
        """
        chosen, why = super().choose(kept, states, store)
        if self.floor is None or chosen == "start":
            return chosen, why
        told = gain_on_start(self, states["start"], states[chosen], cast("CubeStore", store))
        gain, error, events = told["gain"], told["standard_error"], told["log_loss_gain"]
        judged = f"standard error {error:.2g}" if error is not None else "too few blocks to tell by how much it may err"
        worse = f"; but the plain log loss of events rises by {-events:.2g}" if events < 0 else ""
        print(
            f"{chosen} (epoch {kept[chosen]['epoch']}) lowers the validation loss of {self.floor.name} by {gain:.2g}; {judged} "
            f"(blocks of {told['blocks']}){worse}",
            flush=True,
        )
        better = error is not None and gain > error and events >= 0
        return chosen if better else "start", {"gain_on_start": {"of": chosen, "on": self.floor.name, **told}}

    def beside(self, store: Store) -> dict[str, Any]:
        """The floor, where there is one: ``floor`` is then in each batch of the windows."""
        return {"floor": floor_map(cast("CubeStore", store), self.floor, self.loss.more)} if self.floor else {}

    def forward(self, inputs: Tensor, floor: Tensor | None = None) -> Tensor:
        """Outputs (sample, lead, output, y, x) of standardised inputs (sample, step, channel, y, x).

        Event logits of all outcomes, then, if the loss asks for deaths, their log1p deaths.

        Parameters
        ----------
        floor : Tensor (sample, lead, output, y, x)
            Outputs of the floor, of a task that has one: ``batch["floor"]`` of ``store.windows(..., **task.beside(store))``.

        Raises
        ------
        ValueError
            If the task has a floor and none is given, or the other way round.
        """
        if (floor is None) != (self.floor is None):
            raise ValueError(_MISSING.format(self.start) if self.floor else _NONE)
        outputs = self.network(inputs)
        return outputs if floor is None else outputs + floor

    def probabilities(self, inputs: Tensor, floor: Tensor | None = None) -> Tensor:
        """Probability of an event (sample, lead, outcome, y, x), 0-1, float32; dropout as the module's mode has it."""
        return self(inputs, floor)[:, :, : self.outcomes].float().sigmoid()

    def forecast(self, inputs: Tensor, draws: int = 1, seed: int = 0, floor: Tensor | None = None) -> dict[str, Tensor]:
        """Forecast with Monte-Carlo dropout.

        Parameters
        ----------
        inputs : Tensor (sample, step, channel, y, x), standardised
        draws : int
            One is the network without dropout. More are draws with it on (Gal & Ghahramani 2016), all else as in
            evaluation; those of a network without dropout are all the same.
        seed : int
            Of the draws: the same seed, draw and shape give the same forecast, however many draws there are.
        floor : Tensor (sample, lead, output, y, x)
            As for `forward`.

        Returns
        -------
        dict with ``probability`` (draw, sample, lead, outcome, y, x) float32, 0-1, and, if the loss knows deaths, ``deaths``
        of that shape: expected deaths, probability times what the network says of a month with an event. If it draws deaths,
        ``classes`` (draw, sample, lead, outcome, class, y, x), probability of each class of deaths given an event.

        Raises
        ------
        ValueError
            If there is no draw, or as `forward`.
        """
        if draws < 1:
            raise ValueError(f"draws = {draws}: give 1 (no dropout) or more.")
        was = self.training
        self.eval()
        try:
            with torch.inference_mode():
                one = draws == 1 or not self.dropouts
                whole = self(inputs, floor).float() if one else None
                drawn = self._draw(inputs, floor, draws, seed) if whole is None else whole.expand(draws, *(-1,) * 5)
        finally:
            self.train(was)
        with torch.inference_mode():
            found = {"probability": drawn[:, :, :, : self.outcomes].sigmoid()}
            rest = drawn[:, :, :, self.outcomes :]
            if self.loss.draws_deaths:
                found["classes"] = rest.unflatten(3, (self.outcomes, -1)).softmax(dim=4)
                means = rest.new_tensor([[np.mean(v) for v in o["values"]] for o in self.card["deaths"]])
                found["deaths"] = found["probability"] * (found["classes"] * means[..., None, None]).sum(dim=4)
            elif self.loss.needs_deaths:
                found["deaths"] = found["probability"] * rest.clamp(0, MOST_LOG_DEATHS).expm1()
        return found

    @property
    def dropouts(self) -> list[nn.Module]:
        """The modules whose draws tell of the network's doubt."""
        return [m for m in self.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]

    def _draw(self, inputs: Tensor, floor: Tensor | None, draws: int, seed: int) -> Tensor:
        devices = [inputs.device] if inputs.device.type == "cuda" else []
        drawn = []
        with torch.random.fork_rng(devices=devices):
            for module in self.dropouts:
                module.train()
            for draw in range(draws):
                torch.manual_seed((seed * 1_000_003 + draw) % 2**63)
                drawn.append(self(inputs, floor).float())
        return torch.stack(drawn)

    def encode(self, inputs: Tensor) -> Tensor:
        """Embedding (sample, dim): what the encoder's deepest layer remembers of the months, averaged over the window."""
        return self.network.features(inputs).float().mean(dim=(2, 3))

    @property
    def questions(self) -> dict[str, list[str]]:
        return {record["name"]: ["no event", "event"] for record in self.card["outcomes"]}

    def answers(self, batch: dict[str, Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Cell by cell and month by month of each outcome: an event from a probability of 0.5 on."""
        told = self.probabilities(batch["inputs"], batch.get("floor")) >= 0.5
        truth = torch.where(batch["valid"][:, None, None], batch["targets"], -1.0)
        return truth.unbind(2), told.unbind(2)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        loss = self.loss(self(batch["inputs"], batch.get("floor")), batch["targets"], batch["deaths"], batch["valid"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        outputs = self(batch["inputs"], batch.get("floor"))
        loss = self.loss(outputs, batch["targets"], batch["deaths"], batch["valid"])
        self.average_precision.update(outputs[:, :, : self.outcomes], batch["targets"], batch["valid"])
        self.log("val_loss", loss, batch_size=len(batch["inputs"]))
        self.log(self.metric, self.average_precision)


_MISSING = (
    "The network corrects {0}: without its logits there is no forecast. Give floor=, as store.windows(..., **task.beside(store)) "
    "and geonb.workloads.conflict.floor.floor_outputs have it."
)
_NONE = "The network has no floor: give it months alone."


def kept_bytes(network: str, channels: int, outputs: int, steps: int, horizon: int, size: tuple[int, int]) -> int:
    """What a forward pass of one float32 window keeps for the backward pass, from shapes alone: nothing is computed."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.device("meta"):
        built = build_network(network, channels, outputs, horizon)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            built(torch.empty(1, steps, channels, *size))
    weights = {p.untyped_storage()._cdata for p in built.parameters()}
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights)


# exp(16) - 1 is 8.9 million: a wild extrapolation must not become infinite
MOST_LOG_DEATHS = 16.0


class BinnedAveragePrecision(Metric):
    """Average precision of logits, by outcome, from counts in narrow bins, so that millions of cells need no memory.

    The mean over the outcomes that occur; 0 if none does. Logits beyond +-16 share the last bins.
    """

    higher_is_better = True
    full_state_update = False
    bins, reach = 8192, 16.0

    def __init__(self, outcomes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(outcomes, 2, self.bins, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor, valid: Tensor) -> None:
        """Add logits and targets (sample, lead, outcome, y, x) of the valid (sample, y, x) cells."""
        at = ((logits.float() + self.reach) * (self.bins / (2 * self.reach))).long().clamp(0, self.bins - 1)
        within = valid.bool()[:, None].expand(-1, logits.shape[1], -1, -1)
        for k, counts in enumerate(self.counts):
            cell = (targets[:, :, k] > 0.5).long() * self.bins + at[:, :, k]
            counts += torch.bincount(cell[within], minlength=2 * self.bins).reshape(2, self.bins)

    def compute(self) -> Tensor:
        """Sum of precision times gain in recall, from the highest bin down (as scikit-learn's)."""
        hits, missed = self.counts[:, 1].flip(1).double(), self.counts[:, 0].flip(1).double()
        total = hits.sum(dim=1)
        precision = hits.cumsum(1) / (hits + missed).cumsum(1).clamp(min=1)
        found = (precision * hits).sum(dim=1) / total.clamp(min=1)
        return (found.sum() / (total > 0).sum().clamp(min=1)).float()


def prevalence(store: Store, most: int = 200) -> list[float]:
    """Share of a training window's valid cells with an event, of each outcome, over at most so many windows evenly drawn."""
    windows = store.windows("train")
    batch = windows.batch(np.unique(np.linspace(0, len(windows) - 1, most).round().astype(int)).tolist())
    cells = batch["valid"][:, None, None].expand_as(batch["targets"])
    events = (batch["targets"] * cells).sum(dim=(0, 1, 3, 4))
    return (events / cells.sum(dim=(0, 1, 3, 4)).clamp(min=1)).tolist()


def _deaths(store: Any) -> dict[str, Any]:
    """Classes of deaths of the training months, where a store of whole months knows them."""
    return {"deaths": class_records(store)} if hasattr(store, "cube") and has_deaths(store) else {}


def _inputs(store: Store) -> list[dict[str, Any]]:
    return [channel for channel in store.meta["channels"] if channel.get("role", "input") != "target"]


def _check_network(store: Store, network: str, loss: str) -> None:
    """Sizes of the windows, and the number of outputs, that the network can take."""
    check_network(network)
    try:
        outputs = len(store.meta["outcomes"]) * (1 + build_loss(loss).more)
    except ValueError:
        outputs = 1  # the loss's own check tells of it
    with torch.device("meta"):  # built without its numbers
        build_network(network, len(_inputs(store)), outputs, int(store.meta["split"]["horizon"]))
    for height, width in _sizes(store):
        check_size(network, height, width)


def _check_floor(store: Store, network: str) -> None:
    wanted, why = _wanted_floor(store, network)
    if wanted != "none" and why:
        raise ValueError(
            f"network = {network!r}: floor = {wanted!r} is not possible; {why}. Give floor=auto or floor=none, or write a store from "
            "events in notebook 01."
        )


def _wanted_floor(store: Store, network: str) -> tuple[str, str]:
    """The floor that is asked for, and why there can be none; auto is none where there can be none."""
    _, options = check_network(network)
    why = ""
    if not hasattr(store, "cube"):
        why = "the samples came without the months and places before them, so that no history of a cell is known"
    elif options.get("head") == "none":
        why = "outputs of head=none cannot begin at 0"
    return ("none" if why and options["floor"] == "auto" else options["floor"]), why


def _check_loss(store: Store, loss: str) -> None:
    built = build_loss(loss)
    lacking = [outcome["name"] for outcome in store.meta["outcomes"] if not outcome.get("deaths")]
    if built.needs_deaths and lacking:
        raise ValueError(
            f"loss = {loss!r} learns deaths, but the store has none for {', '.join(lacking)}. "
            "Make it with deaths (notebook 01), or give a loss of events: bce, focal."
        )
    check_side(loss, built, min(min(size) for size in _sizes(store)))


def _sizes(store: Store) -> list[tuple[int, int]]:
    """Heights and widths of the windows, cells."""
    return [(int(h), int(w)) for h, w in store.index[["height", "width"]].drop_duplicates().to_numpy()]
