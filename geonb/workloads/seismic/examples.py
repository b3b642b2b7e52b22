"""Earthquakes and explosions on a small array, simulated: the data of a first run, of tests and of benchmarks.

Nothing in these files happened, and no such array stands anywhere. They are what an observatory has: miniSEED, StationXML and
QuakeML; as far as a format has a place for words, it says that it is simulated.

A sketch after textbooks, not a wavefield: every arrival is a plane wave of known time and slowness, shaped by a source and a
path that are smooth functions of frequency. There is no structure below the array, so no bias of slowness or azimuth; there
are no pP, PmP or conversions and no finite faults; attenuation and coda are the same everywhere. Places, times and kinds of
the bulletin are exact, magnitudes about 0.1 off. Kinds overlap on purpose: one threshold on the ratio of P to S on beams, 4 to
8 Hz, sorts 75 to 81 of 100 events (seeds 0 to 2). What works here need not work on real data, and scores say nothing of them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base.conventions import refuse
from geonb.base.files import locked, whole_folder, write_text
from geonb.base.project import examples_folder

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # raise it with every change of the numbers, so that no older folder is taken for this one
SIMULATED = "simulated by geonb"  # in every file that has a place for words
NETWORK, LATITUDE, LONGITUDE = "XX", 63.5, 27.5  # the FDSN keeps XX for what is not registered; of the central sensor
# As NORES and ARCES: rings of 150 m x 2.15^n with odd numbers of sensors (Mykkeltveit et al. 1990, BSSA 80, 1777-1800), here the
# centre and the two outer rings. Radius in m, degrees from north, elevation in m
SENSORS = {
    "SIA0": (0, 0, 231), "SIC1": (693, 20, 236), "SIC2": (693, 140, 228), "SIC3": (693, 260, 241), "SID1": (1491, 353, 219),
    "SID2": (1491, 65, 244), "SID3": (1491, 137, 250), "SID4": (1491, 209, 224), "SID5": (1491, 281, 233),
}  # fmt: skip
RATE_HZ, SAMPLES, LEAD_S = 40.0, 24_000, (302.0, 350.0)  # LEAD_S: from the start of a record to P
COUNTS, CLIP = 1e9, 2**23  # a count is 1 nm/s; what a digitiser of 24 bits can say
DAYS = np.datetime64("2020-01-01", "ms") + np.arange(1096).astype("timedelta64[D]")

DENSITY, SPEED = 2700.0, {"P": 6000.0, "S": 3460.0}  # kg/m3 and m/s where waves begin
SLOW = {"P": 4.5, "S": 2.6}  # km/s below the sensors: weathered rock, which makes rays steeper than iasp91 would
GROUPS = (6.1, 3.6, 3.0), (6.2, 3.7, 3.0)  # km/s of Pg, Lg, Rg: of the first energy, and across the array
OCTAVES_HZ = 2.0 ** np.arange(5)  # in which coda and coherence are told
# Made-up ground, km east and north of the array: where quarries lie, with their share of all blasts, and the two ends of a fault
QUARRIES = {(35, 62): 0.28, (-118, 40): 0.22, (90, -105): 0.18, (-60, -190): 0.14, (215, 75): 0.1, (-150, 240): 0.08}
FAULT = np.array([(-205, -40), (-20, 150)])
MAGNITUDES = (1.1, 4.2)  # least and largest of an earthquake


FACTS: dict[str, Any] = {
    "name": "simulated-array", "title": "Simulated earthquakes and explosions on a small array", "simulated": True,
    "attribution": SIMULATED, "notes": [
        "Simulated data: neither the array nor any of its earthquakes, explosions or noise is real. See simulated.txt.",
        "Most simulated explosions are at six quarries, as in life: distance alone tells something of the kind of an event.",
    ],
}  # fmt: skip


def simulated_array(cache: Path | None = None, events: int = 240, seed: int = 0) -> Path:
    """The default data of `seismic`, of which `FACTS` must be told: what `simulate` writes, kept from run to run.

    Parameters
    ----------
    cache : Path, optional
        Where the folder is kept; data/examples in the project by default.
    events, seed : int
        As for `simulate`.

    Returns
    -------
    The folder
    """
    return simulate((cache or examples_folder()) / f"simulated-array-{VERSION}-{events}-{seed}", events, seed)


def simulate(folder: Path, events: int = 240, seed: int = 0, explosions: float = 0.4, noise: str | Path = "") -> Path:
    """Write a made-up bulletin and what an array of nine three-component sensors recorded of it; about 0.5 MB an event.

    waveforms/<event_id>.mseed holds 600 s at 40 Hz in counts of 1 nm/s, STEIM2, with P 302 to 350 s after its start;
    stations.xml places and a response that is flat (which noise is from 0.02 to 14 Hz); events.xml kind, origin and
    magnitude of each event; simulated.txt what was simulated and how, and which files have a fault (one in twelve, as
    archives have them).

    Parameters
    ----------
    folder : Path
        Made, whole or not at all. Where it was made with the same settings before, nothing is done.
    events : int
    seed : int
        The same seed gives the same bytes, on the same machine and with the same versions of libraries.
    explosions : float
        Their share, 0-1.
    noise : str or Path
        A file, or a folder of files, that ObsPy reads and whose traces begin with 40 s of nothing but noise, for noise after their
        spectra; see `background`.

    Returns
    -------
    The folder

    Raises
    ------
    ValueError
        If a setting is out of range, `folder` holds anything else, or `noise` holds no trace that can be used.
    """
    folder = Path(folder)
    wrong = {
        f"events={events} is not 1 or more": events < 1,
        f"explosions={explosions} is not a share from 0 to 1": not 0 <= explosions <= 1,
        f"noise: there is no {noise}": bool(noise) and not Path(noise).exists(),
    }
    refuse("simulated waveforms cannot be made so", [text for text, bad in wrong.items() if bad])
    recipe = f"version={VERSION}, events={events}, seed={seed}, explosions={explosions}, noise={noise or 'modelled'}"
    account = folder / "simulated.txt"
    with locked(folder.with_name(f".{folder.name}.lock")):
        if folder.exists() and any(folder.iterdir()):
            if not account.is_file() or account.read_text(encoding="utf-8").strip().rpartition("\n")[2] != recipe:
                raise ValueError(f"{folder} holds something else: name a folder that is not there, or remove this one")
            if len(list(folder.glob("waveforms/*.mseed"))) == events and len(list(folder.glob("*.xml"))) == 2:
                return folder
        spectra, table, faults = _real_spectra(noise) if noise else (), draw_events(events, seed, explosions), []
        with whole_folder(folder) as partial:
            (partial / "waveforms").mkdir()
            for row, event in enumerate(table.itertuples(index=False)):
                rng = np.random.default_rng([seed, row, 1])
                stream, fault = _record(event, waves(event, rng) + background(event, rng, spectra), rng)
                stream.write(str(partial / "waveforms" / f"{event.event_id}.mseed"), "MSEED", encoding="STEIM2")
                faults += [f"{event.event_id} {fault}"] * bool(fault)
            _write_metadata(partial, table)
            told = (__doc__, simulate.__doc__, draw_events.__doc__, waves.__doc__, background.__doc__)
            words = [inspect.cleandoc(str(t)).split("\n\nParam")[0].split("\n\nRet")[0] for t in told]
            words += [table.groupby("kind")[["distance_km", "depth_km", "magnitude"]].describe().T.round(1).to_string()]
            words += ["Files with a fault: " + (", ".join(faults) or "none"), "Made with, so that it is found again:"]
            write_text(partial / "simulated.txt", "\n\n".join([*words, recipe]) + "\n")
    return folder


def draw_events(events: int = 240, seed: int = 0, explosions: float = 0.4) -> pd.DataFrame:
    """Draw a bulletin: where, when and what, a row an event, in the order of time.

    Earthquakes: ML 1.1 to 4.2 by Gutenberg and Richter with b = 1; 2 to 30 km deep; 45 % anywhere within 450 km, 35 % in a fault
    zone, 20 % around quarries, so that place alone does not tell the kind; at any hour.
    Explosions: ML 1.6 with a standard deviation of 0.35, 0.9 to 2.6; at the surface; 70 % at six quarries, the others anywhere
    (roads, buildings); 80 % between 07 and 17 h UTC. So depth, hour and place in the bulletin tell something of the kind, as in
    life, which the waveforms need not. No two events fall on one day, so that no record holds two.

    Returns
    -------
    DataFrame: event_id, time, kind, latitude, longitude, depth_km, magnitude, magnitude_type; and what only a simulation knows:
    place, distance_km and back_azimuth (degrees, at the array), azimuth (degrees, at the source), ml (without error), strike,
    dip, rake (degrees), stress_drop (Pa), shots (1, or rows of a ripple-fired blast), delay_s between them, shear (see `waves`),
    lead_s (from the start of the record to P)
    """
    import pandas as pd
    from pyproj import Geod

    rng, n = np.random.default_rng([seed, 0]), events
    blast = rng.permutation(n) < round(explosions * n)
    quake_place = rng.choice(["anywhere", "fault", "quarry"], n, p=[0.45, 0.35, 0.2])
    place = np.where(blast, np.where(rng.random(n) < 0.7, "quarry", "anywhere"), quake_place)
    angle, far = rng.uniform(0, 2 * np.pi, n), 30 + 420 * rng.random(n) ** 0.8
    anywhere = far[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    zone = FAULT[0] + rng.random((n, 1)) * (FAULT[1] - FAULT[0]) + rng.normal(0, 6, (n, 2))
    pit = rng.choice(list(QUARRIES), n, p=list(QUARRIES.values()))
    pit = pit + np.where(blast, 1.5, 15)[:, None] * rng.normal(size=(n, 2))
    east, north = np.select([(place == "fault")[:, None], (place == "quarry")[:, None]], [zone, pit], anywhere).T
    distance, back = np.hypot(east, north), np.degrees(np.arctan2(east, north)) % 360
    centre = np.full(n, LONGITUDE), np.full(n, LATITUDE)
    longitude, latitude, azimuth = Geod(ellps="WGS84").fwd(*centre, back, 1000 * distance)
    quake = MAGNITUDES[0] - np.log10(1 - rng.random(n) * (1 - 10 ** (MAGNITUDES[0] - MAGNITUDES[1])))
    ml = np.where(blast, np.clip(rng.normal(1.6, 0.35, n), 0.9, 2.6), quake)
    hour = np.where(blast & (rng.random(n) < 0.8), rng.uniform(7, 17, n), rng.uniform(0.2, 23.8, n))
    day = np.sort(rng.choice(max(len(DAYS), 3 * n), n, replace=False))
    rows = np.where(blast & (rng.random(n) < 0.6), rng.integers(3, 9, n), 1)
    return pd.DataFrame({
        "event_id": [f"sim{row:04}" for row in range(1, n + 1)],
        "time": (DAYS[0] + day.astype("timedelta64[D]") + np.round(hour * 3.6e6).astype("timedelta64[ms]")).astype("M8[ns]"),
        "kind": np.where(blast, "explosion", "earthquake"), "latitude": latitude.round(4), "longitude": longitude.round(4),
        "depth_km": np.where(blast, 0, 2 + 28 * rng.beta(1.5, 3, n)).round(1),
        "magnitude": (ml + rng.normal(0, 0.1, n)).round(1), "magnitude_type": "ML", "place": place, "distance_km": distance,
        "back_azimuth": back, "azimuth": azimuth % 360, "ml": ml, "strike": rng.uniform(0, 360, n),
        "dip": np.degrees(np.arccos(rng.random(n))), "rake": rng.uniform(-180, 180, n),
        "stress_drop": 10 ** rng.normal(np.where(blast, 6.1, 6.5), 0.3), "shots": rows, "delay_s": rng.uniform(0.05, 0.16, n),
        "shear": np.where(blast, 0.8, 1) * 10 ** rng.normal(0, 0.22, n), "lead_s": rng.uniform(*LEAD_S, n),
    })  # fmt: skip


class Ray(NamedTuple):
    """How a wave comes: seconds after the origin, slowness in s/km, degrees from straight down at the source."""

    time_s: float
    slowness: float
    takeoff: float


def first_arrival(wave: str, distance_km: float, depth_km: float) -> Ray:
    """When the first "P" or "S" arrives in iasp91.

    By TauP's curves of time over distance, made once for a depth and straight between its rays: a call of
    `TauPyModel.get_travel_times` takes some 50 ms, and differs by less than 0.03 s.
    """
    x, found = np.radians(distance_km / 111.19493), []
    for phase in _phases(wave, depth_km):
        a, b = phase.dist[:-1] - x, phase.dist[1:] - x
        for at in np.flatnonzero((a * b <= 0) & (a != b)):
            part = a[at] / (a[at] - b[at])
            time, ray = (float((1 - part) * v[at] + part * v[at + 1]) for v in (phase.time, phase.ray_param))
            found.append(Ray(time, ray / 6371, float(phase.calc_takeoff_angle(ray))))
    return min(found)


@lru_cache(maxsize=256)
def _phases(wave: str, depth_km: float) -> list:
    from obspy.taup.seismic_phase import SeismicPhase

    found = (SeismicPhase(name, _earth().depth_correct(depth_km)) for name in (wave.lower(), wave, f"{wave}n"))
    return [phase for phase in found if len(phase.dist) > 1]


@lru_cache(maxsize=1)
def _earth() -> Any:
    from obspy.taup import TauPyModel

    return TauPyModel("iasp91").model


def radiation(strike: float, dip: float, rake: float, azimuth: float, takeoff: float) -> np.ndarray:
    """How strongly a double couple sends P, SV and SH along a ray (3,); all angles in degrees.

    Aki and Richards (2002), Quantitative Seismology, box 4.4 and equations 4.88 to 4.91; their squares are 4/15 in the mean over
    all rays, and 2/5 for both S together.
    """
    s, d, r, a, i = np.radians([strike, dip, rake, azimuth, takeoff])
    sin, cos = np.sin, np.cos  # below, vectors point north, east, down
    normal = np.array([-sin(d) * sin(s), sin(d) * cos(s), -cos(d)])
    slip = cos(r) * np.array([cos(s), sin(s), 0]) + sin(r) * np.array([cos(d) * sin(s), -cos(d) * cos(s), -sin(d)])
    ray = np.array([sin(i) * cos(a), sin(i) * sin(a), cos(i)])
    ways = np.array([ray, [cos(i) * cos(a), cos(i) * sin(a), -sin(i)], [-sin(a), cos(a), 0]])
    return ways @ (np.outer(normal, slip) + np.outer(slip, normal)) @ ray


def waves(event: Any, rng: np.random.Generator) -> np.ndarray:
    """Ground velocity that an event makes at the sensors, without noise.

    Arrivals: the first P and S of iasp91 by TauP; the groups Pg, Lg and (of what is shallow) Rg at 6.1, 3.6 and 3.0 km/s,
    if not before those. All are plane waves, the groups of 6.2, 3.7 and 3.0 km/s across the array. P is on the vertical and
    radial, S on all components, Rg is a retrograde ellipse.

    Source: Brune's spectrum (1970, JGR 75, 4997-5009) with the corner frequency 0.49 beta (stress drop / moment)^(1/3) for
    S, and 1.23 times that for P, 1.86 times for explosions (means of 456 events of Israel by Ataeva et al., Journal of
    Seismology, "The ratio between corner frequencies of source spectra of P- and S-waves"). Moment is as 10^ML, as for
    small earthquakes (Munafo et al. 2016, doi 10.1785/0120160130); its factor makes ML, measured on these records by
    IASPEI's formula, that of the bulletin. Earthquakes radiate as a double couple (`radiation`), blurred by scattering in
    all but the first pulse (Takemura et al. 2009, GJI 178, 950-961). Explosions radiate P alike to all sides, with a lower
    stress drop, and S only in what is scattered: 0.8 times the S of an average earthquake of that moment, by a factor of
    1.7 both ways, as earthquakes' S. Six in ten are ripple-fired, a sum of 3 to 8 delayed rows, whose spectra are scalloped
    (Baumgardt and Ziegler 1988, BSSA 78, 1773-1795; Hedlin et al. 1990, BSSA 80, 2143-2160).

    Path: 1/R, from 100 km on R^-1/2 for Lg and Rg (Street et al. 1975, GJRAS 41, 51-63); Q of S 500 f^0.5, of P 1.3 times
    that, of Rg 75; kappa 0.02 s; head waves half as large. The numbers are ours, in the range of shields. Behind each pulse
    comes a train that is scattered forward, the longer the farther.

    Coda: single scattering (Aki and Chouet 1975, JGR 80, 3322-3342), amplitude as exp(-pi f t / Qc) / t of the lapse time
    t, Qc = 200 f^0.6, in octaves. A part of its energy that falls with frequency is a plane wave too, the rest is each
    sensor's own.

    Parameters
    ----------
    event : row of `draw_events`, as a namedtuple
    rng : Generator

    Returns
    -------
    ndarray (sensor, component ZNE, time), m/s; P is `lead_s` after the first sample
    """
    from scipy.fft import irfft, next_fast_len, rfft

    p, s = (first_arrival(w, event.distance_km, event.depth_km) for w in "PS")
    blast, apart = event.kind == "explosion", float(np.hypot(event.distance_km, event.depth_km))
    begin = int((event.lead_s - 2) * RATE_HZ)  # nothing comes before
    n = SAMPLES - begin
    size = next_fast_len(n + 400, real=True)
    f = np.maximum(np.fft.rfftfreq(size, 1 / RATE_HZ), 0.01)
    t = (begin + np.arange(n)) / RATE_HZ - event.lead_s + p.time_s  # since the origin
    # (octave, frequency), adding up to 1
    bands = np.maximum(0, 1 - np.abs(np.log2(np.clip(f, 1, 16)) - np.log2(OCTAVES_HZ)[:, None])).astype(np.float32)
    same, cloudy = 0.9 * np.exp(-OCTAVES_HZ / 25)[:, None], 0.7 * np.exp(-OCTAVES_HZ / 3)[:, None]
    moment = 10 ** (event.ml + (10.35 if blast else 9.93))
    corner = 0.49 * SPEED["S"] * (event.stress_drop / moment) ** (1 / 3)
    upwards = 90 + float(np.degrees(np.arcsin(event.depth_km / apart)))
    pg, lg, rg = (Ray(max(t0, apart / v), 1 / c, upwards) for t0, v, c in zip((p[0], s[0], s[0]), *GROUPS, strict=True))
    near, head, guided = (1e-3 / apart * v for v in (1, 0.5 if p.slowness < 0.15 else 1, max(1, apart / 100) ** 0.5))
    arrivals = (  # of what kind and how it comes, spreading, pulse, then the train's energy and length, coda's energy a second
        ("P", p, head, 1, 3, 0.5 + 0.01 * apart, 0), ("P", pg, near, 0, 4, 0.4 + 0.006 * apart, 0.2),
        ("S", s, head, 1, 4, 0.8 + 0.01 * apart, 0), ("S", lg, guided, 0, 5, 0.6 + 0.01 * apart, 0.14),
        ("R", rg, 3 * guided, 0, 5, 0.6 + 0.01 * apart, 0),
    )  # fmt: skip
    total = np.zeros((len(SENSORS), 3, len(f)), np.complex64)
    own = np.zeros((len(OCTAVES_HZ), 3, n))  # energy of what is each sensor's own
    for wave, ray, spread, pulse, energy, length, coda in arrivals:
        body = "P" if wave == "P" else "S"
        quality = {"P": 650 * f**0.5, "S": 500 * f**0.5, "R": 75}[wave]
        spectrum = 2 * spread * moment / (4 * np.pi * DENSITY * SPEED[body] ** 3) * 2j * np.pi * f  # 2: free surface
        spectrum /= (1 + 1j * f / corner / {"P": 1.86 if blast else 1.23, "S": 1}[body]) ** 2
        spectrum *= np.exp(-np.pi * f * (ray.time_s / quality + 0.02))
        exact = radiation(event.strike, event.dip, event.rake, event.azimuth, ray.takeoff)
        blurred = np.sqrt((exact**2 + [4 / 15, 1 / 5, 1 / 5]) / 2)
        if blast:
            exact, blurred = np.array([[1, 0, 0], [1, 0.2**0.5, 0.2**0.5]])
        sine = min(ray.slowness * SLOW[body], 0.99)
        cosine = (1 - sine**2) ** 0.5
        sharp, train = (
            np.array([cosine, sine, 0.2]) * a if wave == "P" else event.shear * np.array([-sine * b, cosine * b, c])
            for a, b, c in (pulse * exact, blurred)
        )  # (Z, R, T)
        if wave == "R":
            train, spectrum = np.array([1, 0.7j, 0.2]), spectrum * np.exp(-2 * np.pi * f * event.depth_km / 3)
        since = np.maximum(t - ray.time_s, 0)
        shape = np.exp(-since / length) * ((since > 0) if pulse else since**2)
        shape *= energy / shape.sum()
        cloud = np.exp(-2 * np.pi * (OCTAVES_HZ**0.4)[:, None] / 200 * since) * (ray.time_s / t) ** 2
        cloud *= coda / RATE_HZ * (np.abs(train) ** 2).sum() / 3 * (1 - np.exp(-since / length))
        level = np.interp(OCTAVES_HZ, f, np.abs(spectrum))[:, None, None] ** 2
        own += level * ((1 - same[..., None]) * np.abs(train)[:, None] ** 2 * shape + ((1 - cloudy) * cloud)[:, None])
        random = rng.standard_normal((5, n), dtype=np.float32)
        line = rfft(random[:2] * np.sqrt(shape, dtype=np.float32), size)[[0, 0, 1]]  # vertical and radial move together
        plane = train[:, None] * line * (np.sqrt(same) * bands).sum(0)
        for band, part in zip(bands, np.sqrt(cloud * cloudy, dtype=np.float32), strict=True) if coda else ():
            plane += band * rfft(random[2:] * part, size)
        plane += sharp[:, None] * np.exp(-2j * np.pi * f * (ray.time_s - t[0]))
        total += (spectrum * plane).astype(np.complex64) * _ramps(ray.slowness, event.back_azimuth, f)[:, None]
    random = rng.standard_normal((len(SENSORS), 3, n), dtype=np.float32)
    for band, part in zip(bands, np.sqrt(own, dtype=np.float32), strict=True):
        total += band * rfft(random * part, size)
    late = event.delay_s * (np.arange(event.shots) + 0.06 * rng.normal(size=event.shots))
    total *= np.exp(-2j * np.pi * f * (late - late.min())[:, None]).mean(axis=0) / (1 + (f / 16) ** 24)  # digitiser
    out = np.pad(RATE_HZ * irfft(total, size)[..., :n], ((0, 0), (0, 0), (begin, 0)))
    return _to_north_east(out, event.back_azimuth)


def offsets() -> np.ndarray:
    """Where the sensors stand: (sensor, 2), km east and north of the centre."""
    radius, azimuth, _ = np.array(list(SENSORS.values()), float).T
    return np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))], 1) * radius[:, None] / 1000


def _ramps(slowness: float, back_azimuth: float, f: np.ndarray) -> np.ndarray:
    """Phases (sensor, frequency) of a plane wave from there, which is later by sx * east + sy * north."""
    delay = -slowness * offsets() @ [np.sin(np.radians(back_azimuth)), np.cos(np.radians(back_azimuth))]
    return np.exp(np.complex64(-2j * np.pi) * delay[:, None].astype(np.float32) * f.astype(np.float32))


def _to_north_east(zrt: np.ndarray, back_azimuth: float) -> np.ndarray:
    """Radial (away from the source) and transverse (90 degrees clockwise of it) as north and east: (sensor, component, time)."""
    back = float(np.radians(back_azimuth))
    z, r, t = zrt.swapaxes(0, 1)
    return np.stack([z, math.sin(back) * t - math.cos(back) * r, -math.sin(back) * r - math.cos(back) * t], axis=1)


def background(event: Any, rng: np.random.Generator, spectra: Sequence = ()) -> np.ndarray:
    """Ground velocity without any event, (sensor, component ZNE, time), m/s.

    Noise has random phases, and power between the low and the high noise model of Peterson (1993, USGS Open-File Report
    93-322, as ObsPy carries them): on the scale of dB at 0.29 of the way, with a standard deviation of 0.05 from event to
    event and of 1 dB from sensor to sensor; above 1 Hz 3 dB more between 07 and 17 h. A part of the microseism that falls
    with frequency is Rayleigh and Love waves from about the west, 3.2 km/s, the rest is each sensor's own. Now and then a
    single sensor has a burst of 0.3 to 3 s, as of steps and machines. Where files of real noise are given, power has from
    0.5 Hz on the shape of the spectrum of one of their traces, drawn for the event, and from 2 to 8 Hz a simulated level,
    since nothing is known of their response.

    Parameters
    ----------
    event : row of `draw_events`, as a namedtuple
    rng : Generator
    spectra : sequence
        Of real noise, pairs: frequencies in Hz, and dB of the power of acceleration there.
    """
    from obspy.signal.spectral_estimation import get_nhnm, get_nlnm
    from scipy.fft import irfft

    f = np.maximum(np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ), 1e-3)
    low, high = (np.interp(-np.log(f), np.log(p[::-1]), db[::-1]) for p, db in (get_nlnm(), get_nhnm()))
    decibel = low + rng.normal(0.29, 0.05) * (high - low) + 3 * ((f > 1) & (7 <= event.time.hour < 17))
    if spectra:
        hertz, real = spectra[int(rng.integers(len(spectra)))]
        other = np.interp(f, hertz, real - np.interp(hertz, f, decibel))
        decibel += other - other[(f >= 2) & (f <= 8)].mean()
    power = 10 ** (decibel / 10) / (2 * np.pi * f) ** 2 / (1 + (0.02 / f) ** 8) / (1 + (f / 16) ** 48)  # of velocity
    level = np.sqrt(power * RATE_HZ * SAMPLES / 4)  # of real and imaginary part each
    some = int(np.searchsorted(f, 3))  # above, nothing is common
    common = 0.95 * np.exp(-((f[:some] / 0.8) ** 2))
    out = _complex(rng, len(SENSORS), 3, len(f))
    out[..., :some] *= np.sqrt(1 - common)
    for back in rng.normal(270, 40, 3):
        rayleigh, love = _complex(rng, 2, some) * np.sqrt(common / 3)
        plane = np.stack([rayleigh, 0.7j * rayleigh, 0.7 * love]) * _ramps(1 / 3.2, back, f[:some])[:, None]
        out[..., :some] += _to_north_east(plane, back)
    ground = irfft(out * (level * 10 ** (rng.normal(0, 1, (len(SENSORS), 1, 1)) / 20)).astype(np.float32), SAMPLES)
    t, loud = np.arange(SAMPLES) / RATE_HZ, 2 * np.sqrt((level[f > 1] ** 2).sum()) / SAMPLES
    for _ in range(rng.poisson(1.5)):
        at, length, hertz = rng.uniform(0, t[-1]), rng.uniform(0.3, 3), rng.uniform(2, 12)
        burst = np.exp(-(((t - at) / length) ** 2)) * np.sin(2 * np.pi * hertz * t)
        ground[rng.integers(len(SENSORS))] += loud * rng.uniform(4, 20) * rng.normal(size=(3, 1)) * burst
    return ground


def _complex(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def _real_spectra(noise: str | Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frequencies from 0.5 Hz on, and dB of the power of acceleration in unknown units, of each trace of 20 Hz or more."""
    import obspy
    from scipy.signal import welch

    found, path = [], Path(noise)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        stream = obspy.Stream()
        with suppress(Exception):  # metadata lie between the waveforms, and each format has errors of its own
            stream = obspy.read(str(file))
        for trace in stream:
            rate = trace.stats.sampling_rate
            data = np.asarray(trace.data[: round(40 * rate)], float)
            if rate >= 20 and len(data) >= 10 * rate and np.isfinite(data).all():
                f, power = welch(data, rate, nperseg=round(4 * rate), average="median")
                f, power = f[keep := (f >= 0.5) & (f <= 0.4 * rate)], power[keep]
                found += [(f, 10 * np.log10(power * (2 * np.pi * f) ** 2))] if power.min() > 0 else []  # not flat
    if not found:
        raise ValueError(f"noise: in {noise} ObsPy finds no trace of 10 s or more at 20 Hz or more that is not flat")
    return found


def _record(event: Any, ground: np.ndarray, rng: np.random.Generator) -> tuple[Any, str]:
    """The record as a digitiser gives it, and the fault that one in twelve has."""
    import obspy

    counts = np.rint(ground * COUNTS).clip(-CLIP, CLIP - 1).astype(np.int32)
    fault = str(rng.choice(["missing", "dead", "gap", "spike"])) if rng.random() < 1 / 12 else ""
    bad, at, length = int(rng.integers(len(SENSORS))), int(rng.integers(4_000, 20_000)), int(rng.integers(80, 1_200))
    counts[bad] *= fault != "dead"
    if fault == "spike":
        counts[bad, rng.integers(3), at] = int(10 ** rng.uniform(5, 6.8))
    late = first_arrival("P", event.distance_km, event.depth_km).time_s - event.lead_s
    start, stream = obspy.UTCDateTime(event.time.isoformat()) + round(late, 3), obspy.Stream()
    for (row, sensor), (column, component) in product(enumerate(SENSORS), enumerate("ZNE")):
        parts = [(0, at), (at + length, SAMPLES)] if fault == "gap" and row == bad else [(0, SAMPLES)]
        for a, b in [] if fault == "missing" and row == bad else parts:
            head = {"network": NETWORK, "station": sensor, "channel": f"BH{component}", "sampling_rate": RATE_HZ}
            stream.append(obspy.Trace(counts[row, column, a:b], head | {"starttime": start + a / RATE_HZ}))
    return stream, f"{fault} {list(SENSORS)[bad]}" if fault else "clipped" if np.abs(counts).max() >= CLIP - 1 else ""


def _write_metadata(folder: Path, table: pd.DataFrame) -> None:
    """The array as StationXML, the bulletin as QuakeML; every identifier and date is set, since ObsPy's own change with each run."""
    import obspy
    from obspy.core import event as qml
    from obspy.core import inventory
    from pyproj import Geod

    since, (radius, azimuth, height) = obspy.UTCDateTime(str(DAYS[0])), np.array(list(SENSORS.values()), float).T
    centre = np.full(len(radius), LONGITUDE), np.full(len(radius), LATITUDE)
    longitude, latitude, _ = (v.round(6) for v in Geod(ellps="WGS84").fwd(*centre, azimuth, radius))
    stations, flat = [], inventory.Response.from_paz([], [], COUNTS, 1.0, "M/S", "COUNTS")
    more = {"sample_rate": RATE_HZ, "start_date": since, "response": flat}
    for name, *place in zip(SENSORS, latitude, longitude, height, strict=True):
        ways = {"Z": (0, -90), "N": (0, 0), "E": (90, 0)}
        channels = [inventory.Channel(f"BH{c}", "", *place, 0, *way, **more) for c, way in ways.items()]
        site = inventory.Site(f"{SIMULATED}: no such place")
        stations.append(inventory.Station(name, *place, channels, site, start_date=since, creation_date=since))
    networks = [inventory.Network(NETWORK, stations, description=f"Array SIM, {SIMULATED}", start_date=since)]
    array = inventory.Inventory(networks, SIMULATED, created=since, module="geonb", module_uri="")
    array.write(str(folder / "stations.xml"), "STATIONXML")
    events, info = [], qml.CreationInfo(agency_id="geonb", author=SIMULATED)
    for row in table.itertuples(index=False):
        where = {"longitude": row.longitude, "latitude": row.latitude, "depth": 1000 * row.depth_km}
        names = [qml.ResourceIdentifier(f"smi:local/{row.event_id}{part}") for part in ("", "/origin", "/magnitude")]
        where["time"] = obspy.UTCDateTime(row.time.isoformat())
        origin = qml.Origin(resource_id=names[1], creation_info=info, **where)
        size = {"mag": row.magnitude, "magnitude_type": row.magnitude_type, "origin_id": names[1]}
        magnitude = qml.Magnitude(resource_id=names[2], creation_info=info, **size)
        words = [qml.EventDescription(f"{SIMULATED}: this event never happened", "region name")]
        lists = {"origins": [origin], "magnitudes": [magnitude], "event_descriptions": words}
        events.append(qml.Event(resource_id=names[0], event_type=row.kind, creation_info=info, **lists))
    bulletin = qml.Catalog(events, resource_id=qml.ResourceIdentifier("smi:local/bulletin"), description=SIMULATED)
    bulletin.write(str(folder / "events.xml"), "QUAKEML")
