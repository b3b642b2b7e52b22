"""A store whose samples are windows of grids, dealt to the splits in blocks of ground; `geonb.store.windows` makes its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geonb.base import conventions
from geonb.rasters import grids
from geonb.store import leakage
from geonb.store.store import Store, row_attrs

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, repr=False)
class GridStore(Store):
    """A sealed store of windows of grids: what such kinds share. Its split is what :func:`geonb.store.windows.deal` gives."""

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (channel, y, x), targets (y, x), valid (y, x), with coordinates, CRS, and its row as attrs."""
        row = self.index.iloc[i]
        y, x = int(row["y"]), int(row["x"])
        area = {"y": slice(y, y + int(row["height"])), "x": slice(x, x + int(row["width"]))}
        window = self._grids[row["source"]].isel(area).load()
        window.attrs |= row_attrs(row)
        return window

    def check_split(self) -> dict:
        """Prove from the table itself that no window of one split shares a pixel or a block with another.

        Returns
        -------
        dict with method, windows, pixels (valid) and blocks of each split (also together, as counts), smallest_gap_m
        between windows of different splits (0 where blocks touch; None where the pixels' size is not known), leaks (0), said

        Raises
        ------
        ValueError
            Listing the windows that leak.
        """
        split = self.meta["split"]
        faults, gap_px = leakage.leaks(self.index, self._shapes, split)
        if len(self.sources) > 1:
            import geopandas as gpd

            outlines = gpd.read_parquet(self.path / "index.parquet").geometry.to_numpy()
            faults += leakage.ground_leaks(self.index, outlines)
        conventions.refuse(f"The split of {self.path} leaks", faults)
        blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
        counts = {
            "windows": {s: int((self.index["split"] == s).sum()) for s in conventions.SPLITS},
            "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(conventions.SPLITS)},
            "pixels": split["pixels"],
        }
        pixel_m = min((s["pixel_m"] or np.nan for s in self.meta["sources"]), default=np.nan)
        gap_m = round(gap_px * pixel_m, 1) if np.isfinite(gap_px * pixel_m) else None
        if np.isfinite(gap_px):
            apart = f"the splits' nearest windows are {_distance(gap_m, gap_px)} apart"
        else:
            apart = "no image has windows of two" if self.index["split"].nunique() > 1 else "there is one split only"
        own = {s: [n for n, o in split.get("held", {}).items() if o == s] for s in conventions.SPLITS}
        whole = "; ".join(f"{s}: {', '.join(names)}" for s, names in own.items() if names)
        how = f"Whole sources ({whole}), the others split by" if whole else "Split by"
        said = f"{how} {split['method']}. No window shares a pixel or a block with one of another split; {apart}."
        if gap := split.get("gap"):
            said += _said_of_gap(gap, pixel_m, split["left_out"], len({str(b) for b in split["blocks"].values()}) > 1)
        return {
            "method": split["method"], **counts, "counts": counts, "smallest_gap_m": gap_m, "leaks": 0, "said": said
        }  # fmt: skip

    def split_map(self, source: str) -> xr.DataArray:
        """The split of every pixel of a source: DataArray (y, x) int8, 0 none, 1 train, 2 val, 3 test."""
        import xarray as xr

        grid, split = self._grids[source], self.meta["split"]
        shape = grid.sizes["y"], grid.sizes["x"]
        values = grids.pixels_of_blocks(np.array(split["blocks"][source], np.int8), split["block"], shape)
        attrs = {"flag_values": [0, 1, 2, 3], "flag_meanings": "none train val test", "long_name": "split"}
        coords = {k: grid[k] for k in ("y", "x", "spatial_ref")}
        return xr.DataArray(values, coords, ("y", "x"), name="split", attrs=attrs)


def _said_of_gap(gap: int, pixel_m: float, left_out: dict[str, int], several: bool) -> str:
    length = f"{gap} px" + (f" ({gap * pixel_m:.0f} m)" if np.isfinite(pixel_m) else "")
    counts = " and ".join(f"{number} {split}" for split, number in left_out.items() if number) or "no"
    beside = " Between images that adjoin on the ground there is no gap." if several else ""
    return (
        f" Every pixel of a validation or test block lies at least {length} from all training windows: {counts} windows that were nearer "
        f"to a block of a later split were left out.{beside}"
    )


def _distance(metres: float | None, pixels: float) -> str:
    return f"{pixels:.0f} px" if metres is None else f"{metres:.0f} m"
