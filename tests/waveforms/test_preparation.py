"""Preparation: filters, rates and turns against ObsPy and scipy, gaps and lengths by hand, packets against the whole."""

import json
from itertools import pairwise

import numpy as np
import obspy
import pytest
import scipy.signal
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from geonb.waveforms import preparation

START = "2020-01-01T00:00:00Z"


def records(values, rate=100.0, components="ZNE", **attrs):
    values = np.asarray(values, np.float32)
    about = {"start": START, "rate_hz": rate, "units": "counts", "event_id": "x", "array": "", "notes": []} | attrs
    sensors = [f"NS.S{i}" for i in range(len(values))]
    coords = {
        "sensor": sensors,
        "component": list(components[: values.shape[1]]),
        "east_m": ("sensor", np.arange(len(values)) * 1.0),
    }
    return xr.Dataset({"data": (("sensor", "component", "time"), values)}, coords, about)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def stream(values, rate):
    return obspy.Trace(np.array(values, np.float64), {"sampling_rate": rate, "starttime": obspy.UTCDateTime(START)})


@pytest.mark.parametrize(
    ("text", "kind", "corners", "zero"),
    [("bandpass", "bandpass", {"freqmin": 2, "freqmax": 8}, False), ("bandpass:phase=zero", "bandpass", {"freqmin": 2, "freqmax": 8}, True),
     ("highpass:low=1.5", "highpass", {"freq": 1.5}, False)],
)  # fmt: skip
def test_filters_are_obspy_s(text, kind, corners, zero):
    values = 1000 + 50 * noise(2, 3, 6000)
    got = preparation.prepare(records(values), text, 100, taper_s=0)
    for i in range(2):
        for j in range(3):
            trace = (
                stream(np.float32(values[i, j]), 100)
                .detrend("constant")
                .filter(kind, **corners, corners=4, zerophase=zero)
            )
            np.testing.assert_allclose(got["data"].values[i, j], trace.data, atol=2e-4)
    assert got.attrs["filters"] == text and got["east_m"].values.tolist() == [0, 1]


def test_the_taper_is_obspy_s_and_of_the_start_alone_unless_the_filter_runs_backwards():
    flank = stream(np.ones(2000), 100).taper(None, "hann", 5, "left").data
    got = preparation._flanks(2000, 500, False)
    np.testing.assert_allclose(got, flank, atol=1e-12)
    np.testing.assert_allclose(
        preparation._flanks(2000, 500, True), stream(np.ones(2000), 100).taper(None, "hann", 5).data, atol=1e-12
    )


@pytest.mark.parametrize(
    ("rate", "n"), [(100.0, 24_000), (50.0, 12_000), (40.0, 9_600), (200.0, 48_000), (31.25, 7_500), (125.0, 30_000)]
)
def test_rates_against_obspy_s_fourier_resampling(rate, n):
    sos = scipy.signal.butter(8, [1, 6], "bandpass", output="sos", fs=rate)
    values = scipy.signal.sosfiltfilt(sos, noise(n)) * scipy.signal.windows.tukey(n, 0.2)
    to = min(rate, 40.0) if rate != 31.25 else 25.0
    got = preparation.resample(values, rate, to)
    want = stream(values, rate).resample(to, window=None).data
    assert len(got) == len(want) == round(n / rate * to)
    np.testing.assert_allclose(got, want, atol=2e-3 * np.abs(want).max())


def test_a_mean_and_gaps_pass_the_resampling():
    values = np.full((2, 1000), 1e6)
    values[1, 300:400] = np.nan
    got = preparation.resample(values, 100, 40)
    assert np.allclose(got[0], 1e6) and got.shape == (2, 400)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(got[1])), np.arange(120, 160))
    assert np.allclose(got[1][~np.isnan(got[1])], 1e6)


@settings(max_examples=60, deadline=None)
@given(rate=st.sampled_from([40.0, 50.0, 100.0, 125.0, 200.0]), more=st.integers(0, 7), length=st.integers(5, 60))
def test_lengths_are_exact(rate, more, length):
    values = noise(1, 1, round(length * rate) + more)
    got = preparation.prepare(records(values, rate), length_s=length)
    assert got.sizes["time"] == length * 40 and np.isfinite(got["data"]).all()


def test_240_s_are_9600_samples_and_never_9601():
    got = preparation.prepare(records(noise(1, 1, 24_001)), length_s=240)
    assert got.sizes["time"] == 9600
    later = preparation.prepare(records(noise(1, 1, 27_001)), start="2020-01-01T00:00:20.013Z", length_s=240)
    assert later.sizes["time"] == 9600 and later.attrs["start"].startswith("2020-01-01T00:00:20.025")
    with pytest.raises(ValueError, match=r"240 s from .* do not lie in the record: 239 s from 2020-01-01 00:00:00"):
        preparation.prepare(records(noise(1, 1, 23_900)), length_s=240)


def test_rates_only_go_down_and_clocks_may_be_a_hair_off():
    assert preparation.ratio(99.9999, 40) == (2, 5)
    for old, new, said in (
        (20.0, 40.0, "20 Hz cannot be made 40 Hz: rates go down"),
        (500.0, 0.1, "by ratios of at most 1,000"),
    ):
        with pytest.raises(ValueError, match=said):
            preparation.ratio(old, new)


def test_a_gap_in_the_middle_is_the_mean_and_longer_ones_drop_the_trace():
    values = 5000 + noise(2, 3, 3000)
    values[0, 1, 1000:1400] = np.nan  # 4 s
    values[1, 2, 1000:1600] = np.nan  # 6 s
    got = preparation.prepare(records(values), "none", 100, taper_s=0)
    np.testing.assert_array_equal(got["data"].values[0, 1, 1000:1400], 0)
    assert abs(got["data"].values[0, 1, :1000].mean()) < 0.2  # the mean is of what is known
    assert np.isnan(got["data"].values[1, 2]).all() and np.isfinite(got["data"].values[1, :2]).all()
    assert got.attrs["notes"] == ["NS.S1 E: dropped, a gap of 6.0 s"]
    kept = preparation.prepare(records(values), "none", 100, gap_s=7)
    assert kept.attrs["notes"] == [] and np.isfinite(kept["data"]).all()


def test_a_gap_does_not_ring_through_the_filter():
    values = np.full((1, 1, 3000), 1e6)
    values[0, 0, 1000:1400] = np.nan
    assert np.abs(preparation.prepare(records(values))["data"]).max() < 1e-3


def test_sensors_without_any_trace_are_left_out_and_none_is_an_error():
    values = noise(2, 1, 3000)
    values[0] = np.nan
    got = preparation.prepare(records(values))
    assert got["sensor"].values.tolist() == ["NS.S1"] and got["east_m"].values.tolist() == [1]
    values[1, 0, :1000] = np.nan  # starts late
    with pytest.raises(ValueError, match=r"Nothing is left of 2020.*\n- NS.S1 Z: dropped, a gap of 10.0 s"):
        preparation.prepare(records(values))


def test_a_line_is_taken_off():
    line = np.linspace(0, 1000, 2000) + noise(2000) * 0.01
    got = preparation.prepare(records(line[None, None]), "none", 100, detrend="linear", taper_s=0)
    np.testing.assert_allclose(got["data"].values[0, 0], scipy.signal.detrend(np.float32(line)), atol=1e-3)
    with pytest.raises(ValueError, match="must be 'linear' or 'constant'"):
        preparation.prepare(records(line[None, None]), detrend="cubic")


def test_causal_filters_do_not_ring_before_the_onset():
    values = np.zeros((1, 1, 4000))
    values[0, 0, 2000:] = noise(2000)
    values -= values.mean()
    onset = 2000 * 40 // 100
    for phase, before in (("causal", False), ("zero", True)):
        got = preparation.prepare(records(values), f"bandpass:phase={phase}", detrend="none", taper_s=0)["data"].values[
            0, 0
        ]
        early = np.abs(got[200 : onset - 12]).max() / np.abs(got).max()  # 12: half of the resampling's FIR
        assert (early > 0.02) == before, phase


@pytest.mark.parametrize("azimuth", [0.0, 37.0, 123.4, 359.0, -10.0])
def test_turning_is_obspy_s(azimuth):
    values = noise(2, 3, 500)
    got = preparation.rotate(records(values), azimuth)
    assert got["component"].values.tolist() == ["Z", "R", "T"]
    for i in range(2):
        traces = [stream(np.float32(values[i, j]), 100) for j in range(3)]
        for trace, name in zip(traces, "ZNE", strict=True):
            trace.stats.channel = f"BH{name}"
        want = obspy.Stream(traces).rotate("NE->RT", back_azimuth=azimuth % 360)
        for name in "ZRT":
            np.testing.assert_allclose(
                got["data"].sel(component=name).values[i], want.select(component=name)[0].data, atol=1e-5
            )


def test_a_wave_from_the_east_is_radial_westward():
    values = np.zeros((1, 3, 10))
    values[0, 2] = 1  # east
    got = preparation.rotate(records(values), 90.0)["data"].sel(component=["R", "T"]).values[0, :, 0]
    np.testing.assert_allclose(got, [-1, 0], atol=1e-7)  # away from the source


def test_a_missing_back_azimuth_is_said_and_not_guessed():
    values = noise(2, 3, 3000)
    with pytest.raises(ValueError, match=r"R and T need a back-azimuth: nothing is guessed. Give coordinates"):
        preparation.prepare(records(values), back_azimuth_deg=float("nan"))
    got = preparation.prepare(records(values), back_azimuth_deg=np.array([np.nan, 10]))
    assert got.attrs["notes"] == ["not rotated, back-azimuth missing: NS.S0"]
    assert np.isnan(got["data"].sel(component="R").values[0]).all() and np.isfinite(got["data"].values[1]).all()
    assert np.isfinite(got["data"].sel(component="Z")).all()
    with pytest.raises(ValueError, match=r"R and T need N and E \(there is Z\)"):
        preparation.rotate(records(values[:, :1]), 10)


def test_turning_after_a_sensor_was_dropped_takes_the_right_azimuths():
    values = noise(3, 3, 1000)
    values[1] = np.nan
    whole = preparation.prepare(records(values[[0, 2]]), back_azimuth_deg=np.array([10.0, 200.0]))
    got = preparation.prepare(records(values), back_azimuth_deg=np.array([10.0, 99.0, 200.0]))
    np.testing.assert_array_equal(got["data"].values, whole["data"].values)


@pytest.mark.parametrize(
    ("text", "said"),
    [("bandpas", "Did you mean 'bandpass'"), ("bandpass:low=9", "low = 9 Hz must be below high = 8 Hz"), ("bandpass:low=-1", "above 0"),
     ("highpass:high=3", "highpass has no 'high'"), ("bandpass:high=60", "60 Hz must be below half the rate of the samples, 100 Hz"),
     ("bandpass:high=25", "25 Hz must be below half the rate of the samples, 40 Hz"), ("bandpass:phase=linear", "one of causal, zero")],
)  # fmt: skip
def test_filters_that_cannot_be_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        preparation.prepare(records(noise(1, 1, 1000)), text)


@settings(max_examples=30, deadline=None)
@given(
    rates=st.sampled_from([(100.0, 40.0), (50.0, 40.0), (40.0, 40.0), (200.0, 40.0), (62.5, 20.0)]), seed=st.integers(0, 99),
    text=st.sampled_from(["bandpass:low=1,high=5", "highpass", "none"]), cuts=st.lists(st.integers(1, 1500), max_size=12),
)  # fmt: skip
def test_packets_of_any_length_give_what_the_whole_gives(rates, seed, text, cuts):
    old, new = rates
    values = noise(2, 2, 1500, seed=seed) + 7
    edges = sorted({0, 1500, *cuts})
    packets = preparation.Packets(text, old, new)
    got = [packets.take(values[..., a:b]) for a, b in pairwise(edges)]
    got = np.concatenate(got, axis=-1)
    first = values[..., : edges[1]].mean(axis=-1, keepdims=True)
    want = preparation.prepare(records(values - first, old), text, new, detrend="none", taper_s=0)["data"].values
    late = round(packets.delay_s * new)
    assert want.shape[-1] - late - 1 <= got.shape[-1] <= want.shape[-1]
    np.testing.assert_allclose(got, want[..., : got.shape[-1]], atol=1e-5)
    assert packets.kept.shape[-1] < 300 + old  # it forgets


def test_packets_refuse_what_a_stream_cannot_and_take_gaps_for_the_mean():
    with pytest.raises(ValueError, match="runs backwards, which a stream cannot"):
        preparation.Packets("bandpass:phase=zero", 100, 40)
    packets = preparation.Packets("bandpass", 100, 40)
    packets.take(np.full((1, 500), 1e6))
    assert np.abs(packets.take(np.full((1, 500), np.nan))).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "scaler"), [("standard", StandardScaler), ("min-max", MinMaxScaler), ("robust", RobustScaler)]
)
def test_scalers_are_scikit_learn_s(name, scaler):
    values = 100 + 5 * noise(4, 3, 500) * [[1], [10], [100]]
    got = preparation.scale(preparation.fit_scaler(name, "ZRT"), values)
    for i in range(4):
        np.testing.assert_allclose(got[i], scaler().fit_transform(values[i].T).T, atol=1e-4)
    joint = preparation.scale(preparation.fit_scaler(f"{name}:per_channel=false", "ZRT"), values)
    np.testing.assert_allclose(joint[0].ravel(), scaler().fit_transform(values[0].reshape(-1, 1))[:, 0], atol=1e-4)


@pytest.mark.parametrize(("name", "scaler"), [("standard", StandardScaler), ("min-max", MinMaxScaler)])
@pytest.mark.parametrize("each", [True, False])
def test_fitted_scalers_are_those_of_all_windows_together(name, scaler, each):
    batches = [50 + noise(3, 2, 400, seed=s) * [[1], [9]] * (s + 1) for s in range(4)]
    made = preparation.fit_scaler(f"{name}:fitted=true,per_channel={each}", "ZR", batches)
    every = np.concatenate(batches).swapaxes(0, 1).reshape(2, -1)
    fitted = scaler().fit(every.T if each else every.reshape(-1, 1))
    window = batches[1][0]
    want = fitted.transform(window.T).T if each else fitted.transform(window.reshape(-1, 1)).reshape(2, -1)
    np.testing.assert_allclose(preparation.scale(made, window), want, rtol=1e-4, atol=1e-4)
    assert json.loads(json.dumps(made)) == made


def test_fitted_medians_are_those_over_the_windows():
    batches = [noise(1, 1, 999, seed=s) * (s + 1) for s in range(5)]
    made = preparation.fit_scaler("robust:fitted=true", "Z", batches)
    ranges = [np.subtract(*np.quantile(b, [0.75, 0.25])) for b in batches]
    assert made["scale"] == pytest.approx([np.median(ranges)])
    log = preparation.fit_scaler("log:fitted=true", "Z", batches)
    assert log["scale"] == pytest.approx([np.median([np.median(np.abs(b)) for b in batches])])
    x = batches[0]
    np.testing.assert_allclose(preparation.scale(log, x), np.sign(x) * np.log1p(np.abs(x) / log["scale"][0]), rtol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(list(preparation.SCALERS)), fitted=st.booleans(), each=st.booleans(), seed=st.integers(0, 99),
    bad=st.sampled_from(["flat", "zeros", "nan", "inf", "huge", "tiny", "steps"]),
)  # fmt: skip
def test_no_scaler_ever_gives_nan_and_flat_traces_give_zeros(name, fitted, each, seed, bad):
    values = noise(2, 3, 60, seed=seed).astype(np.float32)
    values[0, 1] = {"flat": 1e6, "zeros": 0, "nan": np.nan, "inf": np.inf, "huge": values[0, 1] * 1e30, "tiny": values[0, 1] * 1e-30,
                    "steps": np.repeat([0, 5], [50, 10])}[bad]  # fmt: skip
    made = preparation.fit_scaler(
        f"{name}:fitted={fitted},per_channel={each}", "ZNE", [noise(4, 3, 60, seed=seed + 1), values[1]]
    )
    with np.errstate(all="raise", under="ignore"):
        got = preparation.scale(made, values)
    assert got.dtype == np.float32 and got.shape == values.shape and np.isfinite(got).all()
    if bad in ("flat", "zeros", "nan", "inf"):
        assert (got[0, 1] == 0).all()
    elif bad == "tiny" and each and not fitted:
        assert got[0, 1].std() > 0.1  # m/s are small numbers, not flat
    assert (got[1] != 0).mean() > 0.9


def test_a_scaler_of_other_channels_is_refused():
    made = preparation.fit_scaler("standard:fitted=true", "ZRT", [noise(2, 3, 50)])
    with pytest.raises(ValueError, match=r"of the channels Z, R, T; the windows have 1: Z\. Use that of a model"):
        preparation.scale(made, noise(1, 50), ["Z"])
    with pytest.raises(ValueError, match="the windows have 3: Z, N, E"):
        preparation.scale(made, noise(3, 50), "ZNE")
    with pytest.raises(ValueError, match="the windows have 2: Z, R, T"):
        preparation.scale(made, noise(2, 50))


def test_there_must_be_something_to_fit_to():
    flat = np.zeros((2, 3, 50))
    flat[:, 0] = noise(2, 50)
    with pytest.raises(ValueError, match="a trace that is not flat in R, T"):
        preparation.fit_scaler("robust:fitted=true", "ZRT", [flat])
    with pytest.raises(ValueError, match="Did you mean 'standard'"):
        preparation.fit_scaler("standart", "ZRT")


def test_flat_traces_do_not_count_in_the_fit():
    good = noise(3, 1, 100)
    with_dead = [good, np.zeros((5, 1, 100)), np.full((1, 1, 100), np.nan)]
    assert preparation.fit_scaler("standard:fitted=true", "Z", with_dead) == preparation.fit_scaler(
        "standard:fitted=true", "Z", [good]
    )


def test_longest_runs():
    mask = np.random.default_rng(0).random((50, 40)) < 0.6
    want = [max((len(run) for run in "".join(" x"[v] for v in row).split()), default=0) for row in mask.astype(int)]
    assert preparation.longest(mask).tolist() == want
    assert preparation.longest(np.zeros((2, 0), bool)).tolist() == [0, 0]
