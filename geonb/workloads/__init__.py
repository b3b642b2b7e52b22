"""The rooms of the house: a folder a workload, with everything that is of this workload alone.

Each room has the same files: ``__init__`` (its record), ``dataset``, ``store``, ``networks``, ``losses``, ``task``, ``predict``,
``baselines``, ``scores``, ``figures``, ``explore``, ``examples``, and beside them what only its science needs. Rooms don't import
each other, and nothing below imports them: what a workload does differently reaches the spine through its record
(:mod:`geonb.registry`).

To add a workload, write its ``01_dataset_<name>.ipynb`` and a record; ``docs/workload.md`` goes through it. The record may live in
a package of your own: every place that takes a workload's name also takes an import path, ``"package.module:RECORD"``.
"""

from __future__ import annotations

from geonb.base.lazy import names_of

# where each record stands; imported when it is first asked for
ROOMS = {
    "clouds": "geonb.workloads.clouds:RECORD",
    "chips": "geonb.workloads.chips:RECORD",
    "conflict": "geonb.workloads.conflict:RECORD",
    "segmentation": "geonb.workloads.segmentation:RECORD",
    "seismic": "geonb.workloads.seismic:RECORD",
}
__getattr__, __dir__, __all__ = names_of(__name__, {"geonb.registry": "Figure WORKLOADS Workload get known"})
