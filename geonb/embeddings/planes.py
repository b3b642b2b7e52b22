"""Embeddings in two dimensions (or three), to look at: each method with what it keeps, what it loses, and how many it takes."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import xarray as xr

from geonb.embeddings.trees import values_of

METHODS = ("pca", "umap", "isomap", "tsne")
# Samples that a method is fitted to; the rest is placed by its own transform, where it has one.
MOST_FITTED = {"pca": 200_000, "umap": 10_000, "isomap": 3000, "tsne": 5000}
NEIGHBOURS = 15
MEANINGS = {
    "umap": "UMAP (McInnes et al. 2018): neighbours are alike; axes, and distances between groups, carry no unit.",
    "isomap": "Isomap (Tenenbaum et al. 2000): distances along the manifold of neighbours, in the embedding's unit.",
    "tsne": "t-SNE (van der Maaten and Hinton 2008): neighbours are alike; sizes of groups and distances between them mean nothing.",
    "neighbours": "Placed at the weighted mean of their nearest neighbours in a saved plane.",
}


def parse_method(method: str) -> tuple[str, tuple[int, ...]]:
    """Split ``"dims:3-7"`` into ("dims", (3, 7)); a method by name has no dims.

    Raises
    ------
    ValueError
        If the method is unknown or its dims are not of that form.
    """
    if method in METHODS:
        return method, ()
    found = re.fullmatch(r"dims:(\d+(?:-\d+){1,2})", method)
    if not found:
        raise ValueError(
            f"method = {method!r} is unknown. Give one of {', '.join(METHODS)}, or two dimensions of the embedding as they are, "
            "'dims:3-7'."
        )
    return "dims", tuple(int(part) for part in found[1].split("-"))


def check_method(method: str) -> str:
    """Refuse a method that there is not, or dimensions that make no plane.

    Raises
    ------
    ValueError
    """
    name, dims = parse_method(method)
    if name == "dims" and len({*dims}) != 2:
        raise ValueError(f"method = {method!r} must name two dimensions, each once, as dims:3-7")
    return method


def reduce(embeddings: xr.Dataset, method: str = "pca", seed: int = 0, axes: int = 2) -> xr.DataArray:
    """Few dimensions to look at.

    Parameters
    ----------
    embeddings : Dataset with ``embedding`` (sample, dim)
    method : str
        "pca": linear, with the share of the variance it keeps; "umap": neighbourhoods; "isomap": distances along the manifold;
        "tsne": neighbourhoods, more strictly; "dims:3-7": two dimensions (or three) of the embedding as they are.
    axes : int, 2 or 3
        Three for colours, see `geonb.plots.clusters.components_map`.

    Returns
    -------
    DataArray (sample, axis) with the samples' coordinates; attrs: ``method``, ``dims`` (of the embedding), ``fitted`` (number of
    samples the method was fitted to, the others being placed by its transform), ``meaning`` (one line), ``explained_variance``, ``mean``
    (dim,) and ``components`` (axis, dim) of pca

    Raises
    ------
    ValueError
        If the method is unknown, a dimension is not there, there are fewer than 3 samples, or more than t-SNE can place.
    """
    name, dims = parse_method(method)
    values = values_of(embeddings)
    if len(values) < 3:
        raise ValueError(f"{len(values)} samples are too few to reduce; at least 3 are needed. Raise `samples`.")
    own = {"pca": _pca, "umap": _umap, "isomap": _isomap, "tsne": _tsne}
    facts: dict[str, Any] = {"method": method, "dims": values.shape[1], "fitted": len(values)}
    if name == "dims":
        points = _pick(values, dims, axes)
        facts["meaning"] = f"Dimensions {' and '.join(map(str, dims))} of the embedding, as they are."
    else:
        points, more = own[name](values, axes, seed)
        facts |= {"meaning": MEANINGS.get(name, "")} | more
    if facts["fitted"] < len(values):
        facts["meaning"] += (
            f" Fitted to {facts['fitted']:,} samples drawn at random, the others placed by its transform."
        )
    coords = {key: value for key, value in embeddings.coords.items() if value.dims == ("sample",)}
    return xr.DataArray(
        np.asarray(points, np.float32), dims=("sample", "axis"), coords=coords, attrs={**embeddings.attrs, **facts}
    )


def _pick(values: np.ndarray, dims: tuple[int, ...], axes: int) -> np.ndarray:
    if len(dims) != axes:
        raise ValueError(f"method 'dims:{'-'.join(map(str, dims))}' names {len(dims)} dimensions, {axes} are needed.")
    if max(dims) >= values.shape[1]:
        raise ValueError(
            f"There is no dimension {max(dims)}: the embedding has {values.shape[1]}, counted from 0 to {values.shape[1] - 1}."
        )
    return values[:, list(dims)]


def _pca(values: np.ndarray, axes: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    from sklearn.decomposition import PCA

    drawn = _draw(len(values), MOST_FITTED["pca"], seed)
    count = min(axes, *values.shape)
    model = PCA(count, random_state=seed).fit(values[drawn])
    points = model.transform(values)
    held = [float(v) for v in model.explained_variance_ratio_]
    said = "The first two principal components" if axes == 2 else f"The first {axes} principal components"
    facts = {
        "explained_variance": held, "fitted": len(drawn), "mean": model.mean_, "components": model.components_,
        "meaning": f"{said}, which hold {sum(held):.0%} of the variance.",
    }  # fmt: skip
    return np.pad(points, ((0, 0), (0, axes - count))), facts


def _umap(values: np.ndarray, axes: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    from umap import UMAP  # compiles for some seconds: only when it is asked for

    drawn = _draw(len(values), MOST_FITTED["umap"], seed)
    model = UMAP(n_components=axes, n_neighbors=min(NEIGHBOURS, len(drawn) - 1), random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*n_jobs value.*|.*Spectral initialisation.*|.*k >= N.*")
        return _fit_and_place(model, values, drawn)


def _isomap(values: np.ndarray, axes: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    from sklearn.manifold import Isomap

    drawn = _draw(len(values), MOST_FITTED["isomap"], seed)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = Isomap(n_components=axes, n_neighbors=min(NEIGHBOURS, len(drawn) - 1))
        points, facts = _fit_and_place(model, values, drawn)
    if any("connected components" in str(one.message) for one in heard):
        facts["meaning"] = (
            f"{MEANINGS['isomap']} Groups without a neighbour in another were joined by their nearest samples."
        )
    return points, facts


def _fit_and_place(model: Any, values: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Fit a method to the samples drawn, and place the others, some thousands at a time, by its own transform."""
    fitted = model.fit_transform(values[drawn])
    points = np.empty((len(values), fitted.shape[1]), np.float32)
    points[drawn] = fitted
    rest = np.setdiff1d(np.arange(len(values)), drawn)
    for start in range(0, len(rest), 5000):
        points[rest[start : start + 5000]] = model.transform(values[rest[start : start + 5000]])
    return points, {"fitted": len(drawn)}


def _tsne(values: np.ndarray, axes: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    from sklearn.manifold import TSNE

    if len(values) > MOST_FITTED["tsne"]:
        raise ValueError(
            f"t-SNE places only samples that it was fitted to, and {len(values):,} would take too long: at most "
            f"{MOST_FITTED['tsne']:,}. Lower `samples`, or take 'umap' or 'isomap', which place the rest by a transform."
        )
    perplexity = min(30.0, (len(values) - 1) / 3)
    return TSNE(axes, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values), {}


def _draw(n: int, most: int, seed: int) -> np.ndarray:
    """Positions of at most so many of n samples, at random, sorted."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 0xF17]).choice(n, most, replace=False))
