"""Events dealt to the splits: each whole, in time or drawn, and those that overlap as one; what notes of many records come to."""

import numpy as np
import pandas as pd
import pytest

from geonb.workloads.seismic import store

HOUR = pd.Timedelta(hours=1)


def table(starts, kinds=None, noise=True):
    """An event and the noise before it for each start, in hours."""
    rows = []
    for i, start in enumerate(starts):
        time = pd.Timestamp("2020-01-01") + start * HOUR
        kind = "earthquake" if kinds is None else kinds[i]
        rows += [{"id": f"e{i}", "time": time, "kind": kind}]
        rows += [{"id": f"e{i}", "time": time - pd.Timedelta(minutes=5), "kind": "noise"}] * noise
    return pd.DataFrame(rows)


@pytest.mark.parametrize("deal", ["time", "event"])
def test_an_event_and_its_noise_are_of_one_split(deal):
    index = table(np.arange(50) * 10.0, ["earthquake", "explosion"] * 25)
    index["split"], said = store.deal_events(index, deal, (60, 20, 20), 0, 60.0)
    assert index.groupby("id")["split"].nunique().max() == 1
    assert said["events"] == {"train": 30, "val": 10, "test": 10}
    if deal == "time":
        times = index.groupby("split")["time"].agg(["min", "max"])
        assert (
            times.loc["train", "max"] < times.loc["val", "min"] and times.loc["val", "max"] < times.loc["test", "min"]
        )
    else:  # each kind has its share
        kinds = index[index["kind"] != "noise"].groupby(["split", "kind"]).size()
        assert kinds["train"].tolist() == [15, 15] and kinds["test"].tolist() == [5, 5]


@pytest.mark.parametrize("deal", ["time", "event"])
def test_events_that_overlap_are_dealt_as_one(deal):
    starts = np.concatenate(
        [np.arange(20) * 10.0, np.arange(20) * 10.0 + 0.05]
    )  # three minutes apart, noise begins before both
    index = table(starts)
    index["split"], _ = store.deal_events(index, deal, (60, 20, 20), 1, 60.0)
    of = index.groupby("id")["split"].first()
    assert all(of[f"e{i}"] == of[f"e{i + 20}"] for i in range(20)) and set(of) == {"train", "val", "test"}
    with pytest.raises(ValueError, match="4 events, 1 apart in time, are too few"):
        store.deal_events(table([0, 0.01, 0.02, 0.03]), deal, (60, 20, 20), 0, 60.0)


def test_notes_of_a_kind_are_told_once():
    notes = [f"XX.S{i} Z: dropped, a gap of {i + 6}.5 s" for i in range(9)] + [
        "1 of 9 sensors are dead (a)",
        "2 of 9 sensors are dead (b)",
    ]
    told = store._gathered([*notes, "left out: e1 at S (nothing)"])
    assert len(told) == 3 and told[0] == "XX.S0 Z: dropped, a gap of 6.5 s; 8 more of the kind."
    many = store._gathered([f"x: reason {'abcdefghijklmnopqrst'[i]}" for i in range(20)])
    assert len(many) == 13 and many[-1].startswith("8 more notes of 8 other kinds")
