"""Several runs in one explorer: the run becomes a dim, to be chosen, swiped between and subtracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from geonb.dashboards.explorer import Dim, Explorer
from geonb.dashboards.layers import At, Layer, Read


def joined(runs: Mapping[str, Explorer]) -> Explorer:
    """One explorer of several runs over the same places; what only one of them has (a model, a month) is nothing in the others.

    Raises
    ------
    ValueError
        If their places differ, or if they tell how alike tiles are, which is comparable within one network only.
    """
    explorers = list(runs.values())
    first = explorers[0]
    shapes = [
        [(place.name, place.bounds, [g.shape for g in place.grids.values()]) for place in one.places]
        for one in explorers
    ]
    for name, shape in zip(runs, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(
                f"Run {name} covers other ground than {next(iter(runs))}: {', '.join(p for p, *_ in shape)} against "
                f"{', '.join(p for p, *_ in shapes[0])}, or another grid. Only runs over the same store can be laid beside each other."
            )
    if any(one.likeness is not None for one in explorers):
        raise ValueError(
            "Distances in an embedding mean something within one network only: these runs cannot be laid beside each other."
        )
    own_dims = [{dim.name: dim for dim in one.dims} for one in explorers]
    dims = [_united([own[name] for own in own_dims]) for name in own_dims[0] if all(name in own for own in own_dims)]
    where = [
        {dim.name: [list(own[dim.name].labels).index(v) if v in own[dim.name].labels else None for v in dim.labels] for dim in dims}
        for own in own_dims
    ]  # fmt: skip
    names = set.intersection(*({layer.name for layer in one.layers} for one in explorers))
    shared = [layer for layer in first.layers if layer.name in names and names.issuperset(layer.of)]
    layers = []
    for layer in shared:
        if layer.kind == "error":
            layers.append(layer)
            continue
        own = [one.layer(layer.name) for one in explorers]
        low, high = [one.low for one in own if one.low is not None], [one.high for one in own if one.high is not None]
        layers.append(replace(layer, dims=("run", *layer.dims), read=_of_runs(layer, [one.read for one in own], where),
                              low=min(low, default=None), high=max(high, default=None)))  # fmt: skip
    start = dict(first.threshold)
    if start.get("by") and any(dim.labels != own_dims[0][dim.name].labels for dim in dims):
        start |= {"by": [], "start": float(np.median(np.asarray(start["start"])))}
    together = replace(first, dims=[Dim("run", list(runs)), *dims], layers=layers, threshold=start, packs=lambda: [{}])
    return _without_the_missing(together, {layer.name for layer in layers})


def _without_the_missing(explorer: Explorer, known: set[str]) -> Explorer:
    """The explorer without what it would show or tell of layers that are not there."""
    roles = ("below", "top", "truth", "guess", "groups")
    gone: dict[str, Any] = {role: "" for role in roles if getattr(explorer, role) not in known}
    gone |= {what: None for what in ("table", "chart") if (one := getattr(explorer, what)) and one.layer not in known}
    gone |= {"outlined": ()} if explorer.outlined and explorer.outlined[1] not in known else {}
    gone |= {"threshold": {}} if explorer.threshold and explorer.threshold["layer"] not in known else {}
    return replace(explorer, lines=[line for line in explorer.lines if line[1] in known], **gone)


def _united(dims: Sequence[Dim]) -> Dim:
    """A dim with the labels of all, in the order of the first; those of a slider that sort are sorted."""
    labels = list(dict.fromkeys(label for dim in dims for label in dim.labels))
    gaps = dims[0].gaps if labels == list(dims[0].labels) else []
    if dims[0].slider and all(list(dim.labels) == sorted(dim.labels) for dim in dims):
        labels = sorted(labels)
    said: dict[str, dict[str, None]] = {label: {} for label in labels}  # test to one run may be training to another
    ahead: dict[str, int] = {}
    for dim in dims:
        for label, remark in zip(dim.labels, dim.remarks, strict=bool(dim.remarks)):
            said[label][remark] = None
        ahead |= dict(zip(dim.labels, dim.ahead, strict=bool(dim.ahead)))
    remarks = [" / ".join(said[label]) for label in labels] if any(dim.remarks for dim in dims) else ()
    return replace(dims[0], labels=labels, start=labels.index(dims[0].labels[dims[0].start]), gaps=gaps, remarks=remarks,
                   ahead=[ahead[label] for label in labels] if ahead else ())  # fmt: skip


def _of_runs(layer: Layer, reads: Sequence[Read], where: Sequence[Mapping[str, list[int | None]]]) -> Read:
    """A layer's `read` that asks the run in question, by its own positions."""

    def read(place: int, at: At, slices: Mapping[str, slice]) -> np.ndarray:
        run = at["run"]
        own: dict[str, Any] = {dim: where[run][dim][at[dim]] for dim in layer.dims if dim in at}
        open_dims = [dim for dim in layer.dims if dim not in at]
        gone = any(position is None for position in own.values())
        values = reads[run](
            place,
            {dim: position or 0 for dim, position in own.items()} | {k: v for k, v in at.items() if k not in own},
            slices,
        )
        if layer.kind == "image":
            return np.zeros_like(values) if gone else values
        values = np.full_like(values, np.nan, dtype=float) if gone else values
        for axis, dim in enumerate(open_dims):
            positions = where[run][dim]
            taken = np.take(values, [p or 0 for p in positions], axis).astype(float)
            taken[(slice(None),) * axis + ([p is None for p in positions],)] = np.nan
            values = taken
        return values

    return read
