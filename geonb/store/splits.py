"""Deal the blocks of prepared arrays to train, val and test, and cut the table of windows."""

from __future__ import annotations
