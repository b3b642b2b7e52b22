"""The simulated array: is it what its words say? Compared with TauP, Aki and Richards' formulas, Peterson's models, IASPEI's ML."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import obspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy.geodetics import gps2dist_azimuth
from obspy.signal.spectral_estimation import get_nhnm, get_nlnm
from scipy import signal

from geonb.workloads.seismic import examples

NNSN = Path(__file__).parents[4] / "shared" / "data" / "seismic" / "nnsn"
RATE = examples.RATE_HZ


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return examples.simulate(tmp_path_factory.mktemp("seismic") / "array", events=6, seed=3, explosions=0.5)


@pytest.fixture(scope="module")
def motion():
    """Twenty earthquakes and twenty explosions, with the ground's motion without noise."""
    table = examples.draw_events(80, seed=5, explosions=0.5)
    chosen = [
        *table[table["kind"] == "earthquake"][:20].itertuples(),
        *table[table["kind"] == "explosion"][:20].itertuples(),
    ]
    return [(event, examples.waves(event, np.random.default_rng(event.Index))) for event in chosen]


def radial(event, zne):
    """(Z, R, T) as ObsPy rotates them."""
    from obspy.signal.rotate import rotate_ne_rt

    return np.stack([zne[0], *rotate_ne_rt(zne[1], zne[2], event.back_azimuth)])


def arrivals(event):
    p, s = (examples.first_arrival(w, event.distance_km, event.depth_km).time_s for w in "PS")
    return round(event.lead_s * RATE), round((event.lead_s + s - p) * RATE)


@pytest.fixture(scope="module")
def taup():
    from obspy.taup import TauPyModel

    return TauPyModel("iasp91")


@pytest.mark.parametrize(
    ("distance", "depth"), [(30, 0), (36, 27.3), (95, 2), (128, 12.7), (139, 0), (210, 21), (447, 8.4)]
)
def test_first_arrivals_are_those_of_taup(taup, distance, depth):
    found = taup.get_travel_times(depth, distance / 111.19493, ("p", "P", "Pn", "s", "S", "Sn"))
    for wave in "PS":
        first = min((a for a in found if a.name[0].upper() == wave), key=lambda a: a.time)
        ray = examples.first_arrival(wave, distance, depth)
        assert ray.time_s == pytest.approx(first.time, abs=0.03)
        assert ray.slowness == pytest.approx(first.ray_param / 6371, abs=0.002)
        assert ray.takeoff == pytest.approx(first.takeoff_angle, abs=2)


angle = st.floats(0, 360)


@given(strike=angle, dip=st.floats(0, 90), rake=st.floats(-180, 180), azimuth=angle, takeoff=st.floats(0, 180))
def test_a_double_couple_radiates_as_in_aki_and_richards(strike, dip, rake, azimuth, takeoff):
    """Equations 4.89 to 4.91, written out; ours come from the moment tensor."""
    d, r, i, a = np.radians([dip, rake, takeoff, azimuth - strike])
    sin, cos = np.sin, np.cos
    p = cos(r) * sin(d) * sin(i) ** 2 * sin(2 * a) - cos(r) * cos(d) * sin(2 * i) * cos(a)
    p += sin(r) * sin(2 * d) * (cos(i) ** 2 - sin(i) ** 2 * sin(a) ** 2) + sin(r) * cos(2 * d) * sin(2 * i) * sin(a)
    sv = sin(r) * cos(2 * d) * cos(2 * i) * sin(a) - cos(r) * cos(d) * cos(2 * i) * cos(a)
    sv += cos(r) * sin(d) * sin(2 * i) * sin(2 * a) / 2 - sin(r) * sin(2 * d) * sin(2 * i) * (1 + sin(a) ** 2) / 2
    sh = cos(r) * cos(d) * cos(i) * sin(a) + cos(r) * sin(d) * sin(i) * cos(2 * a)
    sh += sin(r) * cos(2 * d) * cos(i) * cos(a) - sin(r) * sin(2 * d) * sin(i) * sin(2 * a) / 2
    assert examples.radiation(strike, dip, rake, azimuth, takeoff) == pytest.approx([p, sv, sh], abs=1e-9)


def test_the_bulletin_is_as_asked():
    table = examples.draw_events(6000, seed=1, explosions=0.3)
    blast = table["kind"] == "explosion"
    assert blast.sum() == 1800 and set(table["kind"]) == {"earthquake", "explosion"} and table["event_id"].is_unique
    assert (np.diff(table["time"].dt.floor("D")) >= np.timedelta64(1, "D")).all(), "one a day, in order"
    quakes, blasts = table[~blast], table[blast]
    assert quakes["depth_km"].between(2, 30).all() and (blasts["depth_km"] == 0).all()
    assert quakes["ml"].between(*examples.MAGNITUDES).all() and blasts["ml"].between(0.9, 2.6).all()
    b = np.log10(np.e) / (quakes["ml"] - examples.MAGNITUDES[0]).mean()  # Aki (1965); truncation adds little
    assert b == pytest.approx(1, abs=0.05) and quakes["ml"].max() > 3.5 > 2.6 >= blasts["ml"].max()
    assert (table["magnitude"] - table["ml"]).std() == pytest.approx(0.1, abs=0.02)
    day = [f["time"].dt.hour.between(7, 16).mean() for f in (quakes, blasts)]
    assert day == pytest.approx([10 / 24, 0.8 + 0.2 * 10 / 24], abs=0.04)
    assert table["distance_km"].between(20, 460).all()
    near = [(f["place"] == "quarry").mean() for f in (quakes, blasts)]
    assert near == pytest.approx([0.2, 0.7], abs=0.03), "there are earthquakes at quarries, and blasts elsewhere"
    assert set(blasts["shots"]) == {1, *range(3, 9)} and (quakes["shots"] == 1).all()


def test_place_distance_and_azimuth_of_the_bulletin_agree():
    for event in examples.draw_events(5, seed=2).itertuples():
        metres, azimuth, back = gps2dist_azimuth(event.latitude, event.longitude, examples.LATITUDE, examples.LONGITUDE)
        assert metres / 1000 == pytest.approx(event.distance_km, abs=0.02)
        assert (azimuth, back) == (pytest.approx(event.azimuth, abs=0.05), pytest.approx(event.back_azimuth, abs=0.05))


def test_waves_cross_the_array_with_the_slowness_of_their_ray(motion):
    """Delays by cross-correlation of the first seconds of P on the vertical, and a plane through them."""
    sos = signal.butter(3, (1, 5), "bandpass", fs=RATE, output="sos")
    errors = []
    for event, ground in motion:
        p, _ = arrivals(event)
        ray = examples.first_arrival("P", event.distance_km, event.depth_km)
        if ray.slowness < 0.15 and np.hypot(event.distance_km, event.depth_km) / examples.GROUPS[0][0] < ray.time_s + 3:
            continue  # Pg comes into it
        z = signal.sosfiltfilt(sos, ground[:, 0])[:, p - 60 : p + 100]
        fine = signal.resample(z, 10 * z.shape[1], axis=1)
        lags = signal.correlation_lags(fine.shape[1], fine.shape[1]) / (10 * RATE)
        late = [lags[np.argmax(signal.correlate(trace, fine[0]) * (abs(lags) < 0.5))] for trace in fine]
        slowness = np.linalg.lstsq(examples.offsets(), late, rcond=None)[0]
        back = np.degrees(np.arctan2(-slowness[0], -slowness[1]))
        turn = (back - event.back_azimuth + 180) % 360 - 180
        errors.append((abs(np.hypot(*slowness) - ray.slowness), abs(turn)))
    close = np.array(errors) < (0.012, 3)
    assert len(close) > 20 and close.mean(axis=0).min() > 0.9, "one or two may have skipped a cycle"


def test_nothing_comes_before_p_and_an_explosion_pushes_up_and_away(motion):
    for event, ground in motion:
        p, _ = arrivals(event)
        assert np.abs(ground[..., : p - 40]).max() < 5e-3 * np.abs(ground).max()
    for event, ground in motion[20:24]:
        z, r, _ = radial(event, np.cumsum(ground[0], axis=1))  # displacement
        p, _ = arrivals(event)
        first = p + 1 + np.argmax(np.abs(z[p + 1 : p + 5]))
        assert z[first] > 0 and r[first] > 0


def test_p_is_on_vertical_and_radial_and_s_on_all(motion):
    shares = []
    for event, ground in motion:
        p, s = arrivals(event)
        z, r, t = radial(event, ground[0])
        for a in (p, s):
            power = [np.mean(x[a : a + 120] ** 2) for x in (z, r, t)]
            shares.append(power[2] / sum(power))
    assert np.median(shares[::2]) < 0.15 and np.median(shares[1::2]) > 0.3


def test_explosions_have_less_s_to_p_than_earthquakes_and_overlap_with_them(motion):
    sos = signal.butter(3, (2, 8), "bandpass", fs=RATE, output="sos")
    ratios = []
    for event, ground in motion:
        p, s = arrivals(event)
        z, r, t = signal.sosfiltfilt(sos, radial(event, ground[0]))
        ratios.append(np.hypot(r[s : s + 600], t[s : s + 600]).std() / z[p : p + min(600, s - p)].std())
    quakes, blasts = np.log10(ratios[:20]), np.log10(ratios[20:])
    assert np.mean(quakes) - np.mean(blasts) == pytest.approx(0.35, abs=0.2)
    assert blasts.max() > np.median(quakes) > np.median(blasts) > quakes.min(), "no threshold parts them"


def test_records_have_the_magnitude_of_the_bulletin(motion):
    """ML by IASPEI's formula (2013) from the amplitude on a Wood-Anderson seismograph, in nm."""
    s = 2j * np.pi * np.fft.rfftfreq(examples.SAMPLES, 1 / RATE)
    corner = 2 * np.pi / 0.8
    seismograph = s / (s**2 + 2 * 0.7 * corner * s + corner**2)  # from velocity, magnification 1
    off = []
    for event, ground in motion:
        seen = 1e9 * np.abs(np.fft.irfft(np.fft.rfft(ground[0, 1:]) * seismograph)).max()
        apart = np.hypot(event.distance_km, event.depth_km)
        off.append(np.log10(seen) + 1.11 * np.log10(apart) + 0.00189 * apart - 2.09 - event.ml)
    assert np.median(off[:20]) == pytest.approx(0, abs=0.2) and np.median(off[20:]) == pytest.approx(0, abs=0.2)
    assert np.std(off) < 0.4


def noise(seed, hour=2, spectra=()):
    import pandas as pd

    event = SimpleNamespace(time=pd.Timestamp(f"2020-03-01 {hour:02}:00"))
    return examples.background(event, np.random.default_rng(seed), spectra)


def power(trace):
    """Frequencies, and dB of acceleration."""
    f, p = signal.welch(trace, RATE, nperseg=4096)
    keep = (f > 0.05) & (f < 10)
    return f[keep], 10 * np.log10(p[..., keep] * (2 * np.pi * f[keep]) ** 2)


def test_noise_lies_between_petersons_models():
    f, decibel = power(noise(1))
    low, high = (np.interp(-np.log(f), np.log(p[::-1]), db[::-1]) for p, db in (get_nlnm(), get_nhnm()))
    part = (np.median(decibel, axis=(0, 1)) - low) / (high - low)
    assert part[(f > 0.1)].min() > 0.1 and part.max() < 0.5
    by_day = np.median(power(noise(1, hour=12))[1] - decibel, axis=(0, 1))
    assert np.median(by_day[f > 1.5]) == pytest.approx(3, abs=0.3) and np.median(by_day[f < 0.8]) == pytest.approx(
        0, abs=0.3
    )


def test_microseisms_are_alike_over_the_array_and_fast_noise_is_not():
    f, alike = signal.coherence(*noise(1)[[0, -1], 0], RATE, nperseg=1024)
    assert alike[(f > 0.15) & (f < 0.35)].mean() > 0.6 and alike[(f > 3) & (f < 8)].mean() < 0.15


@pytest.fixture
def hum(tmp_path):
    """Files of white noise with a hum at 5 Hz, in counts, 20 s loud after 45 s; and one that is no waveform."""
    rng, t = np.random.default_rng(0), np.arange(6500) / 100
    data = rng.normal(size=t.size) + 20 * np.sin(2 * np.pi * 5 * t) + 1e4 * (t > 45) * rng.normal(size=t.size)
    (tmp_path / "real").mkdir()
    obspy.Trace(data.astype(np.int32), {"sampling_rate": 100}).write(str(tmp_path / "real" / "a.mseed"), "MSEED")
    (tmp_path / "real" / "README.md").write_text("a hum")
    return tmp_path / "real"


def test_real_noise_gives_its_spectrum_and_the_model_the_level(hum, tmp_path):
    spectra = examples._real_spectra(hum)
    f, decibel = power(noise(1, spectra=spectra)[0, 0])
    others = np.median(decibel[(f > 3.5) & (f < 7) & (np.abs(f - 5) > 0.6)])
    assert decibel[np.abs(f - 5) < 0.2].max() > others + 15, "the hum is there, and what came after 40 s is not"
    _, without = power(noise(1)[0, 0])
    band = (f > 2) & (f < 8)
    assert decibel[band].mean() == pytest.approx(without[band].mean(), abs=2)
    made = examples.simulate(tmp_path / "out", 1, noise=hum)
    assert f"noise={hum}" in (made / "simulated.txt").read_text()


@pytest.mark.skipif(not NNSN.is_dir(), reason="records of the Norwegian network are not there (../shared)")
def test_noise_after_real_records():
    spectra = examples._real_spectra(NNSN / "USS19870570458")
    assert len(spectra) == 2 and all(f[0] == 0.5 and f[-1] == 20 for f, _ in spectra)
    assert np.isfinite(noise(1, spectra=spectra)).all()


def test_files_are_what_an_observatory_has(folder):
    inventory, bulletin = obspy.read_inventory(folder / "stations.xml"), obspy.read_events(folder / "events.xml")
    table = examples.draw_events(6, 3, 0.5)
    assert len(bulletin) == 6 and len(list((folder / "waveforms").iterdir())) == 6
    for event, row in zip(bulletin, table.itertuples(), strict=True):
        name, origin = str(event.resource_id).split("/")[-1], event.preferred_origin() or event.origins[0]
        assert (name, event.event_type) == (row.event_id, row.kind) and event.magnitudes[0].mag == row.magnitude
        assert np.datetime64(str(origin.time).rstrip("Z"), "ms") == row.time and origin.depth == 1000 * row.depth_km
        stream = obspy.read(folder / "waveforms" / f"{name}.mseed")
        assert {t.stats.mseed.encoding for t in stream} == {"STEIM2"} and {t.stats.sampling_rate for t in stream} == {
            40
        }
        p = origin.time + examples.first_arrival("P", row.distance_km, row.depth_km).time_s
        for trace in stream.select(station="SIA0", component="Z"):
            assert trace.stats.npts == 24_000 and p - trace.stats.starttime > 300 and trace.stats.endtime - p > 240
            place = inventory.get_coordinates(trace.id, trace.stats.starttime)
            assert (place["latitude"], place["longitude"]) == (examples.LATITUDE, examples.LONGITUDE)
            raw = trace.data.astype(float)
            ground = trace.copy().remove_response(inventory, water_level=None, zero_mean=False, taper=False).data
            assert ground - ground.mean() == pytest.approx((raw - raw.mean()) / 1e9, abs=1e-11)


def test_the_array_is_as_wide_as_small_arrays_are(folder):
    stations = obspy.read_inventory(folder / "stations.xml")[0]
    centre = stations[0]
    for station, (east, north) in zip(stations, examples.offsets(), strict=True):
        metres, azimuth, _ = gps2dist_azimuth(centre.latitude, centre.longitude, station.latitude, station.longitude)
        assert metres == pytest.approx(1000 * np.hypot(east, north), abs=0.2)
        assert not metres or np.cos(np.radians(azimuth) - np.arctan2(east, north)) > 0.99999
    apart = np.linalg.norm(examples.offsets()[:, None] - examples.offsets(), axis=-1)
    assert len(stations) == 9 and 2.5 < apart.max() < 3 and apart[apart > 0].min() > 0.5


def test_every_file_says_that_it_is_simulated(folder):
    bulletin, inventory = obspy.read_events(folder / "events.xml"), obspy.read_inventory(folder / "stations.xml")
    for event in bulletin:
        assert "simulated" in event.event_descriptions[0].text and "simulated" in event.creation_info.author
    assert all("simulated" in station.site.name for station in inventory[0]) and inventory[0].code == "XX"
    account = (folder / "simulated.txt").read_text()
    assert "Nothing in these files happened" in account and "Brune" in account and "Returns" not in account
    assert examples.FACTS["simulated"] and "Simulated" in examples.FACTS["notes"][0]


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    again = examples.simulate(tmp_path / "again", events=6, seed=3, explosions=0.5)
    files = sorted(f.relative_to(folder) for f in folder.rglob("*") if f.is_file())
    assert len(files) == 9 and all((folder / f).read_bytes() == (again / f).read_bytes() for f in files)
    other = examples.simulate(tmp_path / "other", events=1, seed=4)
    assert (other / "waveforms/sim0001.mseed").read_bytes() != (folder / "waveforms/sim0001.mseed").read_bytes()


def test_what_is_there_is_found_again_and_what_is_not_ours_is_kept(tmp_path):
    made = examples.simulated_array(tmp_path, events=2)
    before = (made / "events.xml").stat().st_ino
    assert examples.simulated_array(tmp_path, events=2) == made and (made / "events.xml").stat().st_ino == before
    whole = (made / "waveforms/sim0002.mseed").read_bytes()
    (made / "waveforms/sim0002.mseed").unlink()
    examples.simulated_array(tmp_path, events=2)
    assert (made / "waveforms/sim0002.mseed").read_bytes() == whole, "what was lost is made again"
    with pytest.raises(ValueError, match="holds something else"):
        examples.simulate(made, events=3)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (mine / "simulated.txt").touch()
    with pytest.raises(ValueError, match="holds something else"):
        examples.simulate(mine, events=1)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_stop_halfway_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "_write_metadata", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        examples.simulate(tmp_path / "array", events=1)
    assert not [f for f in tmp_path.iterdir() if not f.name.endswith(".lock")]


def test_wrong_settings_are_named_all_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)events=0.*explosions=1\.5.*no .*nowhere"):
        examples.simulate(tmp_path / "array", events=0, explosions=1.5, noise=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="finds no trace of 10 s"):
        examples.simulate(tmp_path / "array", events=1, noise=tmp_path / "empty")
    assert not (tmp_path / "array").exists()


def test_faults_are_few_and_told():
    event = next(examples.draw_events(1).itertuples())
    ground = np.random.default_rng(0).normal(0, 1e-7, (9, 3, examples.SAMPLES))
    told = []
    for seed in range(200):
        stream, fault = examples._record(event, ground, np.random.default_rng(seed))
        kind, sensor = fault.split() if fault else ("", "SIA0")
        traces = stream.select(station=sensor)
        flat = [np.ptp(t.data) == 0 for t in traces]
        assert len(stream) == {"missing": 24, "gap": 30}.get(kind, 27) and len(traces) == {"missing": 0, "gap": 6}.get(
            kind, 3
        )
        assert all(flat) if kind in ("dead", "missing") else not any(flat)
        assert (np.abs(stream.max()).max() >= 1e5) == (kind == "spike")
        if kind == "gap":
            stream.sort(["channel", "starttime"])
            assert [2 <= g[6] < 30.1 for g in stream.get_gaps()] == [True] * 3
        told += [kind] * bool(kind)
    assert 8 <= len(told) <= 26 and set(told) == {"missing", "dead", "gap", "spike"}
    stream, fault = examples._record(event, 1e5 * ground, np.random.default_rng(3))
    assert fault == "clipped" and np.abs(stream.max()).max() == examples.CLIP


@settings(deadline=None, max_examples=20)
@given(slowness=st.floats(0.05, 0.4), back=angle)
def test_phase_ramps_delay_by_the_convention(slowness, back):
    """An impulse comes later by sx * east + sy * north, (sx, sy) = -s (sin, cos) of the back-azimuth."""
    f = np.fft.rfftfreq(800, 1 / RATE)
    pulse = np.exp(-((np.arange(800) / RATE - 10) ** 2) / 0.02)
    moved = np.fft.irfft(np.fft.rfft(pulse) * examples._ramps(slowness, back, f), 800)
    late = (moved * np.arange(800)).sum(1) / moved.sum(1) / RATE - 10
    s = -slowness * np.array([np.sin(np.radians(back)), np.cos(np.radians(back))])
    assert late == pytest.approx(examples.offsets() @ s, abs=1e-3)
