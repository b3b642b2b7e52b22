"""Watch a running kernel: what it prints, as it comes, and the memory it and its children hold."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Log:
    """A text file of what the cells print, as it comes; a bar that redraws its line is written now and then.

    A disk that is full costs lines of the log, not the run: what matters on it fails by itself.
    """

    def __init__(self, file: Path, on_line: Callable[[str], None] = lambda line: None, every_s: float = 30.0) -> None:
        self.file = file.open("ab", buffering=0)
        self.on_line, self.every_s = on_line, every_s
        self.pending: dict[str, str] = {}
        self.redrawn = -1e9

    def write(self, text: str, stream: str = "stdout") -> None:
        *lines, rest = (self.pending.get(stream, "") + ANSI.sub("", text)).split("\n")
        for line in lines:
            self._line(line, stream)
        if "\r" in rest:
            shown = last_drawn(rest)
            rest = shown if rest[-1] != "\r" else shown + "\r"
            if shown and time.monotonic() - self.redrawn > self.every_s:
                self.redrawn = time.monotonic()
                self._put(shown)
        self.pending[stream] = rest

    def _line(self, line: str, stream: str) -> None:
        line = last_drawn(line)
        self._put(line)
        if stream == "stdout":
            self.on_line(line)

    def _put(self, line: str) -> None:
        with suppress(OSError):
            self.file.write(f"{line}\n".encode(errors="backslashreplace"))

    def flush(self) -> None:
        for stream, rest in self.pending.items():
            if rest.strip():
                self._line(rest, stream)
        self.pending.clear()

    def close(self) -> None:
        self.flush()
        self.file.close()


def last_drawn(line: str) -> str:
    """What a line that redraws itself with ``\\r`` shows in the end."""
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")


class Memory(threading.Thread):
    """Peak of the summed resident memory (RSS) of a process and its descendants, sampled 5 times a second.

    Pages that several of them share are counted once each. The process's own high-water mark, which the kernel of the
    operating system keeps, catches what falls between two samples.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak_mb = psutil.Process(pid), 0.0
        self.family: list[psutil.Process] = []
        self.ended = threading.Event()

    def run(self) -> None:
        listed, cost = -1e9, 0.0
        while not self.ended.wait(0.2):
            began = time.monotonic()
            with suppress(psutil.Error):
                if began - listed > 20 * cost:  # listing every process of a big node is slow
                    self.family = [self.process, *self.process.children(recursive=True)]
                    listed, cost = began, time.monotonic() - began
                self._sample()

    def _sample(self) -> None:
        total = 0.0
        for process in self.family:
            with suppress(psutil.Error):
                total += process.memory_info().rss
        with suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            mark = re.search(r"VmHWM:\s+(\d+) kB", status)
            total = max(total, float(mark[1]) * 1024 if mark else 0.0)
        self.peak_mb = max(self.peak_mb, total / 2**20)

    def stop(self) -> list[psutil.Process]:
        """End sampling; return the processes there are."""
        self.ended.set()
        self.join()
        with suppress(psutil.Error):
            self.family = [self.process, *self.process.children(recursive=True)]
            self._sample()
        return self.family


def end_processes(pids: list[int] | list[psutil.Process]) -> None:
    """Kill processes with all their descendants."""
    for one in pids:
        with suppress(psutil.Error):
            process = one if isinstance(one, psutil.Process) else psutil.Process(one)
            for each in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    each.kill()
