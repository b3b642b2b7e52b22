from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from geonb.workloads.conflict import cube as conflict_cube
from geonb.workloads.conflict import events, examples, priogrid, statistics

HERE = Path(__file__).resolve()
PLACES = [HERE.parents[n] / "shared" / "data" / "conflict" / "conflict_data_nga.csv" for n in (4, 5)]
NIGERIA = next((p for p in PLACES if p.exists()), PLACES[0])
real = pytest.mark.skipif(not NIGERIA.exists(), reason=f"the Nigeria file is not in {NIGERIA.parent}")


def draw_events(n=400, seed=0, months=30, side=4):
    """Random events in the cells of a box at (0, 0), with the attributes that reading gives."""
    rng = np.random.default_rng(seed)
    gid = priogrid.gid_of(rng.integers(0, side, n) / 2 + 0.25, rng.integers(0, side, n) / 2 + 0.25)
    start = 300 + rng.integers(0, months, n)
    frame = {
        "id": np.arange(n), "gid": gid, "month_start": start, "month_end": start + rng.integers(0, 3, n),
        "type": rng.integers(1, 4, n), "best": rng.integers(0, 4, n), "high": rng.integers(4, 9, n), "low": 0,
        "where_prec": rng.integers(1, 8, n), "date_prec": rng.integers(1, 6, n), "country_id": rng.integers(1, 4, n),
    }  # fmt: skip
    table = pd.DataFrame(frame)
    table.attrs = {"columns": [*frame], "countries": {}, "report": {"events": n}}
    return table


def load(folder):
    return xr.open_zarr(folder, group="grid", consolidated=False, decode_coords="all").load()


def write_cube(folder, *settings, **more):
    return conflict_cube.write_cube(folder, conflict_cube.plan_cube(*settings, **more))


def naive(table, region, first, months, rule="deaths", month_rule="start"):
    """Every channel by a loop over the events, in float64: {name: (time, y, x)}."""
    names = [f"{q}{s}" for q in ("event", "count", "best", "high") for s in ("", "_state", "_nonstate", "_onesided")]
    out = {n: np.zeros((months, *region.shape)) for n in names}
    for e in table.itertuples():
        y, x = (int(v) for v in priogrid.cell_of(e.gid))
        y, x = y - region.row, x - region.column
        span = {"start": [e.month_start], "end": [e.month_end], "spread": range(e.month_start, e.month_end + 1)}[
            month_rule
        ]
        for month in span:
            t = month - first
            if not (0 <= t < months and 0 <= y < region.shape[0] and 0 <= x < region.shape[1] and region.valid[y, x]):
                continue
            for suffix in ("", {1: "_state", 2: "_nonstate", 3: "_onesided"}[e.type]):
                if rule == "any" or e.best >= 1:
                    out[f"event{suffix}"][t, y, x] = 1
                out[f"count{suffix}"][t, y, x] += 1 / len(span)
                out[f"best{suffix}"][t, y, x] += e.best / len(span)
                out[f"high{suffix}"][t, y, x] += e.high / len(span)
    half = 2 ** (-1 / 6)
    since, history = np.zeros((2, *out["event"].shape))
    for t in range(months):
        for y, x in np.ndindex(region.shape):
            past = [k for k in range(t + 1) if out["event"][k, y, x]]
            since[t, y, x] = t - past[-1] if past else t + 1
            history[t, y, x] = sum(half ** (t - k) for k in past) * (1 - half)
    return out | {"months_since": since, "history_6": history}


@pytest.mark.parametrize(
    ("event_rule", "months", "start", "stop", "spec"),
    [
        ("deaths", "start", None, None, None),
        ("any", "end", "1995-07", "1996-11", "box:0,0.5,1.5,2.5"),
        ("deaths", "spread", "1994-11", "1998-01", "box:-1,-1,2,2"),
    ],
)
def test_the_cube_is_that_of_a_loop(tmp_path, event_rule, months, start, stop, spec):
    table = draw_events()
    names = "event,log1p_best,count_state,high_nonstate,event_onesided,log1p_count,months_since,history_6"
    facts = write_cube(tmp_path / "a.zarr", table, names, start, stop, spec, event_rule=event_rule, months=months)
    cube = load(tmp_path / "a.zarr")
    region = priogrid.select_region(spec, table)
    first = events.month_of(facts["sources"][0]["first_month"])
    wanted = naive(table, region, first, cube.sizes["time"], event_rule, months)
    for name in cube["monthly_channel"].to_numpy():
        want = np.log1p(wanted[name[6:]]) if name.startswith("log1p_") else wanted[name]
        found = cube["monthly"].sel(monthly_channel=name)
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6, err_msg=name)
    assert cube["monthly_channel"].to_numpy().tolist() == [*names.split(","), "best"]
    stamps = cube.indexes["time"].strftime("%Y-%m")
    last = table["month_end" if months != "start" else "month_start"].max()
    assert (stamps[0], stamps[-1]) == (
        start or events.month_text(table["month_start"].min()), stop or events.month_text(last)
    )  # fmt: skip


def test_layout_coordinates_and_attributes_are_the_contract(tmp_path):
    table = draw_events()
    facts = write_cube(tmp_path / "a.zarr", table, region="box:0,0,2,1.5")
    cube = load(tmp_path / "a.zarr")
    assert cube["monthly"].dims == ("time", "monthly_channel", "y", "x") and cube["monthly"].dtype == np.float32
    assert cube["monthly"].encoding["chunks"] == (12, 1, 3, 4)
    assert cube["y"].to_numpy().tolist() == [0.25, 0.75, 1.25] and cube["x"][0] == 0.25
    assert (cube["gid"] == priogrid.gid_of(*np.meshgrid(cube["y"], cube["x"], indexing="ij"))).all()
    assert cube.rio.crs.to_epsg() == 4326 and cube.rio.bounds() == (0, 0, 2, 1.5)
    assert cube["time"].dtype == "datetime64[ns]" and cube["y"].attrs["units"] == "degrees_north"
    assert cube["valid"].dtype == bool and "yearly" not in cube and "static" not in cube
    root = xr.open_datatree(tmp_path / "a.zarr", engine="zarr").attrs
    assert root["sources"] == facts["sources"] == [
        {"name": "grid", "crs": "EPSG:4326", "shape": [3, 4], "resolution": [0.5, 0.5], "pixel_m": 55660,
         "months": 30, "first_month": "1995-01", "wraps": False}
    ]  # fmt: skip
    assert root["channels"] == facts["channels"] and root["report"]["event_rule"] == "deaths"
    inside = (table["gid"].map(lambda g: g in cube["gid"].to_numpy())).sum()
    assert root["report"]["used"] == inside and root["report"]["outside_region"] == len(table) - inside
    counts = pd.crosstab(table["gid"], table["country_id"])
    for gid, country in zip(cube["gid"].to_numpy().ravel(), cube["country"].to_numpy().ravel(), strict=True):
        assert country == (counts.loc[gid].idxmax() if gid in counts.index else 0)


def test_records_know_role_kind_position_and_units():
    there = {"yearly": ["pop_gpw_sum"], "static": ["ttime_mean"]}
    records = conflict_cube.check_channels("event_state, log1p_pop_gpw_sum, log1p_best, ttime_mean", there, "by-type")
    shown = [(r["name"], r["kind"], r["position"], r["role"], r["binary"], r["units"]) for r in records]
    assert shown == [
        ("event_state", "monthly", 0, "both", True, "1"),
        ("log1p_pop_gpw_sum", "yearly", 0, "input", False, "log1p"),
        ("log1p_best", "monthly", 1, "input", False, "log1p(deaths)"),
        ("ttime_mean", "static", 0, "input", False, "1"),
        ("best_state", "monthly", 2, "target", False, "deaths"),
        ("event_nonstate", "monthly", 3, "target", True, "1"),
        ("best_nonstate", "monthly", 4, "target", False, "deaths"),
        ("event_onesided", "monthly", 5, "target", True, "1"),
        ("best_onesided", "monthly", 6, "target", False, "deaths"),
    ]


def test_names_that_say_nothing_are_listed_with_what_is_allowed():
    with pytest.raises(ValueError) as error:
        conflict_cube.check_channels(
            "event,event,log1p_event,history_0,history_,deaths,pop", {"yearly": ["pop_gpw_sum"]}
        )
    for says in (
        "'event' is given 2 times",
        "'log1p_event'",
        "'history_0'",
        "'history_'",
        "'deaths'",
        "'pop'",
        "pop_gpw_sum",
    ):
        assert says in str(error.value)
    with pytest.raises(ValueError, match="by-type"):
        conflict_cube.check_channels("event", outcomes="two")


def test_covariates_are_stored_once_a_year_and_unknown_is_no_zero(tmp_path):
    gid = priogrid.select_region("box:0,0,1,0.5").gid.ravel()
    pd.DataFrame({"gid": gid.repeat(2), "year": [1995, 1996] * 2, "pop_gpw_sum": [0, 1, 2, 3], "drought": 1.0}).to_csv(
        tmp_path / "y.csv", index=False
    )
    pd.DataFrame({"gid": gid, "ttime_mean": [5.0, np.nan]}).to_csv(tmp_path / "s.csv", index=False)
    facts = write_cube(
        tmp_path / "a.zarr", draw_events(), "event,log1p_pop_gpw_sum,ttime_mean,pop_gpw_sum", "1995-06", "1997-02",
        "box:0,0,1.5,0.5", [tmp_path / "y.csv", tmp_path / "s.csv"],
    )  # fmt: skip
    cube = load(tmp_path / "a.zarr")
    assert cube["yearly"].dims == ("year", "yearly_channel", "y", "x") and cube["year"].to_numpy().tolist() == [
        1995,
        1996,
        1997,
    ]
    people = np.array([[0, 2, np.nan], [1, 3, np.nan], [1, 3, np.nan]])
    np.testing.assert_allclose(cube["yearly"].sel(yearly_channel="pop_gpw_sum")[:, 0], people)
    np.testing.assert_allclose(
        cube["yearly"].sel(yearly_channel="log1p_pop_gpw_sum")[:, 0], np.log1p(people), rtol=1e-6
    )
    np.testing.assert_array_equal(cube["static"][0, 0], [5, np.nan, np.nan])
    assert facts["report"]["covariates"]["pop_gpw_sum"]["filled_years"] == [1997]
    assert [(r["kind"], r["position"]) for r in facts["channels"]][:4] == [
        ("monthly", 0),
        ("yearly", 0),
        ("static", 0),
        ("yearly", 1),
    ]


def test_faults_leave_nothing_on_disk(tmp_path):
    table, there = draw_events(), tmp_path / "a.zarr"
    table.attrs["columns"] = [c for c in table.attrs["columns"] if c != "high"]
    for more, says in [
        ({"channels": "event,log1p_high_state"}, "log1p_high_state"),
        ({"start": "2001-01", "stop": "2002-01"}, "no event from 2001-01"),
        ({"region": "box:50,50,60,60"}, "lies in the region"),
        ({"event_rule": "often"}, "event_rule"),
        ({"months": "middle"}, "months"),
    ]:
        with pytest.raises(ValueError, match=says):
            write_cube(there, table, **more)
    assert list(tmp_path.iterdir()) == []


def test_a_region_of_one_cell_and_months_without_events(tmp_path):
    table = draw_events(3, months=1).assign(gid=priogrid.gid_of(0, 0))
    facts = write_cube(tmp_path / "a.zarr", table, "event,months_since", "1994-06", "1996-12", event_rule="any")
    gaps = [facts["report"][f"months_{when}_events"] for when in ("before", "without", "after")]
    assert gaps == [7, 0, 23]  # told, because they count as peaceful
    cube = load(tmp_path / "a.zarr")
    assert cube["monthly"].shape == (31, 3, 1, 1)
    assert cube["monthly"].sel(monthly_channel="event")[:, 0, 0].to_numpy().nonzero()[0].tolist() == [7]
    assert cube["monthly"].sel(monthly_channel="months_since")[:, 0, 0].to_numpy().tolist() == [
        *range(1, 8),
        *range(24),
    ]


def test_the_whole_globe_wraps_and_places_events_on_its_edges(tmp_path):
    table = draw_events(4, months=1).assign(gid=[1, 720, 259_200 - 719, 259_200], best=1)
    facts = write_cube(tmp_path / "a.zarr", table, "event", region="globe")
    event = load(tmp_path / "a.zarr")["monthly"].sel(monthly_channel="event")
    assert facts["sources"][0]["wraps"] and event.sum() == 4
    assert (
        event.isel(y=[0, 0, -1, -1], x=[0, -1, 0, -1]).max("time").to_numpy()[[0, 1, 2, 3], [0, 1, 2, 3]].tolist()
        == [1] * 4
    )


@real
@pytest.mark.parametrize(("event_rule", "cell_months"), [("deaths", 2186), ("any", 2396)])
def test_the_event_rule_moves_nigerias_base_rate(tmp_path, event_rule, cell_months):
    write_cube(tmp_path / "a.zarr", NIGERIA, event_rule=event_rule)
    cube = load(tmp_path / "a.zarr")
    assert cube["monthly"].sel(monthly_channel="event").sum() == cell_months
    frame = pd.read_csv(NIGERIA, skiprows=[1], low_memory=False)
    assert cube["monthly"].sel(monthly_channel="best").sum() == frame["best"].sum()


def test_the_simulated_conflict_is_deterministic_plausible_and_says_so(tmp_path):
    path = examples.simulated_conflict(tmp_path / "one")
    again = examples.simulated_conflict(tmp_path / "two")
    assert path.read_bytes() == again.read_bytes()
    other = examples.simulate_events(1)
    frame, read = pd.read_csv(path), events.read_events(path)
    assert not frame["best"].equals(other["best"])
    assert read.attrs["simulated"] and (frame["source_office"] == "simulated by geonb").all()
    assert 2000 < len(frame) < 8000 and set(frame["type_of_violence"]) == {1, 2, 3}
    assert 0.05 < (frame["best"] == 0).mean() < 0.3 and frame["best"].max() > 20 * frame["best"].median()
    assert read.attrs["report"]["gid_disagrees"] == 0
    write_cube(tmp_path / "a.zarr", read, "event", event_rule="any")
    event = load(tmp_path / "a.zarr")["monthly"].sel(monthly_channel="event")
    assert event.sizes["time"] == 300 and max(event.shape[1:]) <= 30
    again = event[1:].where(event[:-1].values > 0).mean()  # contagion: where it was last month it is likelier
    assert again > 5 * event.mean()


def test_simulated_covariates_have_the_published_layout(tmp_path):
    yearly, static = examples.write_prio_files(tmp_path, (1990, 1993), cells=500)
    assert pd.read_csv(yearly).columns[:2].tolist() == ["gid", "year"] and "simulated" in yearly.name
    frame = pd.read_csv(yearly)
    assert len(frame) == 2000 and frame.loc[frame["year"] == 1991, "pop_gpw_sum"].isna().all()
    frame = pd.read_csv(static)
    row, column = priogrid.cell_of(frame["gid"])
    assert (frame["row"] == row + 1).all() and (frame["xcoord"] == column / 2 - 179.75).all()


def test_the_root_of_a_history_is_the_root_of_it_in_every_month(tmp_path):
    """Over more months than are written at once: the root must not enter what is carried on."""
    table, region = draw_events(), priogrid.select_region("box:0,0,2,2")
    names = "event,history_6,sqrt_history_6,sqrt_history_6_state,sqrt_count"
    write_cube(tmp_path / "a.zarr", table, names, "1995-01", "1997-06", region)
    cube = load(tmp_path / "a.zarr")["monthly"]
    expected = naive(table, region, 300, 30)
    history = {"sqrt_history_6": expected["history_6"], "sqrt_count": expected["count"]}
    for name, values in history.items():
        np.testing.assert_allclose(cube.sel(monthly_channel=name), np.sqrt(values), atol=1e-6)
    of_type = np.zeros(region.shape)
    for t, flags in enumerate(expected["event_state"]):
        of_type = of_type * 2 ** (-1 / 6) + flags * (1 - 2 ** (-1 / 6))
        np.testing.assert_allclose(cube.sel(monthly_channel="sqrt_history_6_state")[t], np.sqrt(of_type), atol=1e-6)
    with pytest.raises(ValueError, match=r"'sqrt_event'.*'log1p_history_6'.*'sqrt_months_since'"):
        conflict_cube.check_channels("event,sqrt_event,log1p_history_6,sqrt_months_since")


def test_flags_and_shares_are_left_as_they_are_and_all_else_is_standardised():
    records = conflict_cube.check_channels(
        "event,count,log1p_best,sqrt_count,months_since,history_12,sqrt_history_12,event_state,history_6_onesided"
    )
    inputs = [r for r in records if r["role"] != "target"]
    alone = ["event", "history_12", "event_state", "history_6_onesided"]
    flags = statistics.check_standardise("all", inputs)
    assert [r["name"] for r, standardised in zip(inputs, flags, strict=True) if not standardised] == alone
    yearly = conflict_cube.check_channels("event,pop_gpw_sum,share", {"yearly": ["pop_gpw_sum", "share"]})
    assert statistics.check_standardise("all", yearly[:3]) == [False, True, True], "a covariate may hold any number"
