"""The ground of maps: coasts and borders in any CRS, against Natural Earth itself."""

import made_sky as made
import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from geonb.plots.cells import ground, ground_in
from geonb.plots.style import evenly


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (25, 8), (1000, 3), (7, 1)])
def test_some_of_many_are_spread_evenly(count, most):
    places = evenly(count, most)
    assert len(places) == min(count, most) and places[0] == 0 and (most == 1 or places[-1] == count - 1)
    assert len(places) < 3 or np.ptp(np.diff(places)) <= 1


BOXES = {
    "west Iberia": (made.GEOS, (-1_000_000, 4_000_000, -600_000, 4_300_000)),
    "full disk": (made.GEOS, (-5_570_000, -5_570_000, 5_570_000, 5_570_000)),
    "across the dateline": (CRS.from_epsg(3832), (1_000_000, -5_000_000, 4_500_000, 1_000_000)),
    "a world around the Pacific": (CRS.from_epsg(3832), (-20_000_000, -12_000_000, 20_000_000, 12_000_000)),
    "the north pole": (CRS.from_epsg(3413), (-3_000_000, -3_000_000, 3_000_000, 3_000_000)),
}


@pytest.mark.parametrize("name", BOXES)
def test_coasts_lie_where_natural_earth_has_them(name):
    crs, bounds = BOXES[name]
    lines = ground_in(crs, bounds)["coast"]
    assert lines
    points = np.concatenate(lines)
    assert (points >= np.array(bounds[:2]) - 1).all() and (points <= np.array(bounds[2:]) + 1).all()
    lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*points.T)
    on_earth = np.isfinite(lon) & np.isfinite(lat)
    assert on_earth.mean() > 0.99
    world = shapely.union_all([shapely.linestrings(line) for line in ground((-180, -90, 180, 90))["coast"]])
    off = shapely.distance(world, shapely.points(lon[on_earth], lat[on_earth]))
    assert off.max() < 0.05  # degrees
    steps = np.concatenate([np.hypot(*np.diff(line, axis=0).T) for line in lines])
    assert steps.max() < max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 4  # nothing jumps across the map


def test_open_sea_and_space_have_none():
    assert ground_in(made.GEOS, (-2_500_000, -2_500_000, -2_400_000, -2_400_000)) == {"coast": [], "borders": []}
    assert ground_in(made.GEOS, (6e6, 6e6, 7e6, 7e6)) == {"coast": [], "borders": []}
