"""Beams and scans: against loops over sensors, planted plane waves, ObsPy, and nuclear tests whose places are known."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import signal

from geonb.waveforms import beams

NNSN = Path(__file__).parents[3] / "shared" / "data" / "seismic" / "nnsn"
RATE = 40.0
CROSS = np.array([[0.0, 0.0], [1.0, 0.1], [-0.9, 0.2], [0.2, 1.1], [-0.1, -1.0], [0.7, -0.6]])  # km east, north


def ricker(t, f0=2.5):
    a = (np.pi * f0 * t) ** 2
    return (1 - 2 * a) * np.exp(-a)


def planted(place, slowness, seconds=20.0, at=10.0, components="Z", noise=0.0, seed=0):
    """A Ricker wavelet that crosses the array: its delays are put in as times, by no Fourier transform."""
    t = np.arange(round(seconds * RATE)) / RATE
    tau = [slowness[0] * x + slowness[1] * y for x, y in place]
    data = np.array([[ricker(t - at - d)] * len(components) for d in tau])
    data += noise * np.random.default_rng(seed).standard_normal(data.shape)
    return waveforms(place, data, components)


def waveforms(place, data, components="Z"):
    return xr.Dataset(
        {"data": (("sensor", "component", "time"), np.asarray(data, np.float32))},
        {
            "sensor": [f"XX.A{i}" for i in range(len(place))], "component": list(components),
            "east_m": ("sensor", 1e3 * place[:, 0]), "north_m": ("sensor", 1e3 * place[:, 1]),
        },
        {"start": "2020-01-01T00:00:00.000000Z", "rate_hz": RATE, "units": "m/s", "notes": ["told before"]},
    )  # fmt: skip


def naive(data, tau):
    """Delay and sum, one sensor after the other, each with a Fourier transform of its own of three times the length."""
    size = 3 * data.shape[-1]
    f = np.fft.rfftfreq(size, 1 / RATE)
    moved = [
        np.fft.irfft(np.fft.rfft(trace, size) * np.exp(2j * np.pi * f * d), size)
        for trace, d in zip(data.astype(float), tau, strict=True)
    ]
    return np.mean(moved, axis=0)[..., : data.shape[-1]]


def test_places_are_obspy_s():
    from obspy.geodetics import gps2dist_azimuth

    lat, lon = [69.01167, 69.0075, np.nan, 69.0095], [23.23717, 23.23733, 23.2, 23.22733]
    km = beams.local_km(lat, lon, reference=0)
    assert np.isnan(km[2]).all() and (km[0] == 0).all()
    for i in (1, 3):
        metres, azimuth, _ = gps2dist_azimuth(lat[0], lon[0], lat[i], lon[i])
        expected = metres / 1e3 * np.sin(np.radians(azimuth)), metres / 1e3 * np.cos(np.radians(azimuth))
        assert km[i] == pytest.approx(expected, abs=1e-6)
    assert np.nanmean(beams.local_km(lat, lon), axis=0) == pytest.approx([0, 0], abs=1e-5)
    across = beams.local_km([0, 0], [179.99, -179.99])
    assert across == pytest.approx(np.array([[-1.1132, 0], [1.1132, 0]]), abs=1e-3)
    assert np.isnan(beams.local_km([np.nan], [1.0])).all()


def test_places_that_there_are_not_are_all_told():
    with pytest.raises(ValueError, match=r"sensor 1: 91, 5(.|\n)*reference = 2: give the number"):
        beams.local_km([60, 91, np.nan], [5, 5, 5], reference=2)


def test_a_wave_from_the_east_travels_west():
    assert beams.slowness_of(90, 5.0) == pytest.approx([-0.2, 0], abs=1e-12)
    assert beams.slowness_of([0, 180], 4.0) == pytest.approx(np.array([[0, -0.25], [0, 0.25]]), abs=1e-12)
    azimuth, velocity = beams.direction_of([[-0.2, 0], [0.1, 0.1], [0, 0]])
    assert azimuth[:2] == pytest.approx([90, 225]) and np.isnan(azimuth[2]) and velocity[0] == pytest.approx(5)
    assert beams.delays([-0.2, 0], [1.0, -1.0], [7.0, 7.0]) == pytest.approx([-0.2, 0.2])  # first seen in the east


@given(st.floats(0, 359.99), st.floats(0.5, 50))
def test_direction_and_slowness_are_inverses(azimuth, velocity):
    got, speed = beams.direction_of(beams.slowness_of(azimuth, velocity))
    assert abs((got - azimuth + 180) % 360 - 180) < 1e-9 and speed == pytest.approx(velocity)


def test_grid_of_slownesses():
    grid = beams.slowness_grid(0.3, 0.1)
    assert grid.shape == (7, 7, 2) and grid[3, 3] == pytest.approx([0, 0]) and grid[0, -1] == pytest.approx([0.3, -0.3])
    for most, step in ((0.3, 0), (0.1, 0.2), (np.nan, 0.1), (np.inf, 0.1)):
        with pytest.raises(ValueError, match="no such grid"):
            beams.slowness_grid(most, step)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_beams_are_those_of_a_loop_over_sensors(seed):
    random = np.random.default_rng(seed)
    place = random.uniform(-3, 3, (random.integers(1, 9), 2))
    t = np.linspace(-1, 1, 801)
    low = signal.butter(8, 14, fs=RATE, output="sos")  # at 20 Hz a sample between two others is anything
    data = signal.sosfiltfilt(low, random.standard_normal((len(place), 2, 801))) * np.exp(-8 * t**2)
    vectors = random.uniform(-0.4, 0.4, (7, 2))
    found = beams.beam(waveforms(place, data, "ZR"), vectors)
    assert found["data"].dims == ("beam", "component", "time") and found.attrs["notes"] == ["told before"]
    middle = slice(120, -120)  # where every sensor has a sample for each of them
    assert (found["sensors"].values[..., middle] == len(place)).all()
    for i, (sx, sy) in enumerate(vectors):
        other = naive(data, [sx * x + sy * y for x, y in place])
        error = np.abs(found["data"].values[i] - other)[..., middle].max()
        assert error < 1e-4 * np.abs(other).max()


def test_a_beam_is_a_sum_of_sincs():
    """In the time domain: the trace of band-limited samples at times between them."""
    n, tau = 400, np.array([0.013, -0.171, 0.4])
    data = np.stack([ricker(np.arange(n) / RATE - 5 + 0.3 * i, 3 + i) for i in range(3)])
    t = np.arange(n)
    moved = [np.sinc(t[:, None] + d * RATE - t) @ trace for d, trace in zip(tau, data, strict=True)]
    found, _ = beams.delay_and_sum(data[:, None], RATE, tau[None])
    assert np.abs(found[0, 0] - np.mean(moved, axis=0))[20:-20].max() < 1e-4


def test_nothing_wraps_around():
    data = np.zeros((2, 1, 200))
    data[0, 0, 3] = data[1, 0, 198] = 1
    found, counts = beams.delay_and_sum(data, RATE, np.array([[1.0, -1.0]]))  # 40 samples, out at both ends
    assert np.abs(found).max() < 1e-6
    assert counts[0, 0].tolist() == [1] * 40 + [2] * 120 + [1] * 40
    _, counts = beams.delay_and_sum(data, RATE, np.array([[1.0, 0.0]]))  # advanced by 1 s, it ends 1 s early
    assert counts[0, 0].tolist() == [2] * 160 + [1] * 40


def test_nothing_wraps_around_in_a_scan():
    """In the time domain: windows of 128 samples, moved by whole ones over silence."""
    from obspy.signal.invsim import cosine_taper

    place = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    band = signal.butter(4, (4, 12), "bandpass", fs=RATE, output="sos")
    data = signal.sosfiltfilt(band, np.random.default_rng(0).standard_normal((4, 1, 128)))
    windows = np.pad((data[:, 0] - data.mean(axis=-1)) * cosine_taper(128, beams.TAPERED), ((0, 0), (0, 128)))
    grid = beams.slowness_grid(0.8, 0.4)  # 16 samples a step
    found = beams.scan(waveforms(place, data), grid).isel(time=0)["semblance"].values
    for (row, column), semblance in np.ndenumerate(found):
        shifts = np.rint(beams.delays(grid[row, column], *place.T) * RATE).astype(int)
        summed = np.sum([np.roll(trace, -k) for trace, k in zip(windows, shifts, strict=True)], axis=0)
        assert semblance == pytest.approx((summed**2).sum() / (4 * (windows**2).sum()), abs=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 360), st.floats(0.0, 0.3), st.integers(0, 10**6))
@example(90.0, 0.0, 0)
def test_a_planted_plane_wave_is_found_again(azimuth, slowness, seed):
    random = np.random.default_rng(seed)
    place = random.uniform(-1.5, 1.5, (random.integers(5, 10), 2))
    assume(np.linalg.svd(place - place.mean(axis=0), compute_uv=False)[1] > 1)  # no line
    truth = -slowness * np.array([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
    wave = planted(place, truth)
    found = beams.scan(wave, beams.slowness_grid(0.4, 0.04)).isel(time=0)
    got = beams.slowness_of(found["back_azimuth"].fillna(0).item(), 1 / max(found["slowness"].item(), 1e-9))
    assert np.abs(got - truth).max() < 0.04  # a step of the grid
    assert abs(found["slowness"] - slowness) <= found["slowness_half_width"]
    if slowness > 0.01 and found["back_azimuth_half_width"] < 180:
        assert abs((found["back_azimuth"] - azimuth + 180) % 360 - 180) <= found["back_azimuth_half_width"]
    wavelet = ricker(np.arange(wave.sizes["time"]) / RATE - 10)
    assert (
        np.abs(beams.beam(wave, truth)["data"].values[0, 0] - wavelet)[40:-40].max() < 1e-4
    )  # where there are samples


def test_sensors_without_a_sample_are_left_out_and_told():
    whole = planted(CROSS, (-0.1, 0.05), components="ZR")
    broken = whole.copy(deep=True)
    broken["east_m"][0] = np.nan
    broken["data"][1, 0], broken["data"][2, 0], broken["data"][3, 0, :300] = np.nan, 7, np.nan
    found, rest = beams.beam(broken, (-0.1, 0.05)), beams.beam(whole.isel(sensor=[4, 5]), (-0.1, 0.05))
    assert found.attrs["notes"] == [
        "told before", "XX.A0: its place is unknown, left out of beams", "XX.A1 Z: without a sample, left out of beams",
        "XX.A2 Z: flat, left out of beams",
    ]  # fmt: skip
    assert found["sensors"].sel(component="Z")[0, [50, 700]].values.tolist() == [2, 3]
    assert found["sensors"].sel(component="R")[0, [50, 700]].values.tolist() == [5, 5]
    early = slice(10, 290)
    same = found["data"].values[0, 0, early] - rest["data"].values[0, 0, early]
    assert np.abs(same).max() < 1e-5
    assert found["data"].values[0, 0, 380:420] == pytest.approx(ricker(np.arange(380, 420) / RATE - 10), abs=1e-3)

    silent = whole.assign(data=whole["data"] * np.nan)
    assert np.isnan(beams.beam(silent, (0, 0))["data"]).all() and not beams.beam(silent, (0, 0))["sensors"].any()


def test_what_cannot_be_beamed_is_refused():
    wave = planted(CROSS, (0, 0))
    with pytest.raises(ValueError, match=r"component T: there are Z"):
        beams.beam(wave, (0, 0), ["T"])
    with pytest.raises(ValueError, match="place of no sensor is known"):
        beams.beam(wave.assign_coords(east_m=wave["east_m"] * np.nan), (0, 0))
    with pytest.raises(ValueError, match=r"slowness = .*nan"):
        beams.beam(wave, (0, np.nan))


def test_places_are_read_from_latitude_and_longitude_too():
    wave = planted(CROSS, (0.2, 0.1))
    lat, lon = 60 + CROSS[:, 1] / 111.42, 10 + CROSS[:, 0] / 55.8  # km a degree at 60 N
    other = wave.drop_vars(["east_m", "north_m"]).assign_coords(latitude=("sensor", lat), longitude=("sensor", lon))
    a, b = (beams.scan(each).isel(time=0) for each in (wave, other))
    for name, most in (("back_azimuth", 0.2), ("slowness", 1e-3), ("peak", 1e-3)):
        assert a[name].item() == pytest.approx(b[name].item(), abs=most)


def test_each_phase_has_its_velocity():
    wave = planted(CROSS, beams.slowness_of(75, 6.45), components="ZRT")
    slow = planted(CROSS, beams.slowness_of(75, 3.70), components="ZRT")
    wave["data"][:, 1:] = slow["data"][:, 1:]
    found = beams.phase_beams(wave, 75.0)
    wavelet = ricker(np.arange(800) / RATE - 10)
    assert found["data"].dims == ("component", "time") and found["component"].values.tolist() == ["Z", "R", "T"]
    assert found["velocity"].values.tolist() == [6.45, 3.7, 3.7] and (found["sensors"].values[:, 400] == 6).all()
    assert np.abs(found["data"].values - wavelet).max() < 1e-4
    assert found["sy"].values == pytest.approx(-np.cos(np.radians(75)) / np.array([6.45, 3.7, 3.7]))
    alone = beams.phase_beams(wave.sel(component=["Z"]), 75.0)
    assert np.isnan(alone["data"].values[1:]).all() and not alone["sensors"].values[1:].any()
    assert alone.attrs["notes"][1:] == [f"{c}: no sensor has this component, its beam is empty" for c in "RT"]
    assert alone["data"].values[0] == pytest.approx(found["data"].values[0])


def test_beams_of_phases_want_rotated_components_and_a_direction():
    with pytest.raises(ValueError, match=r"back_azimuth = nan(.|\n)*E, N, Z: rotate"):
        beams.phase_beams(planted(CROSS, (0, 0), components="ZNE"), np.nan)
    with pytest.raises(ValueError, match="beams are asked of Z, R, T"):
        beams.phase_beams(planted(CROSS, (0, 0), components="1"), 10.0)


def obspy_scan(wave, grid, window_s, share, band):
    """Maps (window, sy, sx) and ObsPy's table: relative power, absolute power, back-azimuth, slowness by window."""
    from obspy import Stream, Trace, UTCDateTime
    from obspy.core import AttribDict
    from obspy.signal.array_analysis import array_processing

    start, maps, stream = UTCDateTime(wave.attrs["start"]), [], Stream()
    for i, trace in enumerate(wave["data"].values[:, 0]):
        stream += Trace(trace.astype(float), {"sampling_rate": RATE, "starttime": start, "station": str(i)})
        x, y = wave["east_m"].values[i] / 1e3, wave["north_m"].values[i] / 1e3
        stream[-1].stats.coordinates = AttribDict(x=x, y=y, elevation=0)
    low, high, step = grid[0, 0], grid[-1, -1], grid[1, 1] - grid[0, 0]
    table = array_processing(
        stream, window_s, share, low[0], high[0], low[1], high[1], step[0], -1, -1, *band, start, stream[0].stats.endtime, 0,
        coordsys="xy", timestamp="julsec", store=lambda relative, absolute, i: maps.append(relative.T.copy()),
    )  # fmt: skip
    return np.array(maps), table[:, 1:]


@pytest.mark.parametrize(("window_s", "noise"), [(4.0, 0.3), (20 - 1 / RATE, 0.1)])
def test_scans_are_obspy_s(window_s, noise):
    wave = planted(CROSS, beams.slowness_of(213, 8.0), noise=noise)
    grid = beams.slowness_grid(0.3, 0.03)[2:, 1:]  # no square
    maps, table = obspy_scan(wave, grid, window_s, 0.25, (1, 6))
    found = beams.scan(wave, grid, window_s, window_s / 4, band=(1, 6))
    assert abs(found.sizes["time"] - len(maps)) <= 1  # ObsPy's ends a step early
    found = found.isel(time=slice(len(maps)))
    assert np.abs(found["semblance"].values - maps).max() < 2e-5
    assert found["peak"].values == pytest.approx(table[:, 0], abs=2e-5)
    theirs = beams.slowness_of(table[:, 2], 1 / table[:, 3])
    ours = beams.slowness_of(found["back_azimuth"].values, 1 / found["slowness"].values)
    assert np.abs(ours - theirs).max() <= 0.03  # theirs lie on the grid
    assert (found["time"].values - found["time"].values[0]).astype(float) / 1e9 == pytest.approx(
        np.arange(len(maps)) * round(window_s / 4 * RATE) / RATE
    )


def test_scans_need_little_memory_whatever_they_are_cut_into(monkeypatch):
    wave = planted(CROSS, (0.1, 0.1), components="ZR", noise=0.2)
    grid = beams.slowness_grid(0.4, 0.05)
    whole = beams.scan(wave, grid, window_s=3, step_s=0.5, component=None)
    monkeypatch.setattr(beams, "CELLS", 1000)
    monkeypatch.setattr(beams, "BLOCK", 4)
    cut = beams.scan(wave, grid, window_s=3, step_s=0.5, component=None)
    assert whole["semblance"].dims == ("component", "time", "sy", "sx") and whole.sizes["time"] == 35
    for name, values in whole.data_vars.items():
        assert cut[name].values == pytest.approx(values.values, rel=1e-3, abs=1e-4), name
    block = beams.delay_and_sum(wave["data"].values, RATE, np.zeros((5, 6)))[0]
    monkeypatch.undo()
    assert block == pytest.approx(beams.delay_and_sum(wave["data"].values, RATE, np.zeros((5, 6)))[0], abs=1e-6)


def test_windows_lie_where_they_are_said_to():
    wave = planted(CROSS, beams.slowness_of(30, 5.0), at=14.0, noise=0.02)
    found = beams.scan(wave, window_s=2, step_s=1, between_s=(3, 19))
    assert found["time"].values[0] == np.datetime64("2020-01-01T00:00:03") and found.sizes["time"] == 15
    best = found["time"].values[found["peak"].values.argmax()]
    assert np.datetime64("2020-01-01T00:00:12") < best < np.datetime64("2020-01-01T00:00:14")  # 2 s from there hold 14
    assert found["power"].values.argmax() == found["peak"].values.argmax()
    assert found["power"].attrs["units"] == "(m/s)^2" and found["sx"].attrs["units"] == "s/km"
    one = found.sel(time=best)
    assert one["back_azimuth"] == pytest.approx(30, abs=2) and one["slowness"] == pytest.approx(0.2, abs=0.005)


def test_power_is_the_mean_square_of_the_beam():
    t = np.arange(800) / RATE
    data = np.tile(3 * np.sin(2 * np.pi * 4 * t), (6, 1, 1))
    found = beams.scan(waveforms(CROSS, data)).isel(time=0)
    assert found["peak"] == pytest.approx(1, abs=1e-5) and found["power"] == pytest.approx(4.5, rel=1e-3)


def test_windows_go_without_sensors_that_lack_a_sample():
    wave = planted(CROSS, (0.1, -0.1), noise=0.01)
    wave["data"][0, 0, 500:], wave["data"][1, 0, 500:], wave["data"][2, 0, 600:] = np.nan, 1e4, np.nan
    wave["data"][3, 0, 700:] = np.nan
    found = beams.scan(wave, window_s=2.5, step_s=2.5)
    assert found["sensors"].values.tolist() == [6, 6, 6, 6, 6, 4, 3, 2]
    alone = beams.scan(wave.isel(sensor=[2, 3, 4, 5]), window_s=2.5, step_s=2.5)
    assert found["semblance"].values[5] == pytest.approx(alone["semblance"].values[5], abs=1e-5)
    assert np.isnan(found["semblance"].values[7]).all() and np.isfinite(found["semblance"].values[:7]).all()
    for name in ("peak", "power", "back_azimuth", "slowness", "back_azimuth_half_width", "slowness_half_width"):
        assert np.isfinite(found[name].values[:7]).all() and np.isnan(found[name].values[7]), name
    assert found.attrs["notes"][1:] == [
        "9 of 48 windows of sensors are left out: no sample, or flat",
        "1 of 8 windows have fewer than 3 sensors, and no slowness",
    ]


def test_a_small_array_does_not_know_the_direction_and_says_so():
    wide = [beams.scan(planted(k * CROSS, beams.slowness_of(70, 8))).isel(time=0) for k in (0.1, 1, 3)]
    assert wide[0]["back_azimuth_half_width"] == 180  # .2 km across, waves of 3 km
    assert wide[1]["back_azimuth_half_width"] < 45 and wide[2]["back_azimuth_half_width"] < 20
    assert wide[0]["slowness_half_width"] > wide[1]["slowness_half_width"] > wide[2]["slowness_half_width"] >= 0.01
    assert not wide[2]["at_edge"]
    line = beams.scan(planted(CROSS * [1, 0], beams.slowness_of(70, 8))).isel(time=0)  # sensors west to east
    assert line["at_edge"] and line["slowness_half_width"] > 0.3


def test_a_half_width_is_that_of_the_map():
    """By hand: at .9 of the peak five cells in a cross, the corner that is furthest off."""
    grid, maps = beams.slowness_grid(0.3, 0.1), np.zeros((2, 7, 7))
    maps[0, 3, 5], maps[0, [2, 4, 3, 3], [5, 5, 4, 6]] = 1.0, 0.9
    maps[1] = np.nan
    found = beams._peaks(maps, grid, 0.85)
    assert found["back_azimuth"][0] == pytest.approx(270) and found["slowness"][0] == pytest.approx(0.2)
    assert found["back_azimuth_half_width"][0] == pytest.approx(45)  # corner (.15, .15)
    assert found["slowness_half_width"][0] == pytest.approx(np.hypot(0.35, 0.05) - 0.2)
    assert found["at_edge"].tolist() == [True, False] and np.isnan(found["peak"][1])
    maps[0], maps[0, 3, 3], maps[0, 3, [2, 4]] = 0, 1, 0.9  # a wave from straight below, as far as that grid tells
    found = beams._peaks(maps[:1], grid, 0.85)
    assert np.isnan(found["back_azimuth"][0]) and found["slowness"][0] == 0
    assert found["back_azimuth_half_width"][0] == 180 and not found["at_edge"][0]


def test_the_top_of_a_parabola():
    y, x = np.mgrid[-1:2, -1:2]
    near = 5 - (x - 0.3) ** 2 - 2 * (y + 0.2) ** 2 + 0.5 * (x - 0.3) * (y + 0.2)
    flat, saddle = np.ones((3, 3)), x * y + 0.0
    assert beams._tops(np.stack([near, flat, saddle])) == pytest.approx(
        np.array([[0.3, -0.2], [0, 0], [0, 0]]), abs=1e-9
    )


def test_scans_that_cannot_be_are_refused_with_every_fault():
    wave = planted(CROSS, (0, 0))
    with pytest.raises(
        ValueError, match=r"grid \(2, 2, 2\)(.|\n)*window_s = 30(.|\n)*20 s of record(.|\n)*band = \(5, 50\)"
    ):
        beams.scan(wave, np.zeros((2, 2, 2)), 30, band=(5, 50))
    bent = beams.slowness_grid(0.2, 0.1)
    bent[1, 1] += 0.01
    with pytest.raises(ValueError, match="evenly spaced"):
        beams.scan(wave, bent)
    with pytest.raises(ValueError, match="no frequency of a window of 1 s"):
        beams.scan(wave, window_s=1, band=(0.01, 0.02))
    slow = beams.scan(planted(10 * CROSS, (0, 0), noise=0.1), window_s=2)
    assert re.search(r"cross the array in \d.\d s: windows of 2 s hold a part", slow.attrs["notes"][-1])


def test_timing_errors_are_those_of_fitted_planes():
    random, truth = np.random.default_rng(0), beams.slowness_of(97, 12.7)
    plane = np.c_[0.3 * CROSS, np.ones(6)]
    times = (0.3 * CROSS) @ truth + 0.001 * random.standard_normal((4000, 6))
    fits = np.linalg.lstsq(plane, times.T, rcond=None)[0][:2].T
    azimuth, velocity = beams.direction_of(fits)
    azimuth_error, slowness_error = beams.timing_error(0.3 * CROSS, truth, 0.001)
    assert azimuth.std() == pytest.approx(azimuth_error, rel=0.05)
    assert (1 / velocity).std() == pytest.approx(slowness_error, rel=0.05)
    assert beams.timing_error(CROSS * [1, 0], truth, 0.001) == (np.inf, np.inf)


@pytest.mark.skipif(not NNSN.is_dir(), reason="recordings of nuclear tests are not there (../shared)")
def test_nuclear_tests_lie_within_the_half_width():
    """A blast of 1988-08-22, 66.32 N 78.55 E, at six sensors .56 km across: P of 10 km/s crosses them within .044 s."""
    from obspy import read, read_inventory

    folder, names = NNSN / "USS19882351620", [f"KTK{i}" for i in range(1, 7)]
    traces = [read(folder / f"{folder.name}_NS.{name}.00.SHZ.mseed")[0] for name in names]
    places = [read_inventory(NNSN / "RESPONSES" / f"{name}.xml")[0][0] for name in names]
    for trace in traces:
        trace.detrend("demean").filter("bandpass", freqmin=1, freqmax=3, corners=3)
    wave = xr.Dataset(
        {"data": (("sensor", "component", "time"), np.stack([trace.data for trace in traces])[:, None])},
        {
            "sensor": names, "component": ["Z"], "latitude": ("sensor", [p.latitude for p in places]),
            "longitude": ("sensor", [p.longitude for p in places]),
        },
        {"start": str(traces[0].stats.starttime), "rate_hz": 50.0, "units": "counts"},
    )  # fmt: skip
    found = beams.scan(wave, beams.slowness_grid(0.3, 0.01), 3.0, band=(1, 3), between_s=(33, 36)).isel(time=0)
    error = abs((found["back_azimuth"].item() - 70.9 + 180) % 360 - 180)
    assert found["peak"] > 0.9 and 5 < error < 25  # not hidden: 15 degrees, and .096 s/km, .098 by TauP
    assert error <= found["back_azimuth_half_width"] and found["slowness"] == pytest.approx(0.098, abs=0.01)
