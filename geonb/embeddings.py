"""Embeddings of samples as labelled xarray, and what is done with them: reduce, cluster, link, find the nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

METHODS = ("pca", "umap")
MOST_NUMBERS = 2**24  # in a batch of inputs: 64 windows of 4 bands and 256 px


def embed(run, store, model, *, samples: int = 1000, seed: int = 0, batch: int = 64) -> xr.Dataset:
    """Embed a random share of a store's windows with a trained task; write embeddings.zarr into the run.

    Parameters
    ----------
    samples : int
        At most so many windows, drawn evenly over the splits.

    Returns
    -------
    Dataset with ``embedding (sample, dim)`` and, per sample, ``source, y, x, height, width, split, label`` (what it mostly
    shows: ``store.labels``), ``lon, lat`` (degrees) and ``row`` (its row in the store's index).
    """
    import torch

    windows = store.windows()
    rows = draw_rows(store.index, samples, seed)
    vectors, labels = [], []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    if len(rows):  # whole regions are large windows
        batch = max(1, min(batch, MOST_NUMBERS // torch.as_tensor(windows[int(rows[0])]["inputs"]).numel()))
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            items = [windows[int(row)] for row in rows[start : start + batch]]
            inputs = torch.stack([torch.as_tensor(item["inputs"]) for item in items])
            vectors.append(model.encode(inputs.to(device)).cpu().numpy())
            labels += store.labels(items)
    about = store.index.iloc[rows]
    columns = {name: ("sample", about[name].to_numpy()) for name in ("y", "x", "height", "width")}
    columns |= {name: ("sample", about[name].astype(str).to_numpy(dtype=object)) for name in ("source", "split")}
    lon, lat = _positions(store, about)
    data = xr.Dataset(
        {"embedding": (("sample", "dim"), np.concatenate(vectors).astype(np.float32))},
        coords={
            **columns,
            "row": ("sample", rows),
            "label": ("sample", np.array(labels, dtype=object)),
            "lon": ("sample", lon, {"units": "degrees_east"}),
            "lat": ("sample", lat, {"units": "degrees_north"}),
        },
        attrs={
            "layer": "encoder, mean over the window", "network": model.card["network"], "run": Path(run.path).name,
            "simulated": int(store.meta["simulated"]),
            "notes": list(store.meta["notes"]), "colours": list(store.legend.values()), "classes": list(store.legend),
        },
    )  # fmt: skip
    _write(data, Path(run.embeddings))
    return data


def draw_rows(index, samples: int, seed: int, min_valid: float = 0.9) -> np.ndarray:
    """Draw at most ``samples`` rows of an index, as many of each split as there are, in the index's order.

    Windows at the edge of the data would be found alike for their edge, so those with a smaller share of valid pixels than
    ``min_valid`` are left out, unless there are no others.
    """
    random = np.random.default_rng([seed, 0xE3B])
    splits = index["split"].astype(str).to_numpy()
    whole = index["valid_share"].to_numpy() >= min_valid if "valid_share" in index else np.ones(len(index), bool)
    whole = whole if whole.any() else ~whole
    names = sorted(set(splits))
    share = -(-samples // max(1, len(names)))
    chosen = [random.permutation(np.flatnonzero((splits == name) & whole))[:share] for name in names]
    return np.sort(np.concatenate(chosen))[:samples] if chosen else np.empty(0, int)


def _positions(store, about) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of the windows' centres, degrees."""
    import rioxarray  # noqa: F401  (the .rio accessor)
    from pyproj import Transformer

    lon, lat = np.full(len(about), np.nan), np.full(len(about), np.nan)
    for source in about["source"].astype(str).unique():
        scene, mine = store.arrays[source].to_dataset(), (about["source"].astype(str) == source).to_numpy()
        here = about[mine]
        rows = (here["y"] + here["height"] // 2).clip(upper=scene.sizes["y"] - 1).to_numpy()
        columns = (here["x"] + here["width"] // 2).clip(upper=scene.sizes["x"] - 1).to_numpy()
        to_degrees = Transformer.from_crs(scene.rio.crs, "OGC:CRS84", always_xy=True)
        lon[mine], lat[mine] = to_degrees.transform(scene["x"].values[columns], scene["y"].values[rows])
    return lon, lat


def _write(data: xr.Dataset, path: Path) -> None:
    import shutil

    partial = path.with_name(path.name + ".partial")
    for old in (partial, path):
        if old.exists():
            shutil.rmtree(old)
    # Fixed-width text is part of the Zarr 3 specification; variable-length text is not yet.
    text = {name: data[name].astype(str) for name in data.coords if data[name].dtype == object}
    data.assign_coords(text).to_zarr(partial, zarr_format=2, consolidated=True)
    partial.rename(path)


def open_embeddings(path: str | Path) -> xr.Dataset:
    """Open embeddings.zarr.

    Raises
    ------
    FileNotFoundError
        If there is none; names the notebook that writes it.
    """
    if not Path(path).exists():
        raise FileNotFoundError(
            f"No embeddings at {path}. Run notebooks/05_interpretation.ipynb first, or give another `run`."
        )
    return xr.open_zarr(path)


def reduce(embeddings: xr.Dataset, method: str = "pca", seed: int = 0) -> xr.DataArray:
    """Two dimensions to look at.

    Parameters
    ----------
    method : "pca" (linear; explained variance in the attrs) or "umap" (neighbourhoods; McInnes et al. 2018)

    Returns
    -------
    DataArray (sample, axis = 2)

    Raises
    ------
    ValueError
        If the method is unknown or there are fewer than 3 samples.
    """
    values = embeddings["embedding"].to_numpy()
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is unknown. Give one of {', '.join(METHODS)}.")
    if len(values) < 3:
        raise ValueError(f"{len(values)} samples are too few to reduce; at least 3 are needed. Raise `samples`.")
    attrs: dict[str, object] = {**embeddings.attrs, "method": method}
    if method == "pca":
        from sklearn.decomposition import PCA

        model = PCA(n_components=2, random_state=seed)
        points = model.fit_transform(values)
        attrs["explained_variance"] = [float(v) for v in model.explained_variance_ratio_]
    else:
        from umap import UMAP

        points = UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed).fit_transform(values)
    coords = {name: value for name, value in embeddings.coords.items() if value.dims == ("sample",)}
    return xr.DataArray(points, dims=("sample", "axis"), coords=coords, attrs=attrs)


def link(embeddings: xr.Dataset) -> np.ndarray:
    """Ward linkage (sample - 1, 4) as scipy gives it (Ward 1963), on the embedding as it is."""
    from scipy.cluster.hierarchy import linkage

    return linkage(embeddings["embedding"].to_numpy().astype(np.float64), method="ward")


def cluster(linkage: np.ndarray, clusters: int) -> np.ndarray:
    """Cut a linkage into at most so many clusters.

    Returns
    -------
    array (sample,), 0-based, numbered as their leaves stand in the dendrogram from left to right.

    Raises
    ------
    ValueError
        If more clusters are asked for than there are samples.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list

    if not 1 <= clusters <= len(linkage) + 1:
        raise ValueError(f"clusters = {clusters} is not between 1 and the {len(linkage) + 1} samples there are.")
    flat = fcluster(linkage, clusters, criterion="maxclust")
    order = list(dict.fromkeys(flat[leaves_list(linkage)]))
    return np.array([order.index(c) for c in flat])


def nearest(embeddings: xr.Dataset, sample: int, count: int = 8) -> xr.Dataset:
    """The samples most like one of them, by cosine similarity, most alike first (itself left out).

    Returns
    -------
    The Dataset's rows, with ``similarity`` (sample,) in -1..1.
    """
    values = embeddings["embedding"].to_numpy()
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit[sample]
    similarity[sample] = -np.inf
    order = np.argsort(-similarity, kind="stable")[: min(count, len(values) - 1)]
    return embeddings.isel(sample=order).assign(similarity=("sample", similarity[order]))


def rgb_tiles(store, rows: np.ndarray, bands: tuple[int, int, int] | None = None) -> np.ndarray:
    """How windows look to a person: the 2-98 % stretch of three bands, the same for all.

    Parameters
    ----------
    rows : rows of the store's index, all of one window size
    bands : positions for red, green, blue; default the third, second and first of three or more, else the first

    Returns
    -------
    uint8 array (sample, y, x, 3), in the order of ``rows``; invalid pixels white
    """
    from geonb.loaders import Windows

    windows = Windows(store)
    if bands is None:
        bands = (2, 1, 0) if len(store.channels) >= 3 else (0, 0, 0)
    items = [windows[int(row)] for row in rows]
    pixels = np.stack([np.asarray(item["inputs"])[list(bands)] for item in items])
    blank = np.stack([(np.asarray(item["inputs"]) == 0).all(axis=0) for item in items])
    shown = pixels[np.broadcast_to(~blank[:, None], pixels.shape)].reshape(-1) if not blank.all() else pixels.ravel()
    low, high = np.percentile(shown, [2, 98]) if shown.size else (0, 1)
    grey = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)
    grey[np.broadcast_to(blank[:, None], grey.shape)] = 1
    return (np.moveaxis(grey, 1, -1) * 255).astype(np.uint8)
