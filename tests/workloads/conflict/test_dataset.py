"""Files and settings that a user gets wrong: what is said, before anything is computed, and that nothing is left behind."""

from collections import Counter

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

from geonb import scores
from geonb.base.project import project_root
from geonb.runs import plan
from geonb.workloads.conflict import cube, dataset

SETTINGS = {
    "covariates": None, "region": None, "period": None, "channels": "event,log1p_best", "outcomes": "any", "network": None,
    "event": "deaths", "windows": "region", "steps": 10, "horizon": 3, "shares": "60/20/20",
}  # fmt: skip


def write_events(path, months=120, **changes):
    """An event or two a month, at random in 12 x 14 cells."""
    random = np.random.default_rng(0)
    starts = pd.date_range("2000-01-15", periods=months, freq="MS").repeat(6).strftime("%Y-%m-%d")
    latitude, longitude = random.uniform(4, 10, len(starts)), random.uniform(3, 10, len(starts))
    table = {
        "id": np.arange(len(starts)), "date_start": starts, "date_end": starts, "latitude": latitude, "longitude": longitude,
        "best": 1 + random.poisson(2, len(starts)), "type_of_violence": 1 + np.arange(len(starts)) % 3, "country_id": 475,
        "country": "Nigeria",
    }  # fmt: skip
    pd.DataFrame(table | changes).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("check", "spec", "says"),
    [
        ("event", "deaths:where_prec=9,date_prec=a,months=middle", ("where_prec = 9", "1 to 7", "date_prec = 'a'", "months =")),
        ("windows", "events:size=0,draws=-1,min_events=x,outliers=bad",
         ("size = 0", "draws = -1", "= 'x'", "outliers = 'bad' must be one of none, lof")),
        ("windows", "region:size=3", ("region has no 'size'; it takes no options",)),
        ("shares", "50/50", ("60/20/20",)),
        ("shares", "train:2010-13,val:2014-12", ("'2010-13' is not a month",)),
        ("shares", "train:2014-12,val:2010-12", ("train must end before val",)),
        ("period", "2019-13:", ("'2019-13' is no month",)),
        ("period", "2019-12:1990-01", ("ends before it starts",)),
        ("period", "0001-01:9999-12", ("0001-01 and 9999-12 is not in the years 1900 to 2099",)),
        ("windows", "events:size=5000", ("size = 5000", "1 to 360")),
        ("region", "country:abc", ("'abc' is no number", "country:475")),
        ("faults", "drop:overlap=newest", ("one of raise, first, both",)),
        ("faults", "ignore", ("Known: drop, raise",)),
    ],
)  # fmt: skip
def test_a_parameter_names_all_its_faults(check, spec, says):
    with pytest.raises(ValueError) as error:
        getattr(dataset, f"check_{check}")(spec)
    assert spec in str(error.value) or check == "period"
    for text in says:
        assert text in str(error.value)


def test_good_parameters_pass():
    assert dataset.check_windows("events:size=8,outliers=none")["outliers"] == "none"
    assert dataset.check_event("any:where_prec=3") == {"event_rule": "any", "where_prec": 3}
    dataset.check_shares("train:2010-12,val:2014-12,test:2019-12")
    assert dataset.check_settings(SETTINGS, project_root()) == []


def test_what_cannot_be_together_is_listed_before_anything_runs(tmp_path):
    wrong = {"channels": "event,pop_gpw_sum", "region": "box:3,4,5,6", "windows": "events:size=16", "horizon": 12}
    wrong |= {"period": "2018-01:2019-12", "steps": 24, "network": "convlstm:structure=4/4,peephole=pixel,size=12"}
    faults = dataset.check_settings(SETTINGS | wrong, tmp_path)
    assert len(faults) == 4
    for fault, text in zip(faults, ("'pop_gpw_sum'", "24 + 12 months", "4 x 4 cells", "16 x 16 cells"), strict=True):
        assert text in fault
    short = dataset.check_settings(SETTINGS | {"period": "2018-01:2019-12"}, tmp_path)
    assert len(short) == 1 and "at least 39 months" in short[0]
    pd.DataFrame({"gid": [1], "year": [2000], "pop_gpw_sum": [1.0]}).to_csv(tmp_path / "pop.csv", index=False)
    given = SETTINGS | {"covariates": "pop.csv", "channels": "pop_gpw_sum,event"}
    assert "the first one, pop_gpw_sum, is yearly" in dataset.check_settings(given, tmp_path)[0]
    assert dataset.check_settings(given | {"channels": "event,pop_gpw_sum"}, tmp_path) == []


def test_the_runner_refuses_them_and_makes_no_run(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").symlink_to(project_root() / "notebooks")
    with pytest.raises(ValueError, match=r"nothing was run:\n  channels: unknown channel 'bset'"):
        plan.prepare("conflict", {"channels": "event,bset"}, root=tmp_path)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "data").exists()
    for name, value, says in (
        ("augment", "noise", "noise is made for images"),
        ("sampler", "shuffle:balance=class", "no classes to balance"),
        ("region", "country:abc", "'abc' is no number"),
        ("faults", "raise:overlap=newest", "one of raise, first, both"),
        ("channels", "history_99999999", "unknown channel 'history_99999999'"),
    ):
        with pytest.raises(ValueError, match=f"(?s)nothing was run.*{says}"):
            plan.prepare("conflict", {name: value}, root=tmp_path)
    with pytest.raises(
        ValueError, match=r"(?m)^  windows = 'events:size=0' is not right:\n  - size = 0 must be"
    ):  # the value once
        plan.prepare("conflict", {"windows": "events:size=0"}, root=tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"windows": "events:size=16"}, r"size in `windows`\) is larger than the region of 12 x 14"),
        ({"steps": 100, "horizon": 30}, r"steps \+ horizon = 100 \+ 30"),
        ({"steps": 30, "horizon": 20}, "too short for 3 splits"),
        ({"region": "country:999"}, "There are: 475"),
        ({"region": "box:-60,-40,-50,-30"}, "No event from .* lies in the region"),
        ({"period": "2030-01:2039-12"}, "hold events from 2000-02 to 2010-01. Choose a `period`"),
        ({"event": "deaths:where_prec=2"}, "no such column"),
        ({"windows": "events:size=4,draws=32767,min_events=1"}, r"are 2\d,\d{3},\d{3} windows: .*Give at most \d+"),
    ],
)
def test_what_a_file_does_not_allow_leaves_no_cube(tmp_path, settings, says):
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    with pytest.raises(ValueError, match=says):
        dataset.write_conflict_store(found, root=tmp_path, **settings)
    assert not list(tmp_path.rglob("*.zarr"))


def test_too_few_events_for_windows_names_the_notebooks_parameters(tmp_path):
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    with pytest.raises(ValueError, match=r"windows=events:size=24,min_events=5, or windows=region"):
        dataset.write_conflict_store(found, root=tmp_path, windows="events:size=4,min_events=16")
    assert not list((tmp_path / "data").rglob("*partial*"))


def test_faulty_events_are_left_out_on_demand_and_told(tmp_path):
    path = str(write_events(tmp_path / "a.csv", best=np.r_[-1, np.full(719, 3)]))
    with pytest.raises(ValueError, match=r"(?s)1 event: negative deaths.*faults = drop"):
        dataset.open_events(path)
    found = dataset.open_events(path, "drop")
    assert len(found) == 719 and dataset.summarise(found)["left out: negative deaths"] == "1"
    assert dataset.check_faults("drop") == ("drop", "raise") and dataset.check_faults("raise") == ("raise", "raise")


def test_two_releases_of_the_same_months_make_no_store_before_one_counts(tmp_path):
    """The second lists the last year again, under other ids."""
    first = write_events(tmp_path / "a.csv")
    again = pd.read_csv(first).tail(72)
    again.assign(id=again["id"] + 10_000).to_csv(tmp_path / "b.csv", index=False)
    both = f"{first},{tmp_path / 'b.csv'}"
    with pytest.raises(
        ValueError, match=r"(?s)b.csv: 72 of its 72 events lie .*72 have the month.*raise:overlap=first"
    ):
        dataset.open_events(both)
    with pytest.raises(ValueError, match=r"(?s)b.csv: 72 of its 72 events lie .*drop:overlap=first"):
        dataset.open_events(both, "drop")  # faulty events, not good ones
    stores = {how: dataset.open_events(both, f"raise:overlap={how}") for how in ("first", "both")}
    assert [int(found["best"].sum()) for found in stores.values()] == [
        pd.read_csv(first)["best"].sum(),
        pd.read_csv(first)["best"].sum() + again["best"].sum(),
    ]
    twice = dataset.write_conflict_store(stores["both"], root=tmp_path)
    made = dataset.write_conflict_store(stores["first"], root=tmp_path)
    assert made.meta["notes"] == ["Events left out because an earlier file covers their months: 72."]
    deaths = {how: int(store.cube(["best"]).sum()) for how, store in {"first": made, "both": twice}.items()}
    assert deaths == {how: int(found["best"].sum()) for how, found in stores.items()} and made.path != twice.path


def test_a_period_beyond_the_events_is_told(tmp_path):
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    made = dataset.write_conflict_store(found, root=tmp_path, period="1999-06:2011-01")
    assert made.meta["notes"] == [
        "Months before the first event read, which count as peaceful (do the files cover them?): 8.",
        "Months after the last event read, which count as peaceful (do the files cover them?): 12.",
    ]


def test_files_take_no_options(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv:overlap=first: files of events and covariates take no options"):
        dataset.open_events(f"{write_events(tmp_path / 'a.csv')}:overlap=first")


def test_files_without_an_event_say_so(tmp_path):
    path = write_events(tmp_path / "a.csv")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"hold no event: .*a.csv"):
        dataset.open_events(str(path))


def test_training_months_without_an_event_are_refused(tmp_path):
    found = dataset.open_events(str(write_events(tmp_path / "a.csv", best=0)))
    with pytest.raises(ValueError, match=r"No event of the region lies in the training months, 2000-12 .*event=any"):
        dataset.write_conflict_store(found, root=tmp_path)
    assert dataset.write_conflict_store(found, root=tmp_path, event="any").meta["name"] == "a"


def test_where_nothing_occurs_the_verdict_says_so():
    values = np.full((2, 1, 1), np.nan)
    names = ("score", "score_low", "score_high", "gain", "gain_low", "gain_high")
    coordinates = {"model": ["network", "never"], "split": ["test"], "metric": ["average_precision"]}
    made = xr.Dataset({name: (("model", "split", "metric"), values) for name in names}, coordinates)
    made.attrs["headline"] = "average_precision"
    assert "does not occur there" in scores.verdict(made)


def test_a_region_from_a_file_is_looked_for_from_the_project_and_follows_its_contents(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path / "notebooks")  # as kernels are
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    with pytest.raises(ValueError, match="there is no such file"):
        dataset.check_region("mine.geojson")
    shapes = {}
    for east in (8, 6):
        box = gpd.GeoDataFrame(geometry=[shapely.box(4, 5, east, 9)], crs=4326)
        box.to_file(tmp_path / "mine.geojson", driver="GeoJSON")
        dataset.check_region("mine.geojson")
        store = dataset.write_conflict_store(found, region="mine.geojson")
        shapes[store.path] = store.valid.shape
        assert store.meta["report"]["region"]["spec"] == "mine.geojson"
    assert list(shapes.values()) == [(8, 8), (8, 4)], "another content is another store"
    assert store.meta["inputs"][-1]["path"] == "mine.geojson"


@pytest.mark.parametrize("name", ["mine.geojson", "mine.gpkg", "mine.parquet"])
def test_a_region_file_that_is_damaged_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no shapes")
    with pytest.raises(ValueError, match=f"{name}.* is not a vector file that can be opened"):
        dataset.check_region(name, tmp_path)


def test_a_store_says_what_it_is_made_of(tmp_path):
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    first = dataset.write_conflict_store(found, root=tmp_path, region="box:4,5,8,9", horizon=2)
    assert first.path == dataset.write_conflict_store(found, root=tmp_path, region="box:4,5,8,9", horizon=2).path
    meta = first.meta
    assert (meta["simulated"], meta["notes"], meta["title"]) == (
        False,
        [],
        "Organised violence on the PRIO-GRID: Nigeria",
    )
    assert "CC BY 4.0" in meta["attribution"] and meta["name"] == "a"
    assert meta["report"]["countries"] == {"475": "Nigeria"} and meta["parameters"]["chunk_size"] is None
    assert (first.steps, first.horizon, first.valid.shape, len(first.times)) == (10, 2, (8, 8), 120)
    around = dataset.write_conflict_store(found, root=tmp_path, windows="events:size=6,draws=1,min_events=9", name="b")
    assert around.path.name.startswith("b-") and set(around.index["height"]) == {6}
    made = dataset.write_conflict_store(dataset.open_events(), root=tmp_path, period="1990-01:1999-12")
    assert made.meta["simulated"] and "simulated" in made.path.name and "ever happened" in made.meta["notes"][0]


def test_a_summary_counts_what_was_read(tmp_path):
    path = write_events(
        tmp_path / "a.csv", best=np.r_[0, np.full(719, 2)], type_of_violence=np.r_[np.full(700, 1), np.full(20, 3)]
    )
    told = dataset.summarise(dataset.open_events(str(path)))
    expected = {"simulated": "no", "events": "720", "from": "2000-02", "to": "2010-01", "deaths (best estimate)": "1,438",
                "events without a death": "1", "countries": "Nigeria", "state-based": "700", "non-state": "0",
                "one-sided": "20"}  # fmt: skip
    assert {k: told[k] for k in expected} == expected
    assert dataset.summarise(dataset.open_events())["simulated"] == "yes"


def test_one_cube_frames_its_events_and_checks_its_channels_once(tmp_path, monkeypatch):
    calls = Counter()

    def counted(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **named: calls.update([name]) or real(*given, **named))

    counted(cube.conflict_events, "check_events")
    counted(cube, "check_channels")
    found = dataset.open_events(str(write_events(tmp_path / "a.csv")))
    store = dataset.write_conflict_store(found, root=tmp_path, region="box:4,5,8,9")
    assert calls == {"check_events": 1, "check_channels": 1}
    assert store.meta["report"]["region"]["spec"] == "box:4,5,8,9", "as it was given"
