"""Record sections, maps of stations and power over slowness, against a wave that was put in by hand."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from geonb.plots import waveforms

RATE, BEFORE, AWAY = 40.0, 20.0, 60.0
PLACE = np.array([[0.0, 0.0], [1.4, 0.3], [-1.1, 0.9], [0.2, -1.5], [-0.6, -0.8]])  # km east, north
FROM, VELOCITY = 70.0, 6.45


@pytest.fixture(scope="module")
def sensors():
    """A pulse that comes from FROM degrees with VELOCITY, and lies where it must by geometry alone."""
    seconds = np.arange(60 * RATE) / RATE
    towards = np.array([np.sin(np.radians(FROM)), np.cos(np.radians(FROM))])
    arrival = BEFORE - PLACE @ towards / VELOCITY  # a sensor nearer to the source sees it earlier
    pulse = np.exp(-(((seconds - arrival[:, None]) / 0.08) ** 2)) * np.cos(20 * (seconds - arrival[:, None]))
    noise = 0.01 * np.random.default_rng(0).normal(size=pulse.shape)
    coords = {
        "sensor": [f"XX.S{i}" for i in range(5)],
        "component": ["Z"],
        "east_m": ("sensor", 1e3 * PLACE[:, 0]),
        "north_m": ("sensor", 1e3 * PLACE[:, 1]),
    }
    attrs = {"rate_hz": RATE, "start": "2020-01-01T00:00:00Z", "units": "counts", "notes": []}
    data = (("sensor", "component", "time"), (pulse + noise)[:, None].astype(np.float32))
    return xr.Dataset({"data": data}, coords, attrs)


@pytest.fixture(scope="module")
def section(sensors):
    return waveforms.section_of(sensors, "Z", BEFORE, AWAY, FROM, VELOCITY)


def test_p_is_where_the_pulse_is_and_distances_are_those_to_the_source(section):
    seen = section.seconds[section.traces.argmax(1)]
    np.testing.assert_allclose(section.p_s, seen, atol=1.5 / RATE)
    source = AWAY * np.array([np.sin(np.radians(FROM)), np.cos(np.radians(FROM))])
    np.testing.assert_allclose(section.away_km, np.linalg.norm(PLACE - source, axis=1), atol=0.03)


@pytest.mark.parametrize("to_scale", [True, False])
def test_the_nearest_is_below_and_p_stands_on_its_own_trace(section, to_scale):
    away = np.array([50.0, 30.0, 40.0, 20.0, 10.0]) if to_scale else np.array([10.0, 10.01, 50.0, np.nan, 30.0])
    shown = waveforms.Section(section.traces, section.seconds, away, section.p_s, section.names, "Z")
    figure, ax = plt.subplots()
    waveforms.record_section(ax, shown, unit="counts")
    traces = [line for line in ax.lines if len(line.get_xdata()) > 2]
    marks = [line for line in ax.lines if len(line.get_xdata()) == 2]
    order = np.argsort(away)  # NaN last: the uppermost
    places = np.sort(away) if to_scale else np.arange(5)
    for line, mark, i, y in zip(traces, marks, order, places, strict=True):
        assert np.median(line.get_ydata()) == pytest.approx(y, abs=0.1)
        np.testing.assert_allclose(np.unique(mark.get_xdata()), [section.p_s[i]])
        assert np.mean(mark.get_ydata()) == pytest.approx(y)
        peak = line.get_xdata()[np.argmax(line.get_ydata())]
        assert peak == pytest.approx(section.p_s[i], abs=1.5 / RATE)
    assert ax.get_ylabel() == ("distance [km]" if to_scale else "in the order of distance, not to scale")
    words = [text.get_text() for text in ax.texts] + [label.get_text() for label in ax.get_yticklabels()]
    assert ("XX.S3  distance unknown" in words) == (not to_scale) and "largest\n[counts]" in words
    plt.close(figure)


def test_what_nobody_knows_is_said(section):
    unknown = waveforms.Section(section.traces, section.seconds, np.full(5, np.nan), section.p_s, section.names, "Z")
    figure = waveforms.event_sheet(unknown, {}, title="t", colour="k", place_km=np.full((5, 2), np.nan))
    (ax,) = figure.axes
    assert (
        ax.get_ylabel() == "distances are not known" and [t.get_text() for t in ax.get_yticklabels()] == section.names
    )
    assert "nobody knows where the stations are" in figure.texts[-1].get_text() and ax.get_xlabel() == "s after P"
    late = waveforms.Section(section.traces, section.seconds, section.away_km, section.p_s + 3, section.names, "Z")
    assert (
        waveforms.event_sheet(late, {}, title="t", colour="k").axes[0].get_xlabel() == "s after P at the first station"
    )


def test_noise_has_no_p(section):
    figure, ax = plt.subplots()
    waveforms.record_section(ax, section, p=False)
    assert all(len(line.get_xdata()) > 2 for line in ax.lines) and ax.get_legend() is None
    plt.close(figure)


def test_the_map_points_to_the_source_and_north_is_up():
    figure, ax = plt.subplots()
    places = np.vstack([PLACE, [np.nan, np.nan]])
    waveforms.station_map(ax, places, [f"XX.S{i}" for i in range(6)], {"catalogue": 90.0, "scan": 0.0})
    figure.canvas.draw()
    middle = PLACE.mean(0)
    arrows = [text for text in ax.texts if text.arrow_patch is not None and text.get_text() == ""]
    east, north = (np.subtract(arrow.xy, middle) for arrow in arrows)
    assert east[0] > 1 and abs(east[1]) < 1e-9 and north[1] > 1 and abs(north[0]) < 1e-9
    assert ax.get_ylim()[1] > ax.get_ylim()[0] and ax.get_xlim()[1] > ax.get_xlim()[0] and ax.get_aspect() == 1
    assert {text.get_text() for text in ax.texts} >= {"S0", "S4", "N"} and "S5" not in {t.get_text() for t in ax.texts}
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["catalogue: 90°", "scan: 0°"]
    plt.close(figure)


def test_where_nobody_knows_a_direction_there_is_no_arrow():
    figure, ax = plt.subplots()
    waveforms.station_map(ax, PLACE, list("abcde"), {"catalogue": 10.0, "scan, no direction (± 155°)": np.nan})
    assert len([text for text in ax.texts if text.arrow_patch is not None and text.get_text() == ""]) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "catalogue: 10°",
        "scan, no direction (± 155°)",
    ]
    plt.close(figure)


def test_power_over_slowness_peaks_where_the_wave_came_from(sensors):
    scan = waveforms.scanned(sensors, (BEFORE - 1, BEFORE + 5))
    figure, ax = plt.subplots()
    waveforms.slowness_map(ax, scan, FROM)
    mesh = ax.collections[0]
    y, x = np.unravel_index(mesh.get_array().reshape(scan["semblance"].shape).argmax(), scan["semblance"].shape)
    corners = mesh.get_coordinates()[y : y + 2, x : x + 2].reshape(4, 2)
    east, north = corners.mean(0)  # where it is drawn
    truth = np.array([np.sin(np.radians(FROM)), np.cos(np.radians(FROM))]) / VELOCITY
    np.testing.assert_allclose([east, north], truth, atol=0.012)
    (cross,) = [line for line in ax.lines if line.get_marker() == "+"]
    np.testing.assert_allclose([cross.get_xdata()[0], cross.get_ydata()[0]], truth, atol=0.006)
    assert cross.get_label().startswith("scan 7") and "km/s" in cross.get_label()
    plt.close(figure)


def test_too_few_sensors_or_too_short_a_stretch_are_not_scanned(sensors):
    assert waveforms.scanned(sensors.isel(sensor=slice(2)), (19, 25)) is None
    assert waveforms.scanned(sensors, (59.5, 70)) is None
    assert waveforms.scanned(sensors.assign_coords(component=["N"]), (19, 25)) is None


def test_a_sheet_says_what_is_what(sensors, section):
    figure = waveforms.event_sheet(
        section,
        {"simulated": 1, "notes": []},
        title="earthquake e1",
        colour="#1f5f99",
        sensors=sensors,
        back_azimuth=FROM,
        note="Filter: none.",
    )
    labels = {label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel())}
    assert {
        "s after P",
        "east [km]",
        "north [km]",
        "slowness, east [s/km]",
        "slowness, north [s/km]",
        "semblance",
    } <= labels
    words = " ".join(text.get_text() for text in figure.texts)
    assert "Filter: none." in words and "simulated data" in words
    alone = waveforms.event_sheet(
        section, {}, title="t", colour="k", place_km=PLACE, source_km=np.array([20.0, 4.0]), p=False
    )
    legends = [text.get_text() for ax in alone.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert legends == ["event, by the catalogue"]


def test_strips_of_traces_are_as_high_as_their_values():
    traces = np.zeros((2, 400))
    traces[0, 102:200], traces[1, 300:] = 1.0, -0.5  # five samples a column
    ink = waveforms.strips(traces, (40, 80))
    upper, lower = ink[:20], ink[20:]  # each by its own largest value
    assert upper[0, 21:39].all() and not upper[1:, 21:39].any() and upper[9:11, 45:].all() and not upper[:9, 45:].any()
    assert lower[19, 61:].all() and not lower[:19, 61:].any() and lower[9:11, :59].all() and not lower[12:, :59].any()
    assert upper[:10, 20].all() and not upper[12:, 20].any()  # where it jumps, all between is ink
