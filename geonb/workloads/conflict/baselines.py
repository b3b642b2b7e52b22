"""What we would have guessed anyway about next months' events: never, climatology, persistence, weighted history, logistic.

Each takes a store of monthly cubes and a seed, learns from training months only, and gives a :class:`Baseline`, whose
``forecast(t)`` uses any month before t, because those are known when a forecast is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, special

from geonb.workloads.conflict.windows import with_months

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore

# Months read at once, so that memory does not grow with the length of the record.
READ_MONTHS = 48
# A cell's frequency counts as if it had been seen for another year at the frequency of all cells.
PRIOR_MONTHS = 12
PRIOR_EVENTS = 5
HALF_LIVES = (3.0, 6.0, 12.0, 24.0, 48.0)  # months
WIDTHS = (0.0, 0.5, 0.75, 1.0, 1.5)  # standard deviation of the kernel, cells
FLOOR = 1e-4  # of a history before its logarithm
# Rows that a regression is fitted to, and cell-months that they are drawn from: more changes nothing but the time.
MOST_ROWS = 150_000
MOST_CELL_MONTHS = 4_000_000


@dataclass
class Baseline:
    """A name, and ``forecast(t)`` -> {"probability": (outcome, lead, y, x) float32, "deaths": the same, or None}.

    One that is a distribution of deaths has ``draws(t, members)`` -> (member, outcome, lead, y, x) uint32, too.
    """

    name: str
    forecast: Callable[[int], dict[str, np.ndarray | None]]
    chosen: dict[str, Any] = field(default_factory=dict)
    draws: Callable[[int, int], np.ndarray] | None = None


def never(store: CubeStore, seed: int = 0) -> Baseline:
    """No event and no death anywhere, ever: what a Brier score and a CRPS must be compared with where events are rare."""
    zero = np.zeros((len(store.outcomes), store.horizon, *store.valid.shape), np.float32)
    deaths = zero if has_deaths(store) else None
    draws = None if deaths is None else lambda t, members: np.zeros((members, *zero.shape), np.uint32)
    return Baseline("never", lambda t: {"probability": zero, "deaths": deaths}, draws=draws)


def climatology(store: CubeStore, seed: int = 0) -> Baseline:
    """The frequency of events of each cell in the training months, drawn towards that of all cells where months are few."""
    stop = training_stop(store)
    events = dead = np.zeros(())
    for start, end in pieces(0, stop):
        events = events + events_of(store, start, end).sum(axis=0, dtype=np.float64)
        if has_deaths(store):
            dead = dead + deaths_of(store, start, end).sum(axis=0, dtype=np.float64)
    probability = _held(_shrunk(events, stop, store.valid), store.horizon)
    deaths = _held(_shrunk(dead, stop, store.valid), store.horizon) if has_deaths(store) else None
    return Baseline("climatology", lambda t: {"probability": probability, "deaths": deaths})


def persistence(store: CubeStore, seed: int = 0) -> Baseline:
    """Last month again: the frequency of events in training months after a month with an event, and after one without.

    By outcome and lead; deaths are the mean after a month with an event, and after one without.
    """
    shape = (2, len(store.outcomes), store.horizon)  # after none, after one
    number, events, dead = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for _, past, future, deaths in _rolling(store, 1, has_deaths(store)):
        for after in (0, 1):
            here = (past[-1] == after) & store.valid
            number[after] += here.sum(axis=(1, 2))[:, None]
            events[after] += (future * here).sum(axis=(2, 3)).T
            if deaths is not None:
                dead[after] += (deaths * here).sum(axis=(2, 3)).T
    overall = events.sum(axis=0) / np.maximum(number.sum(axis=0), 1)
    frequency = (events + PRIOR_EVENTS * overall) / (number + PRIOR_EVENTS)
    severity = dead / np.maximum(number, 1)

    def forecast(t: int) -> dict[str, np.ndarray | None]:
        last = events_of(store, t - 1, t)[0].astype(bool)[:, None]
        pick = lambda table: np.where(last, *(table[k][..., None, None] for k in (1, 0))).astype(np.float32)  # noqa: E731
        return {"probability": pick(frequency), "deaths": pick(severity) if has_deaths(store) else None}

    return Baseline("persistence", forecast)


def weighted_history(store: CubeStore, seed: int = 0) -> Baseline:
    """Past events of a cell and its neighbours, recent ones counting more, as calibrated probabilities.

    Weights halve every so many months and fall off in space by a Gaussian; both are chosen for each outcome by the log loss
    on the last quarter of the training origins, given the others. A logistic fit per lead makes them probabilities.
    """
    found = fit_weighted_history(store, seed)
    names = [(half, width) for half in found.half_lives for width in found.widths]
    chosen = {
        outcome["name"]: dict(zip(("half_life", "width"), names[place], strict=True))
        for outcome, (place,) in zip(store.outcomes, found.places, strict=True)
    }
    return _regression_baseline(found, store, chosen)


def logistic(store: CubeStore, seed: int = 0) -> Baseline:
    """Logistic regression per lead on the cell's last T months and weighted histories of several lengths and widths."""
    return _regression_baseline(fit_logistic(store, seed), store)


def _regression_baseline(found: Regression, store: CubeStore, chosen: dict[str, Any] | None = None) -> Baseline:
    logits, severity = found.on(store), severity_of(store)
    return Baseline(found.name, lambda t: _with_deaths(special.expit(logits(t)), severity), chosen or {})


@dataclass(frozen=True)
class Regression:
    """Logistic regressions on histories as numbers alone, to be kept and used on another store: nothing is fitted anew.

    Attributes
    ----------
    name : str
        Of the baseline.
    half_lives, widths, lags
        As of :class:`History`.
    places : list, for each outcome
        Which features of the history enter.
    fits : list, for each outcome
        Intercept (lead,) and slope (lead, feature), see :func:`fit_leads`.
    """

    name: str
    half_lives: list[float]
    widths: list[float]
    lags: int
    places: list[list[int]]
    fits: list[tuple[np.ndarray, np.ndarray]]

    def on(self, store: CubeStore) -> Callable[[int], np.ndarray]:
        """``logits(t)`` (outcome, lead, y, x) float32 of the months from t on, from a store's months before t."""
        history = History(store, self.half_lives, self.widths, self.lags)

        def logits(t: int) -> np.ndarray:
            seen = history.at(t)
            each = zip(self.fits, self.places, strict=True)
            return np.stack([lead_logits(fit, seen[o, place]) for o, (fit, place) in enumerate(each)])

        return logits

    def record(self) -> dict[str, Any]:
        """As a record of plain numbers, for JSON."""
        fits = [{"intercept": intercept.tolist(), "slope": slope.tolist()} for intercept, slope in self.fits]
        return {**vars(self), "fits": fits}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Regression:
        """From its record."""
        fits = [(np.array(fit["intercept"]), np.array(fit["slope"])) for fit in record["fits"]]
        return cls(fits=fits, **{key: record[key] for key in ("name", "half_lives", "widths", "lags", "places")})


def fit_weighted_history(store: CubeStore, seed: int = 0) -> Regression:
    """What :func:`weighted_history` learns from the training months."""
    features = History(store, HALF_LIVES, WIDTHS)
    rows = training_rows(store, features, seed)
    places = [int(np.argmin(_losses_later(*rows[o]))) for o in range(len(store.outcomes))]
    fits = [fit_leads(x[:, [place]], y, w) for place, (x, y, w, _) in zip(places, rows, strict=True)]
    chosen = [features.names[place] for place in places]
    half_lives, widths = (sorted(set(values)) for values in zip(*chosen, strict=True))
    own = [[half_lives.index(half) * len(widths) + widths.index(width)] for half, width in chosen]
    return Regression("weighted-history", half_lives, widths, 0, own, fits)


def fit_logistic(store: CubeStore, seed: int = 0) -> Regression:
    """What :func:`logistic` learns from the training months."""
    half_lives, widths = [1.0, 3.0, 12.0, 48.0, 240.0], [0.0, 0.75, 2.0]
    rows = training_rows(store, History(store, half_lives, widths, lags=store.steps), seed)
    every = list(range(store.steps + len(half_lives) * len(widths)))
    fits = [fit_leads(x, y, w) for x, y, w, _ in rows]
    return Regression("logistic", half_lives, widths, store.steps, [every] * len(fits), fits)


def events_of(store: CubeStore, start: int, stop: int) -> np.ndarray:
    """Event flags of the outcomes in the months start:stop, array (time, outcome, y, x) float32, 0 outside the region."""
    return _read(store, "event", start, stop) > 0


def deaths_of(store: CubeStore, start: int, stop: int) -> np.ndarray:
    """Deaths of the outcomes in the months start:stop, array (time, outcome, y, x) float32, 0 outside the region."""
    values = _read(store, "deaths", start, stop)
    for o, outcome in enumerate(store.outcomes):
        if outcome["deaths"].startswith("log1p_"):
            values[:, o] = np.expm1(values[:, o])
    return values


def _read(store: CubeStore, kind: str, start: int, stop: int) -> np.ndarray:
    names = list(dict.fromkeys(outcome[kind] for outcome in store.outcomes))
    cube = np.asarray(with_months(store).cube(names, start, stop), np.float32)
    values = cube[:, [names.index(outcome[kind]) for outcome in store.outcomes]]
    return np.where(store.valid, np.nan_to_num(values), 0)


def has_deaths(store: CubeStore) -> bool:
    """Whether the deaths of every outcome are known."""
    return all(outcome.get("deaths") for outcome in store.outcomes)


def training_stop(store: CubeStore) -> int:
    """The month after the last one that a training origin looks at.

    Raises
    ------
    ValueError
        If the store has no training origin.
    """
    origins = np.asarray(with_months(store).origins("train"))
    if not origins.size:
        raise ValueError(f"The store {store.path} has no training month: give a longer period, or other `shares`.")
    return int(origins.max()) + store.horizon


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Months to be read at once."""
    for begin in range(start, stop, READ_MONTHS):
        yield begin, min(stop, begin + READ_MONTHS)


def _rolling(store: CubeStore, back: int, with_deaths: bool = False) -> Iterator[tuple]:
    """(t, flags of the `back` months before, flags of the H months from t on, their deaths or None) of training origins."""
    origins = set(np.asarray(with_months(store).origins("train")).tolist())
    width = back + store.horizon
    flags, dead = deque[np.ndarray](maxlen=width), deque[np.ndarray](maxlen=width)
    for start, stop in pieces(max(0, min(origins) - back), training_stop(store)):
        flags_here = events_of(store, start, stop)
        dead_here = deaths_of(store, start, stop) if with_deaths else flags_here
        for m in range(start, stop):
            flags.append(flags_here[m - start])
            dead.append(dead_here[m - start])
            t = m + 1 - store.horizon
            if t in origins and len(flags) == width:
                window = np.stack(flags)
                yield t, window[:back], window[back:], np.stack(dead)[back:] if with_deaths else None


def _shrunk(total: np.ndarray, months: int, valid: np.ndarray) -> np.ndarray:
    """Mean a month of each cell (outcome, y, x), drawn towards the mean of all cells."""
    overall = total[:, valid].mean(axis=1)[:, None, None] / months if valid.any() else 0
    return ((total + PRIOR_MONTHS * overall) / (months + PRIOR_MONTHS)).astype(np.float32)


def _held(values: np.ndarray, leads: int) -> np.ndarray:
    return np.broadcast_to(values[:, None], (len(values), leads, *values.shape[1:]))


def severity_of(store: CubeStore) -> np.ndarray | None:
    """Mean deaths of a month with an event (outcome, y, x), a cell's own drawn towards that of all; None without deaths."""
    if not has_deaths(store):
        return None
    events = dead = np.zeros(())
    for start, stop in pieces(0, training_stop(store)):
        flags = events_of(store, start, stop)
        events = events + flags.sum(axis=0, dtype=np.float64)
        dead = dead + (deaths_of(store, start, stop) * flags).sum(axis=0, dtype=np.float64)
    overall = dead.sum(axis=(1, 2)) / np.maximum(events.sum(axis=(1, 2)), 1)
    return ((dead + PRIOR_EVENTS * overall[:, None, None]) / (events + PRIOR_EVENTS)).astype(np.float32)


def _with_deaths(probability: np.ndarray, severity: np.ndarray | None) -> dict[str, np.ndarray | None]:
    return {"probability": probability, "deaths": None if severity is None else probability * severity[:, None]}


class History:
    """What a cell and its surroundings have seen before month t: ``at(t)`` gives (outcome, feature, y, x) float32.

    Features: the last `lags` months' flags, the latest first; then for each half-life and width the logarithm of the
    weighted history (weights 2**(-age / half-life) that sum to 1, smoothed by a Gaussian over the cells of the region).
    Months are read once as long as t grows.
    """

    def __init__(self, store: CubeStore, half_lives: Sequence[float], widths: Sequence[float], lags: int = 0) -> None:
        self.store, self.widths, self.lags = store, tuple(widths), lags
        self.decay = 2.0 ** (-1 / np.asarray(half_lives, np.float64))
        self.names = [(half, width) for half in half_lives for width in widths]
        self.wraps = bool(store.meta["sources"][0].get("wraps", False))
        self.mass = [np.maximum(smooth(store.valid.astype(np.float32), w, self.wraps), 0.1) for w in widths]
        self._restart()

    def _restart(self) -> None:
        self.t = 0
        self.state = np.zeros((len(self.decay), len(self.store.outcomes), *self.store.valid.shape), np.float32)
        self.recent: deque[np.ndarray] = deque(maxlen=max(1, self.lags))

    def at(self, t: int) -> np.ndarray:
        if t < self.t:
            self._restart()
        decay = self.decay.astype(np.float32)[:, None, None, None]
        for start, stop in pieces(self.t, t):
            for month in events_of(self.store, start, stop):
                self.state *= decay
                self.state += month
                self.recent.appendleft(month)
        self.t = t
        sums = np.array([(1 - d**t) / (1 - d) for d in self.decay]) if t else np.ones(len(self.decay))
        history = self.state / sums.astype(np.float32)[:, None, None, None]
        empty = np.zeros_like(self.state[0])
        lags = [*self.recent, *[empty] * self.lags][: self.lags]
        smoothed = [smooth(h, w, self.wraps) / m for h in history for w, m in zip(self.widths, self.mass, strict=True)]
        return np.stack([*lags, *(np.log(np.maximum(s, 0) + FLOOR) for s in smoothed)], axis=1).astype(np.float32)


def smooth(values: np.ndarray, width: float, wraps: bool = False) -> np.ndarray:
    """Smooth (..., y, x) by a Gaussian of `width` cells; nothing lies beyond the edge, but where longitude wraps."""
    if not width:
        return values
    for axis, mode in ((-2, "constant"), (-1, "wrap" if wraps else "constant")):
        values = ndimage.gaussian_filter1d(values, width, axis=axis, mode=mode, truncate=3)
    return values


def training_rows(store: CubeStore, features: History, seed: int, most: int = MOST_ROWS) -> list[tuple]:
    """Draw cell-months of the training origins for a regression, cells with an event ahead oftener, and weigh them back.

    Returns
    -------
    list, for each outcome: features (row, feature), events (row, lead), weight (row,), origin (row,)
    """
    random = np.random.default_rng([seed, 0xF0CA])
    number = int(store.valid.sum())
    every = max(1, len(with_months(store).origins("train")) * number // MOST_CELL_MONTHS)
    total = len(with_months(store).origins("train")) // every * number
    share = min(1.0, most / 2 / max(1, total))
    found: list[list] = [[] for _ in store.outcomes]
    for i, (t, _, future, _) in enumerate(_rolling(store, 0)):
        if i % every:
            continue
        seen = features.at(t)
        for o, into in enumerate(found):
            ahead = future[:, o][:, store.valid].T
            some = ahead.any(axis=1)
            if total <= most:
                keep, weight = np.arange(number), np.ones(number)
            else:
                # of the rows with an event no more than a tenth of all are ever kept for one origin
                often = min(1.0, most / 2 / max(1, some.sum()) / max(1, total // number))
                chance = np.where(some, max(share, often), share)
                keep = np.flatnonzero(random.random(number) < chance)
                weight = 1 / chance[keep]
            into.append((seen[o][:, store.valid].T[keep], ahead[keep], weight, np.full(len(keep), t)))
    return [tuple(np.concatenate(part) for part in zip(*rows, strict=True)) for rows in found]


def fit_leads(features: np.ndarray, events: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression of each lead: intercept (lead,), coefficients (lead, feature) of the features as they are.

    A lead that saw only one outcome has no slope, and the frequency as if half an event and half a non-event more were seen.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 1e-6, std, 1)
    standard = ((features - mean) / std).astype(np.float64)
    intercept, slope = np.zeros(events.shape[1]), np.zeros((events.shape[1], features.shape[1]))
    for lead, seen in enumerate(events.T):
        if seen.all() or not seen.any():
            intercept[lead] = special.logit((weight[seen].sum() + 0.5) / (weight.sum() + 1))
            continue
        model = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(standard, seen, sample_weight=weight)
        slope[lead] = model.coef_[0] / std
        intercept[lead] = model.intercept_[0] - slope[lead] @ mean
    return intercept, slope


def lead_logits(fit: tuple[np.ndarray, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Logits (lead, y, x) float32 of features (feature, y, x)."""
    intercept, slope = fit
    return np.tensordot(slope.astype(np.float32), features, 1) + intercept.astype(np.float32)[:, None, None]


def _losses_later(features: np.ndarray, events: np.ndarray, weight: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Log loss (feature,) of each feature alone on the last quarter of the origins, fitted on the others; mean of some leads."""
    later = origin > np.quantile(np.unique(origin), 0.75)
    if later.all() or not later.any():
        earlier = later = np.ones(len(origin), bool)
    else:
        earlier = ~later
    leads = sorted({0, events.shape[1] // 2, events.shape[1] - 1})
    losses = np.zeros(features.shape[1])
    for k in range(features.shape[1]):
        intercept, slope = fit_leads(features[earlier][:, [k]], events[earlier][:, leads], weight[earlier])
        logits = features[later][:, [k]] @ slope.T + intercept
        loss = np.logaddexp(0, logits) - logits * events[later][:, leads]
        losses[k] = np.average(loss.mean(axis=1), weights=weight[later])
    return losses
