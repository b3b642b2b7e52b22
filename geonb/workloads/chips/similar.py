"""Where else does it look like this? The chips of a store by the vectors of a network: indexed, asked, and looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.base import project
from geonb.base.conventions import refuse
from geonb.base.files import key_of
from geonb.dashboards.explorer import Dim, Explorer, Place
from geonb.dashboards.imagery import picture_of
from geonb.dashboards.layers import CIVIDIS, At, Grid, Layer, group_of
from geonb.dashboards.likeness import Likeness
from geonb.dashboards.page import caption_of, notes_html
from geonb.embeddings.brought import read_vectors
from geonb.embeddings.embedding import encoder
from geonb.embeddings.marks import Marks
from geonb.embeddings.search import Index, build_index, open_index
from geonb.plots.cells import ground_in
from geonb.plots.maps import crs_of, edges
from geonb.workloads.chips import baselines
from geonb.workloads.chips.figures import rgb_tiles

if TYPE_CHECKING:
    import geopandas as gpd

    from geonb.base.run_folder import RunFolder
    from geonb.workloads.chips.store import ChipStore
    from geonb.workloads.chips.task import MultiLabel

FOLDER = "similar"  # of a run: its index
BATCH = 64
PACKS = ((900, 16), (700, 12), (500, 8), (400, 8))  # px of an image and components in a page, the richest first


def vectors_of(store: ChipStore, model: MultiLabel, batch: int = BATCH, precision: str = "auto") -> np.ndarray:
    """The network's vector of every chip: float32 (chip, dim)."""
    return _each(store, encoder(model, precision), batch)


def histograms_of(store: ChipStore, batch: int = BATCH) -> np.ndarray:
    """The colour histogram of every chip, about its mean over the store: float32 (chip, channel * bin)."""
    found = _each(store, baselines.histograms, batch)
    return found - found.mean(axis=0)


def _each(store: ChipStore, function: Callable, batch: int) -> np.ndarray:
    chips = store.windows()
    parts = [list(range(i, min(i + batch, len(chips)))) for i in range(0, len(chips), batch)]
    return np.concatenate([function(chips.batch(part)["inputs"].numpy()) for part in parts]).astype(np.float32)


def samples_of(store: ChipStore) -> gpd.GeoDataFrame:
    """The chips as an index takes them: ``id`` is source and quadkey, ``group`` the parent tile."""
    import geopandas as gpd

    table = gpd.read_parquet(store.path / "index.parquet")
    return gpd.GeoDataFrame(
        {
            "id": ids_of(store), "name": table["quadkey"], "quadkey": table["quadkey"], "source": table["source"],
            "time": table["time"], "labels": [text.split(", ") if text else [] for text in table["labels"]],
            "group": table["parent"], "split": table["split"].astype(str), "row": np.arange(len(table)),
            "known": np.isfinite(store.targets(np.arange(len(table)))).any(axis=1),
        },
        geometry=table.geometry, crs=table.crs,
    )  # fmt: skip


def ids_of(store: ChipStore) -> np.ndarray:
    """The id of every chip: its source and its quadkey."""
    return (store.index["source"].astype(str) + "/" + store.index["quadkey"]).to_numpy(object)


def fingerprint(store: ChipStore, model: MultiLabel) -> str:
    """What stands for a trained network and the chips it saw."""
    card = model.card
    return key_of(
        [2, card["network"], card.get("training"), card.get("best"), store.meta["key"]]
    )  # 2: of columns of `samples_of`


def index_chips(
    run: RunFolder, store: ChipStore, model: MultiLabel, vectors: str | None = None, kind: str = "auto"
) -> Index:
    """The index of a run's chips in its folder ``similar``: the one that is there if it is of this network, else a new one.

    Parameters
    ----------
    vectors : str, optional
        Brought from elsewhere, see :func:`geonb.embeddings.brought.read_vectors`: each chip then has the mean of those whose middle lies
        on it, in an index of their own beside the network's; chips without any are left out.
    kind : auto, exact or ann
    """
    folder = Path(run.path) / FOLDER
    if vectors:
        rows, values, notes = _brought(vectors, store)
        told: dict[str, Any] = {"model": f"brought from {Path(vectors).name}", "kind": kind, "notes": notes}
        return build_index(folder.with_name(f"{FOLDER}-brought"), values, samples_of(store).iloc[rows], **told)
    mark = fingerprint(store, model)
    try:
        return open_index(folder, mark)
    except (FileNotFoundError, ValueError):  # none, of another network, or damaged: it is made of what the run has
        notes = store.meta["notes"]
        return build_index(folder, vectors_of(store, model), samples_of(store), model=mark, kind=kind, notes=notes)


def _brought(vectors: str, store: ChipStore) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows of the chips that vectors of a file lie on, the mean of those on each (chip, dim), and what to tell."""
    import geopandas as gpd

    faults: list[str] = []
    files = project.expand_files([vectors], faults, "vectors")
    refuse("These vectors cannot be used", faults)
    brought = read_vectors(files[0])
    middles = gpd.GeoDataFrame(geometry=brought.samples.to_crs("OGC:CRS84").geometry.representative_point())
    pairs = gpd.sjoin(middles.reset_index(drop=True), samples_of(store)[["row", "geometry"]], predicate="within")
    if pairs.empty:
        raise ValueError(
            f"vectors = {vectors!r}: none of {len(middles):,} lies on a chip of {store.path.name}. Are they of this place?"
        )
    rows, at = np.unique(pairs["row"].to_numpy(), return_inverse=True)
    sums = np.zeros((len(rows), brought.vectors.shape[1]))
    np.add.at(sums, at, brought.vectors[pairs.index.to_numpy()])
    note = f"{len(rows):,} of {len(store):,} chips have vectors that were brought, the mean of those on it."
    return rows, (sums / np.bincount(at)[:, None]).astype(np.float32), [*brought.notes, note]


def query_of(text: str | None, store: ChipStore, model: MultiLabel, index: Index) -> Any:
    """What a text asks for, as :meth:`geonb.embeddings.search.Index.search` takes it.

    Parameters
    ----------
    text : str, optional
        A quadkey, or ``source/quadkey``; ``latitude, longitude``; ``west, south, east, north`` in degrees; a picture's file. None: the
        chip with the rarest label of the test split.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    ids = ids_of(store)
    if text is None:
        return str(ids[_rarest(store, rows_in(index))])
    text = text.strip()
    quadkeys = store.index["quadkey"].to_numpy()
    if text in ids or (same := np.flatnonzero(quadkeys == text)).size:
        return text if text in ids else [str(one) for one in ids[same]]
    asked = read_query(text)
    if isinstance(asked, Path):
        return encoder(model)(picture_chip(asked, store)[None].astype(np.float32))[0]
    if isinstance(asked, str):
        raise ValueError(f"query = {text!r} is no chip of {store.path.name}. Give another quadkey, as {quadkeys[0]}")
    return asked


def read_query(text: str) -> str | Path | tuple[float, ...]:
    """What a text asks for, as far as it tells without the chips: a quadkey, a picture's file, (lon, lat) or (west, south, east, north).

    Raises
    ------
    ValueError
        If it is none of these: before hours of training, at whose end it is asked.
    """
    text = text.strip()
    with suppress(OSError, RuntimeError):  # longer than a name may be; nobody's home
        files = [place / Path(project.at_hand(text)).expanduser() for place in project.places()]
        if (file := next((file for file in files if file.is_file()), None)) is not None:
            return file
    if re.fullmatch(r"(.+/)?[0-3]{1,30}", text):
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2 and abs(numbers[0]) <= 90 and abs(numbers[1]) <= 180:
        return numbers[1], numbers[0]
    box = len(numbers) == 4 and -90 <= numbers[1] < numbers[3] <= 90 and numbers[0] != numbers[2]
    if box and all(abs(lon) <= 180 for lon in numbers[::2]):  # from west to east, maybe across 180
        return tuple(numbers)
    raise ValueError(
        f"query = {text!r} is no chip, no place and no file. Give a quadkey, 'latitude, longitude', 'west, south, east, north' in degrees, "
        "or a picture"
    )


def rows_in(index: Index) -> np.ndarray:
    """Rows of the store whose chips an index holds, in its order."""
    return index.table.column("row").to_numpy()


def _rarest(store: ChipStore, rows: np.ndarray) -> int:
    """Of some rows of chips one of the test split with its rarest label."""
    targets, share = np.nan_to_num(store.targets(np.arange(len(store)))), np.asarray(store.meta["prevalence"])
    test = rows[(store.index["split"] == "test").to_numpy()[rows]]
    mine = test if len(test) else rows
    rare = np.where(targets[mine] > 0, share, np.inf).min(axis=1)
    return int(mine[rare.argmin()])


def picture_chip(file: Path, store: ChipStore) -> np.ndarray:
    """A picture as a standardised chip (channel, y, x), brought to the chips' size; 0 where it holds no data, as in chips.

    Raises
    ------
    ValueError
        If it is no picture, cut short, all without data, or its values do not mean what those of the chips do: another type, other
        bands, a palette.
    """
    from affine import Affine
    from PIL import Image as Picture
    from rasterio.errors import RasterioError

    from geonb.rasters import images, sources, tiles

    size, channels = store.meta["parameters"]["size"], len(store.channels)
    dtype = str(next(iter(store._grids.values()))["inputs"].dtype)
    try:
        image = images.open_image(
            file, place=("EPSG:3857", Affine.scale(1, -1))
        )  # anywhere: its place is not asked for
        if set(store.channels) <= set(image.channels):
            image = images.choose_bands(image, ",".join(store.channels))
        faults = [f"{file} is cut short. Copy it again"] * tiles.cut_short(file)
        if len(image.channels) != channels or image.dtype != dtype or images.is_paletted(file):
            what = "a palette" if images.is_paletted(file) else f"{len(image.channels)} bands of {image.dtype}"
            faults.append(
                f"{file} holds {what}, and chips {channels} bands of {dtype} ({', '.join(store.channels)}). Save it so, or ask with a chip"
            )
        refuse("This picture cannot be looked for", faults)
        with sources.quiet(), images.reader(image) as read:
            inputs, valid, _ = read(*(slice(0, n) for n in image.shape))
    except RasterioError as error:
        raise ValueError(f"{file} is no picture that can be read ({str(error)[:120]})") from None
    if not valid.any():
        raise ValueError(f"query = {file}: all of it is without data (its mask, or its nodata value)")
    planes = [
        Picture.fromarray(p.astype(np.float32)).resize((size, size), Picture.Resampling.BOX) for p in (*inputs, valid)
    ]
    *sums, share = (np.asarray(plane) for plane in planes)
    mean, std = (np.array(store.meta["statistics"][key], np.float32)[:, None, None] for key in ("mean", "std"))
    return np.where(share > 0.5, (np.stack(sums) / np.maximum(share, 1e-6) - mean) / std, 0)


def rows_of(asked: Any, store: ChipStore, index: Index) -> list[int]:
    """Rows of the chips that a query names, or that lie at its place; none of a vector."""
    if isinstance(asked, tuple):
        return rows_in(index)[index.rows_at(asked)].tolist()
    named = [asked] if isinstance(asked, str) else list(asked) if isinstance(asked, list) else []
    return [int(np.flatnonzero(ids_of(store) == one)[0]) for one in named]


def label_of(asked: Any, store: ChipStore, index: Index, answers: gpd.GeoDataFrame) -> str:
    """What the asking chips show, in one word: their rarest label; of a picture, that of the first answer."""
    share, rows = np.asarray(store.meta["prevalence"]), rows_of(asked, store, index) or answers["row"].tolist()[:1]
    there = np.flatnonzero(np.nan_to_num(store.targets(np.array(rows))).any(axis=0))
    there = there if len(there) else np.arange(len(share))
    return store.names[int(there[share[there].argmin()])]


def judged(answers: gpd.GeoDataFrame, label: str, store: ChipStore) -> tuple[list[str], list[str]]:
    """Ids of the answers that have a label, and of those that do not; of chips where nobody knows neither."""
    said = store.targets(answers["row"].to_numpy(int))[:, store.names.index(label)]
    return answers["id"][said == 1].tolist(), answers["id"][said == 0].tolist()


def keep_marks(viewer: Any, index: Index, store: ChipStore, name: str) -> Marks:
    """Keep what was marked on the live map, under a name: what :func:`geonb.dashboards.widget.live` gave, and its explorer's store.

    Returns
    -------
    geonb.embeddings.marks.Marks, to be searched with, undone and exported
    """
    tiles = viewer.explorer.likeness.tiles
    ids = ids_of(store)
    right, wrong = (
        [str(ids[tiles[place].row[row, column]]) for place, _, row, column in viewer.state.get(kind, [])]
        for kind in ("right", "wrong")
    )
    return Marks(index, name).mark(right, wrong)


def beside(store: ChipStore, model: MultiLabel, index: Index, seed: int = 0) -> dict[str, np.ndarray]:
    """Vectors of the index's chips, in its order: its own, those of the network untrained, and the histogram of colours."""
    from geonb.training.task import untrained

    rows = rows_in(index)
    own = "network" if index.info["model"] == fingerprint(store, model) else "brought"
    others = {"untrained": vectors_of(store, untrained(model, seed)), "colour-histogram": histograms_of(store)}
    return {own: np.asarray(index.vectors)} | {name: values[rows] for name, values in others.items()}


class ChipTiles:
    """The chips of a source on their grid, as :class:`geonb.dashboards.likeness.Tiles`."""

    reach = (0, 0)  # chips do not overlap

    def __init__(self, store: ChipStore, source: str, vectors: np.ndarray) -> None:
        self.store, self.times = store, np.array(["NaT"], "datetime64[ns]")
        size, grid = store.meta["parameters"]["size"], store._grids[source]
        self.shape = grid.sizes["y"] // size, grid.sizes["x"] // size
        index = store.index
        rows = np.flatnonzero((index["source"] == source).to_numpy())
        self.row = np.full(self.shape, -1)
        self.row[index["y"].to_numpy()[rows] // size, index["x"].to_numpy()[rows] // size] = rows
        self._vectors = np.full((*self.shape, vectors.shape[1]), np.nan, np.float32)
        self._vectors[self.row >= 0] = vectors[self.row[self.row >= 0]]

    def vectors(self, time: int) -> np.ndarray:
        return self._vectors

    def picture(self, time: int, row: int, column: int) -> np.ndarray | None:
        at = self.row[row, column]
        if at < 0:
            return None
        tile = rgb_tiles(self.store, [int(at)])[0]
        return np.concatenate([tile, np.full((*tile.shape[:2], 1), 255, np.uint8)], -1)

    def label(self, time: int, row: int, column: int) -> str:
        at = self.row[row, column]
        return "" if at < 0 else self.store.words(int(at))


def explorer(store: ChipStore, index: Index, predictions: xr.DataTree | None = None) -> Explorer:
    """The chips on their map: a click, or a drawn region, tells those most alike.

    Parameters
    ----------
    index : of this store's chips
    predictions : DataTree, optional
        Whose attributes stand under the map.
    """
    vectors = np.full((len(store), index.vectors.shape[1]), np.nan, np.float32)
    vectors[rows_in(index)] = index.vectors
    tiles = [ChipTiles(store, source, vectors) for source in store.sources]
    like = Likeness(tiles, marking=True)
    images = [group_of(store.arrays, source) for source in store.sources]
    attrs = store.meta if predictions is None else predictions.attrs

    def far(place: int, at: At, slices: Any) -> np.ndarray:
        return like.distances(place, 0, at["chosen"])[slices["y"], slices["x"]]

    def likely(place: int, at: At, slices: Any) -> np.ndarray:
        if not at["right"]:
            return np.full(tiles[place].shape, np.nan)[slices["y"], slices["x"]]
        return like.likely(place, 0, at["right"], at["wrong"])[slices["y"], slices["x"]]

    def colours(place: int, at: At, slices: Any) -> np.ndarray:
        return like.colours(place, 0)[slices["y"], slices["x"]]

    layers = [
        Layer("image", "image", "image", picture_of(images)),
        Layer("components", "what the network sees, as colours", "image", colours, ("time",), "tiles"),
        Layer("distance", "squared distance to the chip", "numbers", far, ("time",), "tiles", low=0.0, high=like.top, power=0.5,
              colours=CIVIDIS[::-1], ticks=(0, like.near, like.far), note="Bright is alike."),
        Layer("likely", "like what is marked as right", "numbers", likely, ("time",), "tiles", low=-1.0, high=1.0, colours=CIVIDIS,
              ticks=(-1, 0, 1), note="About 1 as those marked as right, -1 as those marked as wrong."),
    ]  # fmt: skip
    places = [_place(source, image, one) for source, image, one in zip(store.sources, images, tiles, strict=True)]
    packs = [{"image_px": px, "components": n, "said": f"Colours of {n} components."} for px, n in PACKS]
    return Explorer(
        "chips that look alike", places, [Dim("time", [""])], layers, below="image", top="distance", likeness=like, opacity=0.6,
        notes=notes_html(attrs), caption=caption_of(attrs), click="Click a chip: those most like it, anywhere.", packs=lambda: packs,
    )  # fmt: skip


def _place(name: str, image: Any, tiles: ChipTiles) -> Place:
    crs, bounds = crs_of(image), edges(image)
    grids = {"tiles": Grid(bounds, tiles.shape), "": Grid(bounds, (image.sizes["y"], image.sizes["x"]))}
    side = (bounds[2] - bounds[0]) / tiles.shape[1], (bounds[3] - bounds[1]) / tiles.shape[0]
    return Place(name, grids, crs, ground_in(crs, bounds) if crs is not None else {}, labels={"time": [""]}, tile=side)
