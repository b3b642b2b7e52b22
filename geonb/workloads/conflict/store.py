"""The sample store of a monthly cube: one group of arrays, a table of windows into months and places, and a seal.

Laid out as :mod:`geonb.store.store`: the arrays are shared by all stores of the same recipe and inputs, so that another
`chunk_size` or split writes only the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from geonb.base import project
from geonb.base.conventions import SPLITS, refuse
from geonb.base.files import fingerprints
from geonb.store import store
from geonb.store.sealing import FORMAT, make_store
from geonb.store.windows import read_shares
from geonb.workloads.conflict import faults as conflict_faults
from geonb.workloads.conflict import leakage
from geonb.workloads.conflict import windows as conflict_windows
from geonb.workloads.conflict.arrays import GROUP, MONTHS_AT_ONCE, years_of
from geonb.workloads.conflict.events import month_of, remarks

if TYPE_CHECKING:
    import xarray as xr

    from geonb.workloads.conflict.floor import FloorMap
    from geonb.workloads.conflict.loaders import Sequences

INDEX_COLUMNS = (
    "source", "dataset", "time", "t", "y", "x", "height", "width", "split", "block", "valid_share", "events", "gid", "geometry",
)  # fmt: skip
# what a window's first month of targets shows: cells with an event
LEAST_CELLS = (0, 1, 2, 5, 10, 20)
LABELS = ("no event", "1 cell", "2-4 cells", "5-9 cells", "10-19 cells", "20 cells or more")
LABEL_COLOURS = ("#bdbdbd", "#fdd49e", "#fdbb84", "#fc8d59", "#d7301f", "#7f0000")


@dataclass(frozen=True, repr=False)
class MonthStore(store.Store):
    """What a store of months before and after has, whether they are cut out of a cube or came as samples."""

    georeferenced: ClassVar[bool]

    @property
    def inputs(self) -> list[str]:
        """Names of the input channels, in order."""
        return [c["name"] for c in self.meta["channels"] if c["role"] != "target"]

    @property
    def outcomes(self) -> list[dict]:
        """What is forecast: name, colour, and the channels event and deaths (or None)."""
        return self.meta["outcomes"]

    @property
    def steps(self) -> int:
        """Number of months before the forecast that a window shows."""
        return int(self.meta["split"]["steps"])

    @property
    def horizon(self) -> int:
        """Number of months that are forecast."""
        return int(self.meta["split"]["horizon"])

    def labels(self, items: list[dict]) -> list[str]:
        """In how many cells of some items of `windows` the first month forecast has an event, in one word each."""
        counts = [int((np.asarray(item["targets"])[0] >= 1).any(axis=0).sum()) for item in items]
        return [LABELS[int(np.searchsorted(LEAST_CELLS, count, side="right")) - 1] for count in counts]

    @property
    def legend(self) -> dict[str, str]:
        """Every label there can be, with its colour."""
        return dict(zip(LABELS, LABEL_COLOURS, strict=True))


@dataclass(frozen=True, repr=False)
class CubeStore(MonthStore):
    """A sealed store of a monthly cube. `store[i]` is window i: months before, months after, with places and times."""

    georeferenced: ClassVar[bool] = True

    @cached_property
    def grid(self) -> xr.Dataset:
        """The arrays as they are on disk, not chunked; read when used."""
        import xarray as xr

        place = self.path / "arrays.zarr"
        return xr.open_zarr(place, group=GROUP, chunks=None, consolidated=False, decode_coords="all")

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """The first day of each month."""
        return pd.DatetimeIndex(self.grid["time"].to_numpy())

    @property
    def wraps(self) -> bool:
        """Whether the columns span 360 degrees, so that the first one follows the last."""
        return bool(self.meta["sources"][0]["wraps"])

    @cached_property
    def valid(self) -> np.ndarray:
        """Cells that count: ndarray (y, x) of bool."""
        return self.grid["valid"].to_numpy().astype(bool)

    def windows(
        self,
        split: str | None = None,
        augment: str = "none",
        seed: int = 0,
        *,
        native: bool = False,
        floor: FloorMap | None = None,
    ) -> Sequences:
        """The windows as standardised tensors, or in native units, see :class:`geonb.workloads.conflict.loaders.Sequences`."""
        from geonb.workloads.conflict.loaders import Sequences

        return Sequences(self, split, augment, seed, native=native, floor=floor)

    def origins(self, split: str) -> np.ndarray:
        """Indices of the months that a split forecasts first: ndarray of int, whether they have windows or not.

        Parameters
        ----------
        split : str
            train, val, test; future: the month after the data; all: every month with inputs and targets.
        """
        n = int(self.meta["sources"][0]["months"])
        if split == "future":
            return np.array([n])
        if split == "all":
            return np.arange(self.steps, n - self.horizon + 1)
        if split not in SPLITS:
            raise ValueError(f"split = {split!r} is none of {', '.join(SPLITS)}, future, all")
        months = self.meta["split"]["months"].get(split)
        if not months:
            return np.empty(0, np.int64)
        first, last = map(month_of, months)
        return np.arange(first, last + 1) - month_of(self.meta["sources"][0]["first_month"])

    def cube(
        self, names: Sequence[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> xr.DataArray:
        """Months of channels, read into memory.

        Parameters
        ----------
        names : list of str, optional
            The inputs by default.
        start, stop : int, optional
            From month `start` to the one before `stop`; all by default.

        Returns
        -------
        DataArray (time, channel, y, x) float32, yearly channels held over their months, static ones over all; NaN = unknown

        Raises
        ------
        ValueError
            For names that the store does not have.
        """
        import xarray as xr

        names = self.inputs if names is None else list(names)
        records = {c["name"]: c for c in self.meta["channels"]}
        unknown = [n for n in names if n not in records]
        if unknown:
            raise ValueError(f"The store has no channel {', '.join(unknown)}; it has {', '.join(records)}")
        times = self.times[start:stop]
        values = np.empty((len(times), len(names), *self.valid.shape), np.float32)
        for k, name in enumerate(names):
            values[:, k] = self._channel(records[name], slice(start, stop))
        coords = {"time": times, "channel": names} | {k: self.grid[k] for k in ("y", "x", "spatial_ref")}
        return xr.DataArray(values, coords, ("time", "channel", "y", "x"), name="cube")

    def _channel(self, record: dict, months: slice) -> np.ndarray:
        array, k = self.grid[record["kind"]], record["position"]
        if record["kind"] == "monthly":
            return array[months, k].to_numpy()
        if record["kind"] == "static":
            return array[k].to_numpy()[None]
        return array[:, k].to_numpy()[years_of(self.times[months], self.grid["year"].to_numpy())]

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (step, channel, y, x), targets (lead, outcome, y, x) 0/1, deaths (the same), valid (y, x).

        Coordinates: latitude y, longitude x of cell centres, month_in (step), month_out (lead); its row as attrs.
        """
        import xarray as xr

        row = self.index.iloc[i]
        t, columns = int(row["t"]), self.valid.shape[1]
        y = np.arange(int(row["y"]), int(row["y"]) + int(row["height"]))
        x = np.arange(int(row["x"]), int(row["x"]) + int(row["width"])) % columns
        before = self._window(self.inputs, t - self.steps, t, y, x)
        after = {k: self._window([o[k] for o in self.outcomes], t, t + self.horizon, y, x) for k in ("event", "deaths")}
        coords = {
            "y": self.grid["y"].to_numpy()[y],
            "x": self.grid["x"].to_numpy()[x],
            "spatial_ref": self.grid.spatial_ref,
        }
        coords |= {"channel": self.inputs, "outcome": [o["name"] for o in self.outcomes]}
        coords |= {"step": np.arange(-self.steps, 0), "lead": np.arange(1, self.horizon + 1)}
        coords["month_in"] = "step", self.times[t - self.steps : t]
        coords["month_out"] = "lead", self.times[t : t + self.horizon]
        window = xr.Dataset(
            {
                "inputs": (("step", "channel", "y", "x"), before),
                "targets": (("lead", "outcome", "y", "x"), (after["event"] >= 1).astype(np.float32)),
                "deaths": (("lead", "outcome", "y", "x"), after["deaths"]),
                "valid": (("y", "x"), self.valid[np.ix_(y, x)]),
            },
            coords,
        )
        window.attrs |= store.row_attrs(row)
        return window

    def _window(self, names: list, start: int, stop: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        known = [n for n in names if n]
        values = np.full((stop - start, len(names), len(y), len(x)), np.nan, np.float32)
        cube = self.cube(list(dict.fromkeys(known)), start, stop)
        for k, name in enumerate(names):
            if name:
                here = cube.sel(channel=name).to_numpy()[:, y[0] : y[-1] + 1][..., x]
                values[:, k] = np.expm1(here) if name in self._logged_deaths else here
        return values

    @property
    def _logged_deaths(self) -> set[str]:
        deaths = {o["deaths"] for o in self.outcomes if (o["deaths"] or "").startswith("log1p_")}
        return deaths - set(self.inputs)

    def check_split(self) -> dict:
        """Prove from the table that no input month of one split is a target month of another, see `geonb.check_split`."""
        return conflict_faults.check_split(self)

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store, part by part; empty if it is whole. `deep` also reads every month."""
        return conflict_faults.faults(self, INDEX_COLUMNS, deep)


def write_cube_store(
    write: Callable[[Path], Any],
    recipe: dict,
    inputs: Sequence[str | Path] = (),
    meta: dict | None = None,
    *,
    chunk_size: int | None = 16,
    steps: int = 10,
    horizon: int = 1,
    draws: int = 5,
    min_events: int = 25,
    outliers: str = "none",
    shares: str | tuple[float, ...] = "70/15/15",
    standardise: str | Sequence[str] = "all",
    seed: int = 0,
    name: str | None = None,
    workload: str = "conflict",
    root: Path | None = None,
) -> CubeStore:
    """Write the cube, split it by time and cut windows: a sealed store, or the one that is there.

    Parameters
    ----------
    write : folder -> anything
        Writes arrays.zarr (as `geonb.workloads.conflict.cube.write_cube`) into the folder it is given; called only if it is not there yet.
    recipe : dict
        All that the arrays depend on besides the contents of `inputs`; goes into their key and into the parameters.
    inputs : list of files
    meta : dict, optional
        title, notes, attribution, simulated, name: what the store says of itself.
    chunk_size, steps, horizon, draws, min_events, outliers, seed
        See :func:`geonb.workloads.conflict.windows.cut_sequences`.
    shares : str or tuple
        See :func:`geonb.workloads.conflict.windows.split_months`.
    standardise : str or list of str
        Channels to bring to mean 0 and standard deviation 1: "all", "none", or their names. Binary ones are left alone.
    name : str, optional
        First part of the folder's name.
    root : Path, optional
        The store goes to root / "data" / workload; the project root by default.

    Raises
    ------
    ValueError
        Every fault of the settings; those that need the cube's size, once it is there.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    conflict_windows.check_windows(chunk_size, steps, horizon, draws, min_events, outliers, seed)
    facts: dict[str, Any] = {"title": "", "notes": [], "attribution": "", "simulated": False} | dict(meta or {})
    proposed = facts.pop("name", None)
    title = project.slug(str(name or proposed or workload))
    cut = {
        "chunk_size": None if chunk_size is None else int(chunk_size), "steps": int(steps), "horizon": int(horizon),
        "draws": int(draws), "min_events": int(min_events), "outliers": outliers,
        "shares": shares.replace(" ", "") if isinstance(shares, str) and ":" in shares else list(read_shares(shares)),
        "standardise": standardise if isinstance(standardise, str) else list(standardise), "seed": int(seed),
    }  # fmt: skip
    files = fingerprints(inputs)
    folder = make_store(
        "sequences", write,
        lambda path: {"parameters": {**cut, "recipe": recipe}, **_write_table(path, cut, title, facts["notes"])},
        recipe={"format": FORMAT, "recipe": recipe, "inputs": [f["sha256"] for f in files]}, cut=cut, facts=facts,
        files=files, name=title, workload=workload, root=root,
    )  # fmt: skip
    return CubeStore.open(folder)


def _write_table(folder: Path, cut: dict, dataset: str, notes: Sequence[str]) -> dict:
    """Split, windows and statistics from a finished cube; gives what the seal says of them."""
    import zarr

    from geonb.workloads.conflict import cube as conflict_cube
    from geonb.workloads.conflict import statistics as conflict_statistics

    root: Any = zarr.open_group(folder / "arrays.zarr", mode="r")
    group, facts = root[GROUP], dict(root.attrs)
    source, channels = facts["sources"][0], facts["channels"]
    inputs = [c for c in channels if c["role"] != "target"]
    flags = conflict_statistics.check_standardise(cut["standardise"], inputs)
    conflict_cube.check_inputs(channels)
    n, (rows, columns) = int(source["months"]), source["shape"]
    windows = {k: cut[k] for k in ("chunk_size", "steps", "horizon", "draws", "min_events", "outliers", "seed")}
    conflict_windows.check_windows(**windows, shape=(n, rows, columns))
    first = pd.Period(source["first_month"], "M")
    months = conflict_windows.split_months(n, cut["steps"], cut["horizon"], cut["shares"], month_of(first))
    split: dict[str, Any] = {"method": "time", "steps": cut["steps"], "horizon": cut["horizon"]}
    split["gap_months"] = cut["steps"] + cut["horizon"]
    split["months"] = {s: [str(first + a), str(first + b)] for s, (a, b) in months.items()}
    _refuse_peace(group, facts, months["train"], cut["horizon"], split["months"]["train"])
    index = cut_index(group, source, inputs[0]["position"], windows, months, dataset)
    refuse("These windows would leak between the splits", leakage.leaks(index, split)[0], most=10)
    index.to_parquet(folder / "index.parquet", index=False, compression="zstd")
    train = months["train"][0] - cut["steps"], months["train"][1]
    statistics = conflict_statistics.training_statistics(group, inputs, flags, train)
    return {
        "datasets": [{"name": dataset}], "classes": [], "channels": channels, "outcomes": facts["outcomes"],
        "sources": [source], "split": split, "statistics": statistics, "report": facts.get("report", {}),
        "notes": [*notes, *remarks(facts.get("report", {}))],
    }  # fmt: skip


def _refuse_peace(group: Any, facts: dict, train: tuple[int, int], horizon: int, months: list[str]) -> None:
    """Refuse to train where nothing that is to be forecast ever occurs."""
    position = {c["name"]: c["position"] for c in facts["channels"] if c["kind"] == "monthly"}
    channels = [position[o["event"]] for o in facts["outcomes"]]
    valid = group["valid"][:].astype(bool)
    for begin in range(train[0], train[1] + horizon, MONTHS_AT_ONCE):
        end = min(begin + MONTHS_AT_ONCE, train[1] + horizon)
        if any((group["monthly"][begin:end, k][:, valid] >= 1).any() for k in channels):
            return
    raise ValueError(
        f"No event of the region lies in the training months, {months[0]} and after: there is nothing to learn. Choose another "
        "`region`, `period` or `shares`, or event=any, which counts events without a death too."
    )


def cut_index(group: Any, source: dict, channel: int, windows: dict, months: dict, dataset: str) -> Any:
    """The table of windows of all splits: GeoDataFrame with outlines in OGC:CRS84.

    Parameters
    ----------
    group : Zarr group with monthly, valid, gid, y, x
    source : dict with months, first_month, wraps, resolution
    channel : int
        Position of the channel whose events seed windows.
    windows : dict
        Arguments of `cut_sequences`.
    months : dict of split -> (first, last) origin
    dataset : str

    Raises
    ------
    ValueError
        If a split has no window; says how many events there were.
    """
    import geopandas as gpd

    first = pd.Period(source["first_month"], "M")
    event = np.concatenate(
        [
            group["monthly"][m : m + MONTHS_AT_ONCE, channel].clip(0, 1).astype(np.int8)
            for m in range(0, source["months"], MONTHS_AT_ONCE)
        ]
    )
    origins = np.concatenate([np.arange(a, b + 1) for a, b in months.values()])
    table = conflict_windows.cut_sequences(
        event, group["valid"][:], **windows, wraps=source["wraps"], gid=group["gid"][:], first_month=month_of(first),
        origins=origins,
    )  # fmt: skip
    t = table["t"].to_numpy()
    code = np.full(source["months"] + 1, -1, np.int8)
    for name, (a, b) in months.items():
        code[a : b + 1] = SPLITS.index(name)
    counts = {s: int((code[t] == SPLITS.index(s)).sum()) for s in months}
    if not all(counts.values()):
        lacking = " or ".join(s for s, k in counts.items() if not k)
        raise ValueError(
            f"No window of {windows['chunk_size']} cells lies in {lacking}: a window needs {windows['min_events']} cells with an "
            f"event in its {windows['steps']} months of inputs (windows: {counts}). Give a smaller min_events or a larger size "
            "(chunk_size) in `windows`, as windows=events:size=24,min_events=5, or windows=region; more `steps`; or other "
            "`shares`"
        )
    side = windows["chunk_size"]
    size = tuple(group["valid"].shape) if side is None else (side, side)
    times = pd.period_range(first, periods=source["months"], freq="M").to_timestamp().tz_localize("UTC")
    columns = {
        "source": pd.Categorical.from_codes(np.zeros(len(t), np.int8), [GROUP]),
        "dataset": pd.Categorical.from_codes(np.zeros(len(t), np.int8), [dataset]),
        "time": times[t], "t": t, "y": table["y"], "x": table["x"],
        "height": np.full(len(t), size[0], np.int16), "width": np.full(len(t), size[1], np.int16),
        "split": pd.Categorical.from_codes(code[t], SPLITS), "block": times.year[t].astype(np.int32),
        "valid_share": table["valid_share"], "events": table["events"], "gid": table["gid"],
    }  # fmt: skip
    return gpd.GeoDataFrame(pd.DataFrame(columns), geometry=outlines(group, source, table, size), crs="OGC:CRS84")


def outlines(group: Any, source: dict, table: pd.DataFrame, size: tuple[int, int]) -> np.ndarray:
    """Outlines of windows in longitude and latitude: one over the dateline is in two parts, and no part leaves -180 to 180."""
    import shapely

    columns = group["valid"].shape[1]
    dy, dx = source["resolution"]
    # windows lie on few places again and again
    places, which = np.unique(
        table["y"].to_numpy(np.int64) * columns + table["x"].to_numpy(np.int64), return_inverse=True
    )
    y, x = places // columns, places % columns
    south, west = group["y"][0] - dy / 2, group["x"][0] - dx / 2
    height, width = size
    low, high, left = south + dy * y, south + dy * (y + height), west + dx * x
    inside = np.minimum(x + width, columns)
    found = shapely.box(left, low, west + dx * inside, high)
    for k in np.flatnonzero(x + width > columns):
        rest = shapely.box(west, low[k], west + dx * (x[k] + width - columns), high[k])
        found[k] = shapely.MultiPolygon([found[k], rest])
    return found[which]
