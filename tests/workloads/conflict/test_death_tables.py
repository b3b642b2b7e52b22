"""Draws of deaths in the challenge's layout: written for others, read from others, and scored beside ours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_cubes import contagion
from forecasting import RECORD, model_of  # noqa: F401

from geonb.prediction.predictions import open_predictions
from geonb.workloads.conflict import exports, predict
from geonb.workloads.conflict.baselines import never
from geonb.workloads.conflict.death_baselines import last_months, last_poisson
from geonb.workloads.conflict.death_tables import beside, read_draws, windows_of, write_draws
from geonb.workloads.conflict.scores import score_forecasts

MEMBERS = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Predictions of 7 test origins (2012-01 ...) three months ahead, and the folder of their exports."""
    store = contagion(splits={"train": (6, 98), "val": (107, 110), "test": (144, 151)}, months=153)
    store.valid[0, 0] = False
    path = tmp_path_factory.mktemp("run")
    run = SimpleNamespace(path=path, predictions=path / "predictions.zarr")
    models = [never(store), last_months(store), last_poisson(store)]
    predict.predict_region(run, store, model_of(), models, members=MEMBERS)
    exports.export_forecasts(run, None)
    return open_predictions(run.predictions), path / "maps", store


def test_files_are_the_challenges_tables(made):
    tree, maps, store = made
    data = tree["grid"].to_dataset()
    table = pd.read_parquet(maps / "draws_last-12-months_any-violence_future.parquet")
    assert list(table.columns) == ["month_id", "priogrid_gid", "draw", "outcome"]
    # the data end in 2012-09, so that the future is October to December 2012
    assert set(table.month_id) == {(2012 - 1980) * 12 + month for month in (10, 11, 12)}
    assert len(table) == 3 * store.valid.sum() * MEMBERS and set(table.draw) == set(range(MEMBERS))
    y, x = 4, 7
    mine = table[(table.priogrid_gid == int(data.gid[y, x])) & (table.month_id == 395)].sort_values("draw").outcome
    assert sorted(mine) == sorted(store.best[-12:, y, x]), "the cell's own last 12 months"
    test = pd.read_parquet(maps / "draws_last-poisson_any-violence_test.parquet")
    assert not test.duplicated(["month_id", "priogrid_gid", "draw"]).any()
    assert sorted(set(test.month_id)) == list(range(385, 394)), "every month once, back from the last"
    assert int(data.gid[0, 0]) not in set(test.priogrid_gid)


def test_tables_too_large_to_be_written_unasked_are_told(made, tmp_path, monkeypatch):
    _, maps, store = made
    rows = 3 * int(store.valid.sum()) * MEMBERS  # of the future; the test months are nine
    monkeypatch.setattr(exports, "MOST_DRAWS", rows)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "draws_never_any-violence_test.parquet").write_bytes(b"of earlier predictions")
    report = exports.export_forecasts(
        SimpleNamespace(path=tmp_path, predictions=maps.parent / "predictions.zarr"), None
    )
    told = report.set_index("file")
    assert told.loc["draws_never_any-violence_future.parquet", "state"] == "done"
    left = told.loc["draws_never_any-violence_test.parquet"]
    assert left["state"] == "left out" and f"{3 * rows:,} rows" in left["reason"]
    assert [p.name for p in (tmp_path / "maps").glob("*_test.parquet")] == []


def test_what_is_written_is_read_back(made):
    tree, maps, store = made
    data = tree["grid"].to_dataset()
    found = read_draws(maps / "draws_last-poisson_any-violence_test.parquet")
    origins = windows_of(data, "test")
    assert [str(m)[:7] for m in data.time.values[origins]] == ["2012-01", "2012-04", "2012-07"]
    expected = data.deaths_draws.sel(drawn="last-poisson").isel(outcome=0, time=origins).values[..., store.valid]
    order = np.argsort(data.gid.values[store.valid])
    np.testing.assert_array_equal(
        found.transpose("member", "month", "gid"), expected.reshape(MEMBERS, 9, -1)[..., order]
    )


def test_draws_of_another_program_are_scored_on_the_same_months(made, tmp_path):
    tree, maps, _ = made
    table = pd.read_parquet(maps / "draws_last-poisson_any-violence_test.parquet")
    table = table.rename(columns={"priogrid_gid": "pg_id"}).sample(frac=1, random_state=0)
    table.set_index(["month_id", "pg_id", "draw"]).to_parquet(tmp_path / "theirs.parquet")
    both = beside(tree, read_draws(tmp_path / "theirs.parquet"), "theirs", windows=3)
    scores = score_forecasts(both, draws=20)
    assert list(scores.model.values)[-1] == "theirs" and scores.sizes["time"] == 3
    deaths = ["crps", "ignorance", "interval_score"]
    one, other = (scores.sel(model=m, metric=deaths, split="test") for m in ("theirs", "last-poisson"))
    np.testing.assert_allclose(one.score, other.score, rtol=1e-6)
    np.testing.assert_allclose(one.lead_score, other.lead_score, rtol=1e-6)
    assert np.isfinite(
        scores.score.sel(model="theirs", split="test", metric=["average_precision", "brier", *deaths])
    ).all()
    assert scores.attrs["drawn"].endswith("theirs")


def draws_of(gids=(10, 11), months=3, members=4, first=385):
    index = pd.MultiIndex.from_product([range(first, first + months), gids, range(members)])
    table = index.to_frame(index=False, name=["month_id", "priogrid_gid", "draw"])
    return table.assign(outcome=np.arange(len(table)) % 7)


BROKEN = {
    "no outcome; it has": lambda t: t.drop(columns="outcome"),
    "no priogrid_gid; it has": lambda t: t.rename(columns={"priogrid_gid": "cell"}),
    "1 outcomes are negative .first: -1 of cell 10, month_id 385": lambda t: t.assign(outcome=[-1, *t.outcome[1:]]),
    "1 outcomes are not known": lambda t: t.assign(outcome=[np.nan, *t.outcome[1:]]),
    "1 rows whose priogrid_gid": lambda t: t.assign(priogrid_gid=[259_201, *t.priogrid_gid[1:]]),
    "1 rows whose month_id is no whole number": lambda t: t.assign(month_id=[385.5, *t.month_id[1:]]),
    "3 to 4 draws .fewest: month_id 387, cell 11": lambda t: t.iloc[:-1],
    "1 rows are a second draw": lambda t: pd.concat([t, t.iloc[:1]]),
    "1 of 2 cells x 3 months have no draw": lambda t: t.iloc[:-4],
    "it has no row": lambda t: t.iloc[:0],
}


@pytest.mark.parametrize("told", BROKEN)
def test_tables_that_are_no_draws_are_refused_with_what_is_wrong(told, tmp_path):
    BROKEN[told](draws_of()).to_parquet(tmp_path / "draws.parquet")
    with pytest.raises(ValueError, match=f"draws.parquet.*(?s:.*){told}"):
        read_draws(tmp_path / "draws.parquet")


def test_draws_that_do_not_fit_are_refused_with_the_cure(made, tmp_path):
    tree, maps, _ = made
    whole = read_draws(maps / "draws_never_any-violence_test.parquet")
    later = whole.assign_coords(month=whole.month.to_index() + pd.DateOffset(years=9))
    for draws, options, told in (
        (whole, {"windows": 2}, "9 months, 2012-01 to 2012-09; 2 forecast.s. of 3 months each are 6"),
        (later, {"windows": 3}, "begins in 2021-01; theirs begin in 2008-12 to 2012-10"),
        (whole.isel(member=slice(3)), {"windows": 3}, "3 draws a cell, but ours are 12"),
        (whole.isel(gid=slice(1, None)), {"windows": 3}, "No draws of 1 of the region's cells"),
        (whole, {"windows": 3, "outcome": "one-sided"}, "any violence"),
        (whole, {"windows": 3, "name": "network"}, "a model 'network' already"),
    ):
        with pytest.raises(ValueError, match=told):
            beside(tree, draws, **{"name": "theirs", **options})


def test_what_has_no_draws_is_not_written(made, tmp_path):
    data = made[0]["grid"].to_dataset()
    with pytest.raises(ValueError, match=r"'network' has no draws of deaths\. These have: never, last"):
        write_draws(data, tmp_path / "x.parquet", "network", "any violence")
    with pytest.raises(ValueError, match="No origin of the split 'train'"):
        write_draws(data, tmp_path / "x.parquet", "never", "any violence", "train")
    assert not (tmp_path / "x.parquet").exists()
