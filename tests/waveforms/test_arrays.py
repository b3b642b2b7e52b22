"""Where sensors lie together, and travel times, against TauP."""

import pytest

from geonb.waveforms import arrays


def test_p_is_that_of_taup():
    from obspy.taup import TauPyModel

    arrivals = TauPyModel("iasp91").get_travel_times(12, 2.5, arrays.FIRST_P)
    assert arrays.p_travel_s(2.5 * 111.1949, 12.3) == pytest.approx(arrivals[0].time, abs=0.05)


def test_sensors_that_lie_together_are_an_array_by_the_name_that_they_share():
    from obspy.core.inventory import Inventory, Network, Station

    places = {
        "KTA0": (69.5, 25.5),
        "KTB1": (69.51, 25.52),
        "KTB2": (69.49, 25.47),
        "FAR": (60.0, 25.0),
        "FAQ": (60.01, 25.0),
    }
    inventory = Inventory([Network("XX", [Station(code, lat, lon, 0) for code, (lat, lon) in places.items()])])
    assert arrays.arrays_of(inventory) == {"KT": ("XX.KTA0", "XX.KTB1", "XX.KTB2")}  # two are no array
    assert arrays.arrays_of(inventory, {"XX.KTA0", "XX.KTB1"}) == {}
    assert arrays.arrays_of(inventory, aperture_km=0.5) == {}


def test_the_middle_across_the_date_line():
    from obspy.core.inventory import Inventory, Network, Station

    inventory = Inventory([Network("XX", [Station("A", -17, 179.9, 0), Station("B", -18, -179.9, 0)])])
    lat, lon = arrays.middle_of(inventory, ["XX.A", "XX.B"])
    assert lat == -17.5 and abs(lon) == pytest.approx(180)
    assert all(v != v for v in arrays.middle_of(inventory, ["XX.C"]))


def test_p_is_that_of_the_station_which_sees_it_first():
    import pandas as pd

    events = pd.DataFrame({
        "time": pd.to_datetime(["2024-01-01", "2024-01-01"]), "latitude": [60.0, float("nan")], "longitude": [10.0, 10.0],
        "depth_km": [5.0, 5.0],
    })  # fmt: skip
    near, both = arrays.p_times(events, [(61.0, 10.0)]), arrays.p_times(events, [(66.0, 10.0), (61.0, 10.0)])
    assert near[0] == both[0] and 10 < (near[0] - events["time"][0]).total_seconds() < 25
    assert both.isna().tolist() == [False, True]


def test_p_is_that_of_picks_or_of_taup_or_unknown():
    import pandas as pd
    from obspy.taup import TauPyModel

    origin = pd.Timestamp("2024-01-01")
    event = {"event_id": "a", "time": origin, "depth_km": 12.3}
    picks = {("a", f"XX.{c}"): origin + pd.Timedelta(s, "s") for c, s in (("A", 5), ("B", 7), ("C", 8))}
    assert arrays.p_at(event, ["XX.A", "XX.B", "XX.C", "XX.D"], 99.0, picks) == origin + pd.Timedelta(7, "s")
    took = (arrays.p_at(event, ["XX.D"], 2.5 * 111.1949, picks, "ak135") - origin).total_seconds()
    arrivals = TauPyModel("ak135").get_travel_times(12, 2.5, arrays.FIRST_P)
    assert took == pytest.approx(arrivals[0].time, abs=0.05)
    assert pd.isna(arrays.p_at(event, ["XX.D"], float("nan"), picks))
    assert pd.isna(arrays.p_at(event | {"time": pd.NaT}, ["XX.D"], 99.0, picks))
