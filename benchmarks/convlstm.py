"""A ConvLSTM's training step against the one published, and a forecast of the whole globe in one pass.

The step: structure [[12,24,0,0,0],[0,24,12,6,5]], 5 channels, 10 months of 16 x 16 cells, 32 samples, kernel 3, Adam with
amsgrad. ``Published`` states the original's arithmetic anew: eight convolutions a cell, a peephole per pixel, a list of hidden
states per layer, float64.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

STRUCTURE = [[12, 24, 0, 0, 0], [0, 24, 12, 6, 5]]
CHANNELS, MONTHS, SIDE, BATCH = 5, 10, 16, 32
ROUNDS, STEPS = 5, 4
# what is timed: (network, dtype or bf16)
FORMS = {"published, float64": ("published", "float64"), "published, float32": ("published", "float32"),
         "ours, float32": ("ours", "float32"), "ours, bfloat16": ("ours", "bfloat16")}  # fmt: skip
GOALS = [("ours, bfloat16", "published, float64", 5.0), ("ours, bfloat16", "published, float32", 2.2),
         ("ours, float32", "published, float32", 1.6)]  # fmt: skip


def published():
    """The encoder-decoder with eight convolutions a cell; logit = channel 0 of the last hidden state."""
    import torch
    from torch import nn

    class Cell(nn.Module):
        def __init__(self, channels: int, hidden: int) -> None:
            super().__init__()
            self.hidden = hidden
            self.x = nn.ModuleDict({gate: nn.Conv2d(channels, hidden, 3, padding=1) for gate in "ifco"})
            self.h = nn.ModuleDict({gate: nn.Conv2d(hidden, hidden, 3, padding=1, bias=False) for gate in "ifco"})
            self.peep = nn.ParameterDict({gate: torch.zeros(1, hidden, SIDE, SIDE) for gate in "ifo"})

        def forward(self, x, h, c):
            i = torch.sigmoid(self.x["i"](x) + self.h["i"](h) + self.peep["i"] * c)
            f = torch.sigmoid(self.x["f"](x) + self.h["f"](h) + self.peep["f"] * c)
            c = f * c + i * torch.tanh(self.x["c"](x) + self.h["c"](h))
            o = torch.sigmoid(self.x["o"](x) + self.h["o"](h) + self.peep["o"] * c)
            return o * torch.tanh(c), c

    class Layers(nn.Module):
        def __init__(self, channels: int, hidden: list[int]) -> None:
            super().__init__()
            self.cells = nn.ModuleList(Cell(m, n) for m, n in zip([channels, *hidden[:-1]], hidden, strict=True))

        def forward(self, x, begin):
            ends = []
            for cell, state in zip(self.cells, begin, strict=True):
                zeros = x.new_zeros(len(x), cell.hidden, *x.shape[-2:])
                h, c = state or (zeros, zeros)
                hidden = []
                for month in range(x.shape[1]):
                    h, c = cell(x[:, month], h, c)
                    hidden.append(h)
                x = torch.stack(hidden, dim=1)
                ends.append((h, c))
            return x, ends

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = Layers(CHANNELS, [12, 24]), Layers(24, [24, 12, 6, 5])

        def forward(self, inputs):
            x, ends = self.encoder(inputs, [None, None])
            x, _ = self.decoder(x[:, -1:], [ends[1], None, None, None])
            return x[:, :, :1]

    return Network()


def made(form: str):
    """A function that takes one training step."""
    import torch
    from torch.nn import functional

    from geonb.workloads.conflict.convlstm import EncoderDecoder

    torch.manual_seed(0)
    which, dtype = FORMS[form]
    kind = torch.float64 if dtype == "float64" else torch.float32
    network = (published() if which == "published" else EncoderDecoder(CHANNELS, 1, 1, STRUCTURE)).to(kind)
    inputs, targets = torch.randn(BATCH, MONTHS, CHANNELS, SIDE, SIDE, dtype=kind), torch.rand(BATCH, 1, 1, SIDE, SIDE)
    targets = (targets < 0.1).to(kind)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, amsgrad=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            outputs = network(inputs)
        functional.binary_cross_entropy_with_logits(outputs.to(kind), targets).backward()
        optimizer.step()

    return step


def rates() -> dict[str, float]:
    """Samples a second of each form: medians over rounds in which each form has its turn, so that all see the same load."""
    steps, seconds = {form: made(form) for form in FORMS}, {form: [] for form in FORMS}
    for step in steps.values():
        step()
    for _ in range(ROUNDS):
        for form, step in steps.items():
            for _ in range(STEPS):
                started = time.perf_counter()
                step()
                seconds[form].append(time.perf_counter() - started)
    return {form: BATCH / statistics.median(values) for form, values in seconds.items()}


def curves(seeds: int = 3, steps: int = 30) -> tuple[float, float]:
    """Loss after training in bfloat16 less that in float32 (largest over seeds), and how far apart seeds are in float32.

    The task: an event comes again in the next month, with probability 1/2, where the last month had one.
    """
    import torch
    from torch.nn import functional

    from geonb.workloads.conflict.convlstm import EncoderDecoder

    ends = {}
    for seed in range(seeds):
        for half in (False, True):
            torch.manual_seed(seed)
            network = EncoderDecoder(CHANNELS, 1, 1, STRUCTURE)
            optimizer, losses = torch.optim.Adam(network.parameters(), 1e-2, amsgrad=True), []
            for _ in range(steps):
                inputs = (torch.rand(BATCH, MONTHS, CHANNELS, SIDE, SIDE) < 0.2).float()
                targets = inputs[:, -1:, :1] * (torch.rand(BATCH, 1, 1, SIDE, SIDE) < 0.5)
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    outputs = network(inputs)
                loss = functional.binary_cross_entropy_with_logits(outputs, targets)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            ends[seed, half] = statistics.fmean(losses[-5:])
    exact = [ends[seed, False] for seed in range(seeds)]
    return max(abs(ends[seed, True] - ends[seed, False]) for seed in range(seeds)), max(exact) - min(exact)


GLOBE = """
import sys, time
import torch
from geonb.workloads.conflict.networks import build_network
def most():  # MB; of this process alone, unlike getrusage, which begins with the parent's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
torch.manual_seed(0)
network = build_network(sys.argv[1], 5, 1, 12).eval()
inputs = torch.randn(1, 10, 5, 360, 720)
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=sys.argv[2] == "bfloat16"):
    network(inputs[..., :32, :32])
    before, started = most(), time.perf_counter()
    network(inputs)
    seconds = time.perf_counter() - started
print(seconds, most() - before)
"""


def globe(network: str, precision: str) -> tuple[float, float]:
    """Seconds, and MB above what was there before, of 12 leads of 360 x 720 cells; in a process of its own."""
    told = subprocess.run([sys.executable, "-c", GLOBE, network, precision], check=True, capture_output=True, text=True)
    seconds, memory = map(float, told.stdout.split())
    return seconds, memory


def main(folder: Path) -> list[list[str]]:
    import torch

    from geonb.training.task import precision_of

    torch.set_num_threads(torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else os.cpu_count())
    found, rows = rates(), []
    for form, rate in found.items():
        print(f"training step, {form}: {rate:.0f} samples/s")
    for form, against, aim in GOALS:
        if "bfloat16" in form and precision_of("auto") != "bfloat16":
            continue  # this processor does not compute in it
        ratio = found[form] / found[against]
        rows.append([f"ConvLSTM training step: {form}", f"{found[form]:.0f} samples/s",
                     f"{against}: {found[against]:.0f} samples/s", f"{ratio:.1f}", f">= {aim}",
                     "yes" if ratio >= aim else "no"])  # fmt: skip
    if precision_of("auto") == "bfloat16":
        apart, spread = curves()
        print(f"loss after 30 steps: bfloat16 and float32 differ by {apart:.4f}, seeds by {spread:.4f}")
        rows.append(["loss after 30 steps, bfloat16 against float32 of the same seed", f"differs by {apart:.4f} at most",
                     f"three seeds by {spread:.4f}", f"{apart / spread:.2f}", "<= 1", "yes" if apart <= spread else "no"])  # fmt: skip
    for name in ("convlstm", "unet_lstm"):
        for precision in ("float32", "bfloat16"):
            seconds, memory = globe(name, precision)
            print(f"the globe, {name}, {precision}: {seconds:.1f} s, {memory:,.0f} MB")
            rows.append([f"12 leads of 360 x 720 cells in one pass: {name}, {precision}", f"{seconds:.1f} s",
                         f"{memory:,.0f} MB", "-", "-", "-"])  # fmt: skip
    return rows


if __name__ == "__main__":
    main(Path())
