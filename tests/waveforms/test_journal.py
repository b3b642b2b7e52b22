"""What a watch tells, in files that grow: rows by UTC day, and a bulletin whose settled part is neither made nor read again."""

import os
from types import SimpleNamespace

import numpy as np
import obspy
import pandas as pd
import pytest

from geonb.waveforms import bulletins, journal

NAN = float("nan")
DAY = 17_280  # steps of 5 s
FIRST = DAY * 19_783  # 2024-03-01
COLUMNS = ("event", "power")


def test_rows_lie_in_the_file_of_their_day_and_the_last_of_a_step_counts(tmp_path):
    rows = [("AR", FIRST - 1, (0.25, 1.0)), ("AR", FIRST, (0.5, 2.0)), ("BR", FIRST + DAY, (NAN, 3.0))]
    journal.add(tmp_path / "steps", COLUMNS, 5.0, rows)
    journal.add(tmp_path / "steps", COLUMNS, 5.0, [("AR", FIRST, (0.75, 4.0))])
    names = sorted(path.name for path in (tmp_path / "steps").iterdir())
    assert names == ["2024-02-29.csv", "2024-03-01.csv", "2024-03-02.csv"]
    line = (tmp_path / "steps" / "2024-02-29.csv").read_text().splitlines()
    assert line == ["station,step,time,event,power", f"AR,{FIRST - 1},2024-02-29T23:59:55.000,0.25,1"]
    found = journal.read(tmp_path / "steps", COLUMNS)
    assert found["AR"] == {FIRST - 1: (0.25, 1.0), FIRST: (0.75, 4.0)}
    np.testing.assert_array_equal(found["BR"][FIRST + DAY], (NAN, 3.0))
    assert journal.newest_s(tmp_path / "steps") == pd.Timestamp("2024-03-02").timestamp()


def test_days_that_are_not_asked_for_are_not_read(tmp_path):
    days = range(10)
    journal.add(tmp_path / "steps", COLUMNS, 5.0, [("AR", FIRST + DAY * i + 7, (0.5, 1.0)) for i in days])
    for i in (0, 1, 2, 8, 9):
        (tmp_path / "steps" / f"{np.datetime64('2024-03-01') + i}.csv").write_bytes(b"\xff\n\xff\n")  # cannot be read
    asked = ((FIRST + DAY * 4) * 5.0, (FIRST + DAY * 7) * 5.0 + 60)
    there = {(k - FIRST) // DAY for k in journal.read(tmp_path / "steps", COLUMNS, *asked)["AR"]}
    assert {4, 5, 6, 7} <= there <= {3, 4, 5, 6, 7}
    with pytest.raises(UnicodeDecodeError):
        journal.read(tmp_path / "steps", COLUMNS)


def test_what_a_kill_left_of_a_line_is_not_read_and_is_cut_off(tmp_path):
    journal.add(tmp_path / "steps", COLUMNS, 5.0, [("AR", FIRST, (0.5, 1.0))])
    with (tmp_path / "steps" / "2024-03-01.csv").open("a") as file:
        file.write(f"AR,{FIRST // 10}")
    assert list(journal.read(tmp_path / "steps", COLUMNS)["AR"]) == [FIRST]
    journal.mend(tmp_path / "steps")
    journal.add(tmp_path / "steps", COLUMNS, 5.0, [("AR", FIRST + 1, (0.5, 1.0))])
    assert list(journal.read(tmp_path / "steps", COLUMNS)["AR"]) == [FIRST, FIRST + 1]


def test_one_file_of_all_days_is_read_and_gone_on_with(tmp_path):
    times = pd.Timestamp(FIRST * 5 - 5, unit="s"), pd.Timestamp(FIRST * 5, unit="s")
    lines = [f"AR,{FIRST - 1 + i},{t:%Y-%m-%dT%H:%M:%S}.000,0.5,{i}" for i, t in enumerate(times)]
    (tmp_path / "steps.csv").write_text("\n".join(["station,step,time,event,power", *lines, "AR,1"]))
    right = {FIRST - 1: (0.5, 0.0), FIRST: (0.5, 1.0)}
    assert journal.read(tmp_path / "steps", COLUMNS)["AR"] == right
    journal.mend(tmp_path / "steps")
    journal.add(tmp_path / "steps", COLUMNS, 5.0, [("AR", FIRST, (0.5, 9.0))])
    assert not (tmp_path / "steps.csv").exists()
    assert journal.read(tmp_path / "steps", COLUMNS, FIRST * 5.0)["AR"] == right | {FIRST: (0.5, 9.0)}


def event(i, kind="earthquake"):
    """A row of a bulletin, an hour after the one before; and what a station saw of it."""
    onset = pd.Timestamp("2024-03-01") + pd.Timedelta(i, "h")
    row = {
        "event_id": f"{onset:%Y%m%dT%H%M%S}",
        "onset": onset,
        "detected": onset,
        "kind": kind,
        "stations": "IU.ANMO.00",
    }
    seen = SimpleNamespace(station="IU.ANMO.00", onset=onset.timestamp(), back_azimuth=45.0, slowness=0.15)
    return row | {"back_azimuth": 45.0, "slowness": 0.15, "status": "final", "remark": ""}, seen


BULLETIN = tuple(event(0)[0])


def told(book, events):
    """What a book is given, and what it says."""
    table = pd.DataFrame([row for row, _ in events], columns=list(BULLETIN)).astype(
        dict.fromkeys(bulletins.TIMES, "datetime64[ns]")
    )
    return book.write(
        table, [f"of {row['event_id']}" for row, _ in events], {row["event_id"]: [seen] for row, seen in events}
    )


def test_a_bulletin_grows_and_what_is_settled_is_not_given_again(tmp_path):
    book = bulletins.Book(tmp_path, BULLETIN)
    told(book, [])
    assert len(bulletins.read(tmp_path, BULLETIN)) == 0 and len(obspy.read_events(str(tmp_path / "bulletin.xml"))) == 0
    told(book, [event(i) for i in range(4)])
    names = [event(i)[0]["event_id"] for i in range(3)]
    book.settle(event(3)[1].onset, {"IU.ANMO.00": 17}, names)
    first = (tmp_path / "bulletin.xml").read_bytes()
    assert told(book, [event(3), event(4)]) == ([event(4)[0]["event_id"]], [])
    again = bulletins.Book(tmp_path, BULLETIN)
    assert (again.until, again.floors) == (event(3)[1].onset, {"IU.ANMO.00": 17})
    new, gone = told(again, [event(3), event(5, "explosion")])
    assert new == [event(i)[0]["event_id"] for i in (3, 5)] and gone == [event(4)[0]["event_id"]]
    table = bulletins.read(tmp_path, BULLETIN)
    assert table["event_id"].tolist() == [event(i)[0]["event_id"] for i in (0, 1, 2, 3, 5)]
    assert table["onset"].tolist() == [event(i)[0]["onset"] for i in (0, 1, 2, 3, 5)]
    catalog = obspy.read_events(str(tmp_path / "bulletin.xml"))
    assert [one.resource_id.id.split("/")[-1] for one in catalog] == table["event_id"].tolist()
    assert [one.event_type for one in catalog] == ["earthquake"] * 4 + ["explosion"]
    assert [one.picks[0].time.timestamp for one in catalog] == [t.timestamp() for t in table["onset"]]
    assert first.split(b"</event>")[:3] == (tmp_path / "bulletin.xml").read_bytes().split(b"</event>")[:3]


def test_quakeml_in_pieces_is_quakeml(tmp_path):
    from obspy.io.quakeml.core import _validate

    book = bulletins.Book(tmp_path, BULLETIN)
    told(book, [event(0), event(1)])
    book.settle(event(1)[1].onset, {}, [event(0)[0]["event_id"]])
    told(book, [event(1), event(2)])
    assert _validate(str(tmp_path / "bulletin.xml"))


@pytest.mark.parametrize("harm", ["missing", "shorter", "of other columns"])
def test_a_bulletin_that_is_not_as_it_was_left_is_made_again(harm, tmp_path):
    book = bulletins.Book(tmp_path, BULLETIN)
    told(book, [event(0), event(1)])
    book.settle(event(1)[1].onset, {"AR": 17}, [event(0)[0]["event_id"]])
    if harm == "missing":
        (tmp_path / "bulletin.xml").unlink()
    elif harm == "shorter":
        os.truncate(tmp_path / "bulletin.csv", book.files[0].settled - 1)
    columns = (*BULLETIN, "more") if harm == "of other columns" else BULLETIN
    again = bulletins.Book(tmp_path, columns)
    assert again.until == -np.inf and not again.floors
    assert not again.files[0].settled and not again.files[1].settled
