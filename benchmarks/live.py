"""`geonb live` on an array of nine sensors, three components at 40 Hz: rate of a replay, memory, latency, what a window costs.

One core. Windows of 240 s every 5 s; noise with a plane wave every ten minutes. The network is untrained, which costs what a
trained one does. The limit that the rate stands beside is real time.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np

RATE, HOURS, WINDOW_S = 40.0, 2, 240
START = "2024-01-01T00:00:00"
NETWORKS = ("resnet1d:width=16", "alexnet1d", "cnn_dense")


def archive(folder: Path):
    """Hourly miniSEED of the simulated array's sensors, and its metadata."""
    import obspy
    from scipy.signal import butter, sosfilt

    from geonb.waveforms import archives, beams
    from geonb.workloads.seismic import examples

    examples.simulate(folder / "array", events=1, seed=0)
    inventory = archives.read_stations(str(folder / "array" / "stations.xml"))
    stations = [(net.code, station) for net in inventory for station in net]
    place = beams.local_km([s.latitude for _, s in stations], [s.longitude for _, s in stations])
    tau = np.round(beams.delays(beams.slowness_of(75, 6), *place.T) * RATE).astype(int)
    random, n = np.random.default_rng(0), int(3600 * RATE)
    sections = butter(4, (1, 10), "bandpass", fs=RATE, output="sos")
    (folder / "waves").mkdir()
    for hour in range(HOURS):
        wave = np.zeros(n)
        for at in range(int(300 * RATE), n, int(600 * RATE)):
            length = min(int(60 * RATE), n - at)
            wave[at : at + length] = 20 * random.standard_normal(length) * np.exp(-np.arange(length) / (10 * RATE))
        stream = obspy.Stream()
        for (net, station), shift in zip(stations, tau, strict=True):
            for component in "ZNE":
                values = 500 * sosfilt(sections, np.roll(wave, shift) + random.standard_normal(n))
                header = {"network": net, "station": station.code, "channel": f"BH{component}", "sampling_rate": RATE}
                stream += obspy.Trace(
                    values.astype(np.int32), header | {"starttime": obspy.UTCDateTime(START) + 3600 * hour}
                )
        stream.write(str(folder / "waves" / f"{hour:02}.mseed"), "MSEED", encoding="STEIM2")
    return inventory


def model(network: str):
    """An untrained task with the card that live reads."""
    from geonb.workloads.seismic import dataset
    from geonb.workloads.seismic.task import TwoHeaded

    channels = list(dataset.CHANNELS.values())
    made = {
        "filters": "bandpass",
        "beams": {"Z": 6.45, "R": 3.7, "T": 3.7},
        "components": ["Z"],
        "rate_hz": RATE,
        "aperture_km": 10.0,
    }
    scaler = {"name": "standard", "per_channel": False, "channels": channels, "shift": [], "scale": []}
    card = {
        "network": network, "channels": [{"name": c, "units": "counts"} for c in channels], "samples": round(WINDOW_S * RATE),
        "before": round(60 * RATE), "rate_hz": RATE, "loss": "bce", "prevalence": [0.5, 0.4], "preparation": made, "scaler": scaler,
        "title": "", "simulated": True, "workload": "seismic",
    }  # fmt: skip
    return TwoHeaded(card).eval()


def replayed(folder: Path, inventory, task) -> tuple[float, int, float]:
    """Seconds, windows, and MB by which the peak of memory grew in the second half."""
    from geonb.waveforms import streams
    from geonb.workloads.seismic import live

    (folder / "out").mkdir()
    watcher = live.Watch(task, folder / "out", inventory, told=lambda text: None)
    watcher.resume()
    half, begun = 0.0, time.perf_counter()
    for i, item in enumerate(
        streams.check_source(f"replay:{folder}/waves@max").packets(live.channels_of(inventory, "ZNE"))
    ):
        watcher.take(item)
        if i == HOURS * 720 * 27 // 2:
            half = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watcher.end()
    spent = time.perf_counter() - begun
    return spent, watcher.windows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - half) / 1024


def late(folder: Path, inventory, task, windows: int = 8) -> float:
    """Seconds from a window's last packet to its line in a file of steps, when packets come in time: the median."""
    import obspy

    from geonb.workloads.seismic import live

    (folder / "late").mkdir()
    watcher = live.Watch(task, folder / "late", inventory, told=lambda text: None)
    watcher.resume()
    stream, start = obspy.read(str(folder / "waves" / "00.mseed")), obspy.UTCDateTime(START)

    def size() -> int:
        return sum(path.stat().st_size for path in (folder / "late" / "steps").glob("*.csv"))

    waits = []
    for second in range(0, WINDOW_S + 5 * windows, 5):
        before, begun = size(), time.perf_counter()
        for trace in stream.slice(start + second, start + second + 5 - 1 / RATE):
            watcher.take(trace)
        while second >= WINDOW_S and size() == before and time.perf_counter() - begun < 5:
            time.sleep(0.02)
            watcher.take(None)
        waits.append(time.perf_counter() - begun)
    return float(np.median(waits[-windows:]))


def _met(it_is: bool) -> str:
    return "yes" if it_is else "no"


def main(folder: Path) -> list[list[str]]:
    import torch

    from geonb.training.task import as_function

    torch.set_num_threads(1)
    inventory = archive(folder)
    spent, windows, grown = replayed(folder, inventory, model(NETWORKS[0]))
    times = HOURS * 3600 / spent
    wait = late(folder, inventory, model(NETWORKS[0]))
    rows = [
        [
            f"{HOURS} h replayed, {windows:,} windows",
            f"{spent:.0f} s",
            "real time",
            f"{times:.0f} x",
            ">= 500 x",
            _met(times >= 500),
        ],
        ["peak of memory in the second half", f"{grown:+.0f} MB", "", "", "flat", _met(grown < 20)],
        ["last packet of a window to its line", f"{wait:.2f} s", "", "", "< 2 s", _met(wait < 2)],
        ["a window in all, one after the other", f"{1e3 * spent / windows:.1f} ms", "", "", "", ""],
    ]
    inputs = np.random.default_rng(0).standard_normal((16, 3, round(WINDOW_S * RATE))).astype(np.float32)
    for network in NETWORKS:
        ask, took = as_function(model(network), "probabilities", "float32"), []
        for _ in range(6):
            begun = time.perf_counter()
            for one in inputs:
                ask(one[None])
            took.append((time.perf_counter() - begun) / len(inputs))
        ms = 1e3 * float(np.median(took[1:]))
        rows.append([f"`{network}`, a window at a time", f"{ms:.1f} ms", "", "", "<= 29 ms", _met(ms <= 29)])
    return rows
