"""A plane or a set of kinds, fitted once: kept as numbers that execute nothing, and applied to other embeddings.

transforms/<name>.safetensors   the arrays
transforms/<name>.json          what they are, and of which embeddings: written last
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geonb.base.files import whole_file, write_json
from geonb.base.manifest import note_made
from geonb.embeddings.planes import parse_method
from geonb.embeddings.trees import LETTERS, NOISE, nearest_centre, values_of, weighted_centres

FORMAT = 1
ARRAYS = {
    "linear": ("mean", "components"), "dims": (), "neighbours": ("embedding", "points"), "kinds": ("centres",),
}  # fmt: skip
NEAR = 10  # samples of the training plane that place a new one
MOST_KEPT = 20_000  # samples of a plane without a formula


@dataclass(frozen=True)
class Transform:
    """A fitted transform.

    Attributes
    ----------
    kind : str
        "linear" (pca), "dims" (some of the embedding's), "neighbours" (the plane of umap, isomap, tsne), "kinds" (letters).
    arrays : dict of arrays
        linear: mean (dim,), components (axis, dim). neighbours: embedding (sample, dim), points (sample, axis). kinds: centres
        (kind, dim).
    card : dict
        ``dims`` of the embedding it is for, ``network``, ``run``, ``meaning``, ...; what JSON can hold.
    """

    kind: str
    arrays: dict[str, np.ndarray]
    card: dict[str, Any]


def plane_transform(embeddings: xr.Dataset, plane: xr.DataArray) -> Transform:
    """What `geonb.embeddings.planes.reduce` found, to be used again.

    UMAP, Isomap and t-SNE have no formula that could be kept without code: a new sample is placed at the mean of its nearest
    samples in the plane, weighted by the inverse of their distances in the embedding, and the card says so.

    Parameters
    ----------
    embeddings : Dataset that was reduced
    plane : DataArray (sample, axis) of `geonb.embeddings.planes.reduce`
    """
    name, dims = parse_method(plane.attrs["method"])
    card = _card(embeddings) | {
        "method": plane.attrs["method"], "fitted": int(plane.attrs["fitted"]), "meaning": plane.attrs["meaning"]
    }  # fmt: skip
    if name == "dims":
        return Transform("dims", {}, card | {"chosen": list(dims)})
    if name == "pca":
        card["explained_variance"] = [float(v) for v in plane.attrs["explained_variance"]]
        return Transform("linear", {key: np.asarray(plane.attrs[key], np.float32) for key in ARRAYS["linear"]}, card)
    values, points = values_of(embeddings), plane.transpose("sample", "axis").to_numpy()
    kept = np.linspace(0, len(values) - 1, min(len(values), MOST_KEPT)).astype(int)
    card["meaning"] += f" New samples lie at the weighted mean of the {NEAR} nearest of {len(kept):,} kept ones."
    arrays = {"embedding": values[kept].astype(np.float32), "points": points[kept].astype(np.float32)}
    return Transform("neighbours", arrays, card)


def kinds_transform(embeddings: xr.Dataset, letters: Sequence[str]) -> Transform:
    """Kinds, to be found again: the mean of each letter's samples. A new sample gets the letter of the nearest mean.

    Parameters
    ----------
    letters : sequence of str (sample,)
        Of `geonb.plots.dendrograms.dendrogram`; noise ("-") has no mean, so that new samples always get a letter.
    """
    given = [str(letter) for letter in letters]
    names = sorted({*given} - {NOISE})
    numbers = np.array([names.index(letter) if letter != NOISE else -1 for letter in given])
    values = values_of(embeddings)
    centres, counts = weighted_centres(values, numbers)
    inside = numbers >= 0
    same = float((nearest_centre(values[inside], centres) == numbers[inside]).mean())
    card = _card(embeddings) | {
        "letters": names, "counts": counts.tolist(), "own_letter_again": round(same, 4),
        "meaning": f"The nearest of {len(names)} means; {same:.0%} of the samples they were made of get their own letter again.",
    }  # fmt: skip
    return Transform("kinds", {"centres": centres.astype(np.float32)}, card)


def apply(transform: Transform, embeddings: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Use a transform on other embeddings.

    Parameters
    ----------
    embeddings : Dataset with ``embedding``, or DataArray, of any dims with ``dim`` among them: (sample, dim), (time, y, x, dim)

    Returns
    -------
    DataArray without ``dim``: with ``axis`` last for a plane, letters for kinds ("" where the embedding is not finite)

    Raises
    ------
    ValueError
        If the embeddings have another number of dims than the transform is for; names both.
    """
    data = embeddings["embedding"] if isinstance(embeddings, xr.Dataset) else embeddings
    if "dim" not in data.dims:
        raise ValueError(f"Embeddings have the dims {', '.join(map(str, data.dims))}; one of them must be 'dim'.")
    if data.sizes["dim"] != transform.card["dims"]:
        raise ValueError(
            f"The transform is for embeddings of {transform.card['dims']} dims (network {transform.card['network']}, run "
            f"{transform.card['run']}); these have {data.sizes['dim']}. Embed with that network, or fit a new transform."
        )
    data = data.transpose(..., "dim")
    flat = data.to_numpy().reshape(-1, data.sizes["dim"])
    known = np.isfinite(flat).all(1)
    found = _applied(transform, flat[known])
    whole = np.full((len(flat), *found.shape[1:]), "" if found.dtype.kind == "U" else np.nan, found.dtype)
    whole[known] = found
    dims = [*data.dims[:-1], *(["axis"] if found.ndim == 2 else [])]
    coords = {name: value for name, value in data.coords.items() if "dim" not in value.dims}
    attrs = {**embeddings.attrs, **{k: transform.card[k] for k in ("method", "meaning") if k in transform.card}}
    return xr.DataArray(whole.reshape(*data.shape[:-1], *found.shape[1:]), coords, dims, attrs=attrs)


def _applied(transform: Transform, values: np.ndarray) -> np.ndarray:
    arrays = transform.arrays
    if transform.kind == "dims":
        return values[:, transform.card["chosen"]].astype(np.float32)
    if transform.kind == "linear":
        return ((values - arrays["mean"]) @ arrays["components"].T).astype(np.float32)
    if transform.kind == "kinds":
        return np.array(transform.card["letters"])[nearest_centre(values, arrays["centres"])]
    from sklearn.neighbors import KNeighborsRegressor

    if not len(values):
        return np.zeros((0, arrays["points"].shape[1]), np.float32)
    near = KNeighborsRegressor(min(NEAR, len(arrays["embedding"])), weights="distance")
    return near.fit(arrays["embedding"], arrays["points"]).predict(values).astype(np.float32)


def save(transform: Transform, folder: str | Path, name: str) -> Path:
    """Write a transform, as numbers and a card; returns the card's path. One of that name is replaced."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / f"{name}.json"
    card.unlink(missing_ok=True)  # the seal goes first, comes last
    with whole_file(folder / f"{name}.safetensors") as partial:
        save_file({k: np.ascontiguousarray(v) for k, v in transform.arrays.items()}, partial)
    write_json(card, {"geonb": "transform", "format": FORMAT, "kind": transform.kind, **transform.card})
    return card


def keep(folder: str | Path, embeddings: xr.Dataset, letters: Sequence[str], **planes: xr.DataArray) -> dict[str, Path]:
    """Write the kinds of some letters, under the name "kinds", and planes under theirs; returns name -> card."""
    made = {"kinds": kinds_transform(embeddings, letters)}
    made |= {name: plane_transform(embeddings, plane) for name, plane in planes.items()}
    cards = {name: save(transform, folder, name) for name, transform in made.items()}
    run = Path(folder).parent
    files = [p for card in cards.values() for p in (card, card.with_suffix(".safetensors"))]
    note_made(run, *(str(p.relative_to(run)) for p in files))
    return cards


def load(folder: str | Path, name: str) -> Transform:
    """Read a transform.

    Raises
    ------
    FileNotFoundError
        If there is none of that name; lists those there are.
    ValueError
        If its files are damaged or of something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    card_path = Path(folder) / f"{name}.json"
    if not card_path.is_file():
        there = sorted(path.stem for path in Path(folder).glob("*.json"))
        raise FileNotFoundError(
            f"No transform {name!r} in {folder}; there: {', '.join(there) or 'none'}. Run notebooks/05_interpretation.ipynb first."
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        arrays = load_file(card_path.with_suffix(".safetensors"))
        return _checked(Transform(card.pop("kind"), arrays, card))
    except (OSError, KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{card_path} is no whole transform ({error}). Run 05_interpretation again.") from error


def _checked(transform: Transform) -> Transform:
    """Refuse arrays that are missing or do not fit the card."""
    kind, card = transform.kind, transform.card
    if card.get("geonb") != "transform" or kind not in ARRAYS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(ARRAYS)}")
    shapes = {key: transform.arrays[key].shape for key in ARRAYS[kind]}
    wide = {key: shape[-1] for key, shape in shapes.items() if key != "points"}
    if any(width != card["dims"] for width in wide.values()):
        raise ValueError(f"its arrays have {wide} dims, its card says {card['dims']}")
    if kind == "kinds" and not (len(card["letters"]) == shapes["centres"][0] and set(card["letters"]) <= set(LETTERS)):
        raise ValueError(f"{shapes['centres'][0]} centres for the letters {card['letters']}")
    if kind == "neighbours" and shapes["embedding"][0] != shapes["points"][0]:
        raise ValueError(f"{shapes['embedding'][0]} embeddings for {shapes['points'][0]} points")
    if kind == "dims" and not all(0 <= dim < card["dims"] for dim in card["chosen"]):
        raise ValueError(f"it picks the dims {card['chosen']} of {card['dims']}")
    return transform


def _card(embeddings: xr.Dataset) -> dict[str, Any]:
    values = values_of(embeddings)
    attrs = {key: str(embeddings.attrs.get(key, "unknown")) for key in ("network", "run", "layer")}
    return {
        "dims": int(values.shape[1]),
        "samples": len(values),
        "simulated": int(embeddings.attrs.get("simulated", 0)),
    } | attrs
