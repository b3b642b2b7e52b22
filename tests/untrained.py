"""A small network with the card of a trained one, for tests that need its answers to be the same, not to be right."""

import torch

SMALL = "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8"


def untrained(store, **card):
    from geonb.workloads.segmentation import task

    torch.manual_seed(0)
    card = {
        "workload": "segmentation", "task": "geonb.workloads.segmentation.task:Segmentation",
        "network": SMALL, "loss": "cross-entropy", "lr": 1e-3,
        "geonb": "0", "patch": 32, **{key: store.meta[key] for key in ("channels", "classes", "statistics")},
        "training": {"seed": 0}, "best": {"epoch": 1}, **card,
    }  # fmt: skip
    return task.Segmentation(card).eval()
