"""What an explorer says of itself, and what it answers."""

import json

import made_places as made
import numpy as np
import pytest
import viewing
from pyproj import CRS, Transformer

from geonb.dashboards.explorer import Place, lonlat_grid, place_facts
from geonb.dashboards.layers import Grid

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def places():
    return made.data()


@pytest.fixture(scope="module")
def explorer(places):
    return made.explorer(places)


def test_facts_are_json_and_tell_all_but_the_numbers(explorer):
    facts = json.loads(json.dumps(explorer.facts(), allow_nan=False))
    assert [layer["name"] for layer in facts["layers"]] == [layer.name for layer in explorer.layers]
    assert [dim["labels"] for dim in facts["dims"]] == [made.MODELS, made.MONTHS] and facts["dims"][1]["gaps"] == [2]
    assert facts["places"][1]["grids"][""] == {"bounds": [-5, -5, 65, 115], "shape": [12, 7]}
    assert facts["threshold"]["start"] == [0.1, 0.5] and facts["nothing"] == 255 and facts["likeness"] is None


@pytest.mark.parametrize("place", [0, 1])
def test_planes_are_the_numbers_that_are_there(explorer, places, place):
    for model in range(2):
        for month in range(3):
            plane = viewing.seen(explorer, "guess", {"model": model, "month": month}, place).values
            true = places[place].guess.values[model, month]
            assert (np.isnan(plane) == np.isnan(true)).all()
            assert np.nanmax(np.abs(np.sqrt(plane) - np.sqrt(true))) <= 0.5 / 254 + 1e-9
            full = viewing.seen(explorer, "guess", {"model": model, "month": month}, place, exact=True).values
            np.testing.assert_array_equal(full, true.astype("float32"))
            truth = viewing.seen(explorer, "truth", {"month": month}, place, exact=True).values
            np.testing.assert_array_equal(truth, places[place].truth.values[month])
    np.testing.assert_array_equal(viewing.seen(explorer, "height", place=place).values, places[place].height.values)
    shown = viewing.seen(explorer, "picture", place=place).colours
    assert ((shown[..., 3] == 255) == np.isfinite(places[place].height.values)).all()


def test_a_view_gets_its_part_as_fine_as_the_screen(explorer, places):
    near = viewing.seen(explorer, "height", place=1, view=(12, 18, 41, 55))
    assert near.box == [5, 15, 45, 55] and near.step == 1
    np.testing.assert_array_equal(near.values, places[1].height.values[6:10, 1:5])
    far = viewing.seen(explorer, "height", place=1, pixels=4)
    assert far.step == 3 and far.box == [-5, -5, 85, 115]
    np.testing.assert_array_equal(far.values, places[1].height.values[::3, ::3])


def test_a_click_tells_exact_numbers_along_what_is_left_open(explorer, places):
    for place, x, y in [
        (n, *RNG.uniform((-5, -5), (135, 85) if n == 0 else (65, 115))) for n in (0, 1) for _ in range(20)
    ]:
        told = viewing.clicked(explorer, x, y, place=place)
        here = places[place].sel(x=x, y=y, method="nearest")
        for name in ("guess", "truth", "height"):
            np.testing.assert_array_equal(
                np.array(told[name], float), here[name].transpose("model", "month", missing_dims="ignore")
            )
        one = viewing.clicked(explorer, x, y, {"model": 1, "month": 0}, place, ["guess"])["guess"]
        assert one == (None if np.isnan(here.guess[1, 0]) else here.guess.values[1, 0])
    assert set(viewing.clicked(explorer, 500, 50).values()) == {None}


def test_what_it_cannot_answer_is_said(explorer):
    with pytest.raises(ValueError, match="asked for 'nothing': planes, values, alike"):
        explorer.answer({"what": "nothing"})
    with pytest.raises(ValueError, match=r"no layer 'heigth'.*picture, guess, truth, hits, height"):
        viewing.clicked(explorer, 0, 0, layers=["heigth"])
    assert explorer.answer({"what": "alike", "chosen": [0, 0, 0, 0]}) == ({"alike": []}, [])


LONLAT = {"a town": (32119, (630_000, 225_000, 634_000, 229_000)), "a country": (32632, (2e5, 5e6, 8e5, 6e6))}


@pytest.mark.parametrize(("name", "metres"), [("a town", 0.1), ("a country", 150)])
def test_longitude_and_latitude_are_good_between_the_places_that_are_told(name, metres):
    crs, bounds = LONLAT[name]
    lon, lat = (np.reshape(v, (25, 25)) for v in lonlat_grid(CRS.from_epsg(crs), bounds))
    west, south, east, north = bounds
    x, y = west + 6.5 / 24 * (east - west), north - 17.5 / 24 * (north - south)
    middle = lon[17:19, 6:8].mean(), lat[17:19, 6:8].mean()
    true = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    assert np.hypot(*(np.subtract(middle, true) * (111_000 * np.cos(np.deg2rad(true[1])), 111_000))) < metres


def test_where_there_is_no_earth_there_is_no_longitude():
    geos = CRS.from_proj4("+proj=geos +h=35785831 +lon_0=0 +a=6378169 +rf=295.488065897001 +sweep=y")
    lon, _ = lonlat_grid(geos, (-5.5e6, -5.5e6, 5.5e6, 5.5e6))
    assert lon[0] is None and lon[len(lon) // 2] == pytest.approx(0, abs=1e-6)


def test_a_place_says_what_its_numbers_mean():
    grids = {"": Grid((0.0, 30.0, 10.0, 50.0), (4, 4))}
    degrees, metres, feet, bare = (
        place_facts(Place("a", grids, crs)) for crs in (CRS("OGC:CRS84"), CRS(32632), CRS(2264), None)
    )
    assert degrees["kind"] == "geographic" and degrees["squeeze"] == pytest.approx(np.cos(np.deg2rad(40)))
    assert (metres["kind"], metres["metres"], metres["squeeze"]) == ("projected", 1, 1)
    assert feet["metres"] == pytest.approx(1200 / 3937) and bare["kind"] == "none" and bare["lonlat"] is None
