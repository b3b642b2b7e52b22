"""Tiles by their names: places against published numbers and GDAL, mosaics pixel by pixel, and what is refused."""

import io

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from rasterio.warp import transform

from geonb.rasters import images, sources, tiles

SIDE = 16


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project of its own around the tiles."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))


def write(path, pixels, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.asarray(pixels, np.uint8), mode).save(path, **options)
    return path


def noise(seed, bands=3):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, bands)[: 2 + (bands > 1)], np.uint8)


def pixels(path):
    """(channel, y, x) values and (y, x) where there is data."""
    image = images.open_image(path)
    with images.reader(image) as read:
        return read(slice(0, image.shape[0]), slice(0, image.shape[1]))[:2]


@pytest.mark.parametrize(
    ("tile", "bounds", "quadkey"),  # from mercantile 1.2.1
    [
        (
            (21, 1263512, 1056200),
            (4107267.277876, -145708.085169, 4107286.387133, -145688.975912),
            "300110102231332013000",
        ),
        (
            (21, 1546788, 881052),
            (9520461.184004, 3201240.072354, 9520480.293261, 3201259.181611),
            "123131223101220122300",
        ),
        ((2, 1, 2), (-10018754.171395, -10018754.171395, 0, 0), "21"),
        ((3, 3, 7), (-5009377.085697, -20037508.342789, 0, -15028131.257092), "233"),
        ((0, 0, 0), (-20037508.342789, -20037508.342789, 20037508.342789, 20037508.342789), ""),
    ],
)
def test_place_and_quadkey_are_the_published_ones(tile, bounds, quadkey):
    assert tiles.Tile(*tile).bounds == pytest.approx(bounds, abs=1e-5)
    assert tiles.Tile(*tile).quadkey == quadkey
    assert tiles.tile_of_quadkey(quadkey) == tile


@given(st.integers(1, 24), st.floats(-179.9, 179.9), st.floats(-84, 84))
def test_a_place_lies_in_its_tile(z, lon, lat):
    # the slippy-map formula, from degrees: an oracle on its own
    n = 2**z
    x = int((lon + 180) / 360 * n)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n)
    west, south, east, north = tiles.Tile(z, x, y).bounds
    (here_x,), (here_y,) = transform("OGC:CRS84", "EPSG:3857", [lon], [lat])
    near = 1e-6 * (east - west)
    assert west - near <= here_x <= east + near
    assert south - near <= here_y <= north + near
    assert tiles.tile_of_quadkey(tiles.Tile(z, x, y).quadkey) == (z, x, y)


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("OAM-1263512-1056200-21.png", (21, 1263512, 1056200)),
        ("a_b-c_5_6_7.jpg", (7, 5, 6)),
        ("5-6-7.webp", (7, 5, 6)),
        ("7/5/6.png", (7, 5, 6)),
        ("02310123.png", (8, 53, 99)),
        ("roofs-02310123.png", (8, 53, 99)),
        ("scene.png", None),
        ("Z33-02310123.png", None),  # a cell of a UTM zone, which lies elsewhere
        ("0123.png", None),  # a frame's number, rather than a zoom of 4
        ("7/x/6.png", None),
    ],
)
def test_names(name, tile):
    assert tiles.tile_of(name) == tile


def test_tiles_of_no_such_place_are_refused():
    for name in ("a-8-0-3.png", "a-0-8-3.png", "a-19-315878-264044.png", "3/8/0.png"):
        with pytest.raises(ValueError, match="would be tile"):
            tiles.tile_of(name)


def test_touching_tiles_are_one_image_and_gaps_hold_no_data(tmp_path):
    given = {(10, 20): noise(1), (11, 20): noise(2), (10, 21): noise(3), (30, 20): noise(4)}
    files = [write(tmp_path / f"t/a-{x}-{y}-6.png", values) for (x, y), values in given.items()]
    (one, other), notes = tiles.gather(files)
    assert [one.stem, other.stem] == ["t-6-1", "t-6-2"]
    values, valid = pixels(one)
    for (x, y), wanted in list(given.items())[:3]:
        place = slice((y - 20) * SIDE, (y - 19) * SIDE), slice((x - 10) * SIDE, (x - 9) * SIDE)
        assert (values[:, *place] == np.moveaxis(wanted, -1, 0)).all()
        assert valid[place].all()
    assert not valid[SIDE:, SIDE:].any()
    with rasterio.open(one) as data:
        assert data.bounds[0::3] == pytest.approx(tiles.Tile(6, 10, 20).bounds[0::3])
        assert data.bounds[1:3] == pytest.approx((tiles.Tile(6, 10, 21).bounds[1], tiles.Tile(6, 11, 20).bounds[2]))
        assert data.crs == "EPSG:3857"
    assert set(files[:3]) < set(sources.files_of(one))  # a change of one is noticed
    assert "4 tiles were placed" in notes[0]
    assert "XYZ" in notes[0]


@pytest.mark.parametrize("name", ["a-10-20-6.png", "6/10/20.png"])
def test_a_mosaic_is_at_home_where_its_tiles_are(tmp_path, name):
    (mosaic,), _ = tiles.gather([write(tmp_path / "town" / name, noise(1))])
    assert tiles.home_of(mosaic) == tmp_path / "town"
    assert tiles.home_of(tmp_path / "other" / "image.tif") == tmp_path / "other"


def test_rows_that_look_like_quadkeys_stay_in_their_set(tmp_path):
    """At zoom 24 and deeper a row may have eight digits of 0 to 3: columns are one set all the same, as where it has others."""
    files = [write(tmp_path / f"t/25/{x}/12301230.png", noise(x % 7)) for x in (20123012, 20123013)]
    (mosaic,), _ = tiles.gather(files)
    with rasterio.open(mosaic) as data:
        assert data.shape == (SIDE, 2 * SIDE)
        assert data.bounds.left == pytest.approx(tiles.Tile(25, 20123012, 12301230).bounds[0])


def test_grey_palette_and_alpha_are_what_gdal_makes_of_them(tmp_path):
    rgba = np.dstack([noise(1), np.full((SIDE, SIDE), 255, np.uint8)])
    rgba[:4, :, 3] = 0
    grey = noise(2, 1)
    index = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 3
    write(tmp_path / "t/a-0-0-3.png", noise(3))
    write(tmp_path / "t/a-1-0-3.png", rgba, "RGBA")
    write(tmp_path / "t/a-2-0-3.png", grey, "L")
    palette = Picture.fromarray(index, "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 1, 2, 3])
    palette.save(tmp_path / "t/a-3-0-3.png", transparency=1)
    (mosaic,), _ = tiles.gather(sorted((tmp_path / "t").glob("*.png")))
    values, valid = pixels(mosaic)
    part = [slice(i * SIDE, (i + 1) * SIDE) for i in range(4)]
    assert (values[:, :, part[0]] == np.moveaxis(noise(3), -1, 0)).all()
    assert (valid[:, part[1]] == (rgba[..., 3] > 0)).all()
    assert (values[:, 4:, part[1]] == np.moveaxis(rgba[4:, :, :3], -1, 0)).all()
    assert (values[:, :, part[2]] == grey).all()
    assert (valid[:, part[3]] == (index != 1)).all()
    colours = np.array([[255, 0, 0], [0, 0, 0], [1, 2, 3]])[index]  # 0 where there is no data
    assert (values[:, :, part[3]] == np.moveaxis(colours, -1, 0)).all()


def test_grey_tiles_stay_one_band(tmp_path):
    (mosaic,), _ = tiles.gather([write(tmp_path / "t/a-0-0-3.png", noise(2, 1), "L")])
    assert (pixels(mosaic)[0] == noise(2, 1)).all()


def test_folders_and_names_are_sets_of_their_own(tmp_path):
    files = [write(tmp_path / name, noise(1)) for name in ("p/5/1/1.png", "q/a-2-1-5.png", "q/b-3-1-4.png")]
    mosaics, _ = tiles.gather(files)
    assert [m.stem for m in mosaics] == ["p-5", "q-a-5", "q-b-4"]


def test_two_sets_of_one_place_are_told(tmp_path):
    names = ("p/a-1-1-5.png", "p/a-2-1-5.png", "q/b-2-1-5.png", "r/b-7-7-5.png")
    files = [write(tmp_path / name, noise(1)) for name in names]
    mosaics, notes = tiles.gather(files)
    assert len(mosaics) == 3
    (note,) = [note for note in notes if "COUNTS MORE THAN ONCE" in note]
    assert note.startswith("1 tiles of p/a* and q/b* lie in one place")  # of the project
    assert not any("COUNTS" in note for note in tiles.gather([files[0], files[2]])[1])


def test_made_again_it_is_the_same_file(tmp_path):
    file = write(tmp_path / "t/a-0-0-3.png", noise(1))
    (first,), _ = tiles.gather([file])
    before = first.stat().st_mtime_ns, first.read_bytes()
    first.unlink()
    (second,), _ = tiles.gather([file])
    assert second == first
    assert (second.stat().st_mtime_ns, second.read_bytes()) == before
    assert str(tmp_path).encode() not in before[1]  # a project that moved finds its mosaics again


def test_mosaics_below_a_link_find_their_tiles(tmp_path):
    (tmp_path / "other/disk/data").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "other/disk/data")
    file = write(tmp_path / "t/a-0-0-3.png", noise(1))
    (mosaic,), _ = tiles.gather([file])
    assert (pixels(mosaic)[0] == noise(1).transpose(2, 0, 1)).all()
    assert file in sources.files_of(mosaic)


def test_what_is_no_tile_passes(tmp_path):
    plain = write(tmp_path / "t/scene-20251105.png", noise(1))  # a 5 is in no quadkey
    placed = write(tmp_path / "t/a-0-0-3.png", noise(1))
    placed.with_suffix(".pgw").write_text("1\n0\n0\n-1\n100\n200\n")  # says itself where it lies
    broken = tmp_path / "t/b.png"
    broken.write_bytes(b"none")
    assert tiles.gather([plain, placed, broken, tmp_path / "a-1-1-3.tif"]) == (
        [plain, placed, broken, tmp_path / "a-1-1-3.tif"],
        [],
    )


def refused(*files):
    with pytest.raises(ValueError) as caught:
        tiles.gather(files)
    return str(caught.value)


def test_a_tile_that_is_cut_short_is_named(tmp_path):
    """GDAL reads the first rows of such a PNG and says nothing of the others."""
    whole, cut = write(tmp_path / "a-5-5-10.png", noise(1)), write(tmp_path / "a-6-5-10.png", noise(2))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a-6-5-10.png is cut short(.|\n)*Copy it again") as error:
        tiles.gather([whole, cut], tmp_path / "mosaics")
    assert str(whole) not in str(error.value)


def test_a_jpeg_ends_where_its_pixels_do(tmp_path):
    """Whatever a phone wrote behind it, and whatever small picture with an end of its own lies in its head."""
    small, large = io.BytesIO(), tmp_path / "a.jpg"
    picture = Picture.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    picture.resize((16, 16)).save(small, "JPEG")
    exif = b"Exif\x00\x00" + b"\x00" * 50 + small.getvalue()
    for options in ({}, {"exif": exif}, {"exif": exif, "progressive": True}, {"restart_marker_blocks": 1}):
        picture.save(large, quality=90, **options)
        whole = large.read_bytes()
        assert (whole.count(b"\xff\xd8\xff") == 2) == ("exif" in options)
        for content, cut in (
            (whole, False),
            (whole + bytes(4000), False),
            (whole[:-2], True),
            (whole[:800], True),
            (whole[:30], True),
        ):
            large.write_bytes(content)
            assert tiles.cut_short(large) == cut, (options.keys(), len(content), len(whole))


def test_what_cannot_lie_together_is_refused(tmp_path):
    first = write(tmp_path / "t/a-0-0-3.png", noise(1))
    assert "1 of zoom 3, 1 of zoom 4" in refused(first, write(tmp_path / "t/a-0-0-4.png", noise(1)))
    wide = write(tmp_path / "t/a-1-0-3.png", noise(1)[:, :8])
    assert "16 x 16 px" in refused(first, wide)
    assert "tiles are square" in refused(wide)
    assert "one place" in refused(first, write(tmp_path / "t/a-0-0-3.jpg", noise(1)))
    assert "no place in the name of" in refused(first, write(tmp_path / "t/scene.png", noise(1)))
    assert "x and y go from 0 to 7" in refused(first, write(tmp_path / "t/a-8-0-3.png", noise(1)))
    broken = tmp_path / "t/a-2-0-3.png"
    broken.write_bytes(b"none")
    assert "cannot be opened" in refused(first, broken)


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_20231101.png"],
        ["20230102.jpg"],
        ["photo-2023-11-12.png"],
        ["2023_11_12.png", "2023_11_13.png"],
        ["a-2024-2-29.png"],
    ],
)
def test_a_date_is_no_tile(tmp_path, names):
    said = refused(*(write(tmp_path / "t" / name, noise(1)) for name in names))
    assert "numbers are a date" in said and names[-1] in said and "gdal_translate" in said
    assert "would be tile" not in said


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["20231101.png", "20231100.png"], 1),  # no day 0
        (["20231303.png"], 1),  # no month 13
        (["a-2023-11-12.png", "a-2022-11-12.png", "a-2023-40-12.png"], 2),  # no day 40
        (["12/2023/11.png"], 1),
    ],
)
def test_tiles_that_could_be_dates_are_placed_where_their_set_says_so(tmp_path, names, group):
    files = [write(tmp_path / "t" / name, noise(i)) for i, name in enumerate(names)]
    assert len(tiles.gather(files)[0]) == group


def test_a_picture_without_a_place_is_told_how_tiles_are_called(tmp_path):
    with pytest.raises(ValueError, match=r"no CRS.*placed by its name"):
        images.open_image(write(tmp_path / "scene.png", noise(1)))
