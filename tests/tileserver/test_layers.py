"""What a folder of rasters shows: where, in what, which files fit together, and what is left out with its cure."""

import os

import made_rasters as made
import mercantile
import numpy as np
import pytest
import rasterio
from pyproj import CRS, Transformer
from rasterio.transform import from_origin

from geonb.tileserver import layers


def test_a_file_is_where_pyproj_says(tmp_path):
    source = layers.describe(made.write(tmp_path / "a.tif", made.gradient()))
    back = Transformer.from_crs(made.UTM, 4326, always_xy=True)
    lon, lat = back.transform(made.WEST + 150 * 30, made.NORTH - 100 * 30)
    west, south, east, north = source.bounds
    assert west < lon < east and south < lat < north
    assert (east - west) * 111_320 * np.cos(np.radians(lat)) == pytest.approx(300 * 30, rel=0.02)
    # pixels of 30 m in Web Mercator, which stretches by 1 / cos(latitude)
    assert source.maxzoom == round(np.log2(156_543.03 * np.cos(np.radians(lat)) / 30))
    assert 0 <= source.minzoom <= source.maxzoom


def test_bands_of_a_picture_are_found_by_name_then_by_meaning_then_by_order(tmp_path):
    four = np.stack([made.gradient()] * 4)
    names = ("blue", "green", "red", "nir")
    assert layers.describe(made.write(tmp_path / "a.tif", four, names=names)).shown == (3, 2, 1)
    assert layers.describe(made.write(tmp_path / "b.tif", four)).shown == (1, 2, 3)
    # of bytes GDAL calls the first three red, green and blue, and the fourth alpha, whatever they hold
    infrared = layers.describe(
        made.write(tmp_path / "c.tif", np.stack([made.gradient(dtype="uint8", top=250)] * 4), names=names)
    )
    assert infrared.shown == (3, 2, 1) and infrared.names == names
    assert layers.describe(made.write(tmp_path / "d.tif", four[:2])).shown == (1,)
    masked = np.stack([*four[:3].astype("uint8"), np.full(four[0].shape, 255, "uint8")])
    assert len(layers.describe(made.write(tmp_path / "e.tif", masked)).names) == 3


def test_files_that_fit_make_a_mosaic_with_the_newest_on_top(tmp_path):
    for name, date in (
        ("a", "2020:05:01 10:00:00"),
        ("b", "2022:05:01 10:00:00"),
        ("c", None),
        ("d", "2021:05:01 10:00:00"),
    ):
        made.write(tmp_path / f"{name}.tif", made.gradient(), tags={"TIFFTAG_DATETIME": date} if date else {})
    made.write(tmp_path / "other.tif", made.gradient(dtype="float32"))
    made.class_map(tmp_path / "classes.tif")
    found, notes = layers.layers_of([tmp_path], "all")
    assert list(found) == ["all", "a", "b", "c", "classes", "d", "other"] and notes == []
    assert [s.path.stem for s in found["all"].sources] == ["b", "d", "a", "c"]
    made.write(tmp_path / "other2.tif", made.gradient(dtype="float32"))
    assert list(layers.layers_of([tmp_path])[0])[:2] == ["mosaic", "mosaic 2"]


def test_names_are_the_shortest_that_tell_files_apart(tmp_path):
    for name in ("2020/scene", "2021/scene", "mosaic", "x/y"):
        made.write(tmp_path / f"{name}.tif", made.gradient())
    found, _ = layers.layers_of([tmp_path])
    assert {n: one.first.path.relative_to(tmp_path).as_posix() for n, one in list(found.items())[1:]} == {
        "2020.scene": "2020/scene.tif", "2021.scene": "2021/scene.tif", "y": "x/y.tif", f"{tmp_path.name}.mosaic": "mosaic.tif",
    }  # fmt: skip


def test_what_cannot_be_shown_is_left_out_with_its_cure(tmp_path):
    made.write(tmp_path / "good.tif", made.gradient())
    made.write(tmp_path / "nowhere.tif", made.gradient(), crs=None)
    made.write(tmp_path / "complex.tif", made.gradient().astype("complex64"))
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and nothing")
    (tmp_path / ".hidden").mkdir()
    for other in ("x.tif.ab12.partial.tif", ".hidden/y.tif"):
        made.write(tmp_path / other, made.gradient())
    found, notes = layers.layers_of([tmp_path])
    assert list(found) == ["good"] and len(notes) == 3
    for name, said in (("nowhere", "no CRS"), ("complex", "no brightness"), ("broken", "cannot be read as a raster")):
        assert sum(f"{name}.tif: " in note and said in note for note in notes) == 1


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no file ends in .tif or .tiff or .gpkg .* in .*Give a folder of GeoTIFFs"):
        layers.layers_of([tmp_path])
    made.write(tmp_path / "nowhere.tif", made.gradient(), crs=None)
    with pytest.raises(ValueError, match=r"(?s)Nothing to show.*nowhere.tif: it has no CRS.*rio edit-info"):
        layers.layers_of([tmp_path])
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        layers.layers_of([tmp_path / "absent"])


def test_large_files_without_overviews_are_told(tmp_path):
    made.write(tmp_path / "a.tif", np.zeros((8, 5000), "uint8"))
    assert "gdaladdo" in layers.layers_of([tmp_path])[1][0]
    with rasterio.open(tmp_path / "a.tif", "r+") as data:
        data.build_overviews([2, 4])
    assert layers.layers_of([tmp_path])[1] == []


def test_a_disk_of_a_geostationary_satellite_is_where_its_pixels_are(tmp_path):
    geos = CRS.from_proj4("+proj=geos +h=35785831 +lon_0=10 +a=6378169 +rf=295.488065897001 +sweep=y")
    half, count = 5_568_742, 400
    path = made.write(tmp_path / "disk.tif", made.gradient((count, count)), crs=geos.to_wkt(),
                      transform=from_origin(-half, half, 2 * half / count, 2 * half / count))  # fmt: skip
    west, south, east, north = layers.describe(path).bounds
    assert -80 < west < -55 and 75 < east < 100 and 70 < north < 86 and -86 < south < -70


def test_over_the_antimeridian_bounds_stay_within_the_world_and_what_is_lost_is_told(tmp_path):
    islands = made.write(
        tmp_path / "fiji.tif", made.gradient(), crs="EPSG:32701", transform=from_origin(100_000, 8_100_000, 1500, 1500)
    )
    globe = made.write(
        tmp_path / "globe.tif", made.gradient((90, 180)), crs="EPSG:4326", transform=from_origin(0, 90, 2, 2)
    )
    west, south, east, north = layers.describe(islands).bounds
    assert (west, east) == (-180, 180) and -20 < south < north < -14 and layers.describe(islands).notes == ()
    told = layers.describe(globe)
    assert told.bounds == pytest.approx((0, -85.0511, 180, 85.0511), abs=1e-3)
    assert "gdalwarp -t_srs EPSG:4326 -te -180 -90 180 90" in told.notes[0]


def test_a_stretch_is_the_2nd_to_98th_percentile_of_all_files_and_read_once(tmp_path, monkeypatch):
    low, high = made.gradient(), made.gradient() + 4000
    low[:20] = 0
    for name, values in (("low", low), ("high", high)):
        made.write(tmp_path / f"{name}.tif", values, nodata=0)
    mosaic = layers.layers_of([tmp_path])[0]["mosaic"]
    ((dark, bright),) = mosaic.ranges((1,))
    assert dark == pytest.approx(np.percentile(low[low > 0], 2), abs=15)
    assert bright == pytest.approx(np.percentile(high, 98), abs=15)
    monkeypatch.setattr(layers, "reader", None)
    assert mosaic.ranges((1,)) == ((dark, bright),)


@pytest.mark.parametrize(
    ("values", "stretch"),
    [
        (made.gradient(dtype="uint8", top=250), None),  # bytes as they are
        (made.gradient(dtype="uint8", top=5), ((0, 5),)),  # a mask would be black
        (np.full((20, 30), 7.5, "float32"), ((7.5, 8.5),)),
        (np.full((20, 30), np.nan, "float32"), ((0, 1),)),
    ],
)  # fmt: skip
def test_stretches_of_bytes_and_of_what_has_no_range(tmp_path, values, stretch):
    made.write(tmp_path / "a.tif", values)
    assert layers.layers_of([tmp_path])[0]["a"].ranges((1,)) == stretch


def test_only_files_near_a_tile_are_asked(tmp_path):
    for i in range(3):
        made.write(
            tmp_path / f"{i}.tif", made.gradient(), transform=from_origin(made.WEST + 20_000 * i, made.NORTH, 30, 30)
        )
    mosaic = layers.layers_of([tmp_path])[0]["mosaic"]
    for source in mosaic.sources:
        west, south, east, north = source.bounds
        tile = mercantile.tile((west + east) / 2, (south + north) / 2, 14)
        assert mosaic.within(mercantile.bounds(tile)) == [source]


def test_a_thread_holds_a_bounded_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "OPEN", 2)
    files = [layers.describe(made.write(tmp_path / f"{i}.tif", made.gradient())) for i in range(4)]
    first = layers.reader(files[0])
    assert layers.reader(files[0]) is first
    for file in files[1:]:
        layers.reader(file)
    assert first.dataset.closed and not layers.reader(files[3]).dataset.closed
    assert layers.reader(files[0]) is not first


def test_a_file_that_is_replaced_while_it_is_served_is_looked_at_again(tmp_path):
    """A run that is computed again writes beside the file and renames: whoever held the old one open would show it for ever."""
    path = made.write(tmp_path / "a.tif", np.full((20, 30), 5, "uint16"))
    one = layers.layers_of([path])[0]["a"]
    west, south, east, north = one.bounds
    tile = mercantile.tile((west + east) / 2, (south + north) / 2, 16)
    read = lambda: layers.reader(one.first).tile(*tile).array.max()  # noqa: E731
    assert read() == 5 and one.ranges((1,)) == ((5, 6),)
    for value in (9, 700):
        fresh = made.write(tmp_path / "new.part", np.full((20, 30), value, "uint16"))
        os.utime(fresh, ns=(value * 10**9,) * 2)
        fresh.replace(path)
        one.look_again(3600)
        assert one.first.stamp != value * 10**9, "not at every tile"
        one.look_again(0)
        assert read() == value and one.ranges((1,)) == ((value, value + 1),)
    path.unlink()
    one.look_again(0)
    assert one.first.stamp == 700 * 10**9, "told when it is read"


def test_a_file_that_no_longer_fits_leaves_its_mosaic(tmp_path):
    for name in "ab":
        made.write(tmp_path / f"{name}.tif", made.gradient())
    mosaic = layers.layers_of([tmp_path])[0]["mosaic"]
    made.write(tmp_path / "b.tif", made.gradient(dtype="uint8", top=250))
    os.utime(tmp_path / "b.tif", ns=(1, 1))
    mosaic.look_again(0)
    assert [source.path.stem for source in mosaic.sources] == ["a"]


def test_files_that_are_replaced_one_by_one_stay_one_mosaic(tmp_path):
    """The first is written anew before the others are; and one that did not fit for a while comes back."""

    def renew(name, stamp, array):
        made.write(tmp_path / f"{name}.tif", array)
        os.utime(tmp_path / f"{name}.tif", ns=(stamp, stamp))

    for name in "abc":
        made.write(tmp_path / f"{name}.tif", made.gradient())
    mosaic = layers.layers_of([tmp_path])[0]["mosaic"]
    shown = []
    for stamp, name in enumerate("abc", 1):
        renew(name, stamp, made.gradient(dtype="float32"))
        mosaic.look_again(0)
        shown.append("".join(source.path.stem for source in mosaic.sources))
        assert mosaic.within(mosaic.bounds) == list(mosaic.sources)
    assert shown == ["bc", "ab", "abc"] and mosaic.first.dtype == "float32"


def test_while_a_mosaic_is_looked_at_again_its_boxes_are_those_of_its_files(tmp_path, monkeypatch):
    """A thread that asks in the middle would look up a file that is there no more."""
    for name in "abc":
        made.write(tmp_path / f"{name}.tif", made.gradient())
    mosaic = layers.layers_of([tmp_path])[0]["mosaic"]
    bounds, fewer, seen = mosaic.bounds, {}, []
    set_ = layers.Layer.__setattr__

    def told(self, name, value):
        set_(self, name, value)
        seen.append(len(self.within(bounds)))

    monkeypatch.setattr(layers.Layer, "__setattr__", told)
    for dtype, top in (("float32", 1.0), ("uint16", 1000)):
        fewer[dtype] = made.write(tmp_path / "b.tif", made.gradient(dtype=dtype, top=top))
        os.utime(fewer[dtype], ns=(len(fewer), len(fewer)))
        mosaic.look_again(0)
    assert set(seen) == {2, 3}
