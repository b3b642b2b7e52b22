"""The page that compares runs: chosen on validation, differences paired over blocks, broken runs named."""

import functools
import json
import re

import made_forecast_scores
import made_triplets
import numpy as np
import pytest
import xarray as xr
from made import CLASSES, made_log, made_predictions
from pages import FETCHES

from geonb import runs
from geonb.runs import compare as runs_compare
from geonb.runs import run_table
from geonb.scores.verdicts import headline
from geonb.workloads.clouds.scores import score_triplets
from geonb.workloads.conflict.scores import score_forecasts
from geonb.workloads.segmentation.scores import score_classes


def predicted(noise, seed=0, shape=(96, 128)):
    """Made-up predictions whose network is wrong in a share of the pixels."""
    tree = made_predictions(shape)
    data = tree["scene"].to_dataset()
    random = np.random.default_rng(seed)
    label = data["label"].values.copy()
    wrong = (random.random(label[0].shape) < noise) & (label[0] != 255)
    label[0][wrong] = random.integers(0, len(CLASSES), wrong.sum())
    tree["scene"] = data.assign(label=(("model", "y", "x"), label))
    return tree


@functools.cache
def scored(noise):
    return score_classes(predicted(noise), draws=50)


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures take a second a page, and have tests of their own."""
    monkeypatch.setattr(runs_compare, "picture", lambda figure, what: "")
    for name in ("curves", "headlines", "class_table", "leads"):
        monkeypatch.setattr(runs_compare, name, lambda *_: None)


def made_run(root, noise, store="data/segmentation/raleigh-1", scores=None, metric="mean_iou", **parameters):
    run = runs.new_run(parameters.get("workload", "segmentation"), {}, root)
    scores = scored(noise) if scores is None else scores
    scores.to_netcdf(run.scores, engine="h5netcdf")
    log = made_log(8)
    log["val_mean_iou"] -= noise / 4
    log = log.rename(columns={"val_mean_iou": f"val_{metric}"})
    log.to_csv(run.path / "log.csv", index=False)
    settled = {"epochs": 8, "lr": 1e-3, "workload": "segmentation", "run": run.name} | parameters
    step = {"state": "done", "seconds": 62.0, "peak_memory_mb": 812.4, "parameters": settled}
    told = {"headline": headline(scores, metric), "validation": headline(scores, metric, "val")}
    run.update(**told, state="done", store=store, steps={"02_training": step})
    return run


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Six runs (two networks x three losses), the second the best; then a failed one and a broken one."""
    root = tmp_path_factory.mktemp("six")
    choices = [
        (network, loss)
        for network in ("unet", "segmentalist:attention=spatial")
        for loss in ("dice", "tversky", "cross-entropy")
    ]
    noises = (0.2, 0.05, 0.3, 0.12, 0.06, 0.5)
    made = [made_run(root, n, network=net, loss=loss) for n, (net, loss) in zip(noises, choices, strict=True)]
    (made[0].path / "report.html").write_text("a report")
    failed = runs.new_run("segmentation", {}, root)
    failed.update(
        state="failed", steps={"02_training": {"state": "failed", "error": "ValueError: the loss became NaN"}}
    )
    broken = runs.new_run("segmentation", {}, root)
    (broken.path / "run.json").write_text('{"state":')
    return root, made, failed, broken


@pytest.fixture(scope="module")
def page(six):
    root, made, failed, broken = six
    path = runs_compare.write_comparison([run.path for run in (*made, failed, broken)])
    assert path.parent == root / "runs" and re.fullmatch(r"comparison_8-runs_\w{8}\.html", path.name)
    return path.read_text()


def words(run):
    return run.name.partition("_")[2]


def test_the_page_asks_nobody_and_says_that_data_are_simulated(page):
    assert not FETCHES.search(page) and "Simulated data." in page and page.count("data:image/png;base64,") == 3


def test_the_best_on_validation_leads(six, page):
    _, made, *_ = six
    assert f"Chosen by validation: {words(made[1])}" in page and f"geonb.load_run(&#x27;{made[1].name}&#x27;)" in page
    table = re.search(r"<h2 id=\"runs\">.*?</table>", page, re.S)[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.S)
    info = made[1].info
    assert rows[1].startswith("<tr class=lead>") and words(made[1]) in rows[1] and words(made[5]) in rows[6]
    for head in (info["headline"], info["validation"]):
        assert f"{head['value']:.3f} [{head['low']:.3f}, {head['high']:.3f}]" in rows[1]
    assert "pixel-linear" in rows[1] and "tversky" in rows[1] and "<th>epochs</th>" not in table
    assert "cheating" in page and "The network beats its best baseline: mean_iou +" in page


def test_the_winner_on_test_is_not_chosen_for_it(no_pictures, tmp_path):
    good, lucky = made_run(tmp_path, 0.1, lr=0.1), made_run(tmp_path, 0.2, lr=0.2)
    lucky.update(headline=lucky.info["headline"] | {"value": 0.99})
    page = runs_compare.write_comparison([lucky.path, good.path]).read_text()
    assert f"Chosen by validation: {words(good)}" in page


def test_differences_are_those_of_the_scores_and_paired(six, page):
    _, made, *_ = six
    section = re.search(r"<h2 id=\"differences\">.*?</table>", page, re.S)[0]
    gap = made[5].info["headline"]["value"] - made[1].info["headline"]["value"]
    row = next(r for r in re.findall(r"<tr.*?</tr>", section, re.S) if words(made[5]) in r)
    value, low, high = map(float, re.findall(r"([+-]\d\.\d{3}) \[([+-]\d\.\d{3}), ([+-]\d\.\d{3})\]", row)[1])
    assert value == pytest.approx(gap, abs=6e-4) and low < value < high < 0 and "worse, but with so few blocks" in row
    assert words(made[1]) not in section.split("<table>")[1]


def test_runs_link_to_their_reports_and_the_others_are_named_with_the_reason(six, page):
    _, made, failed, broken = six
    assert f'href="segmentation/{made[0].name}/report.html"' in page
    apart = page[page.index('<h2 id="apart">') :]
    assert words(failed) in apart and "the loss became NaN" in apart
    assert words(broken) in apart and "not readable JSON" in apart


def test_losses_are_not_drawn_on_one_scale_when_they_differ(six, no_pictures, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(runs_compare, "curves", lambda logs, metric, loss, attrs: drawn.append(loss))
    runs_compare.write_comparison([run.path for run in six[1]], tmp_path / "a.html")
    one, two = made_run(tmp_path, 0.1, lr=0.1, loss="dice"), made_run(tmp_path, 0.1, lr=0.2, loss="dice")
    runs_compare.write_comparison([one.path, two.path], tmp_path / "b.html")
    assert drawn == [False, True]


def test_cost_and_shared_parameters_are_told(page):
    assert "1.0 min" in page and "812 MB" in page
    shared = page[page.index('<h2 id="parameters">') :]
    assert "<td>epochs</td><td>8</td>" in shared and "<td>lr</td>" in shared and "<td>loss</td>" not in shared


def test_other_samples_older_scores_and_lost_ones_are_said_not_compared(no_pictures, tmp_path):
    first = made_run(tmp_path, 0.05, lr=0.1)
    elsewhere = made_run(tmp_path, 0.1, store="data/segmentation/raleigh-2", lr=0.2)
    new = ["block_confusion", "block_losses", "block_edges", "source_score", "source_score_low", "source_score_high"]
    older = scored(0.2)
    older = older.drop_vars([v for v in older.variables if v.startswith(("block", "source")) or v in new])
    older = older.sel(metric=[m for m in older["metric"].values if m != "boundary_f1"])
    old, other_ground = made_run(tmp_path, 0.2, scores=older, lr=0.3), made_run(tmp_path, 0.2, lr=0.4)
    score_classes(predicted(0.2, shape=(64, 128)), draws=0).to_netcdf(other_ground.scores, engine="h5netcdf")
    lost, torn = made_run(tmp_path, 0.3, lr=0.5), made_run(tmp_path, 0.3, lr=0.6)
    lost.scores.unlink()
    torn.scores.write_bytes(b"cut off")
    page = runs_compare.write_comparison(
        [r.path for r in (first, elsewhere, old, other_ground, lost, torn)]
    ).read_text()
    for told in ("another sample store (data/segmentation/raleigh-2)", "made by an older geonb", "do not hold the same pixels",
                 "scores.nc is gone", "scores.nc cannot be read"):  # fmt: skip
        assert told in page, told
    assert "Could not be read" not in page and "6 runs compared" in page


def test_runs_led_by_another_metric_stand_apart(no_pictures, tmp_path):
    one, two, other = (made_run(tmp_path, 0.1, lr=lr) for lr in (0.1, 0.2, 0.3))
    other.update(headline=other.info["headline"] | {"metric": "rmse"})
    page = runs_compare.write_comparison([r.path for r in (one, two, other)]).read_text()
    assert "2 runs compared" in page and "led by rmse, the others by mean_iou" in page


@functools.cache
def forecast(noise=0.0, months=7):
    made = made_forecast_scores.made()
    data = made["grid"].to_dataset().isel(time=slice(7 - months, None))
    tree = xr.DataTree.from_dict({"/grid": data})
    tree.attrs = made.attrs
    return score_forecasts(made_forecast_scores.noisier(tree, noise), draws=20)


def made_forecast(root, noise=0.0, months=7, store="data/conflict/made-1", **parameters):
    scores = forecast(noise, months)
    return made_run(root, noise, store, scores, "average_precision", workload="conflict", **parameters)


def test_forecasts_are_compared_and_classes_are_not_asked_of_them(tmp_path):
    best, worse, elsewhere, other = (
        made_forecast(tmp_path, *of, **more)
        for of, more in (((), {"lr": 0.1}), ((1.5,), {"lr": 0.2}), ((1.5, 7, "data/conflict/made-2"), {"lr": 0.3}),
                         ((1.5, 6, "data/conflict/made-3"), {"lr": 0.4}))
    )  # fmt: skip
    images = made_run(tmp_path, 0.1, lr=0.5)
    page = runs_compare.write_comparison([r.path for r in (best, worse, elsewhere, other, images)]).read_text()
    assert "4 runs compared" in page and "Each class" not in page and "Could not be read" not in page
    parts = ("differences", "leads", "outcomes", "curves", "apart")
    told = {key: page.split(f'<h2 id="{key}">')[1].split("<h2 id=")[0] for key in parts}
    assert "9 of cells x 2 quarters" in told["differences"] and told["differences"].count("worse, but with so few") == 2
    assert told["differences"].count("(another sample store, of the same cell-months)") == 1
    assert (
        "another sample store (data/conflict/made-3): other val months (2010-02 to 2010-03, 2 months; 2010-01"
        in told["differences"]
    )
    assert "state-based" in told["outcomes"] and all(told[k].count("data:image") == 1 for k in ("leads", "curves"))
    assert "a run of segmentation, the others are of conflict" in told["apart"] and words(images) in told["apart"]


def test_triplets_are_compared_over_their_blocks_also_of_two_stores_that_hold_the_same(no_pictures, tmp_path):
    def of(pattern, placed=True, **more):
        tree = made_triplets.made_predictions(400, pattern=pattern)
        data = tree["triplets"].to_dataset()
        places = ("neighbor_y", "neighbor_x", "distant_t", "distant_y", "distant_x", "distant_source")
        tree["triplets"] = xr.DataTree(data.assign(dict.fromkeys(places, data["y"])) if placed else data)
        scores = score_triplets(tree, draws=20)
        return made_run(tmp_path, 0, scores=scores, metric="triplet_accuracy", workload="clouds", **more)

    stores = {"store": "data/clouds/one"}, {"store": "data/clouds/one"}, {"store": "data/clouds/two"}
    made = [of(2.0 - i, lr=0.1 * (i + 1), **store) for i, store in enumerate(stores)]
    unplaced = of(0.0, placed=False, store="data/clouds/three", lr=0.9)
    page = runs_compare.write_comparison([r.path for r in (*made, unplaced)]).read_text()
    told = page.split('<h2 id="differences">')[1].split("<h2 id=")[0]
    assert (
        "The triplet accuracy of each run minus that of" in told and "cannot be compared: another sample store" in told
    )
    assert told.count("(another sample store, of the same triplets)") == 1 and "Could not be read" not in page
    sources = page.split('<h2 id="sources">')[1].split("<h2 id=")[0]
    assert "west" in sources and "east" in sources


def test_a_run_of_another_workload_is_compared_with_nothing(no_pictures, tmp_path):
    one, other = made_forecast(tmp_path), made_run(tmp_path, 0.1)
    page = runs_compare.write_comparison([one.path, other.path]).read_text()
    assert "1 run, none to compare it with" in page and "Only one run here can stand in this table" in page
    assert 'id="differences"' not in page and "the others are of" in page


def test_nothing_to_compare(tmp_path):
    one, two = (runs.new_run("segmentation", {}, tmp_path) for _ in range(2))
    page = runs_compare.write_comparison([one.path, two.path], tmp_path / "deep" / "page.html").read_text()
    assert "No run here has scores" in page and words(one) in page and "not scored yet" in page
    with pytest.raises(ValueError, match="two runs or more, not 1"):
        runs_compare.write_comparison([one.path, one.path])


def test_the_table_of_runs_agrees_with_the_page(six):
    root, made, *_ = six
    frame = run_table.table(root, columns="short")
    assert runs.best(frame)["run"] == made[1].name and {"network", "loss"} < set(frame) and "epochs" not in frame
    assert json.loads((made[1].path / "run.json").read_text())["state"] == "done"
