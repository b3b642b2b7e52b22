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
        between windows of different splits, of one source or two (0 where they touch; None where there is one split only, and where
        the pixels' size is not known), leaks (0), said

        Raises
        ------
        ValueError
            Listing the windows that leak.
        """
        split = self.meta["split"]
        faults, gap_px = leakage.leaks(self.index, self._shapes, split)
        between_m = np.inf
        if len(self.sources) > 1:
            import geopandas as gpd

            outlines = gpd.read_parquet(self.path / "index.parquet").geometry.to_numpy()
            faults += leakage.ground_leaks(self.index, outlines)
            between_m = self._between_m(outlines)
        conventions.refuse(f"The split of {self.path} leaks", faults)
        blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
        counts = {
            "windows": {s: int((self.index["split"] == s).sum()) for s in conventions.SPLITS},
            "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(conventions.SPLITS)},
            "pixels": split["pixels"],
        }
        gap_m, apart = self._nearest(gap_px, between_m)
        own = {s: [n for n, o in split.get("held", {}).items() if o == s] for s in conventions.SPLITS}
        whole = "; ".join(f"{s}: {', '.join(names)}" for s, names in own.items() if names)
        how = f"Whole sources ({whole}), the others split by" if whole else "Split by"
        said = f"{how} {split['method']}. No window shares a pixel or a block with one of another split; {apart}."
        if gap := split.get("gap"):
            said += _said_of_gap(gap, self._pixels_m(), split["left_out"])
        return {
            "method": split["method"], **counts, "counts": counts, "smallest_gap_m": gap_m, "leaks": 0, "said": said
        }  # fmt: skip

    def _pixels_m(self) -> dict[str, float]:
        """The side of each source's pixels, m; NaN where it is not known."""
        return {s["name"]: float(s["pixel_m"] or np.nan) for s in self.meta["sources"]}

    def _between_m(self, outlines: np.ndarray) -> float:
        """Distance of windows of different splits in different sources, m: 0 below half a pixel, NaN where not known."""
        sides = np.array(list(self._pixels_m().values()))
        if np.isnan(sides).any():
            return np.nan
        distance = leakage.between_sources_m(self.index, outlines)
        return 0.0 if distance < sides.max() / 2 else distance

    def _nearest(self, gap_px: float, between_m: float) -> tuple[float | None, str]:
        """The distance of the nearest two windows of different splits, m, and the same in words."""
        pixels_m = self._pixels_m()
        within_m = min((px * pixels_m[s] for s, px in leakage.within_sources_px(self.index).items()), default=np.inf)
        nearest = float(np.minimum(within_m, between_m))  # NaN if either is
        gap_m = round(nearest, 1) if np.isfinite(nearest) else None
        if self.index["split"].nunique() < 2:
            return None, "there is one split only"
        if gap_m is None:
            beside = " in one image; between images the distance is not known" if len(self.sources) > 1 else ""
            return None, (
                f"the splits' nearest windows are {gap_px:.0f} px apart{beside}" if np.isfinite(gap_px)
                else "no image has windows of two, and the distance between images is not known"
            )  # fmt: skip
        where = ", in two images" if between_m < within_m else ""
        alone = "" if np.isfinite(gap_px) else "no image has windows of two; "
        return gap_m, f"{alone}the splits' nearest windows are {gap_m:.0f} m apart{where}"

    def split_map(self, source: str) -> xr.DataArray:
        """The split of every pixel of a source: DataArray (y, x) int8, 0 none, 1 train, 2 val, 3 test."""
        import xarray as xr

        grid, split = self._grids[source], self.meta["split"]
        shape = grid.sizes["y"], grid.sizes["x"]
        values = grids.pixels_of_blocks(np.array(split["blocks"][source], np.int8), split["block"], shape)
        attrs = {"flag_values": [0, 1, 2, 3], "flag_meanings": "none train val test", "long_name": "split"}
        coords = {k: grid[k] for k in ("y", "x", "spatial_ref")}
        return xr.DataArray(values, coords, ("y", "x"), name="split", attrs=attrs)


def _said_of_gap(gap: int, pixels_m: dict[str, float], left_out: dict[str, int]) -> str:
    low, high = (gap * limit(list(pixels_m.values())) for limit in (np.min, np.max))  # NaN if one is
    metres = f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"
    length = f"{gap} px" + (f" ({metres} m)" if np.isfinite(low) else "")
    counts = " and ".join(f"{number} {split}" for split, number in left_out.items() if number) or "no"
    own, beside = (" of its image", " Between images no gap is kept.") if len(pixels_m) > 1 else ("", "")
    return (
        f" Every pixel of a validation or test block lies at least {length} from all training windows{own}: {counts} windows that were "
        f"nearer to a block of a later split were left out.{beside}"
    )
