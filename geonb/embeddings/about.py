"""What each sample of an index is: a table in GeoParquet files, of which a search reads the columns and rows that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import refuse
from geonb.base.files import whole_file

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pyarrow as pa

COLUMNS = ("id", "name", "time", "labels", "source", "group")
ROWS = 2048  # that are read to get at one


def checked(samples: pd.DataFrame, count: int) -> gpd.GeoDataFrame:
    """A table with all of `COLUMNS` and a geometry in OGC:CRS84 from one that has some of them.

    Raises
    ------
    ValueError
        Listing every fault: no ids, ids twice, another number of rows than vectors, no CRS, labels that are no lists.
    """
    import geopandas as gpd
    import pandas as pd

    found = []
    if len(samples) != count:
        found.append(f"the table has {len(samples):,} rows for {count:,} vectors")
    if "id" not in samples:
        found.append(f"no column id, only {', '.join(map(str, samples.columns))}")
    elif samples["id"].isna().any() or samples["id"].astype(str).duplicated().any():
        twice = samples["id"].astype(str)
        found.append(
            f"ids must be there, each once: {samples['id'].isna().sum()} are missing, twice are {', '.join(twice[twice.duplicated()][:5])}"
        )
    shaped = isinstance(samples, gpd.GeoDataFrame)
    if shaped and samples.crs is None:
        found.append("the geometry has no CRS: set it (samples.set_crs(...))")
    if "labels" in samples and samples["labels"].map(lambda one: isinstance(one, str)).any():
        found.append("labels must be lists of texts, and some are a text")
    refuse("These samples cannot be indexed", found)
    columns: dict[str, Any] = {"id": samples["id"].astype(str).to_numpy(dtype=object)}
    for name in ("name", "source", "group"):
        given = samples[name].fillna("").astype(str).to_numpy(dtype=object) if name in samples else None
        columns[name] = given if given is not None else columns["id"] if name == "name" else np.full(count, "", object)
    times = (
        pd.to_datetime(samples["time"], utc=True)
        if "time" in samples
        else pd.Series(pd.NaT, range(count), "datetime64[us, UTC]")
    )
    columns["time"] = times.dt.tz_convert(None).astype("datetime64[us]").to_numpy()
    columns["labels"] = [
        list(map(str, one)) if np.iterable(one) else [] for one in samples.get("labels", [None] * count)
    ]
    columns = {name: columns[name] for name in COLUMNS}
    further = [c for c in samples.columns if c not in columns and not (shaped and c == samples.geometry.name)]
    columns |= {str(name): samples[name].to_numpy() for name in further}
    geometry = samples.geometry.to_crs("OGC:CRS84").array if shaped else [None] * count
    return gpd.GeoDataFrame(columns, geometry=geometry, crs="OGC:CRS84")


def write(table: gpd.GeoDataFrame, file: Path) -> None:
    """Write a table of `checked` as GeoParquet 1.1, with a column of bounds that areas are looked for in."""
    with whole_file(file) as partial:
        table.to_parquet(
            partial, write_covering_bbox=True, schema_version="1.1.0", row_group_size=ROWS, compression="zstd"
        )


def as_geometry(place: Any) -> Any:
    """A shapely geometry from one, from (lon, lat), or from (west, south, east, north), degrees.

    A box whose west is larger than its east crosses the antimeridian.
    """
    import shapely

    if isinstance(place, shapely.Geometry):
        if place.is_empty or not place.is_valid:
            raise ValueError(f"The area {place.wkt[:60]} is empty or invalid: {shapely.is_valid_reason(place)}")
        return place
    try:
        numbers = [float(n) for n in place]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 2 and abs(numbers[0]) <= 180 and abs(numbers[1]) <= 90:
        return shapely.Point(*numbers)
    if len(numbers) == 4 and max(map(abs, numbers[::2])) <= 180 and -90 <= numbers[1] <= numbers[3] <= 90:
        west, south, east, north = numbers
        if west > east:
            return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])
        return shapely.box(west, south, east, north)
    raise ValueError(
        f"{place!r} is no place: give (lon, lat), (west, south, east, north) in degrees, or a shapely geometry"
    )


class Table:
    """The files, one after the other, as one table; columns are read when they are first asked for.

    Parameters
    ----------
    files : paths
        They stay open: an index that somebody changes meanwhile goes on as it was.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        self.files = [pq.ParquetFile(file) for file in files]
        self.names = [n for n in dict.fromkeys(n for f in self.files for n in f.schema_arrow.names) if n != "bbox"]
        self._columns: dict[str, pa.Array] = {}

    def column(self, name: str) -> pa.Array:
        """A column of all rows; null where a file has no such column."""
        import pyarrow as pa

        if name not in self._columns:
            if name not in self.names and name != "bbox":
                raise ValueError(
                    f"The index has no column {name!r}, only {', '.join(n for n in self.names if n != 'geometry')}"
                )
            parts = [
                f.read(columns=[name])
                .column(0)
                .cast(pa.list_(pa.string()) if name == "labels" else f.schema_arrow.field(name).type)
                if name in f.schema_arrow.names
                else pa.chunked_array([pa.nulls(f.metadata.num_rows)])
                for f in self.files
            ]
            whole = pa.concat_tables([pa.table({name: part}) for part in parts], promote_options="permissive")
            self._columns[name] = whole.column(0).combine_chunks()
        return self._columns[name]

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The last row of each id, -1 where there is none: who was removed may have come again."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.column("id")
        wanted = pa.array([str(i) for i in ids], column.type)
        rows = np.flatnonzero(pc.is_in(column, wanted).to_numpy(zero_copy_only=False))
        last = {name: int(row) for name, row in zip(column.take(pa.array(rows)).to_pylist(), rows, strict=True)}
        return np.array([last.get(str(i), -1) for i in ids], np.int64)

    @cached_property
    def bounds(self) -> np.ndarray:
        """west, south, east, north of each footprint: (4, sample), NaN where there is none."""
        box = self.column("bbox")
        fields = [
            np.asarray(box.field(n).to_numpy(zero_copy_only=False), np.float64)
            for n in ("xmin", "ymin", "xmax", "ymax")
        ]
        out = np.stack(fields)
        if box.null_count:
            out[:, np.asarray(box.is_null())] = np.nan
        return out

    def meets(self, area: Any) -> np.ndarray:
        """Whether each footprint meets a geometry: bool (sample,)."""
        import shapely

        west, south, east, north = self.bounds
        out = np.zeros(west.shape, bool)
        for part in shapely.get_parts(area):
            w, s, e, n = part.bounds
            near = (west <= e) & (east >= w) & (south <= n) & (north >= s)
            if not part.equals(shapely.box(*part.bounds)) or not near.any():
                shapely.prepare(part)
            rows = np.flatnonzero(near & ~out)
            shapes = (
                shapely.from_wkb(self.column("geometry").take(rows).to_numpy(zero_copy_only=False)) if len(rows) else []
            )
            out[rows] = shapely.intersects(part, shapes) if len(rows) else False
        return out

    def extent(self) -> str:
        """Where the samples lie, in words."""
        there = np.isfinite(self.bounds[0])
        if not there.any():
            return "None of the samples has a footprint."
        w, s, e, n = (
            self.bounds[0][there].min(),
            self.bounds[1][there].min(),
            self.bounds[2][there].max(),
            self.bounds[3][there].max(),
        )
        return f"The samples lie within {w:.4f}, {s:.4f}, {e:.4f}, {n:.4f} (west, south, east, north)."

    def take(self, rows: np.ndarray) -> gpd.GeoDataFrame:
        """Some rows, in the order given."""
        import geopandas as gpd
        import pandas as pd

        first, parts = 0, []
        wanted = np.unique(rows)
        for file in self.files:
            for group in range(file.num_row_groups):
                number = file.metadata.row_group(group).num_rows
                mine = wanted[(wanted >= first) & (wanted < first + number)]
                if len(mine):
                    columns = [n for n in self.names if n in file.schema_arrow.names]
                    some = file.read_row_group(group, columns=columns).take(mine - first)
                    parts.append(some.to_pandas(ignore_metadata=True))
                first += number
        table = (
            pd.concat(parts, ignore_index=True).reindex(columns=self.names)
            if parts
            else pd.DataFrame(columns=self.names)
        )
        table = table.iloc[np.searchsorted(wanted, rows)].reset_index(drop=True)
        table["labels"] = [list(one) for one in table["labels"]]
        shapes = gpd.GeoSeries.from_wkb(table.pop("geometry"), crs="OGC:CRS84")
        return gpd.GeoDataFrame(table, geometry=shapes, crs="OGC:CRS84")
