"""The explorer of windows and what is drawn of their events, against the archive read by ObsPy alone."""

import json
from dataclasses import replace

import numpy as np
import obspy
import pytest
import viewing
import xarray as xr
from pyproj import Geod

from geonb import plots
from geonb.base.conventions import SPLIT_CODES
from geonb.plots.waveforms import P_COLOUR, scanned
from geonb.workloads.seismic import dataset, examples, explore, sections
from geonb.workloads.seismic.store import write_store

WINDOW, BEFORE = 60.0, 15.0
P_RGB = [int(P_COLOUR[i : i + 2], 16) for i in (1, 3, 5)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return examples.simulate(tmp_path_factory.mktemp("array") / "array", events=8, seed=1)


@pytest.fixture(scope="module")
def store(home, tmp_path_factory):
    files = (str(home / name) for name in ("waveforms", "events.xml", "stations.xml"))
    found = dataset.open_recordings(*files, window_s=WINDOW, before_s=BEFORE, noise_s=90, **examples.FACTS)
    return write_store(found, window_s=WINDOW, before_s=BEFORE, root=tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def predictions(store):
    """As notebook 03 leaves them: noise is told of all, so that events are mistaken."""
    index, rows = store.index, len(store)
    along = {
        name: ("sample", index[name].astype(str).to_numpy().astype(str)) for name in ("id", "source", "station", "kind")
    }
    along |= {
        "row": ("sample", np.arange(rows)),
        "record": ("sample", index["record"]),
        "start": ("sample", index["x"]),
    }
    data = xr.Dataset(
        {"probability": (("model", "sample", "head"), np.full((1, rows, 2), 0.2)), "split": ("sample", np.full(rows, SPLIT_CODES["test"]))},
        along | {"model": ["network"], "time": ("sample", index["time"].to_numpy("datetime64[ns]"))},
    )  # fmt: skip
    attrs = {"rate_hz": 40.0, "samples": round(WINDOW * 40), "simulated": 1, "notes": [], "title": "t"}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/windows": data})


@pytest.fixture(scope="module")
def explorer(predictions, store):
    return explore.explorer(predictions, store.arrays, store)


def row_of(store, kind="earthquake"):
    return int(np.flatnonzero(store.index["kind"] == kind)[0])


def test_p_stands_in_windows_of_events_and_channels_by_name(explorer, store):
    place = next(p for p in explorer.places if ": earthquake" in p.name or ": explosion" in p.name)
    assert place.along == "s" and list(place.rows) == ["P beam, Z", "S beam, R", "S beam, T"]
    assert place.bounds[2] == WINDOW
    for n, one in enumerate(explorer.places):
        seen = viewing.seen(explorer, "traces", place=n).colours[..., :3].astype(int)
        red = (np.abs(seen - P_RGB).sum(-1) < 60).mean(0)
        shown = np.flatnonzero(red > 0.3)
        if ": noise" in one.name:
            assert not len(shown)
        else:
            assert shown.mean() / seen.shape[1] * WINDOW == pytest.approx(BEFORE, abs=0.15)


def test_a_page_without_a_store_still_has_its_traces(predictions, store):
    bare = explore.explorer(predictions, store.arrays)
    assert bare.sheet is None and list(bare.places[0].rows) == []
    assert viewing.seen(bare, "traces").colours.std() > 0
    json.dumps(bare.facts())


@pytest.mark.parametrize("filters", ["bandpass", "bandpass:low=4,high=12", "none"])
def test_sensors_are_those_of_the_archive_under_the_filter_chosen(store, home, filters):
    about = store.index.iloc[row_of(store)]
    found = sections.sensors_of(store, about, filters)
    assert found.sizes["time"] == WINDOW * 40 - 1 or found.sizes["time"] == WINDOW * 40
    stream = obspy.read(str(home / "waveforms" / f"{about['id']}.mseed")).select(component="Z")
    start = obspy.UTCDateTime(about["time"].isoformat())
    compared = 0
    for trace in stream:
        name = f"{trace.stats.network}.{trace.stats.station}"
        if name not in found["sensor"].values:
            continue
        trace = trace.copy().detrend("demean")
        if filters != "none":
            low, high = (2, 8) if filters == "bandpass" else (4, 12)
            trace.filter("bandpass", freqmin=low, freqmax=high, corners=4, zerophase=False)
        mine = found["data"].sel(sensor=name, component="Z").to_numpy()
        begin = round((start - trace.stats.starttime) * 40)
        theirs = trace.data[begin : begin + len(mine)]
        theirs, mine = theirs[400:] - theirs[400:].mean(), mine[400:] - mine[400:].mean()
        if np.isfinite(mine).all() and len(mine) == len(theirs):
            best = max(
                np.corrcoef(np.roll(theirs, k), mine)[0, 1] for k in (-1, 0, 1)
            )  # the grid may lie half a sample off
            assert best > 0.98
            compared += 1
    assert compared >= 5


def test_what_is_chosen_is_what_is_drawn(store):
    row = row_of(store)
    about, choices = store.index.iloc[row], sections.choices(store)
    assert choices["traces"] == ["sensors, Z", "sensors, R", "sensors, T", "beams"]
    first = {name: labels[0] for name, labels in choices.items()}
    figure = sections.sheet(store, row, first)
    shown = {ax.get_xlabel() for ax in figure.axes}
    assert {"s after P", "east [km]", "slowness, east [s/km]"} <= shown and figure.axes[0].get_xlim() == pytest.approx(
        (-BEFORE, WINDOW - BEFORE), abs=0.1
    )
    assert about["id"] in figure.axes[0].get_title(loc="left") and "component Z of" in figure.axes[0].get_title(
        loc="left"
    )
    close = sections.sheet(store, row, first | {"time": sections.NEAR, "traces": "beams", "filter": "none"})
    assert close.axes[0].get_xlim() == (-5, 20) and "beams, as" in close.axes[0].get_title(loc="left")
    lines = [line for line in close.axes[0].lines if len(line.get_xdata()) > 100]
    held = store[row]["inputs"].to_numpy()
    for line, trace in zip(lines, held, strict=True):
        assert np.corrcoef(line.get_ydata(), trace)[0, 1] == pytest.approx(1)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "bandpass 2 to 8 Hz, causal" in words and f"{about['back_azimuth']:.0f}°" in figure.axes[0].get_title(
        loc="left"
    )


def test_the_catalogue_and_the_scan_point_the_same_way(store):
    """The bulletin's places against the slowness of the waves that the simulation made: within what so small an array resolves."""
    rows = np.flatnonzero((store.index["kind"] != "noise") & (store.index["magnitude"] > 1.5))
    off = []
    for row in rows[:4]:
        about = store.index.iloc[row]
        found = scanned(sections.sensors_of(store, about, "bandpass:low=2,high=8"), (BEFORE - 1, BEFORE + 5))
        back = Geod(ellps="WGS84").inv(examples.LONGITUDE, examples.LATITUDE, about["lon"], about["lat"])[0] % 360
        assert about["back_azimuth"] == pytest.approx(back, abs=0.5)
        off.append(abs((float(found["back_azimuth"]) - back + 180) % 360 - 180))
    assert np.median(off) < 20


def test_a_network_stands_by_distance_with_p_by_travel_times(home, tmp_path):
    files = (str(home / name) for name in ("waveforms", "events.xml", "stations.xml"))
    facts = {"beams": "none:components=Z", "window_s": WINDOW, "before_s": BEFORE, "noise_s": 90}
    network = write_store(
        dataset.open_recordings(*files, **facts, **examples.FACTS), window_s=WINDOW, before_s=BEFORE, root=tmp_path
    )
    row = row_of(network, "explosion")
    about, choices = network.index.iloc[row], sections.choices(network)
    assert choices["traces"] == ["Z"] and "beam power" not in choices
    section = sections.of_store(network, row, "Z", "bandpass")
    mine = network.index[(network.index["id"] == about["id"]) & (network.index["kind"] != "noise")].set_index("station")
    assert sorted(section.names) == sorted(mine.index) and len(section.names) >= 5
    inventory = obspy.read_inventory(str(home / "stations.xml"))
    for name, away, trace, seconds in zip(section.names, section.away_km, section.traces, section.seconds, strict=True):
        code = name.partition(".")[2]
        place = next((s.longitude, s.latitude) for s in inventory[0] if s.code == code)
        true = Geod(ellps="WGS84").inv(*place, about["lon"], about["lat"])[2] / 1e3
        assert away == pytest.approx(true, abs=0.01)
        held = network[
            int(
                np.flatnonzero(
                    (network.index["id"] == about["id"])
                    & (network.index["station"] == name)
                    & (network.index["kind"] != "noise")
                )[0]
            )
        ]
        np.testing.assert_array_equal(trace, held["inputs"].to_numpy()[0])
        first = mine["time"].min()
        assert seconds[0] == pytest.approx((mine.loc[name, "time"] - first).total_seconds() - BEFORE)
    figure = sections.sheet(network, row, {name: labels[0] for name, labels in choices.items()})
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert legends == ["P", "event, by the catalogue"]
    lost = replace(network, meta=network.meta | {"stations": ["gone.xml"]})
    figure = sections.sheet(lost, row, {name: labels[0] for name, labels in choices.items()})
    assert "nobody knows where the stations are" in " ".join(text.get_text() for text in figure.texts)


def test_noise_has_no_p_and_a_lost_archive_is_told(store, tmp_path):
    first = {name: labels[0] for name, labels in sections.choices(store).items()}
    figure = sections.sheet(store, row_of(store, "noise"), first)
    assert figure.axes[0].get_legend() is None
    lost = replace(store, meta=store.meta | {"inputs": [{"path": str(tmp_path / "gone.mseed")}]})
    lost = sections.sheet(lost, row_of(store), first)
    words = " ".join(text.get_text() for text in lost.texts)
    assert "cannot be read again" in words and "gone.mseed" in words
    assert "beams, as the network sees them" in lost.axes[0].get_title(loc="left")


def test_a_sheet_of_the_explorer_is_of_the_window_that_is_shown(explorer, store):
    words, file = explorer.sheet.picture(1)
    name = explorer.places[1].name
    kind = name.split(": ")[1].split(",")[0]
    assert words.startswith(kind) and len(file) > 10_000


def test_events_lie_where_the_catalogue_says(store):
    figure = plots.where(store)
    dots = [c for ax in figure.axes for c in ax.collections if len(getattr(c, "get_offsets", lambda: [])()) > 1]
    events = store.index.drop_duplicates("id")
    offsets = max((np.asarray(c.get_offsets()) for c in dots), key=len)
    assert {tuple(o) for o in offsets.round(4)} == {
        (round(lon, 4), round(lat, 4)) for lon, lat in zip(events["lon"], events["lat"], strict=True)
    }
