"""NetCDF and Zarr by the CF conventions: which variables are images, where they lie, when they were taken, what they hold.

One file, one layer a time: x and y in one dimension each, any grid mapping. Values packed with scale_factor and add_offset
are unpacked as they are read; counts without them keep their type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from affine import Affine

from geonb.base import times as base_times
from geonb.base.conventions import short
from geonb.workloads.clouds import goes
from geonb.workloads.clouds.frames import Frame, FrameLayer, time_given, time_of_name
from geonb.workloads.clouds.grids import LONLAT, Grid
from geonb.workloads.clouds.values import Variable, dtype, load, opened, plain

if TYPE_CHECKING:
    from rasterio.crs import CRS

ROWS = ("y", "lat", "latitude", "northing", "rows", "projection_y_coordinate")
FLAGS = {"flag_values", "flag_masks", "flag_meanings"}
# attributes of CF that name variables which serve others, and are no images themselves
SERVING = (
    *("coordinates", "ancillary_variables", "bounds", "grid_mapping", "climatology", "geometry", "node_coordinates"),
    *("node_count", "part_node_count", "interior_ring", "cell_measures", "formula_terms"),
)
# standard names and units of places, angles and quality
ROLES = re.compile(
    "(grid_)?(latitude|longitude)|time|.* since .*|.*_angle|.*(quality|status)_flag|degrees?_?(north|east|n|e)", re.I
)
COLUMNS = ("x", "lon", "longitude", "easting", "columns", "projection_x_coordinate")
BANDS = ("channel", "band", "bands", "wavelength")
LATITUDE, LONGITUDE = ("lat", "latitude"), ("lon", "longitude")
DEGREES = re.compile("degrees?_?(north|east|n|e)", re.IGNORECASE)
# units of coordinates, as files write them -> metres, radians; those that are not told are the CRS's own
LENGTHS_M = {
    unit: length
    for length, units in {
        1.0: "m metre metres meter meters", 1000.0: "km kilometre kilometres kilometer kilometers",
        0.3048: "ft foot feet", 1200 / 3937: "us-ft us_survey_foot us_survey_feet",
    }.items()
    for unit in units.split()
}  # fmt: skip
ANGLES_RAD = {
    unit: angle
    for angle, units in {
        1.0: "rad radian radians", 1e-3: "mrad milliradian milliradians", 1e-6: "urad microradian microradians",
        np.pi / 180: "deg degree degrees",
    }.items()
    for unit in units.split()
}  # fmt: skip
STRAIGHT_PX = 0.1  # how far a coordinate may be from the straight line through its ends: rounding, no other spacing
RAPID_SCAN_DEG = 9.5  # where EUMETSAT rectifies rapid scans of SEVIRI (Meteosat Rapid Scan Service), every 5 minutes


def open_netcdf(path: Path, options: dict[str, Any]) -> list[Frame]:
    """The frames of a file or store, one a time, in the file's order.

    Parameters
    ----------
    options : dict
        ``time``: a date, the units or the form of the file's times, or the variable that holds them. ``nodata``: the number
        that stands for none. Others are attributes of the grid mapping that are to be other ones than the file's.

    Raises
    ------
    ValueError
        No image in it, no georeference, uneven coordinates; does not name the file.
    """
    notes: list[str] = []
    options = dict(options)
    given, nodata = options.pop("time", None), options.pop("nodata", None)
    with opened(path) as data:
        y_dim, x_dim = _spatial_dims(data)
        images, others, time_dim = _variables(data, y_dim, x_dim, notes)
        if empty := [dim for dim in data[(images or others)[0].name].dims if not data.sizes[dim]]:
            raise ValueError(f"it has no scene: its {empty[0]} has length 0")
        more = {} if nodata is None else {"nodata": nodata}
        variables = [replace(v, attrs=v.attrs | more) for v in (*images, *others)]
        times, timed_by = _times(data, time_dim, path, notes) if given is None else _given(data, time_dim, path, given)
        mapping = _mapping(data, variables[0].name, options)
        if "longitude_of_projection_origin" not in options:
            mapping = _rapid_scan(mapping, data, variables[0].name, times, notes)
        (crs, transform, shape), turned = _grid(data, mapping, y_dim, x_dim)
        facts = _facts(data, variables[0].name) | {"notes": tuple(notes)}
        key = goes.scene_key(data)
        dtypes = [dtype(data, v).name for v in variables]
    frames = []
    for i, time in enumerate(times):
        place = (time_dim, i) if time_dim else None
        layers = []
        for variable, kind in zip(variables, dtypes, strict=True):
            read = partial(load, path, variable, (y_dim, x_dim), place, turned, shape)
            layers.append(FrameLayer(path, (variable.channel,), crs, transform, shape, kind, read))
        label = path.stem if not time_dim else f"{path.stem} {i}" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M}"
        own, rest = tuple(layers[: len(images)]), tuple(layers[len(images) :])
        frames.append(Frame(own, time, label, key, timed_by, others=rest, **facts))
    return frames


def _spatial_dims(data: xr.Dataset) -> tuple[str, str]:
    """Names of the dimensions of rows and columns: by CF's attributes of their coordinates, else by their usual names."""
    y = _spatial_dim(data, "rows", ("projection_y_coordinate", "latitude", "grid_latitude"), "Y", ROWS)
    return y, _spatial_dim(data, "columns", ("projection_x_coordinate", "longitude", "grid_longitude"), "X", COLUMNS)


def _spatial_dim(data: xr.Dataset, what: str, standard: tuple[str, ...], axis: str, names: tuple[str, ...]) -> str:
    lines = {str(n): v.attrs for n, v in data.variables.items() if v.dims == (n,)}
    found = [n for n, a in lines.items() if a.get("standard_name") in standard or a.get("axis") == axis]
    found += [n for n in lines if n.lower() in names]
    if found:
        return found[0]
    if any(str(n).lower() in ("lat", "latitude") and v.ndim == 2 for n, v in data.variables.items()):
        raise ValueError("its latitudes and longitudes are two-dimensional (a swath): bring it onto a grid first")
    raise ValueError(
        f"it has no coordinate of its {what}, so no georeference. Dimensions: "
        f"{', '.join(map(str, data.sizes)) or 'none'}; one of them must have a variable of its name, as x and y"
    )


def _variables(
    data: xr.Dataset, y_dim: str, x_dim: str, notes: list[str]
) -> tuple[list[Variable], list[Variable], str | None]:
    """The channels, what is one only if it is asked for by name, and the dimension of time if there is one."""
    planes = [str(n) for n, v in data.data_vars.items() if {y_dim, x_dim} <= set(v.dims) and v.dtype.kind in "iuf"]
    if not planes:
        there = ", ".join(map(str, data.data_vars))
        raise ValueError(f"it has no numeric variable over ({y_dim}, {x_dim}). Its variables: {there}")
    serving = _serving(data)
    time_dim = _time_dim(data, [n for n in planes if n not in serving] or planes, (y_dim, x_dim))
    steady = {n for n in planes if time_dim and time_dim not in data[n].dims}  # as an elevation: it does not change
    others = [n for n in planes if n in serving | steady]
    images = [n for n in planes if n not in others]
    found: dict[str, list[Variable]] = {}
    faults: dict[str, str] = {}
    for name in planes:
        more = [str(d) for d in data[name].dims if d not in (y_dim, x_dim, time_dim) and data.sizes[d] > 1]
        if len(more) > 1 or any(d.lower() not in BANDS for d in more):
            faults[name] = f"{name} has the dimensions {', '.join(map(str, data[name].dims))}"
            continue
        alone = len(images) == 1 and name in images
        found[name] = _channels(data, name, more[0] if more else None, (y_dim, x_dim, time_dim), alone)
    head = f"besides rows, columns, time and one of {', '.join(BANDS)} there are more"
    if not any(name in found for name in images or others):
        raise ValueError(f"{head}: {'; '.join(faults.values())}")
    if deep := [fault for name, fault in faults.items() if name in images]:
        notes.append(
            f"No channels, as {head}: {'; '.join(deep)}. To have one, write a plane of it: data.isel(level=0)."
        )
    known = {v.quality[0] for variables in found.values() for v in variables if v.quality}
    if said := [n for n in others if n in found and n not in known]:
        notes.append(
            f"Coordinates, bounds, angles, flags, quality or alike at all times, by what a file says, so no channels: {', '.join(said)}. "
            "To have one, name it in `channels`."
        )
    channels, more_channels = ([v for n in names for v in found.get(n, ())] for names in (images, others))
    return channels, more_channels, time_dim


def _serving(data: xr.Dataset) -> set[str]:
    """Variables that CF gives another role than that of data: named so by others, or flags, places and angles themselves."""
    told = [{k: str(plain(v)) for k, v in a.items()} for a in (data.attrs, *(v.attrs for v in data.variables.values()))]
    named = {name for attrs in told for key in SERVING for name in attrs.get(key, "").split()}
    for name, attrs in zip(map(str, data.variables), told[1:], strict=True):
        if FLAGS & set(attrs) or any(ROLES.fullmatch(attrs.get(key, "").strip()) for key in ("standard_name", "units")):
            named.add(name)
    return named


def _time_dim(data: xr.Dataset, images: list, spatial: tuple[str, str]) -> str | None:
    for dim in dict.fromkeys(str(d) for n in images for d in data[n].dims if d not in spatial):
        attrs = data[dim].attrs if dim in data.variables else {}
        if dim.lower() in ("time", "t") or attrs.get("standard_name") == "time" or attrs.get("axis") == "T":
            return dim
    return None


def _channels(data: xr.Dataset, name: str, band_dim: str | None, dims: tuple, alone: bool) -> list[Variable]:
    """The channels that a variable holds: one, or one a place along its dimension of bands."""
    array = data[name]
    facts = goes.channel(data, name) or {}
    channel = {"name": name, "units": str(array.attrs.get("units", "1"))} | facts.get("channel", {})
    quality = facts.get("quality") and (facts["quality"], data[facts["quality"]].dims)
    all_dims = tuple(map(str, array.dims))
    single = tuple((d, 0) for d in all_dims if d not in (*dims, band_dim))

    def variable(select: tuple[tuple[str, int], ...], channel: dict) -> Variable:
        return Variable(name, all_dims, select, channel, dict(array.attrs), quality, facts.get("calibration"))

    if band_dim is None:
        return [variable(single, channel)]
    count = data.sizes[band_dim]
    bands = data[band_dim].values if band_dim in data.variables else range(1, count + 1)
    texts = [b.decode() if isinstance(b, bytes) else str(b) for b in bands]
    names = texts if alone else [f"{name} {text}" for text in texts]
    return [variable((*single, (band_dim, i)), channel | {"name": n}) for i, n in enumerate(names)]


def _times(data: xr.Dataset, time_dim: str | None, path: Path, notes: list[str]) -> tuple[list[pd.Timestamp], str]:
    """UTC times of the frames; of a file without any, what its name tells. What cannot be read is noted."""
    start = data.attrs.get("time_coverage_start")
    if time_dim is None and start is not None and (time := base_times.stamp(start)) is not pd.NaT:
        return [time.round("ms")], "file"
    names = [time_dim] if time_dim else [n for n in ("time", "t") if n in data.variables and data[n].size == 1]
    unknown = []
    for name in (n for n in names if n in data.variables):
        found = _decoded(data[name])
        if not all(pd.isna(t) for t in found):
            return found, "file"
        unknown.append(_unknown(data[name]))
    count = data.sizes[time_dim] if time_dim else 1
    if count == 1 and (by_name := time_of_name(path.name)) is not pd.NaT:
        return [by_name], "name"
    notes += unknown
    return [pd.NaT] * count, "file"


def _unknown(variable: xr.DataArray) -> str:
    """What is said of times that cannot be read."""
    if why := base_times.unread(variable.attrs):
        return (
            f"Times are unknown where a file's {variable.name} counts in {why}, which is not read. Write it as days since a date of the "
            "standard calendar, or say in `scenes` which variable tells the times: FILE:time=VARIABLE."
        )
    units = plain(variable.attrs.get("units", "none"))
    return (
        f"Times are unknown where nothing tells since when or in which form a file's {variable.name} counts (units: {units}). Say it in "
        "`scenes`, as FILE:time=hours since 1970-01-01, or FILE:time=%Y%m%d%H."
    )


def _given(data: xr.Dataset, time_dim: str | None, path: Path, given: str) -> tuple[list[pd.Timestamp], str]:
    """UTC times of the frames as somebody says: by a date, by units, by a form, or in which variable they stand."""
    count = data.sizes[time_dim] if time_dim else 1
    if given in data.variables and data[given].dtype == "S1":  # letters in a dimension of their own
        data = data.assign({given: xr.decode_cf(data[[given]], decode_times=False)[given]})
    name = next((n for n in (given, time_dim, "time", "t") if n in data.variables and data[n].size == count), None)
    if name is not None and (name == given or " since " in given or "%" in given or base_times.form_in(given)):
        told = {} if name == given else {"units": given}
        found = _decoded(data[name], told)
        if not all(pd.isna(t) for t in found):
            return found, "file"
        if count > 1 or "%" not in given:  # else the form may be that of its name
            why = base_times.unread({**data[name].attrs, **told})
            raise ValueError(
                f"time = {given!r} reads none of the {count} times in its {name}{why and f' ({why} is not read)'}"
            )
    if count > 1:
        raise ValueError(
            f"time = {given!r}, but it has {count} scenes. Give the units of their times, as hours since 1970-01-01, their form, "
            f"as %Y%m%d%H, or the variable that holds them. Its variables: {', '.join(map(str, data.variables))}"
        )
    return [time_given(path.stem, given)], "file"


def _decoded(variable: xr.DataArray, told: Mapping[str, str] = MappingProxyType({})) -> list[pd.Timestamp]:
    """Times of a variable by what stands beside it, or else is `told`: whole milliseconds, as days in floats can tell them."""
    attrs = {"name": variable.name, **variable.attrs, **told}
    return list(base_times.decoded(variable.values, attrs).round("ms"))


def _mapping(data: xr.Dataset, name: str, options: dict[str, Any]) -> dict:
    """Attributes of the grid mapping of a variable, with `options` in place of its own; empty if it has none."""
    array = data[name]
    named = str(array.attrs.get("grid_mapping", "")).split(":")[0].strip()
    place = named if named in data.variables else next((n for n in ("spatial_ref", "crs") if n in data.variables), None)
    mapping = {k: plain(v) for k, v in data[place].attrs.items()} if place else {}
    unknown = [k for k in options if k not in mapping]
    if unknown:
        raise ValueError(
            f"its grid mapping has no {', '.join(unknown)} that could be set right. It has: {', '.join(mapping) or 'nothing'}"
        )
    return _set_right(mapping, options) if options else mapping


def _set_right(mapping: dict, options: dict[str, Any]) -> dict:
    """A grid mapping with other attributes, which must not be overruled by the same thing as WKT."""
    return {k: v for k, v in mapping.items() if k not in ("crs_wkt", "spatial_ref")} | options


def _rapid_scan(mapping: dict, data: xr.Dataset, name: str, times: list[pd.Timestamp], notes: list[str]) -> dict:
    """Put SEVIRI's rapid scans where they belong: files made of them often say 0 degrees, as of the full-disk service.

    Frames 5 minutes apart come from the Rapid Scan Service alone, whose images are rectified to 9.5 degrees east; the full
    disk takes 15 minutes (EUMETSAT, Rapid Scan Service: Meteosat-8, -9, -10 and -11 in turn, since 2008).
    """
    seviri = "SEVIRI" in f"{_facts(data, name)['attribution']} {data.attrs.get('instrument', '')}".upper()
    known = pd.DatetimeIndex(sorted(t for t in times if not pd.isna(t)))
    steps = np.diff(known) / np.timedelta64(1, "m")
    degrees = mapping.get("longitude_of_projection_origin")
    rapid = len(steps) and 4 <= np.median(steps) <= 6 and known[0].year >= 2008
    if not (seviri and rapid and degrees == 0 and mapping.get("grid_mapping_name") == "geostationary"):
        return mapping
    notes.append(
        "The file says that the satellite stands at 0°E, but SEVIRI frames 5 minutes apart are rapid scans, which are "
        f"rectified to {RAPID_SCAN_DEG}°E: that is used. To keep the file's, add :longitude_of_projection_origin=0 to its name."
    )
    return _set_right(mapping, {"longitude_of_projection_origin": RAPID_SCAN_DEG})


def _grid(data: xr.Dataset, mapping: dict, y_dim: str, x_dim: str) -> tuple[Grid, tuple[bool, bool]]:
    """CRS, transform and shape with rows from the north; and whether rows and columns have to be turned for that."""
    crs = _crs(mapping, data, y_dim, x_dim)
    rows, columns = (_coordinate(data[dim], mapping, crs) for dim in (y_dim, x_dim))
    top, bottom = _ends(rows, y_dim, "row")
    left, right = _ends(columns, x_dim, "column")
    north, south, west, east = max(top, bottom), min(top, bottom), min(left, right), max(left, right)
    shape = len(rows), len(columns)
    transform = Affine((east - west) / shape[1], 0, west, 0, (south - north) / shape[0], north)
    return (crs, transform, shape), (top < bottom, left > right)


def _ends(centres: np.ndarray, dim: str, what: str) -> tuple[float, float]:
    """Outer edges of the first and the last pixel along a dimension; refused if it is not evenly spaced."""
    first, last, count = centres[0], centres[-1], len(centres)
    if count < 2:
        raise ValueError(f"it has one {what} only, so no grid")
    step = (last - first) / (count - 1)
    line = np.linspace(first, last, count)
    if not np.isfinite(centres).all() or step == 0 or np.abs(centres - line).max() > STRAIGHT_PX * abs(step):
        raise ValueError(f"its coordinate {dim} is not evenly spaced: bring it onto a regular grid first")
    return first - step / 2, last + step / 2


def _crs(mapping: dict, data: xr.Dataset, y_dim: str, x_dim: str) -> CRS:
    from rasterio.crs import CRS

    if mapping:
        return _crs_of(json.dumps(mapping, default=str))
    if all(_is_degrees(data[dim], names) for dim, names in ((y_dim, LATITUDE), (x_dim, LONGITUDE))):
        return CRS.from_string(LONLAT)
    raise ValueError(
        f"it has no grid mapping (CRS), and {y_dim} and {x_dim} are no latitude and longitude, so no georeference. Write one, "
        "for instance with rioxarray: data.rio.write_crs(...)"
    )


def _is_degrees(variable: xr.DataArray, names: tuple[str, str]) -> bool:
    """Whether a coordinate is a latitude or a longitude by what it is called, and none of a rotated grid."""
    standard, units = (str(plain(variable.attrs.get(key, ""))) for key in ("standard_name", "units"))
    own = str(variable.name).lower() in names or standard in names
    return not standard.startswith("grid_") and (own or bool(DEGREES.fullmatch(units)))


@lru_cache(maxsize=64)
def _crs_of(mapping: str) -> CRS:
    """CRS of a grid mapping's attributes (JSON); looking for its datum takes longer than reading a file."""
    import pyproj
    from rasterio.crs import CRS

    try:
        once = CRS.from_wkt(pyproj.CRS.from_cf(json.loads(mapping)).to_wkt())
        return CRS.from_wkt(once.to_wkt())  # as it is when it was written and read again, to compare equal
    except Exception as error:  # each part of pyproj and GDAL has its own kinds
        raise ValueError(f"its grid mapping cannot be read ({short(error)})") from None


def _coordinate(variable: xr.DataArray, mapping: dict, crs: CRS) -> np.ndarray:
    """Coordinate in the CRS's unit, in double precision: unpacked; angles of a geostationary view times its height."""
    attrs = variable.attrs
    values = variable.values.astype(np.float64)
    values = values * float(attrs.get("scale_factor", 1)) + float(attrs.get("add_offset", 0))
    told = str(plain(attrs.get("units", ""))).strip()
    *times, units = re.split(r"(?<=\d) ", told.lower())  # 0.3048 metre, as PROJ has feet
    units = DEGREES.sub("degree", units).replace(" ", "_")
    if mapping.get("grid_mapping_name") == "geostationary":
        height = float(mapping["perspective_point_height"])
        factors = LENGTHS_M | {unit: angle * height for unit, angle in ANGLES_RAD.items()}
        if units in ("", "1") and np.abs(values).max() < 1:
            units = "rad"
    elif crs.is_projected:
        factors = {unit: length / crs.linear_units_factor[1] for unit, length in LENGTHS_M.items()}
    else:
        factors = {unit: float(np.degrees(angle)) for unit, angle in ANGLES_RAD.items()}
    if units not in ("", *factors):
        raise ValueError(f"its coordinate {variable.name} is in {told!r}. Write it in one of {', '.join(factors)}")
    return values * (np.prod([float(number) for number in times]) * factors.get(units, 1))


def _facts(data: xr.Dataset, name: str) -> dict:
    attrs, own = ({k: str(plain(v)).strip() for k, v in a.items()} for a in (data.attrs, data[name].attrs))
    source = next((v for v in (attrs.get("attribution"), own.get("source"), attrs.get("source")) if v), "")
    # GOES files name their instrument and maker apart
    parts = [source] if source else [attrs.get(k, "") for k in ("platform_ID", "instrument_type", "institution")]
    title = attrs.get("title", "")
    made_up = attrs.get("simulated", "").lower() in ("1", "true", "yes") or "simulated" in title.lower()
    return {"title": title, "attribution": ", ".join(filter(None, parts)), "simulated": made_up}
