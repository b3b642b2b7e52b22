"""One notebook in a kernel of its own, through papermill: live log, cell times, peak memory, and every way it can end.

The kernel talks over sockets in a private temporary folder (no ports, so nothing clashes and nobody else on the machine
can connect), and dies with this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from geonb.base.conventions import PROGRESS
from geonb.base.files import whole_file
from geonb.runs.monitor import ANSI, Log, Memory, end_processes, last_drawn

# An optional check of jsonschema (international addresses) builds a grammar for 1.3 s at import; no notebook needs it.
_spared = sys.modules.setdefault("rfc3987_syntax", None) is None  # type: ignore[arg-type]  # None: not to be imported
try:
    import nbformat
    import papermill
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellExecutionComplete, CellExecutionError, CellTimeoutError, DeadKernelError
    from nbclient.util import run_sync
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
    from papermill.log import logger
finally:
    if _spared:
        del sys.modules["rfc3987_syntax"]

# Killed by the operating system when this process dies, even by kill -9 (Linux; elsewhere ipykernel's own poll, 1 s).
LAUNCH = (
    "import ctypes, os, sys; prctl = getattr(ctypes.CDLL(None), 'prctl', None); prctl and prctl(1, 9); "
    "os.getppid() == int(os.environ['JPY_PARENT_PID']) or os._exit(1); "
    "sys.path[:1] == [''] and sys.path.pop(0); from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)
STALL_S = 20.0  # kernel idle, answer missing
START_STALL_S = 180.0  # kernel alive, cell never begun
# the first line of an error in a traceback, also of one that another error was made of
MEMORY_ERRORS = re.compile(r"^(?:[\w.]+\.)?(?:MemoryError|_ArrayMemoryError|\w*OutOfMemoryError)\b", re.MULTILINE)
MEMORY_TEXT = re.compile(
    r"out of memory|can(?:'t|not) allocate memory|unable to allocate|bad_alloc|ALLOC_FAILED|killed by signal: (?:9|Killed)",
    re.IGNORECASE,
)
QUIET = logging.getLogger("geonb.runs.kernels")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@dataclass
class Outcome:
    """How a notebook ended: ``state`` is done, failed (a cell), died (kernel or memory) or stopped (signal, time limit)."""

    state: str = "done"
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    cells: list[dict[str, Any]] = field(default_factory=list)
    n_cells: int = 0
    cell: int = 0
    title: str = ""
    printed: str = ""
    error: str = ""

    @property
    def exit_code(self) -> int:
        return {"done": 0, "failed": 3, "died": 4, "stopped": 5}[self.state]


class Stop:
    """A signal handler: the first signal ends the kernel calmly, the second the run wherever it is."""

    def __init__(self) -> None:
        self.reason = ""
        self.kernel: int | None = None

    def __call__(self, signum: int, frame: Any = None) -> None:
        self.reason = signal.Signals(signum).name
        signal.signal(signum, signal.default_int_handler)  # KeyboardInterrupt, whichever it is
        # A kill is what every step is built to be resumed from. A soft interrupt would be caught by training loops,
        # which return as if they had finished.
        if self.kernel:
            end_processes([self.kernel])


def sweep(label: str) -> None:
    """Remove the socket folders that killed runs with this label left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{label}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def execute(
    notebook: Path,
    output: Path,
    parameters: dict[str, Any],
    log: Log,
    env: dict[str, str] | None = None,
    cell_timeout_s: int | None = None,
    stop: Stop | None = None,
    keep_open: tuple[int, ...] = (),
    label: str = "geonb-kernel",
    on_cell: Callable[[int, int, str], None] = lambda cell, of, title: None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Run a notebook in a new kernel and write the executed copy, also when it fails.

    Parameters
    ----------
    notebook, output : paths of .ipynb files
    parameters : dict
        Values for the notebook's parameters cell.
    log : Log
        Takes what the cells print.
    env : dict
        Environment variables of the kernel, on top of ours.
    cell_timeout_s : int, s
        Longest time a cell may take.
    stop : Stop
        Ends the kernel when called.
    keep_open : tuple of int
        File descriptors the kernel inherits (a lock that should last as long as it lives).
    label : str
        First part of the name of the kernel's socket folder.
    on_cell : called with (code cell, number of code cells, title) before each
    on_progress : called with what a cell says of how far it is, see :mod:`geonb.training.progress`
    """
    recorder = _Recorder(output, log, stop or Stop(), on_cell)
    logger.setLevel(logging.CRITICAL)  # its own reading of parameters cells warns of names that are there
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"{label}-"))
    kernel = {
        "env": os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"} | (env or {}),
        "cwd": str(notebook.parent),
        "pass_fds": keep_open,
        "stdout": log.file,  # what libraries print past Python, and the traceback of a crash
        "stderr": log.file,
    }
    try:
        papermill.execute_notebook(
            nbformat.read(notebook, as_version=4),
            None,
            parameters,
            engine_name="geonb",
            kernel_name="python3",
            language="python",
            recorder=recorder,
            on_progress=on_progress,
            folder=folder,
            kernel=kernel,
            timeout=cell_timeout_s,
        )
    except papermill.PapermillExecutionError as error:
        recorder.fail("died" if _is_memory(error) else "failed", f"{error.ename}: {error.evalue}")
        log.write("\n".join(error.traceback) + "\n")
    except CellTimeoutError:
        recorder.fail("stopped", f"The cell took longer than the limit of {cell_timeout_s} s.")
    except (DeadKernelError, RuntimeError) as error:
        recorder.fail("died", recorder.death or f"The kernel did not start or did not answer: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        log.flush()
        recorder.save()
    recorder.outcome.seconds = round(time.monotonic() - started, 3)
    return recorder.outcome


def _is_memory(error: papermill.PapermillExecutionError) -> bool:
    told = ANSI.sub("", "\n".join(error.traceback))
    return bool(MEMORY_ERRORS.search(f"{error.ename}\n{told}") or MEMORY_TEXT.search(error.evalue))


class _Recorder(NotebookExecutionManager):
    """Keeps times, titles and the executed copy, which is replaced whole each time it is saved."""

    def __init__(self, output: Path, log: Log, stop: Stop, on_cell: Callable[[int, int, str], None]) -> None:
        super().__init__(nbformat.v4.new_notebook(), progress_bar=False)
        self.output, self.log_file, self.stop, self.on_cell = output, log, stop, on_cell
        self.outcome, self.death = Outcome(), ""
        self.numbers: dict[int, tuple[int, str]] = {}
        self.begun = self.saved = 0.0

    def begin(self, nb: Any) -> None:
        self.nb, title, number = nb, "", 0
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "markdown":
                headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
                title = headings[-1] if headings else title
            elif cell.cell_type == "code":
                # the injected parameters are no cell of the notebook that the user knows
                number += "injected-parameters" not in cell.metadata.get("tags", [])
                self.numbers[index] = (number, title)
        self.outcome.n_cells = number
        self.notebook_start()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        super().cell_start(cell, cell_index)
        self.begun = time.monotonic()
        if cell_index in self.numbers and "injected-parameters" not in cell.metadata.get("tags", []):
            number, title = self.numbers[cell_index]
            self.outcome.cell, self.outcome.title = number, title
            self.log_file.write(f"--- cell {number} of {self.outcome.n_cells}: {title}\n", "cells")
            self.on_cell(number, self.outcome.n_cells, title)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        self.log_file.flush()
        super().cell_complete(cell, cell_index)
        if cell_index in self.numbers and "injected-parameters" not in cell.metadata.get("tags", []):
            number, title = self.numbers[cell_index]
            seconds = round(time.monotonic() - self.begun, 3)
            self.outcome.cells.append({"index": number, "title": title, "seconds": seconds})
            texts = [o.text for o in cell.get("outputs", []) if o.output_type == "stream"]
            lines = [last_drawn(line) for line in ANSI.sub("", "".join(texts)).splitlines()]
            self.outcome.printed = "\n".join([line for line in lines if line][-5:])

    def save(self, **kwargs: Any) -> None:
        if kwargs.get("now", True) or time.monotonic() - self.saved > 1:
            with whole_file(self.output) as partial:
                partial.write_text(nbformat.writes(self.nb), encoding="utf-8")
            self.saved = time.monotonic()
        self.last_save_time = self.now()

    def fail(self, state: str, error: str) -> None:
        self.outcome.state, self.outcome.error = state, ANSI.sub("", error)
        if self.stop.reason:
            self.outcome.state, self.outcome.error = "stopped", f"Stopped by {self.stop.reason}."


class _Manager(AsyncKernelManager):
    """The kernel of this very environment, whatever kernels the user has registered."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-c", LAUNCH, "-f", "{connection_file}"], display_name="Python 3", language="python"
    )


class _Client(PapermillNotebookClient):
    """papermill's client, with a guard against lost wake-ups and the ways a kernel can end told apart."""

    stalled, heard, idle = "", 0.0, 0.0  # a kernel may end before its first cell

    def execute(self, folder: Path, kernel: dict[str, Any], on_progress: Callable[[str], None]) -> Any:
        self.on_progress = on_progress
        self.reset_execution_trackers()
        # a path of a Unix socket has some 100 characters at most
        local = sys.platform != "win32" and len(str(folder)) < 80
        network = {"transport": "ipc", "ip": str(folder / "k")} if local else {}
        self.km = _Manager(kernel_name="python3", connection_file=str(folder / "connection.json"), **network)
        self.memory: Memory | None = None
        processes: list[psutil.Process] = []
        try:
            with self.setup_kernel(cleanup_kc=True, **kernel):
                self.run_cells()
                processes = self.memory.stop() if self.memory else []
                self.hasten_exit()
                self.set_widgets_metadata()
        finally:
            if self.memory:
                processes = processes or self.memory.stop()
                self.nb_man.outcome.peak_memory_mb = round(self.memory.peak_mb, 1)
            self.nb_man.stop.kernel = None
            end_processes(processes)
        return self.nb

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        await super().async_start_new_kernel(**kwargs)
        pid = self.km.provisioner.pid  # type: ignore[union-attr]  # a local kernel's provisioner has one
        self.nb_man.stop.kernel = pid
        self.memory = Memory(pid)
        self.memory.start()

    start_new_kernel = run_sync(async_start_new_kernel)

    def run_cells(self) -> None:
        for index, cell in enumerate(self.nb.cells):
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                break
            except (DeadKernelError, CellTimeoutError) as error:
                self.nb_man.death = self.cause_of_death()
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)

    def cause_of_death(self) -> str:
        if self.stalled:
            return self.stalled
        process = getattr(self.km.provisioner, "process", None)
        code = process.poll() if process else None
        if code == -signal.SIGKILL:
            peak = self.memory.peak_mb if self.memory else 0
            total = psutil.virtual_memory().total / 2**20
            return (
                f"The kernel was killed (signal 9): most likely memory ran out; it held {peak:,.0f} MB, the machine has "
                f"{total:,.0f} MB (a job may be allowed less)."
            )
        return f"The kernel died ({f'signal {-code}' if code and code < 0 else f'exit code {code}'})."

    def hasten_exit(self) -> None:
        """Let the kernel leave at once: 0.1 s, or 0.3 s instead of 1.7 s with the plotting libraries loaded.

        No collection of garbage, while exit handlers run and files are closed as ever. In one exit of three ipykernel
        waits for a flush that can no longer come, and is terminated before its exit handlers: that wait is cut. The log
        is shut for the interrupt that wakes a kernel to leave.
        """
        code = (
            "import gc; gc.freeze(); gc.disable(); from ipykernel.iostream import OutStream; "
            "OutStream.flush_timeout = 0.1; get_ipython().kernel.log.setLevel(99)"
        )
        with suppress(Exception):
            message = self.kc.execute(code, silent=True, store_history=False)
            self.wait_briefly(message)

    async def async_wait_briefly(self, message: str) -> None:
        await asyncio.wait_for(self.async_wait_for_reply(message), 5)

    wait_briefly = run_sync(async_wait_briefly)

    async def async_execute_cell(self, cell: Any, cell_index: int, **kwargs: Any) -> Any:
        if self.nb_man.stop.reason:
            raise DeadKernelError("stopped")
        self.stalled, self.heard, self.idle = "", 0.0, 0.0
        self.sent = time.monotonic()
        return await super().async_execute_cell(cell, cell_index, **kwargs)

    execute_cell = run_sync(async_execute_cell)

    def process_message(self, msg: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.heard = time.monotonic()
        if (
            msg["msg_type"] == "update_display_data"
            and msg["content"].get("transient", {}).get("display_id") == PROGRESS
        ):
            self.on_progress(str(msg["content"]["data"].get("text/plain", "")))
        if msg["msg_type"] == "stream":
            self.nb_man.log_file.write(msg["content"]["text"], msg["content"]["name"])
        try:
            return super().process_message(msg, *args, **kwargs)
        except CellExecutionComplete:
            self.idle = time.monotonic()
            raise
        finally:
            # An output widget makes nbclient send on an asyncio socket from a plain function, which can eat the wake-up
            # of messages that have arrived meanwhile: the notebook then hangs for ever.
            self.wake()

    def wake(self) -> None:
        for channel in (self.kc.shell_channel, self.kc.iopub_channel):
            with suppress(AttributeError):
                channel.socket._schedule_remaining_events()

    async def _async_poll_kernel_alive(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self.wake()
            now = time.monotonic()
            if self.idle and now - self.idle > STALL_S:
                self.stalled = f"The kernel was idle for {STALL_S:.0f} s, but its answer never came: ended as hanging."
            elif not self.heard and now - self.sent > START_STALL_S:
                self.stalled = f"The kernel did not begin the cell within {START_STALL_S:.0f} s: ended as hanging."
            if self.stalled or not await self.km.is_alive():
                self.task_poll_for_reply.cancel()
                return


class _Engine(Engine):
    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, recorder: Any = None, folder: Any = None, **kwargs: Any
    ) -> Any:
        recorder.begin(nb)
        client = _Client(
            recorder,
            timeout=kwargs["timeout"],
            kernel_name=kernel_name,
            iopub_timeout=60,
            coalesce_streams=True,
            log=QUIET,
            ipython_hist_file=":memory:",
        )
        try:
            client.execute(folder, kwargs["kernel"], kwargs["on_progress"])
        finally:
            recorder.nb = client.nb
            recorder.notebook_complete()
        return recorder.nb


papermill_engines.register("geonb", _Engine)
