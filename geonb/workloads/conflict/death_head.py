"""A network's draws of deaths: an event or not, then a class of deaths, then deaths that were seen in training in that class.

The classes are those of the field's challenge (:mod:`geonb.workloads.conflict.death_scores`), so that the likelihood that is learnt
is its ignorance; within a class the draws are months that were, and tails as heavy as those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.workloads.conflict.baselines import deaths_of, events_of, pieces, smooth, training_stop
from geonb.workloads.conflict.death_scores import CLASSES, EDGES, classes_of

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore

MOST_VALUES = 100  # kept of a class: its evenly spaced order statistics
NEVER_SEEN = 0.5  # events that a class counts more than it had
# Of those tried on Nigeria, the best on its validation months (docs/deaths.md).
HALF_LIFE = 12.0  # months
WIDTH = 1.5  # standard deviation of the smoothing, cells
PRIOR = 0.5  # events of all cells that a cell's own stand beside
HISTORY = (HALF_LIFE, WIDTH, PRIOR)
SALT = 0xD1CE


class ClassHistory:
    """Classes of deaths of past events in a cell and around it, recent ones counting more: ``at(t)``, of the months before t.

    Counts of each class halve every HALF_LIFE months, are smoothed over the cells, and drawn towards the shares of all events of the
    training months. Months are read once as long as t grows.
    """

    def __init__(self, store: CubeStore) -> None:
        self.store, self.shares = store, class_shares(store)
        self._restart()

    def _restart(self) -> None:
        self.t = 0
        self.state = np.zeros((len(self.store.outcomes), CLASSES, *self.store.valid.shape), np.float32)

    def at(self, t: int) -> np.ndarray:
        """Share of each class, given an event (outcome, class, y, x) float32."""
        if t < self.t:
            self._restart()
        for start, stop in pieces(self.t, t):
            events, found = events_of(self.store, start, stop), classes_of(deaths_of(self.store, start, stop))
            for month, classes in zip(events, found, strict=True):
                self.state *= np.float32(2 ** (-1 / HALF_LIFE))
                for k in range(CLASSES):
                    self.state[:, k] += month & (classes == k)
        self.t = t
        seen = smooth(self.state, WIDTH, self.store.wraps)
        total = seen.sum(axis=1, keepdims=True) + PRIOR
        return ((seen + PRIOR * self.shares[..., None, None]) / total).astype(np.float32)


def class_shares(store: CubeStore) -> np.ndarray:
    """Share of each class among all events of the training months (outcome, class), as if each had half an event more."""
    total = np.full((len(store.outcomes), CLASSES), NEVER_SEEN)
    for start, stop in pieces(0, training_stop(store)):
        events, found = events_of(store, start, stop), classes_of(deaths_of(store, start, stop))
        total += np.stack([(events & (found == k)).sum(axis=(0, 2, 3)) for k in range(CLASSES)], axis=1)
    return total / total.sum(axis=1, keepdims=True)


def class_records(store: CubeStore) -> list[dict[str, Any]]:
    """What a model's card keeps of each outcome: ``shares`` of the classes, and ``values``, deaths seen in each.

    Of a class that was not seen the least that it could be.
    """
    shares = class_shares(store)
    seen: list[list] = [[] for _ in store.outcomes]
    for start, stop in pieces(0, training_stop(store)):
        events, dead = events_of(store, start, stop), deaths_of(store, start, stop)
        for o, into in enumerate(seen):
            into.append(np.rint(dead[:, o][events[:, o] > 0]).astype(np.int64))
    return [
        {"shares": share.tolist(), "values": _values(np.sort(np.concatenate(values)))}
        for share, values in zip(shares, seen, strict=True)
    ]


def _values(deaths: np.ndarray) -> list[list[int]]:
    """Deaths of each class, of sorted ones; evenly spaced ranks of many."""
    found, classes = [], classes_of(deaths)
    for k in range(CLASSES):
        values = deaths[classes == k]
        if len(values) > MOST_VALUES:
            values = values[np.linspace(0, len(values) - 1, MOST_VALUES).round().astype(int)]
        found.append(values.tolist() or [int(np.ceil(EDGES[k - 1])) if k else 0])
    return found


def draw_deaths(
    probability: np.ndarray,
    classes: np.ndarray,
    records: list[dict[str, Any]],
    members: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Draw deaths (member, outcome, lead, y, x) uint32, each cell and lead by itself.

    Parameters
    ----------
    probability : array (outcome, lead, y, x)
        Of an event.
    classes : array (outcome, lead, class, y, x)
        Probability of each class of deaths, given an event.
    records : list of dict, see :func:`class_records`
    """
    out = np.zeros((members, *probability.shape), np.uint32)
    for one in out:
        place = np.nonzero(random.random(one.shape, np.float32) < probability)
        o, lead, y, x = place
        share = np.cumsum(classes[o, lead, :, y, x], axis=1)
        which = (random.random((len(o), 1)) * share[:, -1:] >= share).sum(axis=1).clip(max=CLASSES - 1)
        deaths, rank = np.zeros(len(o), np.uint32), random.random(len(o))
        for n, k in set(zip(o.tolist(), which.tolist(), strict=True)):
            here, values = (o == n) & (which == k), np.asarray(records[n]["values"][k])
            deaths[here] = values[(rank[here] * len(values)).astype(int)]
        one[place] = deaths
    return out
