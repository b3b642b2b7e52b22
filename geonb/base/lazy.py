"""A package's public names, each imported when it is first used, so that importing the package stays light."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names_of(package: str, where: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, or of a module that stands for others beside its own.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    where : mapping of a module to its public names, separated by spaces
    """
    module_of = {name: module for module, names in where.items() for name in names.split()}

    def get(name: str) -> Any:
        if name in module_of:
            return getattr(importlib.import_module(module_of[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*module_of, *vars(sys.modules[package])}), sorted(module_of)
