"""A trained network as ONNX, for whoever runs it without torch; compared with torch before it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.files import whole_file

if TYPE_CHECKING:
    from geonb.training.task import Trainable

WHAT = "onnx, onnxruntime and onnxscript are not installed: pip install geonb[onnx]"
TOLERANCE = 1e-4  # of the largest number that torch gives


def export_onnx(model: Trainable, path: str | Path, seed: int = 0) -> Path:
    """Write a task's network: ``inputs`` (sample, channel, y, x), standardised, float32 -> ``outputs``, what its forward pass gives.

    The number of samples is free, the size of a sample is the card's ``patch``. Channels, classes, mean and standard deviation stand
    in the file's metadata as ``geonb`` (JSON), since a network without them is of no use.

    Parameters
    ----------
    path : where to write; appears whole or not at all, and only after ONNX Runtime gave what torch gives

    Raises
    ------
    ImportError
        Without the packages for it: says which.
    RuntimeError
        If ONNX Runtime gives other numbers than torch: by how much.
    """
    import torch

    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ImportError(WHAT) from error
    card, model = model.card, model.to("cpu").eval()
    shape = (3, len(card["channels"]), card["patch"], card["patch"])
    inputs = torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
    told = {k: card[k] for k in ("workload", "network", "channels", "classes", "statistics", "patch") if k in card}
    with torch.inference_mode(), whole_file(Path(path), ".onnx") as partial:
        program: Any = torch.onnx.export(
            model, (inputs,), dynamo=True, input_names=["inputs"], output_names=["outputs"],
            dynamic_shapes={"inputs": {0: torch.export.Dim("sample", min=1)}}, verbose=False,
        )  # fmt: skip
        made = program.model_proto
        onnx.helper.set_model_props(made, {"geonb": json.dumps(told)})
        onnx.save(made, str(partial))
        wanted = model(inputs).numpy()
        (given,) = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"]).run(
            None, {"inputs": inputs.numpy()}
        )
        off = float(np.abs(given - wanted).max() / max(np.abs(wanted).max(), 1e-12))
        if given.shape != wanted.shape or not off <= TOLERANCE:
            raise RuntimeError(
                f"ONNX Runtime gives {given.shape}, off by {off:.2g} of the largest number that torch gives: not written"
            )
    return Path(path)
