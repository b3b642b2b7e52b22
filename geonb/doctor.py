"""Look at the machine and the environment: what is there, what is missing, how to get it."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from geonb import registry
from geonb.base import download, project
from geonb.runs import environment

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def examine(workload: str | None = None, options: Mapping[str, str] | None = None) -> tuple[str, list[str]]:
    """Examine everything.

    Parameters
    ----------
    workload : str, optional
        Tell, too, what this one has from the network: data, pretrained weights.
    options : mapping, optional
        As for :func:`geonb.base.download.fetch_all`.

    Returns
    -------
    (report, missing)
        Lines for a person; what geonb cannot run without (empty: all is well).
    """
    missing: list[str] = []
    lines = [f"python     {platform.python_version()} ({sys.executable})"]
    lines += _packages(missing)
    lines += [*_device(), *_memory(), *_folders(missing), _browser(), *_data(workload, options or {})]
    if missing:
        lines += ["", "MISSING", *(f"  {one}" for one in missing)]
    else:
        lines += ["", f"Nothing that geonb needs is missing. Start with: geonb run {workload or 'segmentation'}"]
    return "\n".join(lines), missing


def _packages(missing: list[str]) -> list[str]:
    from packaging.requirements import Requirement

    lines, wrong = [], []
    for text in metadata.requires("geonb") or []:
        wanted = Requirement(text)
        extra = next((e for e in ("test", "dev") if wanted.marker and wanted.marker.evaluate({"extra": e})), None)
        if wanted.marker and extra is None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
            good = wanted.specifier.contains(version, prereleases=True)
            state = "" if good else f"  <- wants {wanted.specifier}"
        except metadata.PackageNotFoundError:
            version, good, state = "-", False, "  <- not installed"
        if not good and extra:
            state += f" (only for tests and development: pip install -e .[{extra}])"
        elif not good:
            wrong.append(f"{wanted.name}{wanted.specifier}")
        if not extra or not good:
            lines.append(f"  {wanted.name:<28} {version}{state}")
    if wrong:
        missing.append(f"packages {', '.join(wrong)}: pip install -c constraints.txt -e .   (or `make install`)")
    return ["packages", *lines]


def _device() -> list[str]:
    lines = [f"device     {device}" for device in environment.devices()]
    lines.append(f"           {os.cpu_count()} cores")
    try:
        import torch

        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        apple = torch.backends.mps.is_available()
        lines.append(
            f"           torch {torch.__version__}: {', '.join(cards) or ('mps' if apple else 'processor only, no GPU')}"
        )
    except Exception as error:  # a broken torch is what a doctor is asked about
        lines.append(f"           torch does not import: {error}")
    return lines


def _memory() -> list[str]:
    import psutil

    memory = psutil.virtual_memory()
    line = f"memory     {memory.total / 2**30:.1f} GB, {memory.available / 2**30:.1f} GB available"
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        line += f"; this session may use {int(limit.read_text()) / 2**30:.1f} GB"
    return [line]


def _folders(missing: list[str]) -> list[str]:
    lines = []
    try:
        root = project.project_root()
        lines.append(f"project    {root}, {_free(root)}")
        if not os.access(root, os.W_OK):
            missing.append(f"permission to write in {root}: data/ and runs/ are made there")
    except FileNotFoundError as error:
        lines.append("project    none")
        missing.append(str(error))
    scratch = Path(os.environ.get("GEONB_SCRATCH") or tempfile.gettempdir())
    lines.append(f"scratch    {scratch}, {_free(scratch)} (node-local and fast is best; set GEONB_SCRATCH to move it)")
    if not os.access(scratch, os.W_OK):
        missing.append(f"permission to write in the scratch folder {scratch}: set GEONB_SCRATCH")
    return lines


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 2**30:.0f} GB free" if folder.is_dir() else "does not exist"


def _browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return f"browser    {found or 'no Chromium: browser tests are skipped (Debian: apt-get install chromium)'}"


def _data(workload: str | None, options: Mapping[str, str]) -> list[str]:
    """Coastlines; and of a workload, what a job on a node without network needs to find on disk."""
    maps = any(project.NATURAL_EARTH.rglob("*.shp"))
    lines = [f"maps       coastlines and borders {'ship with geonb' if maps else 'are not installed: install again'}"]
    if workload is None:
        return [
            *lines,
            "data       geonb doctor WORKLOAD says what that one has from the network, and whether it is here",
        ]
    record = registry.get(workload)
    try:
        folder = project.project_root() / "data" / "downloads" / record.name
    except FileNotFoundError:
        return lines
    sources = [
        source for source in record.fetch if not source.collect or source.name in ("example", "weights")
    ]  # no listing of buckets
    told = (
        download.fetch_all(sources, folder, (), options, dry=True)
        if sources
        else ["nothing: its example is simulated where it runs"]
    )
    lines += [f"{'data' if n == 0 else '':<11}{line}" for n, line in enumerate(told)]
    line = shlex.join(
        ["geonb", "fetch", record.name, *(word for pair in options.items() for word in ("-p", "=".join(pair)))]
    )
    return [*lines, *([f"           ({line}, where there is a network)"] if sources else [])]
