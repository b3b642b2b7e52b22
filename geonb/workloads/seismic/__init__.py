"""`seismic`: what an array or a network of stations saw: noise, an earthquake or an explosion, and how sure that is."""

from __future__ import annotations

from geonb.registry import Parameter, Workload
from geonb.workloads.seismic.figures import SEISMIC

RECORD = Workload(
    name="seismic",
    title="Earthquake, explosion or noise",
    question="Is what the stations saw noise, an earthquake or an explosion, and how sure is that?",
    dataset="notebooks/01_dataset_seismic.ipynb",
    stores={"records": "geonb.workloads.seismic.store:RecordStore"},
    check="geonb.waveforms.named:together",
    task="geonb.workloads.seismic.task:TwoHeaded",
    baselines=(
        "geonb.workloads.seismic.baselines:majority",
        "geonb.workloads.seismic.baselines:sta_lta",
        "geonb.workloads.seismic.baselines:spectral_ratio",
    ),
    predict="geonb.workloads.seismic.predict:predict_windows",
    check_predictions="geonb.workloads.seismic.predict:window_faults",
    export="geonb.workloads.seismic.predict:export_events",
    score="geonb.workloads.seismic.scores:score_windows",
    compare="geonb.workloads.seismic.compare:compare_windows",
    tiles="geonb.workloads.seismic.figures:wave_tiles",
    explore="geonb.workloads.seismic.explore:explorer",
    live="geonb.workloads.seismic.live:watch",
    figures=SEISMIC,
    headline="macro_f1",
    defaults={
        "network": "resnet1d:width=16", "loss": "bce", "augment": "shift:most_s=10,noise,reverse", "lr": 1e-3, "epochs": 24, "batch": 32,
        "patience": 8, "overlap": 0.0,
    },
    parameters={
        "waveforms": Parameter(
            "files, globs or folders of anything ObsPy reads, comma separated; a SeisBench folder; fdsn:SERVER?network=..&station=..",
            files=True,
            check="geonb.waveforms.named:waveforms",
        ),
        "events": Parameter("events: QuakeML, CSV or Nordic", files=True, check="geonb.waveforms.named:events"),
        "stations": Parameter("stations: StationXML", files=True, check="geonb.waveforms.named:stations"),
        "window_s": Parameter("length of a window [s]", 1, 7200),
        "before_s": Parameter("how long before P a window of an event begins [s]", 0, 7200),
        "noise_s": Parameter("how long before P a record begins [s]", 0, 86_400),
        "arrival": Parameter("where P is: taup, picks (each station's own, else taup), or offset:seconds=50 into each file"),
        "filters": Parameter("before beams, name:key=value, e.g. bandpass:low=2,high=8"),
        "beams": Parameter("none, or array:p_km_s=6.45,s_km_s=3.7"),
        "rate_hz": Parameter("samples a second, after resampling", 0.1, 1000),
        "scaler": Parameter("standard, robust, min-max or log, with options: standard:per=fitted"),
        "deal": Parameter("events to the splits: time (earliest for training) or event", choices=("time", "event")),
        "name": Parameter("first part of the sample store's name", check="geonb.base.project:check_name"),
        "network": Parameter(
            "network and its options, name:key=value,key=value",
            check="geonb.workloads.seismic.networks:check_network",
            options="geonb.workloads.seismic.networks:OPTIONS",
        ),
        "loss": Parameter(
            "loss and its options, name:key=value",
            check="geonb.workloads.seismic.losses:check_loss",
            options="geonb.workloads.seismic.losses:OPTIONS",
        ),
        "augment": Parameter(
            "random changes of training windows, or none",
            check="geonb.waveforms.augmentation:check_augment",
            options="geonb.waveforms.augmentation:AUGMENT",
        ),
    },
)  # fmt: skip
