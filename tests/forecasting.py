"""A workload and untrained networks that forecasts are tried with."""

from __future__ import annotations

import torch
from fake_cubes import ANY

from geonb import registry
from geonb.registry import Workload
from geonb.workloads.conflict.task import Forecast

RECORD = Workload(
    name="made",
    title="made",
    question="?",
    dataset="none",
    headline="average_precision",
    task="geonb.workloads.conflict.task:Forecast",
)


def model_of(network="convlstm:structure=3-4-0/0-4-3", loss="bce", outcomes=ANY, **more):
    torch.manual_seed(0)
    registry.get("forecasting:RECORD")  # a card's word for it would not be taken
    card = {
        "network": network, "loss": loss, "channels": [{"name": "event"}, {"name": "best"}], "outcomes": list(outcomes),
        "horizon": 3, "steps": 6, "lr": 1e-3, "statistics": {"mean": [0.0, 1.0], "std": [1.0, 5.0]}, "patch": 4, "best": {},
        "training": {"epochs": 1}, "workload": "forecasting:RECORD", "simulated": True,
    }  # fmt: skip
    task = Forecast(card | more).eval()
    for parameter in task.parameters():  # zero peepholes and biases would hide faults
        torch.nn.init.normal_(parameter, std=0.4)
    return task
