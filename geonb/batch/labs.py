"""JupyterLab as a job: asked for, waited for, reached by the ssh line that it prints, found again while it runs.

``runs/.lab/`` holds the script, what the scheduler said, and the connection with its token, which nobody else may read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from geonb.base import files
from geonb.batch import schedulers
from geonb.batch.jobs import POLL_S

FOLDER, RECORD, OUT, SCRIPT = "runs/.lab", "lab.json", "out.txt", "lab.sh"
ENDS = "ends it."  # the last line of what `geonb lab` says of its connection
START_S = 120.0  # from when the job runs until JupyterLab says where it is


def start(root: Path, on: str, asked: Mapping[str, Any], port: int | None = None, out: TextIO | None = None) -> str:
    """Ask for a node, wait for it, and give the lines that reach the lab; those of one that runs already, if there is one.

    Parameters
    ----------
    asked : see :data:`geonb.batch.schedulers.RESOURCES`
    port : int, optional
        On the node; a free one by default.

    Raises
    ------
    ValueError
        With the scheduler's own words where it refuses; if the job ended before the lab stood, with what it said last.
    """
    out, folder = out or sys.stdout, root / FOLDER
    if record := _running(folder):
        files.say(f"A lab runs already, as {record['on']} job {record['id']}; `geonb cancel lab` ends it.", out)
        return _connection(folder, record)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    resources = schedulers.settled(on, asked)
    body = schedulers.body(
        ["lab", *(["--port", str(port)] if port else [])], root, folder / OUT, resources["cores"], private=True
    )
    files.write_text(folder / SCRIPT, schedulers.script(on, resources, "geonb-lab", body, folder))
    (folder / OUT).unlink(missing_ok=True)
    record = {"on": on, "id": schedulers.submit(on, folder / SCRIPT), "walltime": resources["walltime"]}
    files.write_json(folder / RECORD, record)
    files.say(
        f"{on} job {record['id']} was submitted. Waiting for it to begin; with Ctrl-C it goes on, and the same command finds it.",
        out,
    )
    return _connection(folder, record, out)


def cancel(root: Path) -> str:
    """End the lab's job; a sentence that says so.

    Raises
    ------
    ValueError
        If none runs.
    """
    record = _running(root / FOLDER)
    if record is None:
        raise ValueError("No lab of this project runs as a job. `geonb lab --on slurm` begins one.")
    schedulers.cancel(record["on"], record["id"])
    return f"The lab's job, {record['on']} {record['id']}, was told to end."


def _running(folder: Path) -> dict[str, Any] | None:
    if not (folder / RECORD).is_file():
        return None
    record = files.read_json(folder / RECORD)
    return record if schedulers.state(record["on"], record["id"]) else None


def _connection(folder: Path, record: Mapping[str, Any], out: TextIO | None = None) -> str:
    """What the lab says of its connection, waited for."""
    known, begun, file = "", 0.0, folder / OUT
    while True:
        now = schedulers.state(record["on"], record["id"])
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if ENDS in text:
            after = f" or after {record['walltime']}, " if record["walltime"] else " or "
            limit = f"It answers some seconds after it began. Its job ends with the lab (File > Shut Down),{after}or by `geonb cancel lab`."
            return f"{text[: text.index('Ctrl-C')].rstrip()}\n{limit}"
        if not now:
            said = [
                path.read_text(errors="replace").strip()[-800:]
                for path in sorted(folder.glob("*.[eo]*"))
                if path != file
            ]
            told = "\n".join(filter(None, [text.strip()[-800:], *said])) or "It said nothing."
            raise ValueError(f"Job {record['id']} of {record['on']} ended before the lab stood:\n{told}")
        if out and now != known:
            files.say(f"{record['on']}: {now}", out)
        begun = begun or (time.monotonic() if now.lower().startswith("run") else 0.0)
        if begun and time.monotonic() - begun > START_S:
            raise ValueError(f"The lab did not say where it is within {START_S:.0f} s; {file} holds what it printed.")
        known = now
        time.sleep(POLL_S if record["on"] == "local" else 2 * POLL_S)
