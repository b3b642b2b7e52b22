"""Windows become events: by hand, and whatever the order in which they are settled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.waveforms import bulletins
from geonb.workloads.seismic import bulletin

FRAME = bulletin.Frame(step_s=5.0, span=12, before=3)  # windows of 60 s that begin 15 s before P
NAN = float("nan")


def track(events, power, explosion=None, station="AR", **settings):
    """Windows 100, 101, ... with these probabilities, and these powers of the block that each ends with."""
    made = bulletin.Track(station, FRAME, bulletin.Settings(**settings))
    for i, (event, strong) in enumerate(zip(events, power, strict=True)):
        made.rows[100 + i] = (event, 0.2 if explosion is None else explosion[i], 1.0, strong, 0.8, 45.0, 0.15, 1.5)
    return made


def one_event(at=30, n=80):
    """P in block 100 + at: the windows that hold it say event, and power rises there."""
    steps = np.arange(100, 100 + n)
    events = np.where((steps > 100 + at) & (steps <= 100 + at + 12), 0.9, 0.1)
    power = np.ones(n)
    power[at + 1 : at + 8] = [50, 30, 20, 10, 5, 3, 2]
    return events, power


def written(table, folder, facts):
    """What a watch does with the bulletin."""
    book = bulletins.Book(folder, bulletin.COLUMNS)
    return book.write(table, [bulletin.said_of(row, facts) for row in table.itertuples()], table.attrs["seen"])


def test_an_event_has_its_onset_where_the_power_rises_and_the_votes_of_the_windows_with_p_in_its_place():
    table = bulletin.events_of([track(*one_event())], bulletin.Settings())
    row = table.iloc[0]
    assert len(table) == 1 and row["status"] == "final" and row["kind"] == "earthquake" and row["windows"] == 5
    assert row["onset"] == pd.Timestamp((130 * 5 + 1.5), unit="s")
    assert row["p_noise"] == pytest.approx(0.1) and row["p_explosion"] == pytest.approx(0.9 * 0.2)
    assert (row["back_azimuth"], row["slowness"], row["stations"]) == (45, 0.15, "AR")


def test_windows_far_from_p_do_not_vote():
    events, power = one_event()
    explosion = np.full(80, 0.9)
    explosion[30 + 9 - 2 : 30 + 9 + 3] = 0.1  # those with P about 15 s after they begin
    assert bulletin.events_of([track(events, power, explosion)], bulletin.Settings())["kind"].tolist() == ["earthquake"]


def test_an_event_is_open_until_the_windows_that_vote_are_there():
    events, power = one_event()
    states = []
    for n in range(30, 60):
        table = bulletin.events_of([track(events[:n], power[:n])], bulletin.Settings())
        states.append(table["status"].iloc[0] if len(table) else "")
    assert states[0] == "" and states[-1] == "final" and "open" in states
    assert states.index("final") > states.index("open") and states == sorted(states, key=["", "open", "final"].index)


def test_two_events_in_one_stretch_are_told_where_power_rises_twice_and_they_are_apart():
    steps = np.arange(100, 200)
    events = np.where((steps > 130) & (steps < 175), 0.9, 0.1)
    power = np.ones(100)
    power[31:34], power[61:64], power[36:38] = [90, 60, 30], [80, 50, 20], [70, 40]  # the last is the first's S
    table = bulletin.events_of([track(events, power)], bulletin.Settings())
    assert [t.timestamp() for t in table["onset"]] == [130 * 5 + 1.5, 160 * 5 + 1.5]
    power[61:64] = [2, 2, 2]
    assert len(bulletin.events_of([track(events, power)], bulletin.Settings())) == 1


def test_stations_that_see_it_within_a_minute_tell_of_one_event():
    events, power = one_event()
    late, strong = one_event(at=36)
    tracks = [
        track(events, power),
        track(late, strong, np.full(80, 0.95), "BR"),
        track(np.full(80, 0.1), np.ones(80), station="CR"),
    ]
    table = bulletin.events_of(tracks, bulletin.Settings())
    assert table["stations"].tolist() == ["AR BR"] and table["windows"].tolist() == [10]
    assert table["p_explosion"].iloc[0] == pytest.approx((0.9 * 0.2 + 0.9 * 0.95) / 2)
    assert table[["kind", "majority", "agreed"]].values.tolist() == [
        ["explosion", "earthquake", 0.5]
    ]  # five windows say either
    assert len(bulletin.events_of(tracks, bulletin.Settings(stations=3))) == 0
    assert len(bulletin.events_of(tracks, bulletin.Settings(together_s=20))) == 2


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 25), st.booleans(), st.floats(1, 100)), min_size=5, max_size=30), st.randoms(use_true_random=False),
    st.sampled_from([60.0, 130.0, 1800.0]),
)  # fmt: skip
def test_what_is_settled_on_the_way_is_what_the_whole_says(pieces, random, longest_s):
    events = np.concatenate([np.full(n, 0.8 if yes else 0.2) for n, yes, _ in pieces])
    power = np.concatenate([strong * np.arange(1, n + 1) for n, _, strong in pieces])
    events[[random.randrange(len(events)) for _ in range(len(events) // 9)]] = NAN
    whole, grown = track(events, power, longest_s=longest_s), track(events[:1], power[:1], longest_s=longest_s)
    for k in sorted(whole.rows):
        grown.rows[k] = whole.rows[k]
        if random.random() < 0.3:
            grown.settle(k - 3 * FRAME.span)
    a, b = (sorted(map(str, one.events())) for one in (whole, grown))
    assert a == b


def test_the_bulletin_is_quakeml_that_obspy_reads(tmp_path):
    import obspy

    table = bulletin.events_of([track(*one_event())], bulletin.Settings())
    written(table, tmp_path, {"simulated": True})
    event = obspy.read_events(str(tmp_path / "bulletin.xml"))[0]
    pick = event.picks[0]
    assert event.event_type == "earthquake" and pick.time == obspy.UTCDateTime(651.5) and pick.backazimuth == 45
    assert pick.horizontal_slowness == pytest.approx(0.15 * 111.19, rel=1e-3)  # s/km to s/degree
    assert "SIMULATED" in event.comments[0].text
    pd.testing.assert_frame_equal(bulletin.read(tmp_path), table, check_dtype=False, rtol=0, atol=5e-5)
    head = (tmp_path / "bulletin.csv").read_text().splitlines()[0].split(",")
    assert {"back_azimuth_deg", "slowness_s_km"} <= set(head)


def test_a_bulletin_beside_a_catalogue():
    table = bulletin.events_of([track(*one_event())], bulletin.Settings())
    events = pd.DataFrame({"event_id": ["a", "b", "c"], "kind": ["explosion", "earthquake", "earthquake"]})
    arrivals = [pd.Timestamp(655, unit="s"), pd.Timestamp(900, unit="s"), pd.NaT]
    beside = bulletin.compared(table, events, arrivals).set_index("event_id")
    assert beside.loc["a", "told"] == "earthquake" and beside.loc["a", "off_s"] == pytest.approx(3.5)
    assert beside.loc[["b", "c"], "told"].tolist() == ["", ""] and len(beside) == 3
    assert bulletin.compared(table, events[1:], arrivals[1:])["catalogued"].tolist().count("") == 1


def test_two_sensors_of_one_station_are_one_station_and_quakeml_names_it():
    tracks = [track(*one_event(), station=name) for name in ("IU.ANMO.00", "IU.ANMO.10")]
    assert len(bulletin.events_of(tracks, bulletin.Settings(stations=2))) == 0
    ((_, seen),) = bulletin.events_of(tracks, bulletin.Settings()).attrs["seen"].items()
    ids = [pick.waveform_id for pick in bulletins.quakeml("a", "earthquake", "", seen).picks]
    assert [(i.network_code, i.station_code, i.location_code) for i in ids] == [
        ("IU", "ANMO", "00"),
        ("IU", "ANMO", "10"),
    ]


def test_votes_and_quiet_are_seconds_whatever_the_step():
    made = bulletin.Track("AR", bulletin.Frame(step_s=15.0, span=4, before=1), bulletin.Settings())
    for k in range(40):
        event = 0.9 if 21 <= k <= 24 else 0.1
        made.rows[k] = (event, 0.2, 1.0, 50.0 if k == 21 else 1.0, 0.8, 45.0, 0.15, 1.5)
    table = bulletin.events_of([made], bulletin.Settings())
    assert table["windows"].tolist() == [3] and table["onset"].tolist() == [pd.Timestamp(20 * 15 + 1.5, unit="s")]


def test_where_no_power_rises_no_onset_is_told():
    events = np.where((np.arange(80) > 30) & (np.arange(80) < 45), 0.9, 0.1)
    power = np.ones(80)
    power[20:] = 0.9  # it falls
    table = bulletin.events_of([track(events, power)], bulletin.Settings())
    row = table.iloc[0]
    assert len(table) == 1 and pd.isna(row["onset"]) and row["detected"] == pd.Timestamp(131 * 5, unit="s")
    assert row["windows"] == 14 and row["p_noise"] == pytest.approx(0.1) and np.isnan(row["back_azimuth"])
    assert "onset is not known" in row["remark"] and row["event_id"] == "19700101T001055"
    assert not bulletins.quakeml("a", "earthquake", "", table.attrs["seen"][row["event_id"]]).picks
    beside = bulletin.compared(
        table, pd.DataFrame({"event_id": ["a"], "kind": ["earthquake"]}), [pd.Timestamp(650, unit="s")]
    )
    assert beside["told"].tolist() == ["earthquake"] and beside["onset"].isna().all()


def test_an_onset_that_one_station_knows_is_that_of_the_event(tmp_path):
    events, power = one_event()
    table = bulletin.events_of([track(events, power), track(events, np.ones(80), station="BR")], bulletin.Settings())
    assert table["onset"].tolist() == [pd.Timestamp(651.5, unit="s")] and table["stations"].tolist() == ["AR BR"]
    assert table["remark"].tolist() == [""]
    written(table, tmp_path, {})
    assert bulletin.read(tmp_path)["remark"].tolist() == [""]


def for_ever(n=900, more=()):
    """From window 131 on the detector says event and never ends; P in block 130, and power rises again in some."""
    events, power = np.where(np.arange(n) > 30, 0.9, 0.1), np.ones(n)
    for at in (30, *more):
        power[at + 1 : at + 8] = [50, 30, 20, 10, 5, 3, 2]
    return events, power


def test_an_event_ends_though_its_detector_does_not():
    table = bulletin.events_of([track(*for_ever())], bulletin.Settings())
    assert (
        len(table) == 1
        and table["status"].tolist() == ["final"]
        and table["remark"].tolist() == ["went on for more than 1800 s"]
    )
    more = bulletin.events_of([track(*for_ever(more=(400, 700)))], bulletin.Settings())
    assert [t.timestamp() for t in more["onset"]] == [block * 5 + 1.5 for block in (130, 500, 800)]
    assert [bool(text) for text in more["remark"]] == [True, False, True]  # the last of 1800 s
    short = bulletin.events_of([track(*for_ever(n=360))], bulletin.Settings())
    assert short["remark"].tolist() == [""] and short["status"].tolist() == ["open"]
    whole = bulletin.events_of([track(*for_ever(), longest_s=86_400)], bulletin.Settings(longest_s=86_400))
    assert whole["status"].tolist() == ["open"] and whole["remark"].tolist() == [""]


def test_s_behind_a_cut_is_no_second_event():
    cut = 30 + 360  # block of which P is in its place in the last windows before the cut
    events, power = for_ever(more=(cut - 12,))
    behind = FRAME.span - FRAME.before
    power[cut - behind + 3 : cut - behind + 8] = 40  # S
    power[cut - 11 : cut - behind + 3] = 30  # P's own
    found = bulletin.events_of([track(events, power)], bulletin.Settings())["onset"]
    assert [t.timestamp() for t in found] == [130 * 5 + 1.5, (100 + cut - 12) * 5 + 1.5]


def test_what_goes_on_for_ever_is_settled_and_forgotten():
    events, power = for_ever(n=3000)
    whole, grown = track(events, power), track(events[:1], power[:1])
    for k in sorted(whole.rows):
        grown.rows[k] = whole.rows[k]
        grown.settle(k - 3 * FRAME.span)
    assert len(grown.rows) < 600
    assert sorted(map(str, whole.events())) == sorted(map(str, grown.events()))
