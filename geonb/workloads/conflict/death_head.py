"""A network's draws of deaths: an event or not, then a class of deaths, then deaths that were seen in training in that class.

The classes are those of the field's challenge (:mod:`geonb.workloads.conflict.death_scores`), so that the likelihood that is learnt
is its ignorance; within a class the draws are months that were, and tails as heavy as those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.workloads.conflict.baselines import PRIOR_EVENTS, deaths_of, events_of, pieces, training_stop
from geonb.workloads.conflict.death_scores import CLASSES, EDGES, classes_of

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore

MOST_VALUES = 100  # kept of a class: its evenly spaced order statistics
NEVER_SEEN = 0.5  # events that a class counts more than it had
SALT = 0xD1CE


def class_counts(store: CubeStore) -> np.ndarray:
    """Months with an event of each class of deaths in the training months: (outcome, class, y, x) int32."""
    total = np.zeros((len(store.outcomes), CLASSES, *store.valid.shape), np.int32)
    for start, stop in pieces(0, training_stop(store)):
        events, found = events_of(store, start, stop), classes_of(deaths_of(store, start, stop))
        for k in range(CLASSES):
            total[:, k] += (events & (found == k)).sum(axis=0)
    return total


def class_frequencies(store: CubeStore) -> np.ndarray:
    """Share of each class among a cell's months with an event, drawn towards that of all cells: (outcome, class, y, x) float32."""
    counts = class_counts(store)
    overall = _shares(counts.sum(axis=(2, 3)))[..., None, None]
    return ((counts + PRIOR_EVENTS * overall) / (counts.sum(axis=1, keepdims=True) + PRIOR_EVENTS)).astype(np.float32)


def class_records(store: CubeStore) -> list[dict[str, Any]]:
    """What a model's card keeps of each outcome: ``shares`` of the classes, and ``values``, deaths seen in each.

    Of a class that was not seen the least that it could be.
    """
    shares = _shares(class_counts(store).sum(axis=(2, 3)))
    seen: list[list] = [[] for _ in store.outcomes]
    for start, stop in pieces(0, training_stop(store)):
        events, dead = events_of(store, start, stop), deaths_of(store, start, stop)
        for o, into in enumerate(seen):
            into.append(np.rint(dead[:, o][events[:, o] > 0]).astype(np.int64))
    return [
        {"shares": share.tolist(), "values": _values(np.sort(np.concatenate(values)))}
        for share, values in zip(shares, seen, strict=True)
    ]


def _shares(counts: np.ndarray) -> np.ndarray:
    return (counts + NEVER_SEEN) / (counts + NEVER_SEEN).sum(axis=1, keepdims=True)


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
