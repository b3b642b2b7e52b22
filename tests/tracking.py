"""Loggers of one's own, for tests of trackers: one that remembers what it was told, and one whose server goes away."""

import time

from lightning.pytorch.loggers.logger import DummyLogger, Logger


class Remembers(Logger):
    """What each of them was told, in the order in which they were made."""

    made: list = []  # noqa: RUF012

    def __init__(self, save_dir, colour="red"):
        super().__init__()
        self.save_dir_given, self.colour, self.told, self.parameters, self.status = save_dir, colour, [], None, None
        self.made.append(self)

    name, version = "remembers", 7

    def log_metrics(self, metrics, step=None):
        self.told.append({"epoch": step, **metrics})

    def log_hyperparams(self, params, *args, **kwargs):
        self.parameters = params

    def finalize(self, status):
        self.status = status


class Fails(Remembers):
    """From the second epoch on."""

    def log_metrics(self, metrics, step=None):
        if step > 1:
            raise ConnectionError("the server went away")
        super().log_metrics(metrics, step)


class Slow(DummyLogger):
    """A second an epoch, so that a training lasts, however fast the machine."""

    def log_metrics(self, *args, **kwargs):
        time.sleep(1)


class Needs(DummyLogger):
    def __init__(self, address):
        super().__init__()
