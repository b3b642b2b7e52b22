"""Trackers by specification: where a training is logged besides log.csv, ``"mlflow:uri=http://127.0.0.1:5000"``.

Each is a logger of Lightning's. What it writes goes into ``tracker/`` of the run, and nothing over the network unless asked for.
"""

from __future__ import annotations

import inspect
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base import specs
from geonb.base.specs import Option

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

OPTIONS: dict[str, dict[str, Option]] = {
    "none": {},
    "csv": {},
    "tensorboard": {},
    "mlflow": {
        "uri": Option(None, read=str, help="of a server or a file store; else a file store in the run"),
        "experiment": Option("geonb", read=str),
    },
    "wandb": {"mode": Option("offline", choices=("offline", "online")), "project": Option("geonb", read=str)},
}
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",), "wandb": ("wandb",)}


def code_of(spec: str) -> str:
    """Import path of the class that a specification names (``package.module:Class,key=value``); empty where it is one of `OPTIONS`."""
    path = spec.partition(",")[0].strip()
    return path if re.fullmatch(r"[\w.]+:\w+", path) and path.partition(":")[0] not in OPTIONS else ""


def check_tracker(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification; nothing is written and nobody is asked.

    Parameters
    ----------
    spec : str
        ``none``, ``csv``, ``tensorboard``, ``mlflow:uri=...,experiment=...``, ``wandb:mode=offline,project=...``, or a subclass of
        Lightning's ``Logger`` with what it takes: ``package.module:Class,key=value``.

    Returns
    -------
    Name (or import path), options

    Raises
    ------
    ValueError
        Lists what is unknown; or the package is missing, with the command that installs it; or the class is no logger.
    """
    if path := code_of(spec):
        return path, _own(spec, path)
    name, options = specs.check_options("tracker", spec, OPTIONS)
    packages = PACKAGES.get(name, ())
    if packages and not any(map(find_spec, packages)):
        raise ValueError(
            f"tracker = {spec!r} needs the package {packages[0]}, which is not installed in this environment: "
            f"pip install {packages[0]} (or geonb[trackers])"
        )
    return name, options


def _own(spec: str, path: str) -> dict[str, Any]:
    from lightning.pytorch.loggers import Logger

    kind, given = specs.load(path), spec.partition(",")[2]
    if not (isinstance(kind, type) and issubclass(kind, Logger)):
        raise ValueError(f"tracker = {spec!r}: {path} is no lightning.pytorch.loggers.Logger. Name a subclass of it")
    options = specs.parse_spec(f"{kind.__name__}:{given}")[1] if given.strip() else {}
    try:
        inspect.signature(kind).bind(**_settled(kind, options, Path()))
    except TypeError as error:
        raise ValueError(f"tracker = {spec!r}: {kind.__name__}: {error}") from error
    return options


def _settled(kind: type, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a logger of one's own is made with: in the run's folder, where it takes one and nobody named another."""
    return ({"save_dir": str(folder)} if "save_dir" in inspect.signature(kind).parameters else {}) | options


def build_tracker(spec: str, folder: Path, run: str, known: str | None = None) -> Logger:
    """The logger of a specification.

    Parameters
    ----------
    folder : Path
        Where it writes.
    run : str
        Name under which the training is shown, where the logger has names.
    known : str, optional
        What the tracker called this training when it began, to go on with it.
    """
    from lightning.pytorch import loggers

    name, options = check_tracker(spec)
    if name == "csv":
        return loggers.CSVLogger(folder, name="", version="")
    if name == "tensorboard":
        return loggers.TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    if name == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # of the run's own folder: no server, no database
        uri = options["uri"] or (folder / "mlruns").absolute().as_uri()
        return loggers.MLFlowLogger(options["experiment"], run, uri, run_id=known)
    if name == "wandb":
        offline = options["mode"] == "offline"
        return loggers.WandbLogger(run, folder, id=known, project=options["project"], offline=offline, resume="allow")
    kind = specs.load(name)
    return kind(**_settled(kind, options, folder))
