"""A stream is watched: windows as the store's, one bulletin however the packets come, restarts, faults."""

import json
from types import SimpleNamespace

import numpy as np
import obspy
import pandas as pd
import pytest
import torch
from waveforms.seedlink_server import SeedLinkServer

from geonb.waveforms import archives, blocks, bulletins, journal, streams
from geonb.waveforms.features import triggers
from geonb.workloads.seismic import bulletin, dataset, examples, live

WINDOW_S, BEFORE_S, RATE = 60.0, 15.0, 40.0


class Energy(torch.nn.Module):
    """Stands for a network: an event where the power rises, an explosion by what S is beside P. It knows nothing of how data came."""

    def __init__(self, beams=True):
        super().__init__()
        preparation = {
            "filters": "bandpass", "beams": {"Z": 6.45, "R": 3.7, "T": 3.7} if beams else None, "components": ["Z"], "rate_hz": RATE,
            "aperture_km": 10.0,
        }  # fmt: skip
        channels = list(dataset.CHANNELS.values()) if beams else ["Z"]
        scaler = {"name": "standard", "per_channel": False, "channels": channels, "shift": [], "scale": []}
        self.card = {
            "rate_hz": RATE, "samples": round(WINDOW_S * RATE), "before": round(BEFORE_S * RATE), "preparation": preparation,
            "scaler": scaler, "title": "", "simulated": True, "workload": "seismic",
        }  # fmt: skip

    def probabilities(self, inputs):
        values = inputs.numpy()
        rise = torch.from_numpy(triggers(values, RATE)[:, -1])
        size = torch.from_numpy(
            np.log(np.square(values[:, -1]).mean(-1) / (np.square(values[:, 0]).mean(-1) + 1e-6) + 1e-6)
        )
        return torch.stack([torch.sigmoid(6 * (rise - 1.4)), torch.sigmoid(-2 * size)], -1)


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    """Three events, each from 2.5 minutes before P to 2 after."""
    folder = tmp_path_factory.mktemp("array")
    examples.simulate(folder, events=6, seed=3)
    names = (str(folder / name) for name in ("waveforms", "events.xml", "stations.xml"))
    chosen = {r.event["event_id"]: r for r in dataset.recordings(*names).sources["SI"]}
    for file in (folder / "waveforms").iterdir():
        if file.stem in ("sim0001", "sim0002", "sim0004"):
            p = obspy.UTCDateTime(str(chosen[file.stem].start)) + chosen[file.stem].p_s
            obspy.read(str(file)).trim(p - 150, p + 120).write(str(file), "MSEED")
        else:
            file.unlink()
    return folder


@pytest.fixture(scope="module")
def inventory(array):
    return archives.read_stations(str(array / "stations.xml"))


@pytest.fixture(scope="module")
def recordings(array):
    names = (str(array / name) for name in ("waveforms", "events.xml", "stations.xml"))
    return dataset.recordings(*names, window_s=WINDOW_S, before_s=BEFORE_S, noise_s=80)


def watched(folder, inventory, source, model=None, begin=None, until=None, end=True, **settings):
    """A bulletin, and what was told, after a source was watched to its end."""
    folder.mkdir(exist_ok=True)
    told = []
    watcher = live.Watch(model or Energy(), folder, inventory, told=told.append, **settings)
    since = watcher.resume()
    begin = begin if since is None else np.datetime64(round(since * 1e9), "ns")
    for item in streams.check_source(source).packets(live.channels_of(inventory, "ZNE"), begin, until):
        watcher.take(item)
    if end:
        watcher.end()
    return bulletin.read(folder), told


@pytest.fixture(scope="module")
def clean(array, inventory, tmp_path_factory):
    return watched(tmp_path_factory.mktemp("clean"), inventory, f"replay:{array}/waveforms@max")[0]


def alike(a, b):
    """The same events, kinds and votes; numbers to the rounding of float32 in other orders."""
    pd.testing.assert_frame_equal(a, b, rtol=0, atol=2e-3)


def test_windows_are_those_of_the_store(array, inventory, recordings, tmp_path, monkeypatch):
    record = recordings.sources["SI"][0]
    watcher = live.Watch(Energy(), tmp_path, inventory)
    until = obspy.UTCDateTime(str(record.start)) + record.p_s + WINDOW_S
    for file in {recordings.index.loc[row, "file"] for row in record.rows}:
        for trace in obspy.read(file).trim(endtime=until):
            watcher._changed(f"{trace.stats.network}.{trace.stats.station}", *watcher.ring.put(trace))
    station = watcher.stations["SI"]
    assert len(station.blocks.sensors) == 9
    monkeypatch.setattr(station, "direction", lambda k: record.back_azimuth)
    prepared = recordings.waves(record)
    begin = np.datetime64(prepared.attrs["start"].removesuffix("Z"), "ns").astype(int) / 1e9
    k = int((begin + record.p_s + 30) // 5)
    window, valid = station.window(k)
    first = round((5 * k - WINDOW_S - begin) * RATE)
    right = prepared["data"].to_numpy()[:, first : first + window.shape[1]]
    inner = slice(80, -80)  # at its ends a beam lacks what sensors saw just before and after
    error = np.abs(window - right)[:, inner].max(1) / right.std(1)
    assert valid == 1 and window.shape == (3, 2400) and (error < 0.01).all()


def test_planted_events_are_found_and_where_they_come_from(clean, recordings):
    records = {r.event["event_id"]: r for r in recordings.sources["SI"]}
    events = recordings.events[recordings.events["event_id"].isin(records)]
    arrivals = [pd.Timestamp(records[e].start) + pd.Timedelta(records[e].p_s, "s") for e in events["event_id"]]
    beside = bulletin.compared(clean, events, arrivals, within_s=5)
    beside = beside[beside["catalogued"] != ""]
    found = beside[beside["told"] != ""]
    assert len(found) == 3 and (clean["status"] == "final").all()
    onsets = clean.set_index("onset")
    strong = [row for row in found.itertuples() if onsets.loc[row.onset, "semblance"] > 0.4]
    off = [
        abs((onsets.loc[row.onset, "back_azimuth"] - records[row.event_id].back_azimuth + 180) % 360 - 180)
        for row in strong
    ]
    assert np.median(off) < 10
    assert np.median(found["off_s"]) < 1


@pytest.mark.parametrize(
    "trouble", ["shuffle_s=8,seed=1", "repeat=0.2,seed=2", "shuffle_s=40,repeat=0.1,seed=3", "packet_s=1.7"]
)
def test_the_bulletin_is_the_same_however_packets_come(trouble, array, inventory, clean, tmp_path):
    alike(watched(tmp_path / "out", inventory, f"replay:{array}/waveforms@max,{trouble}")[0], clean)


@pytest.mark.parametrize(
    "wrong", [{}, {"drop_after": [40, 60, 300], "refuse": 1, "late_s": 20, "repeat": 0.1, "garbage": 200}]
)
def test_a_seedlink_server_that_breaks_off_gives_the_same_bulletin(wrong, array, inventory, tmp_path):
    first = sorted((array / "waveforms").glob("*.mseed"))[0]
    stream = obspy.read(str(first))
    (tmp_path / "waves").mkdir()
    stream.write(str(tmp_path / "waves" / first.name), "MSEED")
    right = watched(tmp_path / "right", inventory, f"replay:{tmp_path}/waves@max")[0]
    begin, until = min(t.stats.starttime for t in stream), max(t.stats.endtime for t in stream)
    with SeedLinkServer(stream, **wrong) as server:
        got, told = watched(
            tmp_path / "out", inventory, f"seedlink://{server.address},quiet_s=2", begin=begin, until=until
        )
    assert len(right) == 1 and any("connection" in note for note in told) == bool(wrong)
    alike(got, right)


def test_lost_packets_change_only_what_they_held(array, inventory, clean, tmp_path):
    got, _ = watched(tmp_path / "out", inventory, f"replay:{array}/waveforms@max,drop=0.02,seed=1")
    near = [(abs((clean["onset"] - t).dt.total_seconds()) < 10).any() for t in got["onset"]]
    assert np.mean(near) > 0.7 and abs(len(got) - len(clean)) <= max(2, len(clean) // 3)


@pytest.mark.parametrize("after", [0.3, 0.7])
def test_killed_and_started_again_it_tells_the_same(after, array, inventory, clean, tmp_path):
    index = archives.index_files(str(array / "waveforms"))
    cut = clean["onset"].iloc[int(after * len(clean))] + pd.Timedelta(40, "s")  # in the middle of an event
    source = f"replay:{array}/waveforms@max"
    watched(tmp_path / "out", inventory, source, until=min(cut, index["end"].max()), end=False)
    with max((tmp_path / "out" / "steps").glob("*.csv")).open("a") as file:
        file.write("SI,3159")  # what a kill leaves of a line
    alike(watched(tmp_path / "out", inventory, source)[0], clean)


def test_half_of_the_sensors_are_dead(array, inventory, clean, tmp_path):
    sensors = sorted({f"{net.code}.{station.code}" for net in inventory for station in net})
    dead = sensors[1::2]
    (tmp_path / "waves").mkdir()
    for file in sorted((array / "waveforms").glob("*.mseed")):
        stream = obspy.read(str(file))
        for i, trace in enumerate(stream):
            if f"{trace.stats.network}.{trace.stats.station}" in dead:
                trace.data = np.full_like(trace.data, i) if i % 2 else trace.data[:0]
        obspy.Stream([t for t in stream if len(t)]).write(str(tmp_path / "waves" / file.name), "MSEED")
    got, told = watched(tmp_path / "out", inventory, f"replay:{tmp_path}/waves@max")
    assert any("flat" in note for note in told)
    strong = clean[clean["semblance"] > 0.4]
    assert len(strong) and all((abs((got["onset"] - t).dt.total_seconds()) < 10).any() for t in strong["onset"])


def test_an_array_with_two_rates_and_a_clock_that_jumps(array, inventory, clean, tmp_path):
    (tmp_path / "waves").mkdir()
    for file in sorted((array / "waveforms").glob("*.mseed")):
        stream = obspy.read(str(file))
        for i, trace in enumerate(stream):
            if i % 9 == 0:
                trace.data = np.ascontiguousarray(np.repeat(trace.data, 2))  # 80 Hz
                trace.stats.sampling_rate = 80.0
            if i == 4:
                half = trace.stats.npts // 2
                trace.stats.starttime += 0.05 * (half % 2)
        stream.write(str(tmp_path / "waves" / file.name), "MSEED")
    got, _ = watched(tmp_path / "out", inventory, f"replay:{tmp_path}/waves@max")
    strong = clean[clean["semblance"] > 0.4]
    assert all((abs((got["onset"] - t).dt.total_seconds()) < 10).any() for t in strong["onset"])


def test_single_stations_vote(array, inventory, tmp_path):
    got, _ = watched(tmp_path / "out", inventory, f"replay:{array}/waveforms@max", Energy(beams=False),
                     settings=bulletin.Settings(stations=5))  # fmt: skip
    assert len(got) and got["stations"].str.split().str.len().min() >= 5 and got["back_azimuth"].isna().all()


def fed(watcher, stream, order, pieces=range(10**6)):
    """Packets of 10 s of a stream, by what `order` makes of (number, station)."""
    start = min(t.stats.starttime for t in stream)
    cut = [
        (i, t.stats.station, t.slice(start + 10 * i, start + 10 * i + 10 - 1 / RATE)) for t in stream for i in range(30)
    ]
    for _, _, trace in sorted((one for one in cut if len(one[2])), key=lambda one: order(*one[:2])):
        watcher.take(trace)
    watcher.end()
    return bulletin.read(watcher.folder)


def test_a_station_that_sends_its_backlog_later_than_the_ring_is_long_is_heard(array, inventory, tmp_path):
    stream = obspy.read(str(sorted((array / "waveforms").glob("*.mseed"))[0])).select(channel="*Z")[:2]
    first = stream[0].stats.station
    tables = []
    for name, order in (("clean", lambda i, s: (i, s)), ("late", lambda i, s: (s != first, i))):
        (tmp_path / name).mkdir()
        watcher = live.Watch(Energy(beams=False), tmp_path / name, inventory, told=lambda text: None)
        watcher.resume()
        tables.append(fed(watcher, stream, order))
    assert len(tables[0]) and tables[0]["stations"].str.split().str.len().max() == 2
    alike(tables[1], tables[0])


def test_what_is_told_of_one_sensor_does_not_hide_another_s(tmp_path):
    told = []
    watcher = live.Watch(Energy(), tmp_path, None, told=told.append)
    for text in ("NS.KTK1 Z: flat for 5 s", "NS.KTK1 Z: flat for 7 s", "NS.KTK2 Z: flat for 5 s"):
        watcher.say(text)
    assert told == ["NS.KTK1 Z: flat for 5 s", "NS.KTK2 Z: flat for 5 s"]
    assert len((tmp_path / "told.log").read_text().splitlines()) == 2


def test_nothing_told_yet_is_an_empty_bulletin(inventory, tmp_path):
    from geonb.workloads.seismic import live_figures

    with pytest.raises(FileNotFoundError, match="nothing was watched"):
        bulletin.read(tmp_path)
    watcher = live.Watch(Energy(), tmp_path, inventory, told=lambda text: None)
    watcher.resume()
    watcher.end()
    table, facts = bulletin.read(tmp_path), {"step_s": 5.0}
    assert table.empty and live_figures.directions(table, inventory, facts) is None
    assert live_figures.told_over_time(tmp_path, facts) is not None and live_figures.kept(tmp_path) == []


def test_what_was_watched_with_other_settings_is_not_mixed(inventory, tmp_path):
    class Run:
        name = "a_run"

    watcher = live.Watch(Energy(), tmp_path, inventory)
    live._same(tmp_path, watcher, Run)
    live._same(tmp_path, watcher, Run)
    with pytest.raises(ValueError, match="threshold"):
        live._same(tmp_path, live.Watch(Energy(), tmp_path, inventory, settings=bulletin.Settings(threshold=0.7)), Run)
    with live._only_one(tmp_path), pytest.raises(ValueError, match="another geonb live"), live._only_one(tmp_path):
        pass


FIRST = 2880 * 19_783  # 2024-03-01, in steps of 30 s


def days(seed, n=2880 * 4):
    """Four days of what is said of two stations: events, S, holes, a detector that sticks; the second sends nothing for 30 hours."""
    rng, rows = np.random.default_rng(seed), {}
    for name in ("AR", "BR"):
        event, power = np.full(n, 0.1), rng.uniform(0.8, 1.2, n)
        for at in np.sort(rng.choice(np.arange(20, n - 20), 60, replace=False)):
            event[at : at + rng.integers(2, 12)] = 0.9
            power[at : at + 4] += rng.choice([0.1, 3, 30]) * np.array([1, 0.5, 0.9, 0.2])
        event[3000:3400] = 0.9
        event[rng.choice(n, 40, replace=False)] = np.nan
        said = np.stack([event, rng.uniform(0, 1, n), np.ones(n), power, rng.uniform(0, 1, n), np.full(n, 45.0), np.full(n, 0.15),
                         rng.uniform(0, 30, n)], -1)  # fmt: skip
        there = np.ones(n, bool) if name == "AR" else (np.arange(n) < 5000) | (np.arange(n) >= 8600)
        # to the figures that are written
        rows[name] = {FIRST + k: tuple(float(f"{v:.7g}") for v in said[k]) for k in np.flatnonzero(there).tolist()}
    return rows


class Told:
    """Stands for a station whose windows are told already."""

    def __init__(self, name, rows, newest, window=None):
        self.rows, self.window = rows, lambda k: window
        self.blocks = SimpleNamespace(sensors=[name], notes=[], need=lambda b: None, forget_before=lambda t: None)
        self.newest = newest

    def row(self, k, told, valid):
        return self.rows.get(k, (np.nan,) * 8)


def watching(folder, rows, newest):
    folder.mkdir(exist_ok=True)
    watcher = live.Watch(
        Energy(), folder, None, step_s=30.0, told=lambda text: None, settings=bulletin.Settings(together_s=120)
    )
    watcher.ring.spans = lambda sensors: [(0, (newest[sensors[0]] + 1) * watcher.step_ns)]
    watcher.resume()
    return watcher


def look(watcher, rows, newest, until, each=120):
    """All windows up to one; a station is there once it has sent something since the watch began."""
    begin = min(watcher.done.values(), default=FIRST - 1)
    for last in range(begin + each, until, each):
        for name in rows:
            newest[name] = max((k for k in range(last - each, last + 1) if k in rows[name]), default=newest[name])
            if name not in watcher.stations and newest[name] > last - each:
                watcher.stations[name] = Told(name, rows[name], newest)
                watcher._track(name)
                watcher.done.setdefault(name, last - each)
        due = {name: list(range(watcher.done[name] + 1, last + 1)) for name in watcher.stations}
        watcher.look({name: steps for name, steps in due.items() if steps})


def whole(rows):
    """The bulletin if nothing is ever settled, or forgotten."""
    settings = bulletin.Settings(together_s=120)
    tracks = []
    for name, mine in rows.items():
        tracks.append(bulletin.Track(name, bulletin.Frame(30.0, 2, 0), settings))
        tracks[-1].rows = mine
    return bulletin.events_of(tracks, settings).astype({"windows": float})


@pytest.mark.parametrize("seed", [0, 1])
def test_days_later_killed_often_it_tells_what_it_would_have_told_at_once(seed, tmp_path):
    rows, rng = days(seed), np.random.default_rng(seed)
    until = FIRST + 2880 * 4 - 130
    newest = dict.fromkeys(rows, FIRST - 1)
    for stop in sorted([*rng.integers(FIRST, until, 7).tolist(), FIRST + 6000, FIRST + 8000, until]):
        watcher = watching(tmp_path, rows, newest)
        needed = min([watcher.book.until / 30, *watcher.book.floors.values()]) - 20
        assert needed == -np.inf or max(watcher.done.values(), default=FIRST) - needed < 2.5 * 2880
        look(watcher, rows, newest, max(stop, min(watcher.done.values(), default=FIRST)))
        for path in sorted((tmp_path / "steps").glob("*.csv"))[:-4]:  # nobody needs what was long ago
            path.unlink()
    right = whole(
        {name: {k: row for k, row in mine.items() if k <= max(newest.values())} for name, mine in rows.items()}
    )
    assert right["onset"].isna().any() and right["remark"].str.contains("went on").any() and len(right) > 50
    alike(bulletin.read(tmp_path), right)
    catalog = obspy.read_events(str(tmp_path / "bulletin.xml"))
    assert [event.resource_id.id.split("/")[-1] for event in catalog] == right["event_id"].tolist()
    settled = json.loads((tmp_path / "settled.json").read_text())
    assert settled["bulletin.csv"] > 0.4 * (tmp_path / "bulletin.csv").stat().st_size


def test_a_folder_of_an_older_version_is_gone_on_with(tmp_path):
    rows = days(3, 5300)
    newest = dict.fromkeys(rows, FIRST - 1)
    look(watching(tmp_path, rows, newest), rows, newest, FIRST + 5200)
    right = bulletin.read(tmp_path)
    files = sorted((tmp_path / "steps").glob("*.csv"))
    lines = [line for path in files for line in path.read_text().splitlines()[1:]]
    (tmp_path / "steps.csv").write_text("\n".join([files[0].read_text().splitlines()[0], *lines, "AR,12"]))
    for path in [*files, tmp_path / "settled.json"]:
        path.unlink()
    old = right.drop(columns=["detected", "majority", "remark"]).assign(
        onset=right["onset"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    )
    old.to_csv(tmp_path / "bulletin.csv", index=False)
    assert bulletin.read(tmp_path)["onset"].equals(right["onset"])
    assert journal.read(tmp_path / "steps", bulletin.STEP_COLUMNS).keys() == rows.keys()
    watcher = watching(tmp_path, rows, newest)
    alike(bulletin.read(tmp_path), right)
    look(watcher, rows, newest, FIRST + 5280)
    assert {*bulletin.read(tmp_path)["event_id"]} >= {*right[right["status"] == "final"]["event_id"]}


def test_the_window_of_an_event_whose_onset_moves_goes_with_its_name(tmp_path):
    rows = {
        "AR": {
            FIRST + k: (0.9 if 50 <= k < 53 else 0.1, 0.2, 1.0, 40.0 if k == 52 else 1.0, 0.5, 45.0, 0.15, 1.0)
            for k in range(100)
        }
    }
    newest = dict.fromkeys(rows, FIRST - 1)
    watcher = watching(tmp_path, rows, newest)
    watcher.stations["AR"] = Told("AR", rows["AR"], newest, (np.ones((3, 2400)), 1.0))
    watcher._track("AR")
    watcher.done["AR"] = FIRST - 1
    newest["AR"] = FIRST + 55
    watcher.look({"AR": list(range(FIRST, FIRST + 56))})
    (first,) = (tmp_path / "events").glob("*.npz")
    first.with_suffix(".gif").touch()
    rows["AR"][FIRST + 51] = (*rows["AR"][FIRST + 51][:3], 40.0, *rows["AR"][FIRST + 51][4:])  # what came late
    watcher.look({"AR": [FIRST + 51]})
    assert [path.name for path in (tmp_path / "events").iterdir()] == [
        f"{bulletin.read(tmp_path)['event_id'].iloc[0]}.npz"
    ]
    assert not first.exists()
    again = live.Watch(Energy(), tmp_path, None, step_s=30.0, told=lambda text: None)
    rows["AR"][FIRST + 50] = (*rows["AR"][FIRST + 50][:3], 40.0, *rows["AR"][FIRST + 50][4:])
    journal.add(tmp_path / "steps", bulletin.STEP_COLUMNS, 30.0, [("AR", FIRST + 50, rows["AR"][FIRST + 50])])
    again.resume()
    assert not list((tmp_path / "events").iterdir())


def test_a_change_costs_the_same_whatever_was_told_long_ago(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        bulletins, "quakeml", lambda *given, right=bulletins.quakeml: made.append(given[0]) or right(*given)
    )
    rows = days(4)
    newest = dict.fromkeys(rows, FIRST - 1)
    watcher = watching(tmp_path, rows, newest)
    look(watcher, rows, newest, FIRST + 2880 * 4 - 300)
    table, before = bulletin.read(tmp_path), len(made)
    late = table[table["detected"] > table["detected"].max() - pd.Timedelta(2, "D")]
    assert len(watcher.book.told) <= len(late) < len(table) - 20
    look(watcher, rows, newest, FIRST + 2880 * 4 - 10, each=20)
    assert len(made) - before <= 20


def test_a_station_that_sends_of_what_is_told_for_good_is_said_to(array, inventory, tmp_path):
    stream = obspy.read(str(sorted((array / "waveforms").glob("*.mseed"))[0])).select(channel="*Z")[:1]
    told = []
    watcher = live.Watch(Energy(beams=False), tmp_path, inventory, told=told.append)
    watcher.book.until = stream[0].stats.endtime.timestamp + 3600
    assert fed(watcher, stream, lambda i, s: i).empty
    assert any("no event is told any more" in text for text in told)


def test_an_event_that_went_on_is_told_once(tmp_path):
    rows = {
        "AR": {
            FIRST + k: (0.9 if k >= 50 else 0.1, 0.2, 1.0, 40.0 if k == 52 else 1.0, 0.5, 45.0, 0.15, 1.0)
            for k in range(400)
        }
    }
    newest, told = dict.fromkeys(rows, FIRST - 1), []
    watcher = watching(tmp_path, rows, newest)
    watcher.told = told.append
    look(watcher, rows, newest, FIRST + 390, each=5)
    assert len(told) == 1 and "went on for more than 1800 s" in told[0]
    assert len(bulletin.read(tmp_path)) == 1


def test_what_lies_before_what_was_watched_is_not_passed_over_in_silence(array, tmp_path, monkeypatch):
    index = archives.index_files(str(array / "waveforms"))
    begin = index["start"].min()
    monkeypatch.setattr("geonb.training.task.load_model", lambda checkpoints: Energy())
    monkeypatch.setattr(
        "geonb.store.store.open_store", lambda path: SimpleNamespace(meta={"stations": [str(array / "stations.xml")]})
    )
    run = SimpleNamespace(checkpoints=tmp_path, store=tmp_path, path=tmp_path, name="a_run")

    def watch(first, last):
        told = []
        times = {"begin": str(begin + pd.Timedelta(first, "s")), "until": str(begin + pd.Timedelta(last, "s"))}
        live.watch(run, f"replay:{array}/waveforms@max", tmp_path / "live", told=told.append, **times)
        return [text for text in told if "not looked at again" in text]

    assert not watch(100, 200)
    (said,) = watch(0, 240)
    assert "begin = " in said and "--out" in said and str(begin.date()) in said
    assert not watch(235, 250)


def test_a_step_must_hold_whole_samples(tmp_path):
    with pytest.raises(ValueError, match="whole samples"):
        live.Watch(Energy(), tmp_path, None, step_s=0.51)


def test_how_long_filters_remember_is_asked_of_them():
    long, short = blocks.run_in_s("highpass:low=0.05", 40.0), blocks.run_in_s("bandpass", 40.0)
    assert short < 15 < long
