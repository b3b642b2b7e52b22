"""Reports: of runs in every state, whole, small, and asking nobody."""

import dataclasses
import json
import re
import shutil
from html import escape

import geopandas as gpd
import harm
import made_triplets
import nbformat
import pytest
from made import made_predictions, made_scores
from pages import FETCHES, FETCHING, notebook, outputs, png, run  # noqa: F401

from geonb import registry
from geonb import store as stores
from geonb.runs import html as runs_html
from geonb.runs import report
from geonb.workloads.clouds.scores import score_triplets
from geonb.workloads.segmentation.store import PatchStore


def test_what_is_said_of_a_store_is_escaped_once(small_store, tmp_path):
    page = report._store(tmp_path, {"store": str(small_store.path)})
    assert "the splits&#x27; nearest windows" in page and "&amp;#" not in page


def test_a_report_proves_a_split_that_was_never_proved_or_has_changed_since(small_store, tmp_path, monkeypatch):
    harm.unsealed(shutil.copytree(small_store.path, tmp_path / "store", ignore=shutil.ignore_patterns(stores.PROOF)))
    proved, real = [], PatchStore.check_split
    monkeypatch.setattr(PatchStore, "check_split", lambda store: proved.append(store) or real(store))

    def page():
        return report._store(tmp_path, {"store": str(tmp_path / "store")})

    first = page()
    assert len(proved) == 1 and "0 samples leak" in first
    assert page() == first and len(proved) == 1, "the proof of this very table holds"
    (tmp_path / "store" / stores.PROOF).write_text('{"of": ')
    assert page() == first and len(proved) == 2, "a record cut short is none"
    table = gpd.read_parquet(tmp_path / "store" / "index.parquet")
    train, test = (table.index[table["split"] == split][0] for split in ("train", "test"))
    table.loc[test, ["y", "x"]] = table.loc[train, ["y", "x"]].to_numpy()
    table.to_parquet(tmp_path / "store" / "index.parquet", index=False)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"leaks:(?s:.*)train window {train} .* overlaps test window"):
            page()
    assert len(proved) == 4, "what leaks is never recorded as proved"


def test_a_report_takes_the_proof_of_notebook_01(small_store, tmp_path, monkeypatch):
    shutil.copytree(small_store.path, tmp_path / "store", ignore=shutil.ignore_patterns(stores.PROOF))
    checked = stores.check_split(stores.open_store(tmp_path / "store"))
    monkeypatch.setattr(PatchStore, "check_split", lambda store: pytest.fail("proved again"))
    assert escape(checked["said"]) in report._store(tmp_path, {"store": str(tmp_path / "store")})
    assert stores.proof_of(stores.open_store(tmp_path / "store")) == checked
    other = dataclasses.replace(small_store, path=tmp_path / "store", meta=small_store.meta | {"title": "another seal"})
    with pytest.raises(pytest.fail.Exception, match="proved again"):
        stores.proof_of(other)


def test_a_report_says_that_scores_are_of_earlier_predictions(run):
    info = json.loads((run / "run.json").read_text())
    info["steps"]["04_analytics"] = info["steps"]["02_training"] | {"ended": "2026-11-22T10:05:00Z"}
    for started, told in (("2026-11-22T10:02:00Z", False), ("2026-11-22T11:00:00Z", True)):
        info["steps"]["03_prediction"] = info["steps"]["02_training"] | {"started": started}
        (run / "run.json").write_text(json.dumps(info))
        page = report.write_report(run).read_text()
        assert ("the scores are of before 03_prediction ran again" in page) is told


def test_finished_run_is_told_whole(run):
    page = report.write_report(run).read_text()
    for told in (
        "Land cover from rasters and masks",  # the workload's title
        "2026-11-22_calm-heron",
        "pixel-linear",
        "95 % intervals",
        "1 min 2 s",
        "812 MB",
        "epochs: 3",
        "numpy==2.4.6",
        "Why we do this.",
        "Simulated data",
        "open the notebook in JupyterLab",
    ):
        assert told in page, told
    scores = made_scores(made_predictions())
    value, low, high = (
        float(scores[v].sel(model="network", split="test", metric="mean_iou"))
        for v in ("score", "score_low", "score_high")
    )
    assert f"{value:.2f} [{low:.2f}, " in page and f"{int(scores.n_samples.sel(split='test')):,} pixels" in page
    assert abs(high - low) > 0
    assert not list(run.glob("*.partial"))


def test_code_is_folded_and_headings_nest(run):
    page = report.write_report(run).read_text()
    assert len(re.findall(r"<details class=\"code\">", page)) == 3
    assert (
        page.count("<h1") == 1
        and '<h2 class="notebook" id="02_training">02 Training</h2>' in page
        and "<h3>Fit</h3>" in page
    )
    targets = re.findall(r'<li><a href="#([^"]+)"', page)
    assert targets and all(f'id="{target}"' in page for target in targets)


def test_asks_no_host(run):
    page = report.write_report(run).read_text()
    assert not FETCHES.search(page)
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    assert "a link to read" in page and "kept" in page  # what a reader may click stays
    assert "fetch('https" not in page


def test_request_inside_an_iframe_document_is_taken_out_and_ours_survives():
    clean = runs_html.without_requests(FETCHING)
    assert "cdn.example.org/d.js" not in clean and "kept" in clean
    ours = '<iframe srcdoc=\'<p title="a&#39;b">1 &amp;&amp; 2</p><script>if (a && b) {x = "<img src=http://no>"}</script>\'></iframe>'
    again = runs_html.without_requests(ours)
    import html

    document = re.search(r"srcdoc='([^']*)'", again)[1]
    assert html.unescape(document) == html.unescape(re.search(r"srcdoc='([^']*)'", ours)[1])


def test_failed_run_shows_its_error(run):
    info = json.loads((run / "run.json").read_text())
    info["state"] = info["steps"]["02_training"]["state"] = "failed"
    info["steps"]["02_training"]["error"] = "ValueError: the loss became <NaN>"
    (run / "run.json").write_text(json.dumps(info))
    (run / "scores.nc").unlink()
    failing = nbformat.v4.new_code_cell(
        "fit()",
        outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="NaN", traceback=["Trace: NaN here"])],
    )
    notebook(run / "notebooks" / "02_training.ipynb", "02 Training", [failing])
    page = report.write_report(run).read_text()
    assert "the loss became &lt;NaN&gt;" in page and "Trace: NaN here" in page
    assert 'class="state failed"' in page and "How good it is" not in page


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda run: (run / "run.json").write_text("{"), "run.json cannot be read"),
        (lambda run: (run / "run.json").unlink(), "There is no run.json"),
        (lambda run: (run / "run.json").write_text("[1]"), "must hold a mapping"),
        (lambda run: (run / "scores.nc").write_bytes(b"cut off"), "Could not be read"),
        (lambda run: (run / "notebooks" / "02_training.ipynb").write_text('{"cells": ['), "It may have been cut off"),
        (lambda run: set_info(run, store="data/segmentation/gone"), "Could not be read: FileNotFoundError"),
        (lambda run: set_info(run, steps={"02_training": {"state": "running"}}), "running"),
        (lambda run: (run / "environment.txt").unlink(), "02 Training"),
    ],
)
def test_broken_run_says_what_is_broken_and_shows_the_rest(run, break_it, told):
    break_it(run)
    page = report.write_report(run).read_text()
    assert told in page and "Parameters" in page and "<footer>" in page


def test_what_a_run_names_is_told_and_not_imported(run, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    set_info(run, record="trap:RECORD", workload="mine", title="Snow", question="Where does <snow> lie?")
    page = report.write_report(run).read_text()
    assert "<h1>Snow</h1>" in page and "Where does &lt;snow&gt; lie?" in page


def test_a_run_of_an_earlier_geonb_is_told_by_its_workload_or_its_predictions(run):
    assert escape(registry.get("segmentation").question) in report.write_report(run).read_text()
    set_info(run, record="mine:RECORD", workload="mine")
    assert "<h1>geonb: mine</h1>" in report.write_report(run).read_text()
    attributes = {"title": "Snow", "question": "Where does it lie?"}
    (run / "predictions.zarr").mkdir()
    (run / "predictions.zarr" / "zarr.json").write_text(json.dumps({"attributes": attributes}))
    page = report.write_report(run).read_text()
    assert "<h1>Snow</h1>" in page and "Where does it lie?" in page


def test_scores_by_source_are_told_where_there_are_several(run):
    assert "Each source" not in report.write_report(run).read_text()
    scores = made_scores(made_predictions((96, 128), ("north", "south")))
    scores.to_netcdf(run / "scores.nc", engine="h5netcdf")
    page = report.write_report(run).read_text()
    at = scores.sel(split="test", metric="mean_iou", source="south", model="network")
    assert "Each source" in page and f"{float(at.source_score):.3f} [{float(at.source_score_low):.3f}, " in page


def test_scores_of_triplets_are_told_in_their_own_words(run):
    scores = score_triplets(made_triplets.made_predictions(200), draws=20)
    scores.to_netcdf(run / "scores.nc", engine="h5netcdf")
    page = report.write_report(run).read_text()
    assert "triplet accuracy" in page and "relative margin" in page and "Could not be read" not in page
    assert f"Test split: {int(scores['n_samples'].sel(split='test')):,} triplets in " in page
    assert "test triplets" in page and "pixels" not in page.split("Each source")[1].split("</table>")[0]
    assert "Share of the test" not in page and "Predicted in float32." in page, "triplets have no prevalence"


def test_what_votes_say_is_told_below_the_windows(run):
    scores = made_scores()
    votes = {f"vote_score{end}": scores[f"score{end}"] for end in ("", "_low", "_high")}
    for off in (0.0, -0.111):
        told = scores.assign({name: one + off for name, one in votes.items()})
        told["vote_score"].attrs["long_name"] = "Events by vote"
        (run / "scores.nc").unlink()
        told.to_netcdf(run / "scores.nc", engine="h5netcdf")
        page = report._scores(run, {})
        first = float(told["vote_score"].sel(split="test", metric="mean_iou")[0])
        assert ('<p class="quiet">Events by vote: the same numbers.</p>' in page) == (off == 0)
        assert page.count("<table>") == (1 if off == 0 else 2)
        if off:
            assert f"{first:.2f} [" in page.partition("</table>")[2] and "Events by vote.</p>" in page


def test_scores_of_an_older_geonb_are_still_told(run):
    scores = made_scores(made_predictions())
    old = scores.drop_vars([name for name in scores.variables if name.startswith(("block", "source"))])
    old = old.drop_dims([d for d in ("source", "block", "edge", "loss") if d in old.dims])
    old = old.sel(metric=[m for m in old["metric"].values if m != "boundary_f1"], class_metric=["iou", "f1"])
    old.to_netcdf(run / "scores.nc", engine="h5netcdf")
    page = report.write_report(run).read_text()
    assert "95 % intervals" in page and "Could not be read" not in page and "boundary" not in page


def set_info(run, **facts):
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | facts))


def test_empty_folder_and_no_folder(tmp_path):
    assert "There is no run.json" in report.write_report(tmp_path).read_text()
    with pytest.raises(FileNotFoundError, match="No run folder"):
        report.write_report(tmp_path / "nothing")


def test_stays_under_the_limit_and_says_what_it_left_out(run):
    cells = [
        nbformat.v4.new_code_cell("picture", outputs=outputs({"image/png": png(900, noise=True)})),
        nbformat.v4.new_code_cell("page", outputs=outputs({"text/html": "<p>" + "x" * 3_000_000 + "</p>"})),
    ]
    notebook(run / "notebooks" / "03_prediction.ipynb", "03 Prediction", cells)
    whole = report.write_report(run)
    assert whole.stat().st_size > 5e6
    small = report.write_report(run, limit_mb=2)
    page = small.read_text()
    assert small.stat().st_size < 2e6 and "Left out to stay under the size limit" in page
    assert "03_prediction, cell 3: an output of 3.0 MB" in page and "data:image/jpeg;base64," in page


def test_progress_bars_keep_their_last_state(run):
    stream = nbformat.v4.new_output("stream", name="stderr", text=" 1 %|#\r 50 %|###\r100 %|######\nnext\n")
    notebook(
        run / "notebooks" / "03_prediction.ipynb", "03 Prediction", [nbformat.v4.new_code_cell("go", outputs=[stream])]
    )
    page = report.write_report(run).read_text()
    assert "100 %|######" in page and "50 %|###" not in page


def test_index_lists_whole_and_broken_runs(run, tmp_path):
    report.write_report(run)
    broken = tmp_path / "runs" / "segmentation" / "2026-11-23_sad-auk"
    broken.mkdir()
    page = report.write_index([run, broken], tmp_path / "runs" / "index.html").read_text()
    assert 'href="segmentation/2026-11-22_calm-heron/report.html"' in page
    assert "0.510 [0.450, 0.570]" in page and "pixel-linear 0.440" in page
    assert "2026-11-23_sad-auk" in page and "There is no run.json" in page
    assert not FETCHES.search(page)


def test_a_crs_without_a_code_is_told_by_its_projection():
    import pyproj

    wkt = pyproj.CRS("+proj=geos +h=35785831 +lon_0=9.5 +sweep=y").to_wkt()
    assert report._source_row({"name": "a", "crs": wkt}, {})["CRS"] == "geostationary, 9.5°E"
    assert report._source_row({"name": "a", "crs": "EPSG:32119"}, {})["CRS"] == "EPSG:32119"
    assert report._source_row({"name": "a"}, {})["CRS"] == ""


def test_nothing_that_a_received_run_says_of_its_steps_is_markup(run):
    info = json.loads((run / "run.json").read_text())
    bad = "<img src=x onerror=alert(1)>"
    step = info["steps"]["02_training"]
    step |= {
        "exit_code": bad,
        "state": bad,
        "error": bad,
        "parameters": {bad: bad},
        "cells": [{"index": bad, "title": bad, "seconds": 1.0}],
    }
    info |= {
        "steps": {bad: step},
        "name": bad,
        "workload": bad,
        "state": bad,
        "started": bad,
        "geonb": bad,
        "precision": bad,
    }
    (run / "run.json").write_text(json.dumps(info))
    for page in (report.write_report(run), report.write_index([run], run.parent / "index.html")):
        assert "<img src=x" not in page.read_text()
    assert escape(bad) in (run / "report.html").read_text()
