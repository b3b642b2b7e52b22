import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, box

from geonb.workloads.conflict import priogrid


def at(*places, country_id=475, name="Nigeria"):
    """Events at (latitude, longitude)."""
    gid = [priogrid.gid_of(*p) for p in places]
    events = pd.DataFrame({"gid": gid, "country_id": country_id})
    events.attrs["countries"] = {country_id: name}
    return events


@pytest.mark.parametrize(
    ("latitude", "longitude", "gid"),
    [
        (-89.75, -179.75, 1),
        (-90, -180, 1),
        (-89.75, 179.75, 720),
        (-89.5, -180, 721),  # an edge belongs to the cell north of it
        (89.75, 179.75, 259_200),
        (90, 180, 259_200),
        (11.846440, 13.160274, 146_547),  # Maiduguri, as UCDP published it
    ],
)
def test_gid_is_the_published_numbering(latitude, longitude, gid):
    assert priogrid.gid_of(latitude, longitude) == gid


@given(st.integers(1, 259_200))
def test_the_centre_of_a_cell_lies_in_it(gid):
    latitude, longitude = priogrid.centre_of(gid)
    row, column = priogrid.cell_of(gid)
    assert priogrid.gid_of(latitude, longitude) == gid == row * 720 + column + 1


@pytest.mark.parametrize("place", [(90.1, 0), (0, -180.5), (np.nan, 0)])
def test_off_the_globe_is_refused(place):
    with pytest.raises(ValueError, match="off the globe"):
        priogrid.gid_of(*place)


def test_a_box_is_snapped_outward():
    region = priogrid.select_region("box:2.6,4.1,3.0,5.2")
    assert region.bounds == (2.5, 4.0, 3.0, 5.5)
    assert region.shape == (3, 1) and region.valid.all() and not region.wraps
    assert region.latitude.tolist() == [4.25, 4.75, 5.25] and region.longitude.tolist() == [2.75]
    assert region.gid[:, 0].tolist() == [priogrid.gid_of(y, 2.75) for y in region.latitude]


def test_places_are_flat_indices_and_minus_one_outside():
    region = priogrid.select_region("box:0,0,1,1")
    gid = priogrid.gid_of([0.25, 0.75, 0.75, -0.25, 0.25], [0.25, 0.25, 0.75, 0.25, 1.25])
    assert region.places(gid).tolist() == [0, 2, 3, -1, -1]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("box:1,2,3", "four numbers"),
        ("box:3,2,1,4", "west must be less than east"),
        ("box:-190,95,1,4", "longitudes.*latitudes|south must be less than north"),
        ("europe", "names no part"),
        ("none.geojson", "no such file"),
        ("country:99", "There are: 475"),
        ("country:Mali", "'Mali' is no number"),
    ],
)
def test_a_region_that_cannot_be_is_refused_with_what_can(spec, says):
    with pytest.raises(ValueError, match=says):
        priogrid.select_region(spec, at((10, 10)))


def test_without_a_text_it_is_the_box_of_the_events():
    region = priogrid.select_region(None, at((4.3, 2.7), (13.7, 14.5)))
    assert region.bounds == (2.5, 4.0, 15.0, 14.0) and region.valid.all()


def test_a_country_has_the_cells_whose_centre_lies_in_it_and_those_of_its_events():
    far = (20.1, 20.1)  # an event that UCDP gives to Nigeria, in Chad
    region = priogrid.select_region("country:475", at((10, 10), far))
    names = gpd.read_file(priogrid.COUNTRIES)
    nigeria = names.geometry[names["NAME"] == "Nigeria"].item()
    y, x = np.meshgrid(region.latitude, region.longitude, indexing="ij")
    inside = np.array([nigeria.contains(Point(*p)) for p in zip(x.ravel(), y.ravel(), strict=True)]).reshape(y.shape)
    inside.ravel()[region.places(priogrid.gid_of(*far))] = True
    assert (region.valid == inside).all() and inside.sum() > 250


def test_a_country_that_the_small_map_lacks_has_the_cells_of_its_events_only():
    region = priogrid.select_region("country:999", at((1.3, 103.8), country_id=999, name="Singapore"))
    assert region.shape == (1, 1) and region.valid.all()
    assert "only the cells of its events" in region.notes[0]


@pytest.mark.parametrize("name", ["DR Congo (Zaire)", "Myanmar (Burma)", "Yemen (North Yemen)", "Ivory Coast"])
def test_names_as_ucdp_writes_them_are_found_on_the_map(name):
    assert priogrid._outline(name) is not None


def test_a_shapefile_that_is_cut_short_is_no_smaller_region(tmp_path):
    shapes = gpd.GeoDataFrame(geometry=[box(n, 0, n + 1, 1) for n in range(20)], crs=4326)
    shapes.to_file(tmp_path / "area.shp")
    assert priogrid.select_region(tmp_path / "area.shp").valid.sum() == 80
    whole = (tmp_path / "area.shp").read_bytes()
    (tmp_path / "area.shp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"area.shp is damaged or cut short: .* Copy it again"):
        priogrid.select_region(tmp_path / "area.shp")


def test_a_vector_file_gives_the_cells_whose_centre_it_holds_and_a_tiny_shape_the_one_it_touches(tmp_path):
    shapes = gpd.GeoDataFrame(geometry=[box(0.1, 0.1, 1.6, 0.6), box(3.0, 2.0, 3.1, 2.1)], crs=4326)
    shapes.to_crs(3857).to_file(tmp_path / "area.gpkg")
    region = priogrid.select_region(tmp_path / "area.gpkg")
    latitude, longitude = priogrid.centre_of(region.gid[region.valid])
    found = sorted(zip(latitude, longitude, strict=True))
    assert found == [(0.25, 0.25), (0.25, 0.75), (0.25, 1.25), (2.25, 3.25)]
    shapes.to_parquet(tmp_path / "AREA.PARQUET")
    assert (priogrid.select_region(tmp_path / "AREA.PARQUET").valid == region.valid).all()
    shapes.to_file(tmp_path / "area.gpkg", layer="roads")
    with pytest.raises(ValueError, match=r"area.gpkg' holds 2 layers \(area, roads\); it must hold one"):
        priogrid.select_region(tmp_path / "area.gpkg")


def test_the_globe_wraps_and_counts_land_and_cells_with_events():
    at_sea = (0.1, -30.1)
    region = priogrid.select_region("globe", at(at_sea))
    assert region.wraps and region.shape == (360, 720)
    assert region.valid.ravel()[priogrid.gid_of(*at_sea) - 1]
    assert not region.valid.ravel()[priogrid.gid_of(0.1, -31.1) - 1]
    assert region.valid.ravel()[priogrid.gid_of(9, 9) - 1]


def test_africa_is_the_seeds_box_snapped_outward():
    region = priogrid.select_region("africa")
    assert region.bounds == (-17.5, -35.0, 51.5, 37.5) and not region.wraps


def test_a_place_is_far_from_a_cell_unless_it_lies_in_it_or_beside_it():
    cell = priogrid.gid_of([10.25, 10.25, 10.25, 10.25, 10.25], [179.75, 8.25, 8.25, 8.25, 8.25])
    latitude, longitude = [10.2, 10.2, 10.2, 11.1, np.nan], [-179.9, 8.9, 9.1, 8.3, 8.3]
    assert priogrid.far_from(cell, latitude, longitude).tolist() == [False, False, True, True, False]
