"""Windows around events, against loops in plain Python, and the split by time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.conflict import leakage, windows


def made(months=30, rows=20, columns=24, share=0.05, seed=0):
    return (np.random.default_rng(seed).random((months, rows, columns)) < share).astype(np.float32)


def count_by_hand(event, t, y, x, size, steps):
    columns = [(x + k) % event.shape[2] for k in range(size)]
    return sum(
        int(event[m, row, column] != 0) for m in range(t - steps, t) for row in range(y, y + size) for column in columns
    )


@pytest.mark.parametrize("wraps", [False, True])
def test_windows_contain_their_cell_and_count_their_past(wraps):
    event = made()
    event[:, :, 0] = event[:, 0] = (
        np.random.default_rng(1).random(event[:, :, 0].shape[:1])[:, None] < 0.3
    )  # at the edge
    table = windows.cut_sequences(event, steps=4, horizon=2, chunk_size=6, draws=3, min_events=8, wraps=wraps)
    assert len(table) > 300
    for row in table.sample(80, random_state=0).itertuples():
        cell_y, cell_x = divmod(row.gid, 24)
        assert event[row.t, cell_y, cell_x] == 1
        assert row.y <= cell_y < row.y + 6
        assert (cell_x - row.x) % 24 < 6
        assert row.events == count_by_hand(event, row.t, row.y, row.x, 6, 4) >= 8
    assert table["t"].between(4, 28).all()
    assert ((table["y"] >= 0) & (table["y"] <= 14)).all()
    assert table["x"].max() == (23 if wraps else 18)


def test_every_event_gives_all_its_draws_where_the_past_is_not_asked_for():
    event = made(share=0.02)
    table = windows.cut_sequences(event, steps=3, horizon=1, chunk_size=5, draws=4, min_events=0)
    assert set(table["gid"][table["t"] == 9]) == set(np.flatnonzero(event[9]).tolist())
    assert len(table) <= 4 * event[3:].sum()
    assert len(table) > 3 * event[3:].sum()  # some draws fall together
    assert not table.duplicated(["t", "y", "x"]).any()


def test_each_place_that_contains_the_cell_is_equally_likely():
    gid = np.arange(40_000)
    middle = np.full(len(gid), 50)
    row, column = windows.place_windows(middle, middle, gid, 7, 4, 1, 0, (100, 100), False)
    counts = np.bincount((50 - row) * 4 + (50 - column), minlength=16)
    assert counts.sum() == 40_000
    from scipy.stats import chisquare

    assert chisquare(counts).pvalue > 1e-4


def test_draws_follow_from_seed_month_cell_alone():
    event = made()
    gid = np.arange(event[0].size).reshape(event[0].shape)
    cut = {"steps": 3, "chunk_size": 4, "draws": 2, "min_events": 0}
    whole = windows.cut_sequences(event, gid=gid, first_month=100, **cut)
    # a region without the first rows and columns, a period without the first 5 months
    part = windows.cut_sequences(event[5:, 4:, 4:], gid=gid[4:, 4:], first_month=105, **cut)
    part = part.assign(t=part["t"] + 5, y=part["y"] + 4, x=part["x"] + 4)
    inner = part[(part["y"] > 4) & (part["x"] > 4)]  # not shifted inside
    both = inner.merge(whole, on=["t", "y", "x"])
    assert len(inner) > 100
    assert len(both) == len(inner)
    other = windows.cut_sequences(event, gid=gid, first_month=100, seed=1, **cut)
    assert not whole[["t", "y", "x"]].equals(other[["t", "y", "x"]])


def test_cells_outside_the_region_seed_nothing_and_lower_the_valid_share():
    event, valid = made(), np.ones((20, 24), bool)
    valid[:, :12] = False
    table = windows.cut_sequences(event, valid, steps=3, chunk_size=6, draws=5, min_events=0)
    assert (table["gid"] % 24 >= 12).all()
    for row in table.sample(30, random_state=0).itertuples():
        assert row.valid_share == pytest.approx(valid[row.y : row.y + 6, row.x : row.x + 6].mean())
    assert table["valid_share"].min() < 1


@pytest.mark.parametrize("outliers", ["lof", "kmeans"])
def test_an_isolated_event_is_dropped(outliers):
    y, x = np.divmod(np.arange(25), 5)
    y, x = np.append(y, 200), np.append(x, 300)
    kept = windows.drop_isolated(y, x, outliers)
    assert 200 not in kept[0]
    assert len(kept[0]) >= 20
    few = windows.drop_isolated(y[-4:], x[-4:], outliers)
    assert len(few[0]) == 4


def test_lof_agrees_with_scikit_learn_and_knows_the_dateline():
    from sklearn.neighbors import LocalOutlierFactor

    random = np.random.default_rng(0)
    y, x = random.integers(0, 300, 80), random.integers(0, 300, 80)
    wanted = LocalOutlierFactor(n_neighbors=5, contamination=0.05).fit_predict(np.stack([y, x], 1)) == 1
    np.testing.assert_array_equal(windows.drop_isolated(y, x, "lof")[0], y[wanted])
    y, x = np.repeat(100, 10), np.array([0, 1, 2, 3, 4, 715, 716, 717, 718, 719])
    far = windows.drop_isolated(y, x, "lof", around=720)
    near = windows.drop_isolated(y, (x + 360) % 720, "lof", around=720)
    np.testing.assert_array_equal((far[1] + 360) % 720, near[1])


def test_what_cannot_be_is_listed_whole():
    with pytest.raises(ValueError, match=r"chunk_size = 0[\s\S]*draws = 1.5[\s\S]*outliers = 'dbscan'"):
        windows.check_windows(0, 10, 1, 1.5, 25, "dbscan", 0)
    with pytest.raises(ValueError, match=r"region of 12 x 30 cells: the largest that fits is 12"):
        windows.cut_sequences(np.zeros((40, 12, 30)), chunk_size=16)
    with pytest.raises(ValueError, match=r"horizon = 50 months is longer than the data of 40 months"):
        windows.cut_sequences(np.zeros((40, 20, 30)), horizon=50)
    with pytest.raises(ValueError, match=r"steps \+ horizon = 30 \+ 20 months is longer"):
        windows.cut_sequences(np.zeros((40, 20, 30)), steps=30, horizon=20)


def months_touched(origins, steps, horizon):
    seen = {m for t in origins for m in range(t - steps, t)}
    return seen, {m for t in origins for m in range(t, t + horizon)}


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 400), st.integers(1, 24), st.integers(1, 36),
    st.sampled_from(["70/15/15", "60/20/20", "80/0/20", "50/50/0", "100/0/0"]),
)  # fmt: skip
def test_no_split_sees_a_month_that_another_is_to_forecast(n, steps, horizon, shares):
    try:
        found = windows.split_months(n, steps, horizon, shares)
    except ValueError as error:
        least = int(str(error).split("at least ")[1].split()[0])
        assert n < least
        windows.split_months(least, steps, horizon, shares)
        return
    months = {s: months_touched(range(a, b + 1), steps, horizon) for s, (a, b) in found.items()}
    assert all(a <= b for a, b in found.values())
    assert min(min(seen) for seen, _ in months.values()) == 0
    assert max(max(ahead) for _, ahead in months.values()) == n - 1
    for one in months:
        for other in months:
            assert one == other or not (months[one][0] | months[one][1]) & months[other][1]


def test_shares_are_met_within_a_month():
    found = windows.split_months(360, 10, 3, "70/15/15")
    counts = np.array([b - a + 1 for a, b in found.values()])
    assert counts.sum() == 360 - 10 - 3 + 1 - 2 * 12
    np.testing.assert_allclose(counts / counts.sum(), [0.7, 0.15, 0.15], atol=0.01)


def test_dates_are_the_last_target_months():
    # data from 1990-01 to 2019-12, 10 months in, 3 out
    found = windows.split_months(360, 10, 3, "train:2010-12,val:2014-12", 240)
    names = {s: [str(pd.Period("1990-01", "M") + t) for t in ends] for s, ends in found.items()}
    assert names["train"] == ["1990-11", "2010-10"]  # the last one forecasts 2010-10 to 2010-12
    assert names["val"] == ["2011-11", "2014-10"]  # the first one sees 2011-01 to 2011-10
    assert names["test"] == ["2015-11", "2019-10"]


@pytest.mark.parametrize(
    ("shares", "match"),
    [
        ("train:2010-13,val:2014-12", "'2010-13' is not a month"),
        ("train:2014-12,val:2010-12", "train must end before val"),
        ("train:2025-12", "lies outside the data, 1990-01 to 2019-12"),
        ("val:2010-12", "last month of train is missing"),
        ("train:2010-12,val:2011-03", "val: its first forecast"),
        ("training:2010-12", "name each of"),
    ],
)
def test_dates_that_cannot_be_are_refused(shares, match):
    with pytest.raises(ValueError, match=match):
        windows.split_months(360, 10, 3, shares, 240)


def table_of(**origins):
    rows = [(t, 0, 0, split) for split, months in origins.items() for t in months]
    return pd.DataFrame(rows, columns=["t", "y", "x", "split"])


def test_a_planted_leak_of_one_month_is_caught():
    split = {"steps": 4, "horizon": 2}
    clean = table_of(train=[10, 12], val=[18, 20], test=[26])
    assert leakage.leaks(clean, split) == ([], 6.0)
    faults, gap = leakage.leaks(table_of(train=[10, 12], val=[17, 20], test=[26]), split)
    assert gap == 5
    assert faults == ["val window 2 (origin 17, y 0, x 0) sees month 13, which is a target of train"]


def test_windows_that_forecast_one_month_in_two_splits_are_caught():
    faults, gap = leakage.leaks(table_of(train=[10], test=[11]), {"steps": 1, "horizon": 2})
    assert gap == 1
    assert "train window 0 (origin 10, y 0, x 0) forecasts month 11, which is a target of test" in faults
    assert leakage.leaks(table_of(train=[3, 4]), {"steps": 3, "horizon": 1}) == ([], np.inf)
    assert "has no split" in leakage.leaks(table_of(train=[3]).assign(split=None), {"steps": 3, "horizon": 1})[0][0]
