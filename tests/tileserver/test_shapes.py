"""Polygons as tiles: chips where mercantile says they are, in their colours; small ones are seen from far; what cannot be is refused."""

import os

import geopandas as gpd
import made_rasters as made
import mercantile
import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb

from geonb.tileserver import drawing, layers

RED, BLUE = "#d01010", "#1020d0"
HOME = mercantile.tile(36.9, -1.3, 17)


def chips(across=8, down=8, zoom=17, **columns):
    """Tiles of Web Mercator from HOME to the east and south, in order of rows."""
    at = [mercantile.Tile(HOME.x + i % across, HOME.y + i // across, zoom) for i in range(across * down)]
    table = {"quadkey": [mercantile.quadkey(tile) for tile in at]} | columns
    return gpd.GeoDataFrame(table, geometry=[shapely.box(*mercantile.bounds(tile)) for tile in at], crs="OGC:CRS84")


def shown(*paths):
    return next(iter(layers.layers_of(paths)[0].values()))


def drawn(one, tile, asked=None):
    return made.pixels(drawing.draw(one, tile.z, tile.x, tile.y, drawing.style_of(one, asked or {})))


def colour(text):
    return np.round(255 * np.array(to_rgb(text))).astype(int)


def test_a_chip_fills_its_own_tile_in_its_colour_and_none_else(tmp_path):
    label = ["water" if i % 3 else "roof" for i in range(64)]
    table = chips(label=label, fill=[BLUE if name == "water" else RED for name in label], row=range(64))
    table.to_file(tmp_path / "chips.gpkg", layer_metadata={"simulated": "1"})
    one = shown(tmp_path)
    assert one.first.classes == {1: "roof", 2: "water"} and one.first.simulated
    for i in (0, 1, 9, 63):
        tile = mercantile.Tile(HOME.x + i % 8, HOME.y + i // 8, 17)
        picture = drawn(one, tile)
        assert (picture[..., :3] == colour(RED if label[i] == "roof" else BLUE)).all() and (
            picture[..., 3] == 255
        ).all()
    assert not drawn(one, mercantile.Tile(HOME.x - 1, HOME.y, 17))[..., 3].any()
    told = drawing.tilejson(one, drawing.style_of(one, {}), "x")
    assert [(c["name"], c["colour"]) for c in told["geonb"]["classes"]] == [("roof", RED), ("water", BLUE)]
    assert "simulated" in told["description"]
    assert told["bounds"] == pytest.approx(table.total_bounds.tolist(), abs=1e-9)
    assert told["minzoom"] <= 14 and told["maxzoom"] == 19


def test_parents_show_every_chip_where_it_lies(tmp_path):
    chips(4, 4, label=list("abcdabcdabcdabcd")).to_parquet(tmp_path / "chips.parquet")
    one = shown(tmp_path / "chips.parquet")
    up = mercantile.parent(HOME, zoom=15)
    picture = drawn(one, up)
    step = 64
    x, y = (HOME.x - up.x * 4) * step, (HOME.y - up.y * 4) * step
    seen = {
        name: tuple(picture[y + 32, x + 32 + i * step, :3]) for i, name in enumerate("abcd") if x + 32 + i * step < 256
    }
    told = {c["name"]: c["colour"] for c in drawing.tilejson(one, drawing.style_of(one, {}), "")["geonb"]["classes"]}
    assert seen and all(tuple(colour(told[name])) == value for name, value in seen.items())
    assert picture[y - 1, x + 1, 3] == 0 if y else True


def test_what_is_smaller_than_a_pixel_is_not_lost(tmp_path):
    chips(30, 30, label=["one", "other"] * 450).to_file(tmp_path / "chips.fgb")
    one = shown(tmp_path / "chips.fgb")
    for zoom in (0, 5, 8):  # 900 chips of zoom 17 in a pixel or few
        tile = mercantile.parent(HOME, zoom=zoom)
        found = int((drawn(one, tile)[..., 3] > 0).sum())
        side = 256 * 30 / 2 ** (17 - zoom)
        assert 1 <= found <= (side + 2) ** 2


def test_smaller_shapes_lie_on_top(tmp_path):
    big, small = shapely.box(36.0, -2.0, 37.0, -1.0), shapely.box(36.4, -1.6, 36.6, -1.4)
    gpd.GeoDataFrame({"kind": ["small", "big"]}, geometry=[small, big], crs=4326).to_file(tmp_path / "a.geojson")
    one = shown(f"{tmp_path / 'a.geojson'}:column=kind")
    tile = mercantile.tile(36.5, -1.5, 12)
    picture, classes = drawn(one, tile), one.first
    assert (
        tuple(picture[128, 128, :3]) == classes.colours[next(k for k, v in classes.classes.items() if v == "small")][:3]
    )


def test_numbers_are_a_colour_map_and_unknown_ones_are_empty(tmp_path):
    values = np.linspace(0, 1, 64)
    values[0] = np.nan
    chips(**{"p roof": values}).to_file(tmp_path / "chips.gpkg")
    one = shown(f"{tmp_path / 'chips.gpkg'}:column=p roof")
    assert one.name == "chips p roof"
    style = drawing.style_of(one, {"rescale": "0,1"})
    assert style.colormap == "cividis" and drawing.style_of(one, {"colormap": "viridis"}).colormap == "viridis"
    assert drawing.style_of(one, {}).ranges[0] == pytest.approx(np.nanpercentile(values, (2, 98)), abs=1e-6)
    from matplotlib import colormaps

    last = mercantile.Tile(HOME.x + 7, HOME.y + 7, 17)
    got = made.pixels(drawing.draw(one, *(last.z, last.x, last.y), style))[0, 0, :3]
    assert np.abs(got.astype(int) - colour(colormaps["cividis"](1.0))).max() <= 2
    assert not made.pixels(drawing.draw(one, 17, HOME.x, HOME.y, style))[..., 3].any()


def test_columns_of_one_file_are_layers_with_names_of_their_own(tmp_path):
    path = tmp_path / "chips.parquet"
    chips(told=["a", "b"] * 32, truth=["b", "c"] * 32, labels=[["x", "y"], []] * 32).to_parquet(path)
    found, notes = layers.layers_of([f"{path}:column={name}" for name in ("told", "truth", "labels")])
    assert list(found) == ["chips told", "chips truth", "chips labels"] and not notes
    assert list(found["chips labels"].first.classes.values()) == ["none", "x, y"]
    _, notes = layers.layers_of([path])
    assert "shown by told" in notes[0] and ":column=NAME" in notes[0]


def test_shapes_and_rasters_of_a_folder_side_by_side(tmp_path):
    made.class_map(tmp_path / "classes.tif")
    chips(label=["a", "b"] * 32).to_file(tmp_path / "chips.gpkg")
    gpd.pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    found, notes = layers.layers_of([tmp_path])
    assert sorted(found) == ["chips", "classes"]
    assert any("table.parquet" in note for note in notes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: chips(label="a").to_parquet(f / "a.parquet"), "has no column 'kind'. There are: quadkey, label"),
        (lambda f: chips(kind=[str(i) for i in range(300)], across=30, down=10).to_parquet(f / "a.parquet"), "kind has 300 values"),
        (lambda f: chips(kind="a", fill="#12").to_parquet(f / "a.parquet"), "holds what is no colour"),
        (lambda f: chips(kind="a").set_crs(None, allow_override=True).to_parquet(f / "a.parquet"), "no CRS"),
        (lambda f: chips(kind="a").to_crs(3857).centroid.to_frame("geometry").to_parquet(f / "a.parquet"), "no polygons"),
        (lambda f: (f / "a.parquet").write_bytes(b"PAR1 nothing"), "not a vector file"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_by_name(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(ValueError, match=r"(?s)a\.parquet.*" + said.replace(".", r"\.")):
        layers.layers_of([f"{tmp_path / 'a.parquet'}:column=kind"])


def test_colours_of_one_column_do_not_stand_for_another(tmp_path):
    path = tmp_path / "chips.parquet"
    chips(told=["a", "b"] * 32, fill=[RED, BLUE] * 32, split=["train"] * 30 + ["test"] * 34).to_parquet(path)
    told, split = (shown(f"{path}:column={name}").first for name in ("told", "split"))
    assert [tuple(c[:3]) for c in told.colours.values()] == [tuple(colour(RED)), tuple(colour(BLUE))]
    assert len(set(split.colours.values())) == 2 and set(split.colours.values()) != set(told.colours.values())


def test_beyond_what_the_square_shows_is_cut_off(tmp_path):
    polar = [shapely.box(10, 80, 20, 90), shapely.box(30, 86, 40, 89)]
    gpd.GeoDataFrame({"kind": ["a", "b"]}, geometry=polar, crs=4326).to_parquet(tmp_path / "a.parquet")
    west, south, east, north = shown(tmp_path / "a.parquet").bounds
    assert (west, south, east) == pytest.approx((10, 80, 20)) and north == pytest.approx(85.0511287798066)


def test_polygons_beyond_180_are_shown_on_the_other_side_and_those_at_a_pole_are_told(tmp_path):
    """Chips of Fiji: one that crosses, one that lies all beyond as a zone's outlines do, one west of -180; and a polar one."""
    boxes = [
        (179.9, -17, 180.1, -16.9),
        (180.2, -17, 180.3, -16.9),
        (-180.3, -17.2, -180.2, -17.1),
        (10, 84, 11, 89),
        (10, 86, 11, 89),
    ]
    frame = gpd.GeoDataFrame({"kind": list("abcde")}, geometry=[shapely.box(*box) for box in boxes], crs="OGC:CRS84")
    frame.to_file(tmp_path / "chips.gpkg")
    found, notes = layers.layers_of([tmp_path / "chips.gpkg:column=kind"])
    assert any("2 of 5 polygons reach nearer to a pole than 85.05 degrees" in note for note in notes)
    (one,) = found.values()
    for lon, lat, name in (
        (179.95, -16.95, "a"),
        (-179.95, -16.95, "a"),
        (-179.75, -16.95, "b"),
        (179.75, -17.15, "c"),
        (10.5, 84.5, "d"),
    ):
        tile = mercantile.tile(lon, lat, 13)
        code = next(code for code, text in one.first.classes.items() if text == name)
        picture = drawn(one, tile)
        assert picture[..., 3].any() and tuple(picture[picture[..., 3] > 0][0, :3]) == tuple(
            one.first.colours[code][:3]
        ), name


def test_classes_of_a_file_that_is_replaced_are_its_own(tmp_path):
    path = tmp_path / "chips.gpkg"
    chips(2, 2, label=["roof", "water"] * 2, fill=[RED, BLUE] * 2).to_file(path)
    one = shown(path)
    chips(2, 2, label=["grass", "roof"] * 2, fill=[BLUE, RED] * 2).to_file(tmp_path / "new.gpkg", layer="chips")
    (tmp_path / "new.gpkg").replace(path)
    os.utime(path, ns=(1, 1))
    one.look_again(0)
    assert one.first.classes == {1: "grass", 2: "roof"}
    assert (drawn(one, HOME)[..., :3] == colour(BLUE)).all()
