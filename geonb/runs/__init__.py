"""The run folder, the runner and its kernels, the table of runs, reports and comparisons."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.runs.run": "ADJECTIVES ANIMALS FORMAT Run STATES find_run folder_name new_run now open_run parameters_text start_run",
    "geonb.runs.faults": "check_run",
    "geonb.runs.run_table": "best load_run table",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
