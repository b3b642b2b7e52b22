"""Faults that a careful reviewer would plant in the maths: does a test notice each? ``python -m tests.mutations [WORD ...]``

Each is put, one after the other, into a copy of the package in a temporary folder, and the tests concerned are run there until
one fails. What is told: killed by which test, or survived. The exit code is 1 if one survived, or if the text that it replaces
does not stand in the code exactly once: whoever changes that code moves its fault along (`test_mutations.py` says so at once).

WORDs choose the faults whose file, or whose line below, has one of them.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LONGEST_S = 120  # a test that takes longer has noticed, too


class Mutant(NamedTuple):
    """A fault: what it breaks, where (a glob of one file), the text before and after, the tests that should notice."""

    breaks: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


def inside(file: str, tests: str, *faults: tuple[str, str, str]) -> Iterator[Mutant]:
    """Faults of a file of geonb/, (what it breaks, before, after), and the tests concerned: a file of tests/, or "file::one two"."""
    tested, _, names = tests.partition("::")
    for breaks, before, after in faults:
        chosen = tuple(f"tests/{tested}::{name}" for name in names.split()) or (f"tests/{tested}",)
        yield Mutant(breaks, f"geonb/{file}", before, after, chosen)


MUTANTS = [
    # ---- beside a training
    *inside(
        "plots/epochs.py", "training/test_watching.py::test_a_plane_that_flips_is_turned_back",
        ("planes of epochs flip", "points @ orthogonal_procrustes(points, last[[\"x\", \"y\"]].to_numpy())[0]", "points"),
    ),
    *inside(
        "training/watching.py", "training/test_watching.py::test_asked_aside_a_task_keeps_its_modes_and_all_random_states",
        ("a task that was asked stays in evaluation", "module.training = was", "pass"),
    ),
    # ---- grids
    *inside(
        "rasters/grids.py", "rasters/test_grids.py",
        ("the last window is left out where the stride does not fit", "else np.append(starts, length - size)", "else starts"),
        ("rows are half a pixel too far north", "(np.arange(shape[0]) + 0.5)", "np.arange(shape[0])"),
        ("footprints with the y axis flipped", "transform.f + transform.e * y)", "transform.f - transform.e * y)"),
        ("latitude and longitude change places", 'from_crs(crs, "OGC:CRS84", always_xy=True)', 'from_crs(crs, "OGC:CRS84")'),
        ("all pixels that a polygon touches are its own", 'fill=fill, dtype="int32")', 'fill=fill, dtype="int32", all_touched=True)'),
        ("polygons are burnt on the wrong rectangle", "here = transform * Affine.translation(columns.start, rows.start)",
         "here = transform * Affine.translation(rows.start, columns.start)"),
    ),
    *inside(
        "rasters/grids.py", "workloads/segmentation/test_catalogue.py::test_a_pixel_in_feet_or_degrees",
        ("feet are metres", "factor = crs.linear_units_factor[1]", "factor = 1.0"),
        ("degrees are metres", "if true_to_scale(crs):", "if True:"),
    ),
    *inside(
        "rasters/polygons.py", "rasters/test_polygons.py::test_areas_are_those_of_geodesics",
        ("areas are in units of the CRS", "np.stack(project(*(labels.transform * (xy[:, 0], xy[:, 1]))), axis=1)",
         "np.stack(labels.transform * (xy[:, 0], xy[:, 1]), axis=1)"),
    ),
    *inside(
        "workloads/segmentation/masks.py",
        "workloads/segmentation/test_dataset.py::test_a_mask_in_another_crs_is_warped_as_rioxarray_does",
        ("class codes are interpolated", "resampling=Resampling.nearest", "resampling=Resampling.bilinear"),
    ),
    *inside(
        "workloads/segmentation/class_tables.py",
        "workloads/segmentation/test_class_tables.py::test_labels_are_places_in_the_class_table",
        ("what is not valid keeps its label", "return np.where(valid, index, np.uint8(IGNORE))", "return index"),
    ),
    *inside(
        "workloads/clouds/grids.py",
        "workloads/clouds/test_grids.py::test_whole_blocks_are_averaged_exactly test_half_of_a_pixel_must_be_valid "
        "test_half_a_pixel_aside_is_another_grid",
        ("coarser pixels are no averages", "Resampling.average if _step(own, grid) > 1 else Resampling.bilinear", "Resampling.bilinear"),
        ("one valid pixel makes a coarse one valid", "_onto(padded, wider, grid) >= 0.5", "_onto(padded, wider, grid) > 0"),
        ("a grid half a pixel aside is read as it is", "abs(row - first[0]) < 1e-3 and", "abs(row - first[0]) < 0.6 and"),
    ),
    *inside(
        "workloads/conflict/priogrid.py", "workloads/conflict/test_priogrid.py",
        ("row 0 of the PRIO-GRID is the north", "np.floor((latitude + 90) /", "np.floor((90 - latitude) /"),
    ),
    # ---- work beside work
    *inside(
        "base/pipeline.py", "base/test_pipeline.py",
        ("more is made than there is room for", "for _ in range(depth))", "for _ in range(depth + 1))"),
        ("more waits than there is room for", "len(waiting) >= depth", "len(waiting) > depth"),
        ("calls are done after one that failed", "if failed:", "if False:"),
        ("what was opened is closed by another thread", "pool.submit(source.close).result()", "source.close()"),
    ),
    # ---- stitching
    *inside(
        "rasters/stitching.py", "rasters/test_stitching.py",
        ("the overlap is taken for the stride", "round(window * (1 - overlap))", "round(window * overlap)"),
        ("the window's weights lean to one side", "(np.arange(window) + 0.5) / window", "np.arange(window) / window"),
        ("weights of the axes are exchanged", "weight_y[i][:, None] * weight_x[j]", "weight_x[j][:, None] * weight_y[i]"),
        ("a band is given before it is blended", "if chosen is not batches[-1]:", "if chosen is not batches[0]:"),
        ("a band changes while it waits to be written", "band.cpu().numpy().copy()", "band.cpu().numpy()"),
    ),
    # ---- splits and the proof that they don't leak
    *inside(
        "store/windows.py", "store/test_windows.py",
        ("the seed of the split is ignored", "default_rng(seed)", "default_rng(0)"),
        ("the first deal is taken, however the classes fall", "for _ in range(DRAWS)", "for _ in range(1)"),
        ("a block goes to the split where it ends", "np.cumsum(pixels[order]) - pixels[order] / 2", "np.cumsum(pixels[order])"),
        ("the first block of a split stays with the one before", 'np.arange(len(order)), side="right")', "np.arange(len(order)))"),
        ("a window with just enough valid pixels is left out", "(shares[:, 0] >= min_valid)", "(shares[:, 0] > min_valid)"),
        ("windows without a label are kept", "& (shares[:, 1] > 0) &", "& (shares[:, 1] >= 0) &"),
        ("the block of a window is that of its corner", "(at + patch // 2) // block", "at // block"),
        ("blocks are numbered along the other axis", "middle[:, 0] * blocks.shape[1]", "middle[:, 0] * blocks.shape[0]"),
        ("windows across two splits are kept", "np.where(high == low, high, 0)", "high"),
    ),
    *inside(
        "store/leakage.py", "store/test_windows.py",
        ("the last block that a window reaches into is not looked at", ": -(-high[i, 0] // block),", ": high[i, 0] // block,"),
        ("a small window inside a large one is let pass", "tolerance * np.minimum(", "tolerance * np.maximum("),
        ("the gap is that of the last source", "gap = min(gap, nearest)", "gap = nearest"),
    ),
    *inside(
        "workloads/conflict/windows.py",
        "workloads/conflict/test_windows.py::test_no_split_sees_a_month_that_another_is_to_forecast "
        "test_windows_contain_their_cell_and_count_their_past",
        ("the gap between splits is a month short", "faults = steps + horizon, steps", "faults = steps + horizon - 1, steps"),
        ("the forecast month is among the inputs", "for month in range(end, t):", "for month in range(end, t + 1):"),
    ),
    *inside(
        "workloads/conflict/leakage.py", "workloads/conflict/test_windows.py::test_a_planted_leak_of_one_month_is_caught",
        ("the last target month may leak", "for lead in range(horizon)}", "for lead in range(horizon - 1)}"),
    ),
    # ---- means of the training pixels
    *inside(
        "**/arrays.py", "store/test_store.py::test_statistics_are_those_of_numpy_over_training_pixels",
        ("the training mean is taken over all splits", "train = blocks[by[:, None], bx] == 1", "train = blocks[by[:, None], bx] > 0"),
        ("the spread is that of a sample", "np.sqrt(np.diag(products) / n)", "np.sqrt(np.diag(products) / (n - 1))"),
    ),
    *inside(
        "workloads/conflict/store.py",
        "workloads/conflict/test_store.py::test_statistics_are_those_of_training_months_in_valid_cells",
        ("the training mean is taken over all months", 'train = months["train"][0] - cut["steps"], months["train"][1]', "train = 0, n"),
    ),
    # ---- losses
    *inside(
        "workloads/segmentation/losses.py", "workloads/segmentation/test_losses.py",
        ("class weights are dropped", "weights = None if class_weights is None else logits.new_tensor(class_weights)", "weights = None"),
        ("ignored pixels count", "return targets == classes, targets != IGNORE", "return targets == classes, targets == targets"),
        ("a sum over classes in place of the mean", "/ (known.sum().clamp(min=1) * values.shape[1])", "/ known.sum().clamp(min=1)"),
    ),
    *inside(
        "workloads/conflict/losses.py", "workloads/conflict/test_losses.py",
        ("cells outside the region count in the mean", "/ within.sum().clamp(min=1)", "/ within.numel()"),
    ),
    *inside(
        "workloads/clouds/losses.py", "workloads/clouds/test_losses.py",
        ("the triplet loss is a sum", ".relu().mean()", ".relu().sum()"),
        ("distances are not squared", "(anchor - neighbor).square().sum(dim=1)", "(anchor - neighbor).square().sum(dim=1).sqrt()"),
    ),
    # ---- scores
    *inside(
        "scores/bootstrap.py", "scores/test_bootstrap.py",
        ("draws do not add up to the number of blocks", ".multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)",
         ".poisson(1, (draws, blocks))"),
        ("the first block is drawn oftener", "np.full(blocks, 1 / blocks)", "np.arange(blocks, 0, -1) / (blocks * (blocks + 1) / 2)"),
        ("the seed of the draws is ignored", "np.random.default_rng(seed)", "np.random.default_rng(0)"),
        ("intervals of 90 %", "[2.5, 97.5], axis=0)", "[5, 95], axis=0)"),
        ("the gain has the wrong sign", "value[:1] - value", "value - value[:1]"),
        ("gains are not paired", "drawn[:1] - drawn", "np.roll(drawn[:1], 1, axis) - drawn"),
        ("splits share their draws", "[seed, n, SALT])", "[seed, SALT])"),
    ),
    *inside(
        "scores/verdicts.py", "base/test_metrics.py",
        ("the best baseline is the one with the largest error", 'others.idxmin("model") if', 'others.idxmax("model") if'),
        ("less of an error is worse", "sign = -1 if lower_is_better", "sign = 1 if lower_is_better"),
    ),
    *inside(
        "scores/verdicts.py", "scores/test_scores.py::test_the_verdict_is_honest",
        ("any gain beats the baseline", "    if low > EQUAL:", "    if gain > EQUAL:"),
    ),
    *inside(
        "scores/comparison.py", "scores/test_scores.py::test_two_runs_are_compared_over_the_same_blocks",
        ("two runs are compared over draws of their own", "- other.drawn(weights))", "- other.drawn(weights[::-1]))"),
        ("the difference has the wrong sign", "float(one.score - other.score)", "float(other.score - one.score)"),
    ),
    *inside(
        "workloads/segmentation/scores.py",
        "scores/test_scores.py::test_metrics_agree_with_scikit_learn test_absent_classes_do_not_enter_the_mean",
        ("absent classes enter the mean", "np.isfinite(by_class).sum(-1)", "by_class.shape[-1]"),
        ("Dice in place of intersection over union", "hit / (true + guessed - hit)", "hit / (true + guessed)"),
    ),
    *inside(
        "workloads/conflict/scores.py",
        "workloads/conflict/test_scores.py::test_draws_of_months_leave_the_cells_alone_and_those_of_cells_the_months "
        "test_an_outcome_without_a_score_is_left_out_of_the_mean",
        ("draws of months are told as draws of cells", '(by_place if how == "months" else by_month)',
         '(by_place if how == "cells" else by_month)'),
        ("an outcome without a score counts as 0", "np.nansum(values, axis=1), np.nan) / np.maximum(known, 1)",
         "np.nansum(values, axis=1), np.nan) / values.shape[1]"),
    ),
    *inside(
        "workloads/conflict/cells.py", "workloads/conflict/test_scores.py::test_every_score_agrees_with_scikit_learn",
        ("thresholds are chosen on the test months", 'fine[:, splits.index("val")] if', 'fine[:, splits.index("test")] if'),
    ),
    *inside(
        "workloads/clouds/blocks.py",
        "workloads/clouds/test_scores.py::test_three_triplets_by_hand test_a_group_in_one_block_has_a_score_and_no_interval",
        ("ties are lost", "+ 0.5 * (self.near == self.far)", "+ 0.0 * (self.near == self.far)"),
        ("a group in one block has an interval of no width", "(count > 0).sum(axis=0) < 2", "(count > 0).sum(axis=0) < 1"),
    ),
    *inside(
        "scores/ranking.py", "scores/test_ranking.py",
        ("equal ranks count as wins", "np.cumsum(without, -1) - without / 2", "np.cumsum(without, -1)"),
    ),
    # ---- baselines
    *inside(
        "workloads/segmentation/baselines.py",
        "prediction/test_predictions.py::test_baselines_learn_from_every_labelled_pixel_of_the_training_windows_alone "
        "test_a_class_that_training_lacks_has_no_chance_and_moves_no_other",
        ("baselines see all splits", 'windows = Windows(store, "train")', "windows = Windows(store)"),
        ("a class that training lacks shifts the others", "probability[:, model.classes_]", "probability[:, : len(model.classes_)]"),
    ),
    *inside(
        "workloads/conflict/baselines.py",
        "workloads/conflict/test_baselines.py::test_climatology_is_the_smoothed_frequency_of_the_training_months "
        "test_persistence_is_the_frequency_after_months_with_and_without_events test_history_weighs_months_and_neighbours "
        "test_a_history_is_judged_by_months_later_than_those_it_was_fitted_to",
        ("climatology sees a month after training", "origins.max()) + store.horizon", "origins.max()) + store.horizon + 1"),
        ("persistence sees the month that it forecasts", "events_of(store, t - 1, t)[0]", "events_of(store, t, t + 1)[0]"),
        ("the history sees the month that it forecasts", "in pieces(self.t, t):", "in pieces(self.t, t + 1):"),
        ("the history is chosen on the months it was fitted to", "        earlier = ~later", "        earlier = later"),
    ),
    *inside(
        "workloads/conflict/floor.py",
        "workloads/conflict/test_floor.py::test_the_floor_is_the_baseline_with_the_lower_log_loss_of_the_validation_months "
        "test_a_standard_error_is_what_a_mean_of_grouped_differences_errs_by test_a_network_begins_as_its_floor",
        ("the floor is chosen by the test months", 'origins("val")', 'origins("test")'),
        ("the worse floor is taken", "found[min(losses", "found[max(losses"),
        ("a gain's error forgets that groups are few", " * len(found) / (len(found) - 1)", ""),
        ("deaths are not as logarithms", "np.log1p(np.asarray(severity_of(store)))", "np.asarray(severity_of(store))"),
    ),
    *inside(
        "workloads/clouds/baselines.py", "workloads/clouds/test_baselines.py",
        ("baselines see all splits", 'windows = store.windows("train")', "windows = store.windows()"),
        ("the seed of the tiles is ignored", "default_rng([seed, 0x5EED])", "default_rng([0, 0x5EED])"),
    ),
    # ---- when P came
    *inside(
        "waveforms/arrays.py", "waveforms/test_arrays.py::test_p_is_that_of_picks_or_of_taup_or_unknown",
        ("an array's P is the first pick of a sensor", "pd.Series(mine).median()", "pd.Series(mine).min()"),
        ("picks of another event count", "mine = [picks[event[\"event_id\"], name] for", "mine = [next(iter(picks.values())) for"),
    ),
    *inside(
        "waveforms/catalogues.py", "waveforms/test_catalogues.py::test_the_first_p_of_each_station_is_read",
        ("rejected picks count", ' or pick.evaluation_status == "rejected"', ""),
        ("a station's P is the last of its picks", "min(time, found.get(key, time))", "max(time, found.get(key, time))"),
        ("a pick's own hint goes before the origin's phase", "phases.get(str(pick.resource_id)) or pick.phase_hint", "pick.phase_hint"),
    ),
    *inside(
        "workloads/seismic/store.py", "workloads/seismic/test_dataset.py::test_a_record_that_begins_right_before_p_has_no_noise",
        ("noise of a negative length is asked for", 'max(min(cut["noise"], until // samples), 0)', 'min(cut["noise"], until // samples)'),
    ),
    # ---- what the explorer shows and tells
    *inside(
        "dashboards/layers.py", "dashboards/test_layers.py",
        ("rows of cells are counted from the south", "row, column = (north - y) /", "row, column = (y - south) /"),
        ("a strided window ends where its last cell does", "y - rows * step * size_y, x +", "y - (bottom - top) * size_y, x +"),
        ("what is open comes in the order of the array", '.transpose(*(d for d in dims if d not in positions), ..., "y", "x")', ""),
        ("numbers are cut, not rounded", "np.rint(np.rint(share * steps)", "np.rint(np.floor(share * steps)"),
        ("a class that is not there is a colour", "(values < len(self.labels))", "(values < 256)"),
    ),
    *inside(
        "dashboards/explorer.py", "dashboards/test_explorer.py",
        ("a click is told of the first place", 'layer.read(asked["place"], one["at"], here)', 'layer.read(0, one["at"], here)'),
        ("longitudes are told from the south", "np.linspace(north, south, side)", "np.linspace(south, north, side)"),
    ),
    *inside(
        "dashboards/frozen.py", "dashboards/test_frozen.py",
        ("cells of the last layer alone are kept", "masks[layer.grid] | there if layer.grid in masks else there", "there"),
        ("thinned cells lie half a step off", "north - (starts[0] - (steps[0] - 1) / 2)", "north - starts[0]"),
        ("a gap is lost where its month is not kept", "< gap <= kept[i]", "< gap < kept[i]"),
        ("a model warns from the threshold of another", "start.take(_kept(explorer, how, place)[dim], axis)", "start"),
        ("whole numbers come in coarse steps", "STEPS if whole else min(steps, layer.steps)", "min(steps, layer.steps)"),
        ("the page is larger than its budget", "if smallest <= budget_mb:", "if smallest <= 1.1 * budget_mb:"),
    ),
    *inside(
        "dashboards/likeness.py", "dashboards/test_likeness.py",
        ("the tiles alike overlap each other", "            self._strike(left, nearest[-1][0])", "            pass"),
        ("the next frame counts as alike", "soon |= np.array(times) == time", "soon = np.array(times) == time"),
        ("a page looks at too few", "if len(found[0]) < count and among < len(keys)", "if False"),
        ("components are not centred", ".vectors(time) - self.mean) @", ".vectors(time)) @"),
    ),
    *inside(
        "dashboards/sheets.py", "dashboards/test_sheets.py::test_a_viewer_gets_what_it_chose_and_first_the_first",
        ("every place shows the figure of the first", "key = (place, *at.values())", "key = tuple(at.values())"),
    ),
    *inside(
        "plots/waveforms.py", "plots/test_waveforms.py::test_p_is_where_the_pulse_is_and_distances_are_those_to_the_source "
        "test_power_over_slowness_peaks_where_the_wave_came_from",
        ("distances grow towards the source", "distance_km + place @", "distance_km - place @"),
        ("slowness points the way the wave travels", '-scan["sx"],', 'scan["sx"],'),
    ),
    *inside(
        "dashboards/beside.py", "dashboards/test_beside.py",
        ("all runs show the first", "values = reads[run](", "values = reads[0]("),
        ("what a run lacks is that of another month", "taken[(slice(None),) * axis + ([p is None", "taken[(slice(None),) * axis + ([False"),
    ),
    *inside(
        "dashboards/imagery.py", "workloads/segmentation/test_explore.py",
        ("a band's fill is a value", "np.where(view.valid.values.astype(bool), view.inputs", "np.where(True, view.inputs"),
        ("colours change while one zooms", "stretched(view.inputs, view.valid, limits[place])", "stretched(view.inputs, view.valid)"),
    ),
    *inside(
        "workloads/conflict/explore.py", "workloads/conflict/test_explore.py",
        ("PRIO-GRID counts from the cell below", "round((north - 0.25 + 90)", "round((north - 0.75 + 90)"),
        ("thresholds are chosen on the test months", 'data.split.values == "val"', 'data.split.values == "test"'),
        ("what is not known yet did not come", "v, UNKNOWN)", "v, 0)"),
    ),
    *inside(
        "workloads/clouds/explore.py", "workloads/clouds/test_explore.py",
        ("pictures of tiles are half a tile off", "- self.patch / 2))\n        top", "))\n        top"),
        ("near is measured where the network learnt", '.astype(str) != "train"', '.astype(str) != ""'),
        ("scenes are found by their order", "return [known.get(time) for time in self.times]", "return list(range(len(self.times)))"),
    ),
]  # fmt: skip


def mutated(mutant: Mutant, root: Path) -> tuple[Path, str]:
    """The file of a fault and its text with the fault in it.

    Raises
    ------
    ValueError
        If the text that it replaces does not occur exactly once.
    """
    found = {path: path.read_text() for path in sorted(root.glob(mutant.file))}
    having = [path for path, text in found.items() for _ in range(text.count(mutant.before))]
    if len(having) != 1:
        raise ValueError(
            f"{mutant.breaks}: {mutant.before!r} occurs {len(having)} times in {mutant.file}, not once. Find where that is done "
            "now and give the fault's new text in tests/mutations.py"
        )
    return having[0], found[having[0]].replace(mutant.before, mutant.after)


def stale(mutants: Sequence[Mutant]) -> list[str]:
    """What is said of faults whose text is gone."""
    told = []
    for mutant in mutants:
        try:
            mutated(mutant, ROOT)
        except ValueError as error:
            told.append(str(error))
    return told


@contextmanager
def planted(mutant: Mutant, folder: Path) -> Iterator[None]:
    """A copy with a fault in it."""
    path, text = mutated(mutant, folder)
    sound = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(sound)


def copied(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in ("geonb", "tests", "notebooks", "pyproject.toml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder)
    return folder


def noticed(folder: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether a test of a copy fails, and which.

    Raises
    ------
    ValueError
        With pytest's words, if they cannot run.
    """
    # no bytecode: it is known by its source's second and size, which a fault need not change
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--timeout={LONGEST_S}"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise ValueError(f"pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) (?:.*::)?(\S+)", done.stdout, re.M)
    return done.returncode == 1, failed[1] if failed else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults; 0 if each was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only faults whose file or line has one of these")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested side by side (2)")
    asked = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not asked.words or any(w in f"{m.file}: {m.breaks}" for w in asked.words)]
    gone, begin, survived = stale(chosen), time.monotonic(), 0
    for fault in gone:
        print("STALE     ", fault)
    if gone or not chosen:
        return 1
    with tempfile.TemporaryDirectory(prefix="geonb-mutations-") as folder, ThreadPoolExecutor(asked.jobs) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for i in range(asked.jobs):
            copies.put(copied(Path(folder) / str(i)))

        def tested(tests: Sequence[str], mutant: Mutant | None = None) -> tuple[bool, str, float]:
            copy, started = copies.get(), time.monotonic()
            try:
                with planted(mutant, copy) if mutant else nullcontext():
                    return *noticed(copy, tests), time.monotonic() - started
            finally:
                copies.put(copy)

        groups = list(dict.fromkeys(m.tests for m in chosen))
        for tests, (fails, test, _) in zip(groups, pool.map(tested, groups), strict=True):
            if fails:
                print(f"{' '.join(tests)} fail without a fault ({test}): mend that first")
                return 1
        results = pool.map(tested, [m.tests for m in chosen], chosen)
        for mutant, (fails, test, took) in zip(chosen, results, strict=True):
            survived += not fails
            end, by = ("killed", f"by {test}") if fails else ("SURVIVED", f"in spite of {' '.join(mutant.tests)}")
            print(f"{end:<10}{took:4.0f} s  {mutant.file}: {mutant.breaks} ({by})", flush=True)
    print(f"{len(chosen) - survived} killed, {survived} survived, in {(time.monotonic() - begin) / 60:.0f} minutes")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
