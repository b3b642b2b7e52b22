"""Tiles beside rasterio and pyproj: where marks lie, what colours say, what is transparent; and what is refused, in words."""

import jsonschema
import made_rasters as made
import mercantile
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_bounds, from_origin
from rasterio.warp import reproject

from geonb.tileserver import drawing, layers


def layer(folder, name=None):
    found, _ = layers.layers_of([folder])
    return found[name] if name else next(iter(found.values()))


def tile_at(one, zoom, fraction=(0.5, 0.5)):
    west, south, east, north = one.bounds
    at = mercantile.tile(west + (east - west) * fraction[0], south + (north - south) * fraction[1], zoom)
    return at.z, at.x, at.y


def drawn(one, tile, asked=None, **more):
    return made.pixels(drawing.draw(one, *tile, drawing.style_of(one, asked or {}), **more))


@given(st.integers(0, 30).flatmap(lambda z: st.tuples(st.just(z), st.integers(0, 2**z - 1), st.integers(0, 2**z - 1))))
def test_boxes_are_those_of_mercantile(tile):
    z, x, y = tile
    assert drawing.box_of(z, x, y) == pytest.approx(tuple(mercantile.xy_bounds(x, y, z)), abs=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("side", [256, 512])
def test_marks_lie_where_they_are_to_half_a_pixel(tmp_path, crs, side):
    """Marks of 5 x 5 pixels: the middle of what is bright in a tile, taken back by pyproj, is the middle of the mark."""
    pixel, (west, north) = {"EPSG:32633": (30, (500_000, 5_200_000)), "EPSG:4326": (3e-4, (14.9, 46.9)),
                            "EPSG:3857": (40, (1_660_000, 5_920_000))}[crs]  # fmt: skip
    values, marks = np.zeros((300, 400), "uint8"), [(40, 50), (150, 200), (260, 350), (33, 371)]
    for row, column in marks:
        values[row : row + 5, column : column + 5] = 250
    made.write(tmp_path / "a.tif", values, crs=crs, transform=from_origin(west, north, pixel, pixel))
    one = layer(tmp_path)
    zoom = one.zooms[1] + 1
    to_mercator = Transformer.from_crs(crs, 3857, always_xy=True)
    for row, column in marks:
        truth = (west + (column + 2.5) * pixel, north - (row + 2.5) * pixel)
        x, y = to_mercator.transform(*truth)
        lon, lat = Transformer.from_crs(3857, 4326, always_xy=True).transform(x, y)
        tile = mercantile.tile(lon, lat, zoom)
        around = drawn(one, (tile.z, tile.x, tile.y), {"buffer": "64"}, side=side)[..., 0].astype(float)
        box = mercantile.xy_bounds(tile)
        m = (box.right - box.left) / side
        near_x, near_y = (x - box.left) / m + 64, (box.top - y) / m + 64
        rows, columns = np.indices(around.shape)
        weight = around * (np.hypot(columns + 0.5 - near_x, rows + 0.5 - near_y) < 30)
        assert weight.sum() > 0
        found = ((columns + 0.5) * weight).sum() / weight.sum(), ((rows + 0.5) * weight).sum() / weight.sum()
        back = to_mercator.transform(box.left + (found[0] - 64) * m, box.top - (found[1] - 64) * m, direction="INVERSE")
        assert np.abs(np.subtract(back, truth)).max() < pixel / 2


def test_a_class_map_is_drawn_in_its_own_colours_as_rasterio_warps_it(tmp_path):
    path = made.class_map(tmp_path / "a.tif")
    one = layer(tmp_path)
    tile = tile_at(one, one.zooms[1])
    colours = np.zeros((256, 4), "uint8")
    for value, colour in ((0, (10, 20, 200, 255)), (1, (40, 160, 40, 255)), (2, (210, 180, 90, 255))):
        colours[value] = colour
    truth = np.full((256, 256), 255, "uint8")
    with rasterio.open(path) as data:
        reproject(data.read(1), truth, src_transform=data.transform, src_crs=data.crs, src_nodata=255, dst_nodata=255, dst_crs="EPSG:3857",
                  dst_transform=from_bounds(*drawing.box_of(*tile), 256, 256), resampling=Resampling.nearest)  # fmt: skip
    for form in ("png", "webp"):  # WebP without loss, or classes would get shades
        picture = drawn(one, tile, form=form)
        assert (picture == colours[truth]).all(-1).mean() > 0.995 and {tuple(c) for c in picture.reshape(-1, 4)} <= {
            tuple(c) for c in colours
        }


def test_no_data_is_transparent_whoever_says_so(tmp_path):
    values = made.gradient(dtype="float32")
    values[:, :150] = np.nan  # which the file does not call nodata
    made.write(tmp_path / "nan.tif", values)
    values = made.gradient()
    values[:, :150] = 7
    made.write(tmp_path / "told.tif", values, nodata=7)
    made.write(tmp_path / "asked.tif", values)
    mask = np.where(np.arange(300) < 150, 0, 255).astype("uint8") * np.ones((200, 1), "uint8")
    byte = made.gradient(dtype="uint8", top=250)
    made.write(tmp_path / "alpha.tif", np.stack([byte, byte, byte, mask]))
    for name in ("nan", "told", "asked", "alpha"):
        one = layer(tmp_path, name)
        tile = tile_at(one, one.zooms[0])
        picture = drawn(one, tile, {"nodata": "7"} if name == "asked" else {})
        x = np.flatnonzero((picture[..., 3] > 0).any(0))
        box = mercantile.xy_bounds(tile[1], tile[2], tile[0])
        middle, _ = Transformer.from_crs(made.UTM, 3857, always_xy=True).transform(
            made.WEST + 150 * 30, made.NORTH - 3000
        )
        assert x[0] == pytest.approx((middle - box.left) / (box.right - box.left) * 256, abs=2), name
    picture = drawn(layer(tmp_path, "told"), tile, form="jpg")
    assert (picture[:, : x[0] - 8, :3] > 245).all()  # JPEG knows no transparency: white


def test_what_gdal_merely_calls_alpha_hides_nothing(tmp_path):
    made.write(tmp_path / "a.tif", np.stack([made.gradient(dtype="uint8", top=250)] * 4))
    one = layer(tmp_path)
    assert (drawn(one, tile_at(one, one.zooms[1] + 2))[..., 3] == 255).all()
    assert drawing.style_of(one, {"bands": "4,3,2"}).bands == (4, 3, 2)


def test_bytes_are_drawn_as_they_are_and_others_stretched(tmp_path):
    made.write(tmp_path / "bytes.tif", np.full((200, 300), 100, "uint8"))
    made.write(tmp_path / "ints.tif", np.full((200, 300), 1500, "int16"))
    for name, asked, grey in (("bytes", {}, 100), ("bytes", {"rescale": "0,200"}, 127), ("ints", {"rescale": "1000,2000"}, 127),
                              ("ints", {"rescale": "2000,3000"}, 0), ("ints", {"rescale": "0,1000"}, 255)):  # fmt: skip
        one = layer(tmp_path, name)
        assert np.unique(drawn(one, tile_at(one, one.zooms[1] + 2), asked)[..., :3]).tolist() == [grey], (name, asked)


def test_a_colour_map_is_the_one_that_matplotlib_has(tmp_path):
    from matplotlib import colormaps

    made.write(tmp_path / "a.tif", np.full((200, 300), 1500, "int16"))
    one = layer(tmp_path)
    colour = drawn(one, tile_at(one, one.zooms[1] + 2), {"rescale": "1000,2000", "colormap": "viridis"})[0, 0, :3]
    assert np.abs(colour.astype(int) - np.array(colormaps["viridis"](127, bytes=True)[:3])).max() <= 2


def test_tiles_of_a_mosaic_take_the_first_file_and_fill_from_the_next(tmp_path):
    top, below = np.full((200, 300), 200, "uint8"), np.full((200, 300), 50, "uint8")
    top[:, :100] = 0
    made.write(tmp_path / "top.tif", top, nodata=0, tags={"TIFFTAG_DATETIME": "2024:01:01 00:00:00"})
    made.write(tmp_path / "below.tif", below, nodata=0, tags={"TIFFTAG_DATETIME": "2020:01:01 00:00:00"})
    one = layer(tmp_path, "mosaic")
    picture = drawn(one, tile_at(one, one.zooms[0] - 1), {"rescale": "0,255"})
    seen = picture[picture[..., 3] > 0][:, 0]
    assert {50, 200} <= set(seen.tolist()) and np.mean(seen == 200) == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize("buffer", [1, 8, 40])
def test_a_buffered_tile_shows_what_its_neighbours_do_also_in_other_files(tmp_path, buffer):
    """Files that end at a tile's edge: what lies past it is in another file, and was transparent elsewhere (cogeo-mosaic#229)."""
    z, x, y = 12, 2218, 1445
    for dx in (-1, 0, 1):
        west, south, east, north = drawing.box_of(z, x + dx, y)
        values = made.gradient((256, 256), "uint8", 250) // (2 + dx) + 3
        made.write(
            tmp_path / f"{dx + 1}.tif",
            values,
            crs="EPSG:3857",
            nodata=0,
            transform=from_bounds(west, south, east, north, 256, 256),
        )
    one = layer(tmp_path, "mosaic")
    picture = drawn(one, (z, x, y), {"buffer": str(buffer)})
    assert picture.shape == (256 + 2 * buffer,) * 2 + (4,)
    inside = slice(buffer, -buffer)
    np.testing.assert_array_equal(picture[inside, :buffer], drawn(one, (z, x - 1, y))[:, -buffer:])
    np.testing.assert_array_equal(picture[inside, -buffer:], drawn(one, (z, x + 1, y))[:, :buffer])
    assert (picture[:buffer, :, 3] == 0).all()  # north of it there is nothing


def test_where_there_is_nothing_a_tile_is_transparent(tmp_path):
    made.write(tmp_path / "a.tif", made.gradient())
    one = layer(tmp_path)
    for form in drawing.ENCODERS:
        picture = drawn(one, (10, 3, 3), form=form, side=512)
        assert picture.shape == (512, 512, 4)
        assert (picture[..., 3] == 0).all() if form != "jpg" else (picture[..., :3] == 255).all()


def test_a_disk_of_a_geostationary_satellite_is_drawn_and_space_is_not(tmp_path):
    geos, half, count = "+proj=geos +h=35785831 +lon_0=0 +a=6378169 +rf=295.488065897001 +sweep=y", 5_568_742, 500
    made.write(tmp_path / "disk.tif", np.full((count, count), 200, "uint8"), crs=geos,
               transform=from_origin(-half, half, 2 * half / count, 2 * half / count))  # fmt: skip
    picture = drawn(layer(tmp_path), (0, 0, 0))
    assert picture[128, 128].tolist() == [200, 200, 200, 255]  # 0 N 0 E
    assert picture[128, [10, 245], 3].tolist() == [0, 0]  # the other side of the Earth
    for tile in ((3, 0, 0), (5, 31, 31), (2, 1, 1)):
        assert drawn(layer(tmp_path), tile).shape == (256, 256, 4)


def test_both_sides_of_the_antimeridian_are_drawn(tmp_path):
    made.write(
        tmp_path / "a.tif",
        np.full((200, 300), 90, "uint8"),
        crs="EPSG:32701",
        transform=from_origin(100_000, 8_100_000, 1500, 1500),
    )
    one = layer(tmp_path)
    for lon in (179.8, -179.8):
        tile = mercantile.tile(lon, -17.5, 9)
        assert (drawn(one, (tile.z, tile.x, tile.y))[..., 0] == 90).mean() > 0.9


SCHEMA = {  # of TileJSON 3.0.0, as far as a set of pictures goes: names, types and ranges in its text
    "type": "object", "required": ["tilejson", "tiles", "vector_layers"],
    "properties": {
        "tilejson": {"const": "3.0.0"},
        "tiles": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^http.*{z}.*{x}.*{y}"}},
        "vector_layers": {"type": "array", "maxItems": 0}, "scheme": {"enum": ["xyz", "tms"]},
        "bounds": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number", "minimum": -180, "maximum": 180}},
        "center": {"type": "array", "minItems": 3, "maxItems": 3, "items": {"type": "number"}},
        **{name: {"type": "integer", "minimum": 0, "maximum": 30} for name in ("minzoom", "maxzoom")},
        **{name: {"type": "string"} for name in ("name", "description", "legend")},
    },
}  # fmt: skip


def test_tilejson_is_valid_and_tells_what_colours_mean(tmp_path):
    made.class_map(tmp_path / "classes.tif")
    made.write(tmp_path / "ints.tif", made.gradient(), tags={"simulated": "1"})
    made.write(tmp_path / "globe.tif", made.gradient((90, 180)), crs="EPSG:4326", transform=from_origin(-180, 90, 2, 2))
    told = {}
    for name in ("classes", "ints", "globe"):
        one = layer(tmp_path, name)
        told[name] = drawing.tilejson(one, drawing.style_of(one, {}), "http://here/{z}/{x}/{y}.png")
        jsonschema.validate(told[name], SCHEMA)
        (west, south, east, north), (lon, lat, zoom) = told[name]["bounds"], told[name]["center"]
        assert west <= lon <= east and south <= lat <= north and told[name]["minzoom"] <= zoom <= told[name]["maxzoom"]
    assert told["classes"]["geonb"]["classes"][2] == {"value": 2, "name": "bare <soil>", "colour": "#d2b45a"}
    assert told["classes"]["legend"] == "0 water; 1 forest; 2 bare <soil>"
    assert told["ints"]["geonb"]["simulated"] and "simulated" in told["ints"]["description"]
    assert told["ints"]["geonb"]["ranges"][0][0] < told["ints"]["geonb"]["ranges"][0][1]


def test_every_fault_of_what_is_asked_is_listed(tmp_path):
    made.write(tmp_path / "a.tif", np.stack([made.gradient(dtype="uint8", top=250)] * 5))
    one = layer(tmp_path)
    asked = {
        "bands": "0,2",
        "rescale": "9,3",
        "colormap": "virids",
        "nodata": "300",
        "buffer": "-1",
        "scheme": "zyx",
        "resale": "1",
    }
    with pytest.raises(ValueError, match="cannot be drawn") as refused:
        drawing.style_of(one, asked)
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == len(asked) and all(any(line.startswith(f"- {name}") for line in lines) for name in asked)
    for wrong, said in (({"colormap": "viridis"}, "bands=1"), ({"rescale": "1,2,3"}, "0,3000"), ({"rescale": "nan,3"}, "lower first"),
                        ({"rescale": "a"}, "0,3000"), ({"bands": "6"}, r"5 \(band 5\)"), ({"nodata": "1.5"}, "uint8"),
                        ({"nodata": "x"}, "uint8"), ({"buffer": "9" * 40}, "0 to 256"), ({"bands": "²"}, "there are 1")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            drawing.style_of(one, wrong)
    assert drawing.style_of(one, {"rescale": "0,1,0,2,0,3"}).ranges == ((0, 1), (0, 2), (0, 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(-5, 40), st.integers(-(2**33), 2**33), st.integers(-(2**33), 2**33))
def test_what_is_no_tile_is_refused(z, x, y):
    valid = 0 <= z <= 30 and 0 <= x < 2**z and 0 <= y < 2**z
    if valid:
        drawing.check_tile(z, x, y)
    else:
        with pytest.raises(ValueError, match=r"Zoom -?\d+ is none: give 0 to 30|is none of zoom"):
            drawing.check_tile(z, x, y)


def test_tiles_far_below_the_pixels_are_drawn(tmp_path):
    made.write(tmp_path / "a.tif", np.full((200, 300), 100, "uint8"))
    one = layer(tmp_path)
    assert (drawn(one, tile_at(one, 30))[..., 0] == 100).all()
