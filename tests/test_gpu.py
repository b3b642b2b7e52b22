"""What a GPU computes is what the CPU does; and, without one, that a step asks for nothing on another device than its own."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torchmetrics import Metric

from benchmarks import gpu

HERE = torch.cuda.is_available()
on_a_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="no GPU that torch can use on this machine")]
with_a_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_gpu), "cpu"])


@with_a_gpu
@pytest.mark.parametrize("precision", gpu.PRECISIONS)
@pytest.mark.parametrize("name", gpu.NAMES)
def test_loss_and_gradients_are_those_of_the_cpu(name, precision, device):
    task, batch = gpu.made(name, small=True)
    loss, gradient = gpu.one_pass(task, batch, "cpu", "float32")
    assert np.isfinite(loss) and np.linalg.norm(gradient) > 0
    here, found = gpu.one_pass(task, batch, device, precision)
    assert here == pytest.approx(loss, rel=gpu.LOSS[precision])
    assert gpu.alike(found, gradient) >= gpu.COSINE[precision]


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_gpu), pytest.param("cpu", marks=pytest.mark.slow)])
def test_maps_and_vectors_are_those_of_the_cpu(tmp_path, device):
    rows = [*gpu.scenes(tmp_path, device, small=True), *gpu.embeddings(device, small=True)]
    assert len(rows) == 6 and {row[-1] for row in rows} == {"-", "yes"}, rows


@with_a_gpu
def test_a_step_is_measured_with_and_without_compiling(device):
    for compiled in (False, True):
        seconds, peak, number = gpu.step("chips", device, "float32", compiled, small=True)
        assert seconds > 0 and number == 4 and (peak is None) == (device == "cpu")


def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("GEONB_BENCH_DEVICE", raising=False)
    assert gpu.main(tmp_path) == [] and "No GPU here" in capsys.readouterr().out


def put_on(mode: FakeTensorMode, module: nn.Module, device: str) -> None:
    """What `module.to(device)` moves, as tensors of that device without numbers; what it leaves behind stays where it is."""

    def fake(tensor):
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)

    with mode:
        for part in module.modules():
            for name, parameter in list(part._parameters.items()):
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(fake(parameter), parameter.requires_grad)
            for name, buffer in list(part._buffers.items()):
                if buffer is not None:
                    part._buffers[name] = fake(buffer)
            if isinstance(part, Metric):
                for name in part._defaults:
                    setattr(part, name, fake(getattr(part, name)))


def on_a_gpu_without_numbers(name):
    """A task and a batch on a device "cuda" that need no GPU: shapes are followed, and two devices in one operation are an error.

    Backwards they cannot go without a driver.
    """
    task, batch = gpu.made(name, small=True)
    mode = FakeTensorMode(shape_env=ShapeEnv())  # which lets masks choose, too
    put_on(mode, task, "cuda")
    with mode:
        batch = {key: torch.empty(value.shape, dtype=value.dtype, device="cuda") for key, value in batch.items()}
    return mode, task.train(), batch


def test_two_devices_in_one_operation_are_noticed():
    mode, task, batch = on_a_gpu_without_numbers("seismic")
    task.loss._buffers["shares"] = torch.ones(2)  # as an attribute that `to` does not move
    with mode, pytest.raises(Exception, match=r"(?i)device|fake"):
        task.training_step(batch, 0)


@pytest.mark.parametrize("precision", gpu.PRECISIONS)
@pytest.mark.parametrize("name", gpu.NAMES)
def test_a_step_leaves_nothing_on_the_cpu(name, precision):
    mode, task, batch = on_a_gpu_without_numbers(name)
    with mode, torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
        if name == "clouds":  # its step keeps a distance as a number, which such tensors do not have
            loss = task.loss(task(batch["triplets"]).float(), batch["places"])
        else:
            loss = task.training_step(batch, 0)
        assert loss.device.type == "cuda" and loss.dtype == torch.float32
        vectors = task.encode(batch["triplets" if name == "clouds" else "inputs"])
        assert vectors.device.type == "cuda"


@pytest.mark.parametrize("name", ["conflict", "chips", "seismic"])
def test_validation_and_forecasts_leave_nothing_on_the_cpu(name):
    mode, task, batch = on_a_gpu_without_numbers(name)
    with mode, torch.no_grad():
        task.eval().validation_step(batch, 0)
        told = task.forecast(batch["inputs"]) if name == "conflict" else {"it": task.probabilities(batch["inputs"])}
    assert {value.device.type for value in told.values()} == {"cuda"}
