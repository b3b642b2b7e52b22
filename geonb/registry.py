"""The record of a workload, and the registry of those there are. What differs between workloads is data; notebooks do not branch.

The spine asks here by name and never names a workload itself: which there are is told from the top, when geonb is imported
(``geonb.workloads.ROOMS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geonb.base import trust
from geonb.base.conventions import WORKLOADS
from geonb.base.specs import load, pick

if TYPE_CHECKING:
    from geonb.base.download import Source


SHARED_STEPS = ("02_training", "03_prediction", "04_analytics", "05_interpretation", "06_explore")


@dataclass(frozen=True)
class Workload:
    """What the shared notebooks need to know of a workload.

    Functions are named as ``"package.module:function"`` and imported when a notebook first needs them.

    Attributes
    ----------
    name, title, question : str
        Folder name; heading of notebooks, figures and the report; what a reader wants answered.
    dataset : str
        The notebook that writes the sample store, relative to the project root (or absolute).
    steps : tuple of str
        The shared notebooks that follow, by stem.
    task : str
        LightningModule with ``encode``, a :class:`geonb.training.task.Trainable`.
    former_tasks : tuple of str
        What model cards of earlier versions call the same task; compared, never imported.
    baselines : tuple of str
        Each ``(store, seed) -> `` what guesses as the network does, with a ``name``; what it takes and gives is the workload's.
    predict : str
        ``(run, model, store, baselines, ...) -> path`` of predictions.zarr.
    check_predictions : str
        ``(tree, deep) -> faults``: what is wrong with its predictions, beyond what all workloads' have in common; see
        :mod:`geonb.prediction.faults`.
    export : str
        ``(run, model, rasters, **settings of notebook 03) -> DataFrame``, a row a file for a GIS, of the predictions and of more
        rasters.
    score : str
        ``(predictions, draws, seed) -> Dataset``.
    tiles : str
        ``(store, rows) -> uint8 array (sample, y, x, 3)``: how a sample looks to a person.
    explore : str
        ``(predictions, arrays) -> geonb.dashboards.explorer.Explorer``, or Markdown where there is no map.
    live : str
        ``(run, source, folder, stations, channels, how, begin, until) -> path`` of the folder that it writes: watch data as they come.
    figures : mapping
        Stem of a shared notebook -> each :class:`Figure` of this workload.
    fetch : tuple of Source
        What ``geonb fetch`` brings for it.
    headline : str
        The metric that leads tables and the run list.
    lower_is_better : bool, optional
        Which way the headline points; needed of a metric that :mod:`geonb.base.metrics` does not know, if less of it is better.
    units : str
        Unit of the headline, as UDUNITS writes it (``m``); empty where it has none.
    compare : str
        ``(one, other, metric, split, draws, seed) -> dict``: two runs' scores over the same blocks, see
        :func:`geonb.scores.scores.compare`.
    stores : mapping
        Kind of sample store (``kind`` in store.json) -> class that opens it, a :class:`geonb.store.store.Store`.
    check : str
        ``(values, root) -> faults``: what parameters, right each by itself, cannot be together; called before step 1 runs.
    defaults : mapping
        Parameter -> value, used where a notebook's cell says None.
    parameters : mapping
        Parameters of this workload alone, or with another range than in ``geonb.parameters.PARAMETERS``.
    """

    name: str
    title: str
    question: str
    dataset: str
    headline: str
    lower_is_better: bool | None = None
    units: str = ""
    stores: Mapping[str, str] = field(default_factory=dict)
    check: str = ""
    task: str = ""
    former_tasks: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    predict: str = ""
    check_predictions: str = ""
    export: str = ""
    score: str = ""
    compare: str = ""
    tiles: str = ""
    explore: str = ""
    live: str = ""
    figures: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)
    fetch: tuple[Source, ...] = ()
    steps: tuple[str, ...] = SHARED_STEPS
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


_NAMED: dict[str, Workload] = {}  # import path -> record that the user named in this process


def get(name: str) -> Workload:
    """Return a workload by its name, or a record of your own by import path (``"package.module:RECORD"``).

    What is named here is imported, and known on this machine from then on as long as its source stays as it is
    (:mod:`geonb.base.trust`): only give what the user typed. For what a file says there is :func:`known`.

    Raises
    ------
    ValueError
        If the name is unknown (the known ones are listed), or what the path leads to is no :class:`Workload`.
    """
    if ":" in name:
        record = load(name)
        if not isinstance(record, Workload):
            raise ValueError(
                f"{name} is a {type(record).__name__}, not a geonb.workloads.Workload. Point at such a record."
            )
        if _NAMED.get(name) is not record:
            trust.trust(name, record.name)
        _NAMED[name] = record
        return record
    return load(pick("workload", name, WORKLOADS, more="; a record of your own is given as 'package.module:RECORD'"))


def known(name: str) -> Workload:
    """Return the workload that a file names (a model's card, a run, predictions), if the user named it before.

    Parameters
    ----------
    name : str
        Name of one of geonb's, or the name or import path of a record that the user has named to :func:`get` in this process,
        or on this machine with the source that it has now. Nothing else is imported.

    Raises
    ------
    ValueError
        If it is neither: a file must not choose what is imported. Says how to name it.
    """
    name, named = str(name), {record.name: record for record in _NAMED.values()} | _NAMED
    if name in WORKLOADS:
        return get(name)
    if name in named:
        return named[name]
    for note in trust.listed():
        if name and name in (note["path"], note["workload"]) and trust.trusted(note["path"]):
            return get(note["path"])
    path = name if ":" in name else "package.module:RECORD"
    raise ValueError(
        f"The workload {name!r} is not known in this process (known: {', '.join(sorted({*named, *WORKLOADS}))}), nor was it named on "
        "this machine with the source that it has now, and a file's word for it is not imported: it could be any code. If you "
        f"trust it, name it yourself first: geonb.workloads.get({path!r})."
    )


@dataclass(frozen=True)
class Parameter:
    """What a parameter means in every notebook that declares it.

    Attributes
    ----------
    help : str
        One line, with the unit in square brackets.
    minimum, maximum : float, optional
        Allowed range, both ends included.
    choices : tuple of str, optional
        Allowed values of a text.
    files : bool
        The value names files (comma separated, globs allowed): a changed file makes a finished step run again.
    code : bool or str
        The text may name a function that will run, as ``path.py:name``: what you give yourself does, what a received run or file
        of parameters says only if it was named on this machine before (:mod:`geonb.base.trust`). Where the text holds more than that,
        ``"package.module:function"``, which takes the text and gives what it names, or "".
    check : str, optional
        ``"package.module:function"`` that takes a value somebody gave, and raises ValueError if it cannot be used: called
        before anything runs. With `files`, it takes `root` too and returns the files that the value stands for.
    options : str
        ``"package.module:TABLE"`` of a text that carries options, for its help: a ``geonb.base.specs.Table``.
    """

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    files: bool = False
    code: bool | str = False
    check: str | None = None
    options: str = ""


def store_of(kind: str) -> str:
    """Import path of the class that opens sample stores of a kind, from the records known in this process or on this machine.

    Raises
    ------
    ValueError
        If none of them has such stores.
    """
    records = [*map(get, WORKLOADS), *_NAMED.values()]
    if not any(kind in record.stores for record in records):
        notes = [note for note in trust.listed() if note["workload"] and trust.trusted(note["path"])]
        records += [get(note["path"]) for note in notes]
    kinds = {name: path for record in records for name, path in record.stores.items()}
    return pick(
        "kind of sample store",
        kind,
        kinds,
        more="; a workload of your own must be named first: geonb.workloads.get(...)",
    )


@dataclass(frozen=True)
class Figure:
    """A figure and how to read it.

    Attributes
    ----------
    title : str
        Its heading in the notebook; empty for none.
    text : str
        Markdown: what to look for, and what it may mean.
    draw : str, optional
        ``"package.module:function"``, which is given what its parameters name of what the notebook has (`GIVES`); returns a figure,
        a list of figures, anything that IPython displays, or None where there is nothing to show. None: words only.
    """

    title: str
    text: str
    draw: str | None = None


GIVES = {
    "02_training": ("store", "seed"),
    "03_prediction": ("predictions", "store"),
    "04_analytics": ("scores", "run"),
    "05_interpretation": ("vectors", "letters", "plane", "tiles", "store", "run"),
    "06_explore": ("predictions", "store"),
}
