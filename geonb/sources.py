"""Files -> georeferenced pixels: images in bands, masks as raster or vector, brought onto the image's grid.

Everything is read in windows, so that no input has to fit in memory. `open_pairs` looks at the headers of a whole set
and `scan` at its pixels; each tells every fault it found at once, before anything is written.
"""

from __future__ import annotations

import glob as globbing
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb import grids

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

IGNORE = 255  # target of a pixel without a label
VECTORS = (".shp", ".gpkg", ".geojson", ".json", ".fgb", ".parquet")
TILE_PX = 1024  # side of the rectangles in which files are read
# Twenty colours that stay apart, for classes whose colour nobody gave (after P. Green-Armytage 2010).
PALETTE = (
    *("#4363d8", "#e6194b", "#3cb44b", "#ffe119", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4"),
    *("#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9"),
)


@dataclass(frozen=True)
class Image:
    """One georeferenced image: the bands of one file, or of several files on the same grid.

    bands holds (index of the file, band number from 1) in channel order.
    """

    name: str
    paths: tuple[Path, ...]
    bands: tuple[tuple[int, int], ...]
    channels: tuple[str, ...]
    shape: tuple[int, int]
    transform: Any
    crs: Any
    dtype: str
    nodata: tuple[float | None, ...]

    @property
    def grid(self) -> tuple:
        """(crs, transform, shape)"""
        return self.crs, self.transform, self.shape


@dataclass(frozen=True)
class Mask:
    """Labels for an image: a raster of class codes, or polygons with a column of codes or names."""

    path: Path
    column: str | None = None
    layer: str | None = None

    @property
    def is_vector(self) -> bool:
        """Whether the file holds polygons."""
        return self.path.suffix.lower() in VECTORS


@dataclass(frozen=True)
class Pairs:
    """Images with their masks, ready to be read: what notebook 01 hands to `store.write_store`.

    classes is None until `scan` has found the codes in the masks.
    """

    images: tuple[Image, ...]
    masks: tuple[Mask, ...]
    classes: tuple[dict, ...] | None = None
    channels: tuple[dict, ...] = ()
    name: str = "dataset"
    title: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    attribution: str = ""
    found: tuple[dict, ...] = field(default=(), compare=False)  # by `scan`: pixels and codes of each image

    def __iter__(self) -> Iterator[tuple[Image, Mask]]:
        return iter(zip(self.images, self.masks, strict=True))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def files(self) -> list[Path]:
        """Every file that is read, a shapefile's side files included, each once."""
        paths = [p for image in self.images for p in image.paths]
        for mask in self.masks:
            sides = mask.path.parent.glob(f"{globbing.escape(mask.path.stem)}.*") if mask.path.suffix == ".shp" else ()
            paths += [mask.path, *(p for p in sides if p.suffix in (".dbf", ".shx", ".prj", ".cpg"))]
        return sorted(set(paths))


def open_pairs(
    images: str | list, masks: str | list, classes: str | None = None, bands: str | None = None, **facts: Any
) -> Pairs:
    """Pair images with masks and check their headers: files, bands, CRS, overlap, class columns.

    Parameters
    ----------
    images : str
        Paths or globs, comma separated. Single-band files on one grid that share one mask are stacked into one image.
    masks : str
        Paths or globs, comma separated; raster, or polygons (.shp, .gpkg, .geojson, .fgb, .parquet) with a class column,
        `roads.gpkg:column=kind,layer=main`. As many as images (matched by order, or by stem where the stems agree), or one
        for all. Pixels outside all polygons get class code 0 where the table has one, else they are ignored.
    classes : str, optional
        "1=developed,2=water", a .csv, .yaml or .json file (code, name, colour), or None: the codes found in the masks.
        A class named `ignore` is no class: its pixels count as unlabelled.
    bands : str, optional
        Names or numbers (from 1), comma separated; None takes all.
    **facts
        name, title, notes, attribution, simulated, channels: kept in the sample store.

    Raises
    ------
    ValueError
        Listing every fault with the files it concerns.
    """
    faults: list[str] = []
    image_files, mask_items = _expand(images, faults, "images"), _mask_items(masks, faults)
    table = None
    try:
        table = read_classes(classes)
    except ValueError as error:
        faults.append(str(error))
    opened = [_try(faults, open_image_file, p, None) for p in image_files]
    if not faults:
        opened, mask_items = _match(opened, mask_items, faults)
    if not faults:
        opened = [_try(faults, choose_bands, image, bands) for image in opened]
    if not faults:
        _check_alike(opened, faults)
        for image, mask in zip(opened, mask_items, strict=True):
            _check_mask(image, mask, table, faults)
    if faults:
        raise ValueError(_list("These inputs cannot be used", faults))
    names = _unique([image.name for image in opened])
    opened = [replace(image, name=name) for image, name in zip(opened, names, strict=True)]
    facts.setdefault("channels", tuple({"name": c, "units": "1"} for c in opened[0].channels))
    facts.setdefault("name", names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more")
    return Pairs(tuple(opened), tuple(mask_items), table and tuple(table), **facts)


def open_image_file(path: Path, bands: str | None = None) -> Image:
    """Read the header of one raster.

    Raises
    ------
    ValueError
        Not a raster, no CRS, or a rotated grid; names the file and the cure.
    """
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import RasterioIOError

    try:
        with rasterio.open(path) as data:
            numbers = [i for i, c in zip(data.indexes, data.colorinterp, strict=True) if c != ColorInterp.alpha]
            names = [data.descriptions[i - 1] or f"band {i}" for i in numbers]
            facts = data.crs, data.transform, data.shape
            dtype = np.result_type(*(data.dtypes[i - 1] for i in numbers)).name
            nodata = tuple(data.nodatavals[i - 1] for i in numbers)
    except RasterioIOError as error:
        raise ValueError(f"{path} is not a raster that GDAL can open ({_short(error)})") from None
    crs, transform, shape = facts
    if crs is None:
        raise ValueError(f"{path} has no CRS. Give it one, for instance: gdal_edit.py -a_srs EPSG:32617 {path.name}")
    if transform.b or transform.d:
        raise ValueError(f"{path} lies on a rotated grid. Make it north-up first, for instance with gdalwarp")
    if np.dtype(dtype).kind == "c":
        raise ValueError(f"{path} holds complex numbers. Write amplitude and phase as real bands first")
    image = Image(
        path.stem, (path,), tuple((0, i) for i in numbers), tuple(names), shape, transform, crs, dtype, nodata
    )
    return choose_bands(image, bands)


def choose_bands(image: Image, bands: str | None) -> Image:
    """The image with the named or numbered bands only, in the order asked for; names go before numbers."""
    if bands is None:
        return image
    wanted = [b.strip() for b in str(bands).split(",") if b.strip()]
    index = {str(i + 1): i for i in range(len(image.channels))} | {c: i for i, c in enumerate(image.channels)}
    unknown = [b for b in wanted if b not in index]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        what = f"no band {', '.join(unknown)}" if unknown else f"bands = {bands!r} names none, or one twice"
        files = ", ".join(str(p) for p in image.paths)
        raise ValueError(f"{files}: {what}. Its bands: {', '.join(image.channels)} (or 1 to {len(image.channels)})")
    keep = [index[b] for b in wanted]
    pick = {k: tuple(getattr(image, k)[i] for i in keep) for k in ("bands", "channels", "nodata")}
    return replace(image, **pick)


def stack(images: list[Image]) -> Image:
    """Images on one grid as a single image; channels are named by what differs in the file names.

    Raises
    ------
    ValueError
        If they do not lie pixel on pixel.
    """
    first = images[0]
    other = [im for im in images if not grids.same_grid(first.grid, im.grid)]
    if other:
        raise ValueError(f"{other[0].paths[0]} is not on the grid of {first.paths[0]}: single bands cannot be stacked")
    stems = [im.name for im in images]
    named = all(c.startswith("band ") for im in images for c in im.channels) and all(len(i.bands) == 1 for i in images)
    prefix = _common(stems)
    channels = [s[len(prefix) :] or s for s in stems] if named else [c for im in images for c in im.channels]
    return replace(
        first,
        name=prefix.rstrip("_-. ") or first.name,
        paths=tuple(p for im in images for p in im.paths),
        bands=tuple((f, b) for f, im in enumerate(images) for _, b in im.bands),
        channels=tuple(_unique(channels)),
        dtype=np.result_type(*(im.dtype for im in images)).name,
        nodata=tuple(n for im in images for n in im.nodata),
    )


@contextmanager
def reader(image: Image, mask: Mask | None = None, classes: tuple[dict, ...] | None = None) -> Iterator[Callable]:
    """Open an image and its mask for reading in rectangles.

    Yields
    ------
    read : (rows : slice, columns : slice) -> inputs, valid, codes
        inputs : ndarray (channel, y, x), the image's dtype, 0 where not valid
        valid : ndarray (y, x) bool: every band has data and is finite
        codes : ndarray (y, x) int32: class codes as in the mask, NO_CODE where there is none; None without a mask
    """
    import rasterio

    with ExitStack() as stack_:
        files = [stack_.enter_context(rasterio.open(p)) for p in image.paths]
        codes_of = _mask_reader(image, mask, classes, stack_) if mask else lambda rows, columns: None

        def read(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            inputs, valid = _read_bands(files, image, rows, columns)
            return inputs, valid, codes_of(rows, columns)

        yield read


NO_CODE = np.iinfo(np.int32).min


def _read_bands(files: list, image: Image, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.enums import MaskFlags
    from rasterio.windows import Window

    window = Window.from_slices(rows, columns)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    inputs = np.empty((len(image.bands), *shape), image.dtype)
    valid = np.ones(shape, bool)
    for f, data in enumerate(files):
        here = [i for i, (file, _) in enumerate(image.bands) if file == f]
        numbers = [image.bands[i][1] for i in here]
        if not here:
            continue
        inputs[here] = data.read(numbers, window=window)
        for number, i in zip(numbers, here, strict=True):
            nodata = image.nodata[i]
            if nodata is not None and not np.isnan(nodata):
                valid &= inputs[i] != np.asarray(nodata).astype(data.dtypes[number - 1])
            if {MaskFlags.per_dataset, MaskFlags.alpha} & set(data.mask_flag_enums[number - 1]):
                valid &= data.read_masks(number, window=window) > 0
    if inputs.dtype.kind == "f":
        valid &= np.isfinite(inputs).all(axis=0)
    inputs[:, ~valid] = 0
    return inputs, valid


def _mask_reader(image: Image, mask: Mask, classes: tuple[dict, ...] | None, stack_: ExitStack) -> Callable:
    if mask.is_vector:
        shapes, fill = read_polygons(mask, classes), NO_CODE
        shapes = shapes.to_crs(image.crs)
        index = shapes.sindex
        if classes and any(c["code"] == 0 for c in classes):
            fill = 0

        def burn(rows: slice, columns: slice) -> np.ndarray:
            here = image.transform * image.transform.translation(columns.start, rows.start)
            area = grids.bounds(here, (rows.stop - rows.start, columns.stop - columns.start))
            near = np.sort(index.query(_box(area)))
            pairs = list(zip(shapes.geometry.to_numpy()[near], shapes["code"].to_numpy()[near].tolist(), strict=True))
            return grids.burn(pairs, image.transform, (rows, columns), fill)

        return burn
    return _raster_codes(image, mask, stack_)


def _raster_codes(image: Image, mask: Mask, stack_: ExitStack) -> Callable:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    data = stack_.enter_context(rasterio.open(mask.path))
    if not grids.same_grid(image.grid, (data.crs, data.transform, data.shape)):
        # nearest, on the fly and window by window; pixels that the mask does not reach are masked out
        data = stack_.enter_context(
            WarpedVRT(
                data,
                crs=image.crs,
                transform=image.transform,
                height=image.shape[0],
                width=image.shape[1],
                resampling=Resampling.nearest,
                add_alpha=data.nodata is None,
            )
        )

    def codes(rows: slice, columns: slice) -> np.ndarray:
        window = Window.from_slices(rows, columns)
        values, labelled = data.read(1, window=window), data.read_masks(1, window=window) > 0
        if values.dtype.kind == "f":
            labelled &= np.isfinite(values)
            values = np.where(labelled, values, 0)
            if np.any(values != np.rint(values)):
                raise ValueError(
                    f"{mask.path} holds fractions (such as {values[values != np.rint(values)][0]}), not codes"
                )
        return np.where(labelled, values, NO_CODE).astype(np.int32)

    return codes


def read_polygons(mask: Mask, classes: tuple[dict, ...] | None = None) -> gpd.GeoDataFrame:
    """Polygons of a vector mask with an integer column `code`, in the file's CRS.

    Raises
    ------
    ValueError
        Empty file, no CRS, no class column (the columns are listed), empty cells, or a class not in the table.
    """
    import geopandas as gpd
    import pandas as pd

    try:
        read = gpd.read_parquet if mask.path.suffix == ".parquet" else gpd.read_file
        frame = read(mask.path, **({"layer": mask.layer} if mask.layer else {}))
    except Exception as error:  # pyogrio's and pyarrow's own kinds
        raise ValueError(f"{mask.path} is not a vector file that can be opened ({_short(error)})") from None
    column = mask.column or "class"
    columns = [c for c in frame.columns if c != "geometry"]
    if column not in columns:
        raise ValueError(
            f"{mask.path} has no class column {column!r}. Its columns: {', '.join(columns) or 'none'}. "
            f"Name one: {mask.path.name}:column={columns[0] if columns else 'NAME'}"
        )
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise ValueError(f"{mask.path} holds no polygons")
    if frame.crs is None:
        raise ValueError(f"{mask.path} has no CRS (a shapefile keeps it in its .prj file)")
    values = frame[column]
    if values.isna().any():
        raise ValueError(f"{mask.path}: {int(values.isna().sum())} polygons have no {column}")
    numeric = pd.api.types.is_numeric_dtype(values)
    if numeric and (values != values.round()).any():
        raise ValueError(f"{mask.path}: column {column} holds fractions, not class codes")
    if numeric:
        codes = values.astype("int32")
    else:
        names = {c["name"]: c["code"] for c in classes or vector_classes([mask])}
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ValueError(f"{mask.path}: {', '.join(unknown)} in column {column} not among {', '.join(names)}")
        codes = values.map(names)
    return frame[["geometry"]].assign(code=codes.to_numpy(np.int32))


def vector_classes(masks: list[Mask]) -> list[dict] | None:
    """Classes named by the text columns of vector masks, coded 1.. in alphabetical order; None where they hold codes."""
    import geopandas as gpd

    names: set[str] = set()
    for mask in masks:
        read = gpd.read_parquet if mask.path.suffix == ".parquet" else gpd.read_file
        names |= {str(v) for v in read(mask.path)[mask.column or "class"].dropna().unique()}
    return _table({i + 1: {"name": n} for i, n in enumerate(sorted(names))})


def scan(pairs: Pairs) -> Pairs:
    """Read every pixel once: count the valid ones, the not finite ones and the class codes; find unreadable files.

    Returns
    -------
    Pairs with `classes` complete (from the codes found, where none were given) and `found` filled

    Raises
    ------
    ValueError
        Listing every fault: truncated files, images without data, codes that are not in the table, no labels at all.
    """
    faults: list[str] = []
    if pairs.classes is None and all(m.is_vector for m in pairs.masks) and _text_columns(pairs.masks):
        pairs = replace(pairs, classes=tuple(vector_classes(list(pairs.masks))))
    found = [_try(faults, _scan_one, image, mask, pairs.classes) for image, mask in pairs]
    codes = sum((Counter(f["codes"]) for f in found if f), Counter())
    if not faults and pairs.classes is None:
        pairs = replace(pairs, classes=tuple(_table({code: {"name": f"class {code}"} for code in sorted(codes)})))
    for (image, mask), counts in zip(pairs, found, strict=True):
        if counts:
            _check_found(image, mask, counts, pairs.classes or (), faults)
    if faults:
        raise ValueError(_list("These inputs cannot be used", faults))
    return replace(pairs, found=tuple(found))


def _scan_one(image: Image, mask: Mask, classes: tuple[dict, ...] | None) -> dict:
    from rasterio.errors import RasterioError

    codes: Counter = Counter()
    valid_px = labelled_px = 0
    with reader(image, mask, classes) as read:
        for rows, columns in grids.tiles(image.shape, TILE_PX):
            try:
                _, valid, labels = read(rows, columns)
            except RasterioError as error:
                files = ", ".join(str(p) for p in (*image.paths, mask.path))
                raise ValueError(
                    f"{files}: cannot be read at rows {rows.start}-{rows.stop}, columns {columns.start}-{columns.stop}: "
                    f"truncated or damaged ({_short(error)}). Copy it again"
                ) from None
            valid_px += int(valid.sum())
            values, counts = np.unique(labels[valid], return_counts=True)
            codes.update({int(v): int(n) for v, n in zip(values, counts, strict=True) if v != NO_CODE})
    labelled_px = sum(codes.values())
    return {"pixels_valid": valid_px, "pixels_labelled": labelled_px, "codes": dict(sorted(codes.items()))}


def _check_found(image: Image, mask: Mask, counts: dict, classes: tuple[dict, ...], faults: list[str]) -> None:
    names = ", ".join(str(p) for p in image.paths)
    known = {c["code"]: c["name"] for c in classes}
    unknown = {c: n for c, n in counts["codes"].items() if c not in known}
    if not counts["pixels_valid"]:
        faults.append(f"{names}: no valid pixel: all are nodata or not finite in at least one band")
    elif not counts["pixels_labelled"]:
        faults.append(f"{mask.path}: labels no valid pixel of {names}")
    if unknown:
        table = ", ".join(f"{c}={n}" for c, n in known.items())
        codes = ", ".join(f"{c} ({n} px)" for c, n in unknown.items())
        faults.append(
            f"{mask.path}: class codes {codes} are not in the table ({table}). Add them, or give them the name `ignore`"
        )
    if len(known) > IGNORE:
        faults.append(f"{len(known)} classes; at most {IGNORE} can be told apart")


def targets(codes: np.ndarray, valid: np.ndarray, classes: tuple[dict, ...]) -> np.ndarray:
    """Class codes -> class index: ndarray (y, x) uint8; IGNORE where there is no label, no class or no valid pixel."""
    kept = [c for c in classes if c["name"] != "ignore"]
    table = np.array([c["code"] for c in kept])
    order = np.argsort(table)
    at = np.searchsorted(table, codes, sorter=order).clip(max=len(table) - 1)
    index = order[at]
    return np.where((table[index] == codes) & valid, index, IGNORE).astype(np.uint8)


def to_xarray(
    image: Image, mask: Mask | None = None, classes: tuple[dict, ...] | None = None, step: int = 1
) -> xr.Dataset:
    """A whole image, with its labels where a mask is given, to look at.

    Parameters
    ----------
    step : int, px
        Take every step-th pixel of every step-th row: keeps large scenes small.

    Returns
    -------
    Dataset with inputs (channel, y, x), valid (y, x), targets (y, x; class index, 255 none), x, y and the CRS
    """
    rows = range(0, image.shape[0], TILE_PX - TILE_PX % step)
    strips = []
    with reader(image, mask, classes) as read:
        for y in rows:
            strip = read(slice(y, min(y + rows.step, image.shape[0])), slice(0, image.shape[1]))
            strips.append([a[..., ::step, ::step] if a is not None else None for a in strip])
    inputs, valid = (np.concatenate([s[i] for s in strips], axis=-2) for i in (0, 1))
    transform = image.transform * image.transform.scale(step)
    data = frame(inputs, valid, transform, image.crs, image.channels)
    if mask is not None and classes is not None:
        codes = np.concatenate([s[2] for s in strips], axis=-2)
        data["targets"] = ("y", "x"), targets(codes, valid, classes)
    return data


def frame(inputs: np.ndarray, valid: np.ndarray, transform: Any, crs: Any, channels: Any) -> xr.Dataset:
    """Wrap pixels into a CF Dataset with coordinates at the pixel centres and the CRS in `spatial_ref`."""
    import rioxarray  # noqa: F401  (adds .rio)
    import xarray as xr

    y, x = grids.centres(transform, inputs.shape[-2:])
    data = xr.Dataset(
        {"inputs": (("channel", "y", "x"), inputs), "valid": (("y", "x"), valid)},
        {"channel": list(channels), "y": y, "x": x},
    )
    return data.rio.write_crs(crs).rio.write_transform(transform)


def read_classes(classes: str | None) -> list[dict] | None:
    """Read a class table: "1=developed,2=water", or a .csv, .yaml or .json file.

    Returns
    -------
    list of {"code": int, "name": str, "colour": "#rrggbb"} in the order given; None for None

    Raises
    ------
    ValueError
        Missing file, no `code=name`, a code or name twice.
    """
    if classes is None:
        return None
    if Path(str(classes)).suffix.lower() in (".csv", ".yaml", ".yml", ".json"):
        entries = _class_file(Path(classes))
    else:
        entries = [
            dict(zip(("code", "name"), (p.strip() for p in item.split("=", 1)), strict=False))
            for item in str(classes).split(",")
        ]
    try:
        codes = [int(e["code"]) for e in entries]
        names = [str(e["name"]) for e in entries]
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f'classes = {classes!r} is not a class table. Give "1=developed,2=water", or a .csv, .yaml or .json file '
            "with code and name (and colour)"
        ) from None
    real = [n for n in names if n != "ignore"]
    if len(set(codes)) < len(codes) or len(set(real)) < len(real) or not real:
        raise ValueError(f"classes = {classes!r}: each code and each name once, and at least one class")
    return _table(dict(zip(codes, entries, strict=True)))


def _class_file(path: Path) -> list[dict]:
    if not path.exists():
        raise ValueError(f"There is no class table {path}")
    if path.suffix.lower() == ".csv":
        import pandas as pd

        return pd.read_csv(path, dtype=str, skipinitialspace=True).dropna(axis="columns", how="all").to_dict("records")
    import yaml

    content = yaml.safe_load(path.read_text())  # reads JSON too
    if isinstance(content, dict):
        content = content.get("classes", content)
    if isinstance(content, dict):
        content = [{"code": k, **(v if isinstance(v, dict) else {"name": v})} for k, v in content.items()]
    return content if isinstance(content, list) else [content]


def _table(entries: dict[int, dict]) -> list[dict]:
    free = (PALETTE[i % len(PALETTE)] for i in range(len(entries)))
    return [
        {"code": int(code), "name": str(e["name"]), "colour": e.get("colour") or e.get("color") or next(free)}
        for code, e in entries.items()
    ]


def _expand(paths: str | list, faults: list[str], what: str) -> list[Path]:
    items = paths.split(",") if isinstance(paths, str) else list(paths)
    found: list[Path] = []
    for item in (str(i).strip() for i in items):
        path = Path(item).expanduser()
        if path.is_file():
            found.append(path)
        elif item and globbing.has_magic(item):
            root = Path(path.anchor or ".")
            here = sorted(p for p in root.glob(str(path.relative_to(path.anchor))) if p.is_file())
            found += here
            if not here:
                faults.append(f"{what}: nothing matches {item} (looked from {Path.cwd()})")
        else:
            faults.append(f"{what}: there is no file {item or '(empty name)'} (looked from {Path.cwd()})")
    return found


def _mask_items(masks: str | list, faults: list[str]) -> list[Mask]:
    # commas part files, but also the options of one file: a.gpkg:column=kind,layer=main
    items = re.split(r",(?!\s*(?:column|layer)=)", masks) if isinstance(masks, str) else [str(m) for m in masks]
    found = []
    for item in items:
        path, _, options = item.strip().partition(":column=")
        column, _, layer = options.partition(",layer=")
        found += [Mask(p, column or None, layer or None) for p in _expand([path], faults, "masks")]
    return found


def _match(images: list[Image], masks: list[Mask], faults: list[str]) -> tuple[list[Image], list[Mask]]:
    if len(masks) == 1 and len(images) > 1 and all(len(i.bands) == 1 for i in images):
        return [_try(faults, stack, images)], masks
    if len(masks) == 1:
        return images, masks * len(images)
    if len(images) == len(masks):
        by_stem = {m.path.stem: m for m in masks}
        if len(by_stem) == len(masks) and all(i.name in by_stem for i in images):
            masks = [by_stem[i.name] for i in images]
        return images, masks
    faults.append(
        f"{len(images)} images ({', '.join(i.paths[0].name for i in images[:6])}) for {len(masks)} masks "
        f"({', '.join(m.path.name for m in masks[:6])}): give as many masks as images, or one mask for all"
    )
    return images, masks


def _check_alike(images: list[Image], faults: list[str]) -> None:
    first = images[0]
    for image in images[1:]:
        if len(image.channels) != len(first.channels):
            faults.append(
                f"{image.paths[0]} has {len(image.channels)} bands, {first.paths[0]} has {len(first.channels)}: "
                "choose those they share with `bands`"
            )


def _check_mask(image: Image, mask: Mask, classes: list[dict] | None, faults: list[str]) -> None:
    if mask.is_vector:
        shapes = _try(faults, read_polygons, mask, classes)
        if shapes is None:
            return
        crs, area = shapes.crs, tuple(shapes.total_bounds)
    else:
        raster = _try(faults, open_image_file, mask.path)
        if raster is None:
            return
        crs, area = raster.crs, grids.bounds(raster.transform, raster.shape)
    here = grids.bounds(image.transform, image.shape)
    if not grids.overlap((image.crs, here), (crs, area)):
        faults.append(
            f"{image.paths[0]} and {mask.path} do not overlap: (west, south, east, north) in degrees are "
            f"{grids.lonlat_bounds(image.crs, here)} and {grids.lonlat_bounds(crs, area)}. Check the CRS of both"
        )


def _text_columns(masks: tuple[Mask, ...]) -> bool:
    import geopandas as gpd
    import pandas as pd

    read = {m: gpd.read_parquet if m.path.suffix == ".parquet" else gpd.read_file for m in masks}
    return all(not pd.api.types.is_numeric_dtype(read[m](m.path)[m.column or "class"]) for m in masks)


def _try(faults: list[str], function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        faults.append(str(error))
        return None


def _list(title: str, faults: list[str]) -> str:
    return f"{title}:\n" + "\n".join(f"- {fault}" for fault in dict.fromkeys(faults))


def _box(area: tuple) -> Any:
    import shapely

    return shapely.box(*area)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _common(stems: list[str]) -> str:
    shortest = min(stems, key=len)
    same = next((i for i, c in enumerate(shortest) if any(s[i] != c for s in stems)), len(shortest))
    return shortest[:same]


def _unique(names: list[str]) -> list[str]:
    seen: Counter = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique
