"""Windows of months as one HDF5 file, to take elsewhere, and back.

Layout "conflict_lstm", what Conflict_LSTM trains on::

    /predictor  (sample, step, channel, y, x)   resizable along sample; native units
    /truth      (sample, y, x)                  event flag of the first month after, resizable
    attributes  key_prio, key_ucdp              names of the covariates and of the event channels

Ours adds `mean` and `std` (channel,) and the attributes `channels`, `splits` (number of samples of train, val and test, in
this order) and `layout`. The file holds neither places nor months: brought back, its samples are a store of their own
kind, in which nobody can tell whether the splits leak.

Layout "geonb": the cube itself, its coordinates and the table: nothing is lost, and nothing is stored twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base import conventions, files
from geonb.base.fills import LARGEST
from geonb.store import arrays
from geonb.store import windows as store_windows
from geonb.store.sealing import FORMAT, check_import, seal
from geonb.workloads.conflict.arrays import GROUP, MONTHS_AT_ONCE, WINDOWS
from geonb.workloads.conflict.store import CubeStore
from geonb.workloads.conflict.window_store import UNPLACED, WindowStore

LAYOUTS = ("conflict_lstm", "geonb")
SAMPLES_AT_ONCE = 64
SIDE = 2**15 - 1  # cells, as the table of samples holds them
KEYS = ("channels", "key_ucdp", "key_prio")  # attributes that name channels


def export_sequences(
    store: CubeStore | WindowStore, file: str | Path, layout: str = "conflict_lstm", dtype: str = "float64"
) -> Path:
    """Copy the windows of a store (or the cube and its table) into one HDF5 file, whole or not at all.

    Parameters
    ----------
    store : CubeStore or WindowStore
    file : path
    layout : str
        "conflict_lstm": the first outcome's flag of the first month after; values that are not known are the training
        mean, where the loader puts them too. "geonb": exact.
    dtype : str
        Of "conflict_lstm": float64, as the original's networks need it, or float32.

    Raises
    ------
    ValueError
        Unknown layout or type, windows of several sizes.
    OSError
        No space left: says how much is needed.
    """
    import h5py

    index, file = store.index, Path(file)
    faults = [f"layout = {layout!r} is not known: choose {' or '.join(LAYOUTS)}"] if layout not in LAYOUTS else []
    if dtype not in ("float64", "float32"):
        faults.append(f"dtype = {dtype!r} is not known: choose float64 or float32")
    if len(index[["height", "width"]].drop_duplicates()) != 1:
        faults.append(f"the windows of {store.path} are of several sizes; an HDF5 array holds one")
    cube = store if isinstance(store, CubeStore) else None
    if layout == "geonb" and cube is None:
        faults.append(f"{store.path} has no cube, only samples: choose conflict_lstm")
    conventions.refuse("No HDF5 file can be written", faults)
    file.parent.mkdir(parents=True, exist_ok=True)
    size = int(index["height"].iloc[0]) * int(index["width"].iloc[0])
    need = len(index) * size * (store.steps * len(store.inputs) + 1) * np.dtype(dtype).itemsize
    with files.enough_space(file.parent, need), files.whole_file(file) as partial, h5py.File(partial, "w") as out:
        out.attrs["layout"] = layout
        if cube is not None and layout == "geonb":
            _write_cube(out, cube)
        else:
            _write(out, store, dtype)
    return file


def _write(out: Any, store: CubeStore | WindowStore, dtype: str) -> None:
    index, names = store.index, store.inputs
    order = np.concatenate([np.flatnonzero(index["split"] == s) for s in conventions.SPLITS])
    sizes = store.steps, len(names), int(index["height"].iloc[0]), int(index["width"].iloc[0])
    options = {"compression": "lzf", "dtype": dtype}
    predictor = out.create_dataset(
        "predictor", (len(order), *sizes), maxshape=(None, *sizes), chunks=(1, *sizes), **options
    )
    truth = out.create_dataset(
        "truth", (len(order), *sizes[2:]), maxshape=(None, *sizes[2:]), chunks=(1, *sizes[2:]), **options
    )
    mean, std = (np.array(store.meta["statistics"][k]) for k in ("mean", "std"))
    windows = store.windows(native=True)
    for start in range(0, len(order), SAMPLES_AT_ONCE):
        batch = windows.batch(order[start : start + SAMPLES_AT_ONCE].tolist())
        values = batch["inputs"].numpy()
        predictor[start : start + len(values)] = np.where(np.isnan(values), mean[:, None, None], values)
        truth[start : start + len(values)] = batch["targets"][:, 0, 0].numpy()
    kinds = {c["name"]: c["kind"] for c in store.meta["channels"]}
    out["mean"], out["std"] = mean, std
    out.attrs["key_ucdp"] = [n for n in names if kinds[n] == "monthly"]
    out.attrs["key_prio"] = [n for n in names if kinds[n] != "monthly"]
    out.attrs["channels"] = names
    out.attrs["splits"] = [int((index["split"] == s).sum()) for s in conventions.SPLITS]


def import_sequences(
    file: str | Path, folder: str | Path, shares: str | tuple[float, ...] = "70/15/15"
) -> CubeStore | WindowStore:
    """Make a store of an HDF5 file: of "geonb" the very same one, of "conflict_lstm" one of samples without place or month.

    Parameters
    ----------
    file : path
    folder : path
        The store's folder; its arrays go beside it, into ../.arrays.
    shares : str or tuple
        train/val/test in percent, dealt by the order of the file; not used if the file says it itself.

    Returns
    -------
    CubeStore, or WindowStore

    Raises
    ------
    ValueError
        Not an HDF5 file, or not of these layouts: says what is missing.
    FileExistsError
        The folder is there already.
    """
    import h5py

    file, folder = check_import(file, folder)
    parts = store_windows.read_shares(shares)
    about = files.fingerprint(file)
    try:
        opened = h5py.File(file)
    except OSError as error:
        raise ValueError(f"{file} is damaged or cut short ({conventions.short(error)}). Fetch it again.") from None
    with opened as data:
        exact = str(data.attrs.get("layout", "")) == "geonb" and "cube" in data
        _check_cube(data, file) if exact else _check(data, file, parts)

        def write_arrays(path: Path) -> None:
            with files.enough_space(path.parent, 4 * file.stat().st_size):
                (_read_cube_arrays if exact else _read_arrays)(data, path)

        def write_table(path: Path) -> dict:
            return _read_cube_table(data, path) if exact else _write_table(path, data, about, parts)

        seal(folder, folder.parent / ".arrays" / f"{about['sha256'][:16]}.zarr", write_arrays, write_table)
    return (CubeStore if exact else WindowStore).open(folder)


def _check(data: Any, file: Path, shares: tuple[float, ...]) -> None:
    none = np.dtype("O")  # a group has no dtype
    dtypes = {name: getattr(data.get(name), "dtype", none) for name in ("predictor", "truth")}
    faults = [f"it has no dataset {name!r} of numbers" for name, dtype in dtypes.items() if dtype.kind not in "biuf"]
    if not faults:
        shape, truth = data["predictor"].shape, data["truth"].shape
        if len(shape) != 5 or not all(shape):
            faults.append(f"predictor is {shape}, not (sample, step, channel, y, x)")
        elif truth not in ((shape[0], *shape[3:]), (shape[0], 1, *shape[3:])):
            faults.append(f"truth is {truth}, not {(shape[0], *shape[3:])}")
        if not faults and shape[0] < 3:
            faults.append(f"there are {shape[0]} samples: at least 3 are needed, one a split")
        if not faults and max(shape[3:]) > SIDE:
            faults.append(
                f"its windows are {shape[3]} x {shape[4]} cells: at most {SIDE} a side can be held. Cut smaller ones"
            )
        names = [name for key in KEYS for name in _texts(data, key)]
        if odd := [name for name in names if name.encode(errors="replace").decode() != name]:
            faults.append(
                f"a channel's name is no text in UTF-8: {odd[0]!a}. Name the channels anew, in {', '.join(KEYS)}"
            )
        counts = _counts(data, shares)
        whole = counts.shape == (3,) and counts.dtype.kind in "iu"
        fair = whole and counts.min() >= 0 and counts.max() <= shape[0]  # unsigned ones may wrap in a sum
        if not faults and not (fair and counts[0] and counts.sum() == shape[0]):
            faults.append(
                f"train, val and test have {counts.tolist()} samples, not {shape[0]} together and one or more in train. Correct the "
                "attribute splits, delete it to deal them by shares, or give other shares"
            )
    conventions.refuse(f"{file} is not of the layout conflict_lstm", faults)


def _check_cube(data: Any, file: Path) -> None:
    cube, index = data["cube"], getattr(data.get("index"), "dtype", None)
    lacks = [f"/cube has no attribute {name}" for name in ("root", "attributes") if name not in cube.attrs]
    lacks += [f"/cube/{name} has no attribute about" for name in cube if "about" not in cube[name].attrs]
    lacks += ["there is no table, /index"] * (index != np.uint8)
    lacks += ["there is no attribute store"] * ("store" not in data.attrs)
    conventions.refuse(f"{file} is not of the layout geonb", lacks, cure="Write it again with export_sequences.")


def _counts(data: Any, shares: tuple[float, ...]) -> np.ndarray:
    """The number of samples of train, val and test: as the file says, else by the order of the file."""
    ends = np.round(np.cumsum([0, *shares]) * data["predictor"].shape[0])
    return np.array(data.attrs.get("splits", np.diff(ends).astype(int)))


def _read_arrays(data: Any, folder: Path) -> None:
    """Copy the samples into Zarr: inputs (sample, step, channel, y, x) float32, targets (sample, y, x) float32."""
    import zarr

    predictor, truth = data["predictor"], data["truth"]
    n, steps, channels, height, width = predictor.shape
    group = zarr.open_group(folder, mode="w").create_group(WINDOWS)
    some = min(SAMPLES_AT_ONCE, n)
    coding: dict[str, Any] = {"dtype": "float32", "compressors": arrays.compressors()}
    group.create_array(
        "inputs", shape=predictor.shape, chunks=(some, steps, channels, height, width),
        dimension_names=("sample", "step", "channel", "y", "x"), **coding,
    )  # fmt: skip
    group.create_array(
        "targets", shape=(n, height, width), chunks=(some, height, width), dimension_names=("sample", "y", "x"), **coding,
    )  # fmt: skip
    inputs, targets = (arrays.writable(group)[name] for name in ("inputs", "targets"))
    for start in range(0, n, some):
        values = predictor[start : start + some]
        if (odd := values[np.isfinite(values) & (np.abs(values) >= LARGEST)]).size:
            said = f"predictor is {odd[0]:g} in samples from {start}, and nothing of 1e30 and beyond is a measurement"
            raise ValueError(f"{data.filename}: {said}. Give NaN for what is not known.")
        inputs[start : start + some] = values.astype(np.float32)
        flags = truth[start : start + some].reshape(-1, height, width)
        if (odd := flags[(flags != 0) & (flags != 1)]).size:
            said = f"truth is {odd[0]:g} in samples from {start}"
            raise ValueError(f"{data.filename}: {said}. Give 1 for an event and 0 for none.")
        targets[start : start + some] = flags.astype(np.float32)
    with arrays.quiet_zarr():
        zarr.consolidate_metadata(folder)


def _write_table(folder: Path, data: Any, about: dict, shares: tuple[float, ...]) -> dict:
    """The table of a store of samples; gives its seal."""
    n, steps, channels, height, width = data["predictor"].shape
    counts = _counts(data, shares)
    code = np.repeat(np.arange(3), counts.astype(np.int64)).astype(np.int8)
    index = pd.DataFrame(
        {
            "source": pd.Categorical.from_codes(np.zeros(n, np.int8), [WINDOWS]),
            "dataset": pd.Categorical.from_codes(np.zeros(n, np.int8), [Path(about["path"]).stem]),
            "time": pd.Series(pd.NaT, index=range(n), dtype="datetime64[ns, UTC]"),
            "t": np.full(n, -1, np.int32), "y": np.zeros(n, np.int16), "x": np.zeros(n, np.int16),
            "height": np.full(n, height, np.int16), "width": np.full(n, width, np.int16),
            "split": pd.Categorical.from_codes(code, conventions.SPLITS),
            "block": (np.arange(n) // 1000).astype(np.int32), "valid_share": np.ones(n, np.float32),
        }
    )  # fmt: skip
    index.to_parquet(folder / "index.parquet", index=False, compression="zstd")
    statistics, binary = _statistics(data["predictor"], int(counts[0]))
    names = _names(data, channels)
    monthly = set(_texts(data, "key_ucdp")) or set(names)
    records = [
        {
            "name": name, "units": "1", "kind": "monthly" if name in monthly else "yearly", "position": k,
            "binary": binary[k], "role": "both" if k == 0 else "input",
        }
        for k, name in enumerate(names)
    ]  # fmt: skip
    dealt = "as the file says" if "splits" in data.attrs else "by the order of the file"
    notes = [UNPLACED, f"The samples were dealt to the splits {dealt}."]
    source = {
        "name": WINDOWS, "crs": None, "shape": [height, width], "samples": n, "months": 0, "wraps": False, "pixel_m": None,
        "resolution": None,
    }  # fmt: skip
    name = Path(about["path"])
    return {
        "geonb": conventions.VERSION, "format": FORMAT, "workload": "conflict", "kind": "windows", "name": name.stem,
        "key": about["sha256"][:16], "simulated": False, "notes": notes, "title": f"Samples of {name.name}",
        "attribution": "", "channels": records, "classes": [], "statistics": statistics, "inputs": [about],
        "sources": [source],
        "outcomes": [{"name": "any violence", "colour": "#b2182b", "event": names[0], "deaths": None}],
        "parameters": {"patch": height, "chunk_size": height, "steps": steps, "horizon": 1, "shares": list(shares)},
        "split": {"method": "order", "steps": steps, "horizon": 1, "gap_months": None, "months": {}},
    }  # fmt: skip


def _texts(data: Any, name: str) -> list[str]:
    """Names in an attribute of the file or of its predictor, whatever type they have."""
    import h5py

    value = data.attrs.get(name, data["predictor"].attrs.get(name, []))
    values: Any = [] if isinstance(value, h5py.Empty) else np.ravel(value)
    return [v.decode(errors="surrogateescape") if isinstance(v, bytes) else str(v) for v in values]


def _names(data: Any, channels: int) -> list[str]:
    """Names of the channels: the file's own, those of its keys if they are as many, else numbers."""
    own, events, covariates = (_texts(data, key) for key in KEYS)
    for names in (own, events + covariates):
        if len(names) == channels == len(set(names)):
            return names
    return [f"channel_{k}" for k in range(channels)]


def _statistics(predictor: Any, n_train: int) -> tuple[dict, list[bool]]:
    """Mean and standard deviation of each channel over the training samples, and which hold nothing but 0 and 1."""
    channels = predictor.shape[2]
    n, middle, squares = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    binary = np.ones(channels, bool)
    for start in range(0, n_train, SAMPLES_AT_ONCE):
        values = predictor[start : min(start + SAMPLES_AT_ONCE, n_train)].astype(np.float64)
        values = np.moveaxis(values, 2, 0).reshape(channels, -1)
        known = np.isfinite(values)
        binary &= (~known | (values == 0) | (values == 1)).all(axis=1)
        more = known.sum(axis=1)
        own = np.where(known, values, 0).sum(axis=1) / np.maximum(more, 1)
        spread = np.square(np.where(known, values - own[:, None], 0)).sum(axis=1)
        total = np.maximum(n + more, 1)
        squares += spread + (own - middle) ** 2 * n * more / total  # Chan, Golub & LeVeque 1983
        middle += (own - middle) * more / total
        n += more
    std = np.sqrt(squares / np.maximum(n, 1))
    std = np.where(std > 1e-12 * np.abs(middle), std, 1)
    plain = {"mean": np.where(binary, 0, middle).tolist(), "std": np.where(binary | (std == 0), 1, std).tolist()}
    return plain, binary.tolist()


def _write_cube(out: Any, store: CubeStore) -> None:
    """Write the arrays (group "cube"), the table (its Parquet file's bytes) and store.json into an open HDF5 file."""
    import zarr

    root = zarr.open_group(store.path / "arrays.zarr", mode="r", use_consolidated=False)
    cube = out.create_group("cube")
    cube.attrs["root"], cube.attrs["attributes"] = json.dumps(dict(root.attrs)), json.dumps(dict(root[GROUP].attrs))
    for name, array in root[GROUP].arrays():
        about = {"dimensions": array.metadata.dimension_names, "chunks": array.chunks, "attributes": dict(array.attrs)}
        if array.dtype.kind in "OUT":
            copy = cube.create_dataset(name, data=[str(v) for v in array[:]])
        elif array.ndim == 0:
            copy = cube.create_dataset(name, data=array[()])
        else:
            copy = cube.create_dataset(name, array.shape, array.dtype, chunks=array.chunks, compression="lzf")
            for start in range(0, array.shape[0], MONTHS_AT_ONCE):
                copy[start : start + MONTHS_AT_ONCE] = array[start : start + MONTHS_AT_ONCE]
        copy.attrs["about"] = json.dumps(about)
    out["index"] = np.frombuffer((store.path / "index.parquet").read_bytes(), np.uint8)
    out["index"].attrs["format"] = "GeoParquet"
    out.attrs["store"] = json.dumps(store.meta)


def _read_cube_arrays(data: Any, folder: Path) -> None:
    """Write the arrays of an open file of `_write_cube` into a Zarr folder."""
    import zarr

    cube = data["cube"]
    root = zarr.open_group(folder, mode="w")
    root.attrs.update(json.loads(cube.attrs["root"]))
    group = root.create_group(GROUP, attributes=json.loads(cube.attrs["attributes"]))
    for name, copy in cube.items():
        about = json.loads(copy.attrs["about"])
        text = copy.dtype.kind == "O"
        options = {"chunks": tuple(about["chunks"])} if about["chunks"] else {}
        array = group.create_array(
            name, shape=copy.shape, dtype="str" if text else copy.dtype, dimension_names=about["dimensions"],
            attributes=about["attributes"], compressors=arrays.compressors(), config={"write_empty_chunks": True}, **options,
        )  # fmt: skip
        if text:
            array[:] = copy.asstr()[:]
        elif copy.ndim == 0:
            array[()] = copy[()]
        else:
            for start in range(0, copy.shape[0], MONTHS_AT_ONCE):
                array[start : start + MONTHS_AT_ONCE] = copy[start : start + MONTHS_AT_ONCE]
    with arrays.quiet_zarr():
        zarr.consolidate_metadata(root.store)


def _read_cube_table(data: Any, folder: Path) -> dict:
    """Write the table of an open file of `_write_cube` into a store's folder; gives its seal."""
    (folder / "index.parquet").write_bytes(data["index"][:].tobytes())
    return json.loads(data.attrs["store"])
