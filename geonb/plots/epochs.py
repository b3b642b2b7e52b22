"""Pictures of what a network says of the same validation windows, epoch by epoch, and a player for them that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from geonb.base.files import key_of, whole_file, write_text
from geonb.plots.scores import confusion_cells
from geonb.plots.style import MODEL_MARKERS, described, evenly, finish, styled
from geonb.training.watching import MOST_WATCHED, Seen, epoch_of

if TYPE_CHECKING:
    from IPython.display import HTML

MOST_PLAYED = 30  # epochs in a player: some 50 kB each, and a report is small
UNLABELLED = "#4a6d8c"


def epoch_pictures(folder: Path, epoch: int, seen: Seen) -> None:
    """Draw an epoch into a folder: ``confusion-0003.png`` where there are classes, ``plane-0003.png`` where there are vectors.

    The numbers lie beside them as CSV: question, true, told, count; row (of the store's table), label, x, y. The plane is that of the
    first two principal components, turned and mirrored (orthogonal Procrustes, Schönemann 1966) to lie as that of the epoch before.

    Parameters
    ----------
    folder : Path
    epoch : int, from 1
    seen : Seen, of the same windows at every epoch
    """
    if seen.counts:
        table = _counts(seen)
        write_text(folder / f"confusion-{epoch:04}.csv", table.to_csv(index=False))
        _save(told_of(seen, epoch), folder / f"confusion-{epoch:04}.png")
    if seen.vectors is not None and len(seen.vectors) > 2:
        plane, before = _plane(folder, epoch, seen)
        write_text(folder / f"plane-{epoch:04}.csv", plane.to_csv(index=False))
        _save(plane_of(plane, seen, epoch, before), folder / f"plane-{epoch:04}.png")


def _counts(seen: Seen) -> pd.DataFrame:
    rows = [
        (question, names[i], names[j], int(count))
        for question, names in seen.questions.items()
        for (i, j), count in np.ndenumerate(seen.counts[question])
    ]
    return pd.DataFrame(rows, columns=["question", "true", "told", "count"])


def _plane(folder: Path, epoch: int, seen: Seen) -> tuple[pd.DataFrame, int]:
    """Where each window lies, and the epoch to which the plane was turned; 0 for none."""
    from scipy.linalg import orthogonal_procrustes

    from geonb.embeddings.planes import reduce

    points = reduce(xr.Dataset({"embedding": (("sample", "dim"), seen.vectors)})).to_numpy().astype(float)
    earlier = {epoch_of(file): file for file in folder.glob("plane-*.csv") if epoch_of(file) < epoch}
    before = max(earlier, default=0)
    if before:
        last = pd.read_csv(earlier[before])
        if np.array_equal(last["row"], seen.rows):
            points = points @ orthogonal_procrustes(points, last[["x", "y"]].to_numpy())[0]
        else:
            before = 0
    plane = pd.DataFrame({"row": seen.rows, "label": seen.labels or "", "x": points[:, 0], "y": points[:, 1]})
    return plane, before


def _save(figure: Figure, file: Path) -> None:
    with whole_file(file) as partial:
        about = {"Description": described(figure)}  # the player's text for those who cannot see it
        figure.savefig(partial, format="png", dpi=90, bbox_inches="tight", metadata=about)


@styled
def told_of(seen: Seen, epoch: int) -> Figure:
    """Draw the confusion matrix of one question; of several with two classes each, a row a question, recall and precision."""
    number = f"{len(seen.rows):,} validation windows, the same at every epoch{_some(seen)}."
    if len(seen.questions) == 1:
        (question, names), (counts,) = next(iter(seen.questions.items())), seen.counts.values()
        size = 2.2 + 0.62 * len(names)
        figure, ax = plt.subplots(figsize=(size + 1.1, size))
        ax.set(xlabel="told", ylabel=f"true {question}", title=f"What it says, epoch {epoch}")
        confusion_cells(figure, ax, counts, names)
        return finish(figure, seen.about, f"{number} Rows add up to 100 %.")
    figure, ax = plt.subplots(figsize=(4.2, 1.4 + 0.36 * len(seen.questions)))
    hits = np.array([c[1, 1] for c in seen.counts.values()], float)[:, None]
    of = np.array([(c[1].sum(), c[:, 1].sum()) for c in seen.counts.values()], float)
    share = np.divide(hits, of, out=np.full(of.shape, np.nan), where=of > 0)
    ax.imshow(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), part in np.ndenumerate(share):
        text = f"{part:.0%} of {int(of[row, column]):,}" if np.isfinite(part) else "none"
        ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if part > 0.55 else "#222222")
    ax.set_xticks([0, 1], ["recall\n(of those there)", "precision\n(of those told)"])
    ax.set_yticks(range(len(seen.questions)), list(seen.questions))
    asked = ", ".join(dict.fromkeys(names[1] for names in seen.questions.values()))
    ax.set(ylabel=asked, title=f"What it says, epoch {epoch}")
    ax.tick_params(length=0)
    figure.tight_layout()
    return finish(figure, seen.about, number)


def _some(seen: Seen) -> str:
    return f" (drawn once, {MOST_WATCHED} at most)" if len(seen.rows) == MOST_WATCHED else ""


@styled
def plane_of(plane: pd.DataFrame, seen: Seen, epoch: int, before: int) -> Figure:
    """Draw where the windows lie, each label in its own colour and mark."""
    legend: Mapping[str, str] = seen.about["legend"]
    figure, ax = plt.subplots(figsize=(4.6, 4.2))
    for i, label in enumerate(dict.fromkeys([*legend, *plane["label"]])):
        mine = plane[plane["label"] == label]
        look = {"color": legend.get(label, UNLABELLED), "marker": MODEL_MARKERS[i % len(MODEL_MARKERS)]}
        if len(mine):
            ax.scatter(mine["x"], mine["y"], s=14, alpha=0.8, linewidths=0, label=label, **look)
    reach = 1.05 * max(1e-12, float(plane[["x", "y"]].abs().to_numpy().max()))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=f"How it sees the windows, epoch {epoch}")
    if seen.labels:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    turned = f" Turned to lie as epoch {before} did." if before else ""
    said = f"{len(plane):,} validation windows, the same at every epoch{_some(seen)}, on their first two principal components."
    return finish(figure, seen.about, said + turned)


def play_epochs(run: Path) -> HTML | None:
    """A player for a run's pictures of epochs: all of them inside, with a button and a slider that the arrow keys move.

    Parameters
    ----------
    run : path of a run folder

    Returns
    -------
    HTML for a notebook, of at most 30 epochs, evenly, the first and the last among them; None where there are no pictures
    """
    from IPython.display import HTML
    from jinja2 import Environment
    from PIL import Image

    files = sorted(Path(run).glob("epochs/*-*.png"))
    epochs = sorted({epoch_of(file) for file in files} - {0})
    if not epochs:
        return None
    shown = [epochs[i] for i in evenly(len(epochs), MOST_PLAYED)]
    frames = []
    for epoch in shown:
        mine = [
            (Image.open(file).info.get("Description", file.stem), file) for file in files if epoch_of(file) == epoch
        ]
        frames.append((epoch, [(alt, base64.b64encode(file.read_bytes()).decode()) for alt, file in mine]))
    template = Path(__file__).parent / "templates" / "epochs.html.j2"
    page = Environment(autoescape=True).from_string(template.read_text(encoding="utf-8"))
    key = f"epochs-{key_of([str(run), shown])}"
    return HTML(page.render(key=key, frames=frames, total=len(epochs)))
