"""The notebooks' typed parameters: what there is, what is allowed, and the checks before any compute.

A cell tagged ``parameters`` holds lines ``name: type = literal  # help [unit]``. The cell is read as a syntax tree, never
run. Precedence: the cell's default, None there meaning the workload's own <- a YAML file <- ``-p name=value``.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import textwrap
import tokenize
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from geonb.base.conventions import redacted, refuse
from geonb.base.project import find_files
from geonb.base.specs import describe_table, load
from geonb.registry import Parameter

if TYPE_CHECKING:
    from geonb.registry import Workload

TYPES = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
LONGEST = 300  # letters of a value in a message
SET_BY_RUNNER = ("workload", "run")
_WRAPPED = textwrap.TextWrapper(120, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False)


class Declared(NamedTuple):
    """A line of a parameters cell: the annotation as text, the default, the comment."""

    annotation: str
    default: Any
    help: str


PARAMETERS: dict[str, Parameter] = {
    "workload": Parameter('a workload\'s name, or an import path "package.module:RECORD"'),
    "run": Parameter('run folder: "latest", a name, or a path'),
    "beside": Parameter("other runs over the same store, comma-separated"),
    "selection": Parameter("CSV of samples, selected in notebook 05"),
    "store": Parameter("sample store (folder)", files=True, check="geonb.store.store:sealed_at"),
    "shares": Parameter("share of training, validation and test [%]", check="geonb.store.windows:read_shares"),
    "seed": Parameter("seed of every random draw", 0, 2**32 - 1),
    "network": Parameter("architecture and its options, name:key=value,key=value"),
    "loss": Parameter("loss and its options, name:key=value"),
    "augment": Parameter(
        "random changes of training windows, name:key=value, comma separated, or none",
        check="geonb.training.augmentation:check_augment",
        options="geonb.training.augmentation:OPTIONS",
    ),
    "sampler": Parameter(
        "order and balance of training windows, name:key=value",
        check="geonb.store.samplers:check_sampler",
        options="geonb.store.samplers:OPTIONS",
    ),
    "optimizer": Parameter(
        "optimiser, its schedule and averaging, name:key=value",
        check="geonb.training.optimizers:check_optimizer",
        options="geonb.training.optimizers:OPTIONS",
    ),
    "lr": Parameter("learning rate", 1e-9, 100),
    "epochs": Parameter("at most so many passes over the training windows", 1, 1_000_000),
    "min_steps": Parameter("`epochs` is raised until so many steps of the optimiser fit in; 0: never", 0, 1_000_000),
    "batch": Parameter("windows a step", 1, 65536),
    "patience": Parameter("stop after so many epochs without a better validation score", 0, 1_000_000),
    "watch_every": Parameter("every so many epochs a picture of what the network says; 0: never", 0, 1_000_000),
    "tracker": Parameter(
        "where a training is logged besides log.csv, name:key=value, or a logger of your own, package.module:Class,key=value",
        code="geonb.training.trackers:code_of",
        check="geonb.training.trackers:check_tracker",
        options="geonb.training.trackers:OPTIONS",
    ),
    "devices": Parameter(
        "what trains: 1, the best device there is; a process for each of 4 GPUs, 4, or of 2 nodes' 4, 2x4; processes on the cores, cpu:2",
        check="geonb.training.devices:check_devices",
    ),
    "precision": Parameter("number format of the network", choices=("auto", "float32", "bfloat16")),
    "rasters": Parameter("more rasters to predict, comma separated or a glob", files=True),
    "weights": Parameter(
        "which weights of the training: before its first step, lowest validation loss, best validation metric, or averaged",
        choices=("start", "loss", "metric", "swa", "ema"),
    ),
    "workers": Parameter(
        "who does what can be parted: 0: this process; processes on this machine; tcp://host:port, scheduler-file:path, or jobs, "
        "slurm:jobs=4,walltime=04:00:00",
        check="geonb.base.cluster:check_workers",
        options="geonb.base.cluster:TABLE",
    ),
    "overwrite": Parameter("replace maps that another model or another raster left under the same name"),
    "polygons": Parameter("polygons as GeoPackage too, from this area [m2]", 0, 1e12),
    "corners": Parameter(
        "of polygons: along the pixels, or right angles, as buildings have", choices=("pixels", "square")
    ),
    "overlap": Parameter("share of a window that its neighbour covers too [0-0.9]", 0, 0.9),
    "draws": Parameter("bootstrap draws of the intervals", 1, 100_000),
    "method": Parameter(
        "reduction to two dimensions: pca, umap, isomap, tsne, or two of the embedding's, dims:3-7",
        check="geonb.embeddings.planes:check_method",
    ),
    "grouping": Parameter("how windows are parted into kinds", choices=("ward", "kmeans", "hdbscan")),
    "clusters": Parameter("kinds, and leaves of the dendrogram", 2, 14),
    "examples": Parameter("which tiles stand under each kind", choices=("centre", "random", "best", "worst")),
    "each": Parameter("tiles under each kind", 1, 12),
    "show": Parameter("tiles in the scatter", 1, 56),
    "filled": Parameter("whether the grid of tiles is filled, or keeps the plane's shape"),
    "samples": Parameter("at most so many windows", 10, 10_000_000),
}


def read(notebook: Path | str) -> dict[str, Declared]:
    """Read what a notebook's parameters cell declares, without running it.

    Parameters
    ----------
    notebook : path of an .ipynb file

    Returns
    -------
    dict of name -> Declared; empty if the notebook has no cell tagged ``parameters``

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.
    ValueError
        If it is no notebook, or lines of the cell are not ``name: type = literal``; lists every such line.
    """
    notebook = Path(notebook)
    if not notebook.is_file():
        raise FileNotFoundError(f"No notebook {notebook}. Check the path, and that this is a checkout of geonb.")
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook} is not a Jupyter notebook ({error}). Open and save it in JupyterLab.") from error
    sources = ["".join(c["source"]) for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    return _declared(sources[0], notebook.name) if sources else {}


def _declared(source: str, where: str) -> dict[str, Declared]:
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(
            f"{where}: the parameters cell has a syntax error in line {error.lineno}: {error.msg}."
        ) from error
    comments = {
        t.start[0]: t.string.lstrip("# ").strip()
        for t in tokenize.generate_tokens(io.StringIO(source).readline)
        if t.type == tokenize.COMMENT
    }
    ends = {node.lineno: node.end_lineno or node.lineno for node in body}
    code_lines = {line for start, end in ends.items() for line in range(start, end + 1)}
    declared, faults = {}, []
    for node in body:
        try:
            name, annotation, default = _line(node)
        except ValueError:
            faults.append(f"line {node.lineno}: {ast.unparse(node)}")
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in comments and line not in code_lines:
            above.insert(0, comments[line])
            line -= 1
        declared[name] = Declared(annotation, default, comments.get(ends[node.lineno], " ".join(above)))
    refuse(
        f"{where}: a parameters cell holds only lines `name: type = literal  # help [unit]`, the type being int, float, "
        "bool, str, or one of them `| None`. Change",
        faults,
        mark="  ",
    )
    return declared


def _line(node: ast.stmt) -> tuple[str, str, Any]:
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
        raise ValueError("not an annotated assignment")
    annotation = ast.unparse(node.annotation)
    if not set(_names(annotation)) <= set(TYPES):
        raise ValueError("unknown type")
    return node.target.id, annotation, ast.literal_eval(node.value)


def _names(annotation: str) -> list[str]:
    return [part.strip() for part in annotation.split("|")]


def parse_text(text: str, annotation: str) -> Any:
    """Turn a command-line value into the declared type; text that does not fit is returned as it is, for `check` to refuse."""
    names = _names(annotation)
    if "None" in names and text.strip().lower() in ("none", "null"):
        return None
    if "bool" in names and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    for name in ("int", "float"):
        if name in names:
            try:
                return TYPES[name](text)
            except ValueError:
                continue
    return text


def parse_texts(declared_by_step: Mapping[str, Mapping[str, Declared]], texts: Mapping[str, str]) -> dict[str, Any]:
    """Parse ``-p name=value`` texts by the types the steps declare."""
    known = {name: d for declared in declared_by_step.values() for name, d in declared.items()}
    return {name: parse_text(t, known[name].annotation) if name in known else t for name, t in texts.items()}


def check(
    declared_by_step: Mapping[str, Mapping[str, Declared]],
    values: Mapping[str, Any],
    workload: Workload | None = None,
    root: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Settle each step's parameters from the given values, refusing all that is wrong at once.

    Parameters
    ----------
    declared_by_step : dict of step -> what :func:`read` returned
    values : dict of name -> value
        A value goes to each step that declares its name.
    workload : Workload, optional
        Its record's `parameters` add to or replace :data:`PARAMETERS`.
    root : Path, optional
        If given, values that name files are looked up from here.

    Returns
    -------
    dict of step -> dict of name -> value; `workload` and `run` are left out, the runner sets them

    Raises
    ------
    ValueError
        Lists every fault (unknown, ill-typed, out of range, missing file) and, with unknown names, the known ones.
    """
    known = {n: d for declared in declared_by_step.values() for n, d in declared.items() if n not in SET_BY_RUNNER}
    faults, unlike = [], False
    for name, value in values.items():
        if name in SET_BY_RUNNER:
            faults.append(f"{name} = {value!r}: set by geonb run itself; give WORKLOAD, or --resume RUN, instead")
        elif name not in known:
            near = get_close_matches(name, known, n=1)
            faults.append(f"{name}: unknown" + (f"; did you mean {near[0]!r}?" if near else ""))
            unlike |= not near
    settled: dict[str, dict[str, Any]] = {}
    for step, declared in declared_by_step.items():
        settled[step] = {}
        for name, line in declared.items():
            if name in SET_BY_RUNNER:
                continue
            value = values.get(name, line.default)
            meaning = meaning_of(name, workload)
            fault = _fault_of_type(value, line.annotation) or _fault_of_value(value, meaning, root)
            if value == "" != line.default:
                fault = "is empty: leave it out, or say what it is"
            if (
                not fault and name in values and root is not None
            ):  # defaults are tested; their checks would import torch
                fault = _fault_of_check(value, meaning, root)
            if fault:
                faults.append(_told(name, value, fault, meaning.help or line.help))
            settled[step][name] = _as_float(value, line.annotation)
    if faults:
        text = "\n".join(f"  {fault}" for fault in dict.fromkeys(faults))
        if unlike:
            text += "\nKnown parameters:\n" + describe({"": known}, workload, options=False)
        raise ValueError(f"Parameters are not right, nothing was run:\n{text}")
    return settled


def settle(workload: Workload | str, **values: Any) -> SimpleNamespace:
    """Settle parameters in a notebook: None becomes the workload's default; ranges, choices and options are checked.

    Parameters
    ----------
    workload : Workload, its name, or its import path
    **values : the notebook's parameters

    Returns
    -------
    SimpleNamespace with an attribute for each parameter

    Raises
    ------
    ValueError
        Lists every value that is not allowed, and what is.
    """
    if isinstance(workload, str):
        from geonb import registry

        workload = registry.get(workload)
    settled = {name: workload.defaults.get(name) if value is None else value for name, value in values.items()}
    faults = []
    for name, value in settled.items():
        meaning = meaning_of(name, workload)
        fault = _fault_of_value(value, meaning)
        if not fault and values[name] is not None:  # defaults are tested
            fault = _fault_of_check(value, meaning)
        if fault:
            faults.append(_told(name, value, fault, meaning.help))
    refuse("Parameters are not right", faults, mark="  ")
    return SimpleNamespace(**settled)


def describe(
    declared_by_step: Mapping[str, Mapping[str, Declared]], workload: Workload | None = None, options: bool = True
) -> str:
    """List parameters by step: name, type, default, range or choices, help, and the options of a text that carries some.

    Parameters
    ----------
    options : bool
        False leaves the options out: to know them is to import what they are options of.
    """
    lines = []
    for step, declared in declared_by_step.items():
        lines += [step] if step else []
        for name, (annotation, default, text) in declared.items():
            if name in SET_BY_RUNNER:
                continue
            meaning = meaning_of(name, workload)
            own = workload.defaults.get(name) if workload and default is None else None
            shown = f"{own!r} (the workload's)" if own is not None else repr(default)
            allowed = _allowed(meaning)
            lines.append(f"  {name}: {annotation} = {shown}{f', {allowed}' if allowed else ''}")
            # what a shared notebook cannot know
            named = workload is not None and name in workload.parameters and step != Path(workload.dataset).stem
            elsewhere = "; also s3://bucket/key or https://host/file" * (meaning.files and name != "store")
            lines.append(f"      {meaning.help if named or not text else text}{elsewhere}")
            if options and meaning.options:
                lines += [_WRAPPED.fill(line) for line in describe_table(load(meaning.options))]
    return "\n".join(lines)


def meaning_of(name: str, workload: Workload | None) -> Parameter:
    """What a parameter means, the workload's own record before the common one."""
    own = workload.parameters if workload else {}
    return own.get(name) or PARAMETERS.get(name) or Parameter("")


def _allowed(meaning: Parameter) -> str:
    if meaning.choices:
        return "one of " + ", ".join(meaning.choices)
    low, high = meaning.minimum, meaning.maximum
    if low is not None and high is not None:
        return f"{low:.10g} to {high:.10g}"
    return f"at least {low:.10g}" if low is not None else f"at most {high:.10g}" if high is not None else ""


def _fault_of_type(value: Any, annotation: str) -> str | None:
    names = _names(annotation)
    found = type(value)
    if any(found is TYPES[n] for n in names) or (found is int and "float" in names):
        return None
    kinds = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "None": "none"}
    return f"is {found.__name__}, must be " + " or ".join(kinds[n] for n in names)


def _fault_of_value(value: Any, meaning: Parameter, root: Path | None = None) -> str | None:
    if value is None:
        return None
    if meaning.choices and value not in meaning.choices:
        return f"must be {_allowed(meaning)}"
    if meaning.minimum is not None or meaning.maximum is not None:
        low = -math.inf if meaning.minimum is None else meaning.minimum
        high = math.inf if meaning.maximum is None else meaning.maximum
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return f"must be {_allowed(meaning)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be finite"
    if isinstance(value, str) and redacted(value) != value:
        return (
            "holds a name or a password, a signature or a token, which run.json, the log, the notebooks and the report would show to "
            "whoever gets them. Leave it out of the address, and give it by ~/.netrc or the environment "
            "(GDAL_HTTP_USERPWD=name:password; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://bucket/key)"
        )
    if meaning.files and meaning.check is None and root is not None and isinstance(value, str):
        try:
            found = find_files(value, root)
        except ValueError as error:
            return str(error)
        if missing := [part for part, paths in found.items() if not paths]:
            return f"no such file: {', '.join(missing)} (looked from {root})"
        if folders := [part for part, paths in found.items() if all(path.is_dir() for path in paths)]:
            return (
                f"a folder, where files are wanted: {', '.join(folders)}. Name those in it, for instance {folders[0]}/*"
            )
    return None


def _fault_of_check(value: Any, meaning: Parameter, root: Path | None = None) -> str | None:
    if meaning.files and root is None:
        return None
    try:
        files_of(value, meaning, root)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    return None


def _told(name: str, value: Any, fault: str, text: str) -> str:
    """A fault with the parameter, its value and its help, each once."""
    given = f"{name} = {value!r}"
    said = fault if given in fault else f"{given}: {fault}"
    if len(whole := str(value)) > LONGEST:
        said = said.replace(whole, f"{whole[:LONGEST]}...")
    return redacted(f"{said} ({text})").replace("\n", "\n  ")


def files_of(value: Any, meaning: Parameter, root: Path | None) -> list[Path]:
    """Files that a value stands for, as its parameter's `check` tells them; raises what that raises."""
    if value is None or meaning.check is None:
        return []
    function = load(meaning.check)
    if meaning.files:
        return [Path(p) for p in function(value, root=root)]
    function(value)
    return []


def _as_float(value: Any, annotation: str) -> Any:
    names = _names(annotation)
    return float(value) if type(value) is int and "float" in names and "int" not in names else value


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Read a flat ``name: value`` YAML file.

    YAML 1.1's surprises are taken out: ``1e-4`` is a number, ``2020-01-01`` and ``12:30`` stay text, a name given twice is
    refused.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, not a flat mapping, names a parameter twice, or holds tags that would run code; names the file.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No parameter file {path}. See notebooks/parameters/ for the ones that come with geonb."
        )
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), yaml_loader())  # a SafeLoader
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(
            f"{path}, line {line}: {error.problem}. Only plain values are read; tags that build objects are never run."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise ValueError(
            f"{path} must hold lines `name: value`, found {type(values).__name__} with other keys or form."
        )
    nested = [k for k, v in values.items() if isinstance(v, dict | list | set)]
    if nested:
        raise ValueError(
            f"{path}: {', '.join(nested)}: lists and mappings are no parameter values; write one text or number."
        )
    return values


def yaml_loader() -> type:
    """A SafeLoader that refuses keys given twice, and reads numbers as they are written: decimal, dates as text."""
    import yaml

    class Flat(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict:
            keys = [key.value for key, _ in node.value]
            twice = sorted({k for k in keys if keys.count(k) > 1})
            if twice:
                raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(twice)}", node.start_mark)
            return super().construct_mapping(node, deep)

    dropped = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "float", "int")}
    Flat.yaml_implicit_resolvers = {
        first: [(tag, regex) for tag, regex in pairs if tag not in dropped]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    start = list("-+0123456789.")
    Flat.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), start)
    Flat.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
        start,
    )
    # YAML 1.1 reads 010 as octal and 1:30 as 90; here digits are decimal
    Flat.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
    return Flat
