"""What a run was made with: machine, processor and cards, versions, commit. Nothing heavy is imported to find out."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def describe() -> str:
    """Describe this machine and environment; the lines without ``#`` are a requirements file."""
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    lines = [
        f"# python {platform.python_version()}, {platform.platform()}",
        f"# device: {', '.join(devices())}; {os.cpu_count()} cores",
        f"# geonb at git commit {_commit() or 'unknown'}",
    ]
    lines += [f"{name}=={version}" for name, version in sorted(installed.items(), key=lambda item: item[0].lower())]
    return "\n".join(lines) + "\n"


def devices() -> list[str]:
    """Name the processor, its bf16 features, and NVIDIA cards, without importing torch."""
    found = []
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        names = [line.split(":", 1)[1].strip() for line in card.read_text().splitlines() if line.startswith("Model:")]
        found += names or ["NVIDIA card"]
    cpu, flags = platform.processor() or platform.machine(), set()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            cpu = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split()) & {"amx_bf16", "avx512_bf16"}
            break
    return [*found, f"{cpu} ({', '.join(sorted(flags))})" if flags else cpu]


def _commit() -> str | None:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + (" with changes" if changes.stdout.strip() else "")
