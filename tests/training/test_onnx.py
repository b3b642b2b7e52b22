"""A network as ONNX gives what torch gives, for any number of samples, and says what it is of."""

import json
import sys

import numpy as np
import pytest
import torch

from geonb.training import onnx
from geonb.workloads.chips.task import MultiLabel

CARD = {
    "workload": "chips", "network": "resnet10t:head=mlp", "loss": "bce", "patch": 32, "prevalence": [0.5, 0.2], "lr": 1e-3,
    "channels": [{"name": name} for name in ("red", "nir")], "classes": [{"name": "road"}, {"name": "house"}],
    "statistics": {"mean": [1.0, 2.0], "std": [3.0, 4.0]},
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("onnxscript", reason="needs geonb[onnx]")
    torch.manual_seed(0)
    return MultiLabel(CARD, weights=False).eval()


def test_the_file_gives_what_torch_gives(model, tmp_path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx.export_onnx(model, tmp_path / "m.onnx")))
    inputs = np.random.default_rng(1).normal(size=(5, 2, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(session.run(None, {"inputs": inputs})[0], wanted, atol=1e-4)
    told = json.loads(session.get_modelmeta().custom_metadata_map["geonb"])
    assert [c["name"] for c in told["classes"]] == ["road", "house"] and told["statistics"]["std"] == [3.0, 4.0]


def test_what_differs_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="off by"):
        onnx.export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_it_says_which(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install geonb\[onnx\]"):
        onnx.export_onnx(None, tmp_path / "m.onnx")
