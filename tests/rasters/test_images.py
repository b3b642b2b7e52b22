"""Images: which files are read for one, and where it holds data, both as GDAL says."""

import shutil
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from scenes import write_raster

from geonb.rasters import images, sources

VRT = """<VRTDataset rasterXSize="{0}" rasterYSize="{1}"><SRS>EPSG:32617</SRS>
<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>
<VRTRasterBand dataType="{2}" band="1">{4}<SimpleSource><SourceFilename relativeToVRT="{5}">{3}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def write_vrt(path, source, shape=(6, 8), dtype="Byte", more="", relative=1):
    path.write_text(VRT.format(shape[1], shape[0], dtype, source, more, relative))
    return path


def read(path, bands=None, **options):
    image = images.open_image(path, bands)
    image = images.resample(image, **options) if options else image
    with images.reader(image) as rectangle:
        return rectangle(slice(0, image.shape[0]), slice(0, image.shape[1]))[:2]


def names(path):
    return [file.name for file in sources.files_of(path)]


# ---- the files


def test_a_plain_file_is_all_that_is_read_for_it(tmp_path):
    assert names(write_raster(tmp_path / "a.tif", np.ones((6, 8), np.uint8))) == ["a.tif"]
    (tmp_path / "a.csv").write_text("x")
    assert names(tmp_path / "a.csv") == ["a.csv"] and names(tmp_path / "gone.tif") == ["gone.tif"]


def test_the_tiles_of_a_vrt_of_a_vrt_count_with_their_masks(tmp_path):
    tile = write_raster(tmp_path / "tiles" / "a.tif", np.ones((6, 8), np.uint8))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tile, "r+") as data:
        data.write_mask(np.full((6, 8), 255, np.uint8))
    write_vrt(tmp_path / "tiles" / "inner.vrt", "a.tif")
    outer = write_vrt(tmp_path / "outer.vrt", "tiles/inner.vrt")
    assert sorted(names(outer)) == ["a.tif", "a.tif.msk", "inner.vrt", "outer.vrt"] and names(outer)[0] == "outer.vrt"


def test_what_lies_in_an_archive_is_the_archive(tmp_path):
    write_raster(tmp_path / "a.tif", np.ones((6, 8), np.uint8))
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "a.tif")
    vrt = write_vrt(tmp_path / "m.vrt", f"/vsizip/{tmp_path}/tiles.zip/a.tif", relative=0)
    assert names(vrt) == ["m.vrt", "tiles.zip"]


def test_metadata_and_world_files_count(tmp_path):
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", width=8, height=6, count=1, dtype="uint8", crs="EPSG:32617",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 4e6),
    ) as data:  # fmt: skip
        data.write(np.ones((1, 6, 8), np.uint8))
    assert "a.png.aux.xml" in names(tmp_path / "a.png")
    (tmp_path / "b.pgw").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    assert names(tmp_path / "b.png") == ["b.png", "b.pgw"]


AUX = """<PAMDataset>{0}<PAMRasterBand band="1">{1}<Histograms><HistItem><HistMin>1</HistMin></HistItem></Histograms>
<Metadata><MDI key="STATISTICS_MEAN">{2}</MDI></Metadata></PAMRasterBand></PAMDataset>"""


@pytest.mark.filterwarnings("ignore:statistics")
def test_looking_at_a_raster_is_no_change_of_it(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((64, 64), np.uint8))

    def stamps():
        return sources.stamps(sources.files_of(path), lambda file: [file.name, file.read_bytes()])

    first = stamps()
    (tmp_path / "a.tif.ovr").write_bytes(path.read_bytes())
    with rasterio.open(path) as data:
        data.statistics(1)
        assert f"{path}.ovr" in data.files
    side = tmp_path / "a.tif.aux.xml"
    assert "STATISTICS_MEAN" in side.read_text() and side in sources.files_of(path) and stamps() == first
    side.write_text(AUX.format("", "", 1))
    assert stamps() == first
    side.write_text(AUX.format("", "<NoDataValue>1</NoDataValue>", 1))
    told = stamps()
    side.write_text(AUX.format("", "<NoDataValue>1</NoDataValue>", 2))
    assert told != first and stamps() == told, "other statistics beside the same nodata value"
    for content in (
        AUX.format("", "<NoDataValue>2</NoDataValue>", 1),
        AUX.format("<SRS>EPSG:32618</SRS>", "", 1),
        "<PAM",
        *(f'<?xml version="1.0" encoding="{encoding}"?><PAMDataset/>' for encoding in ("GB2312", "big5", "nobodys")),
        "<a>" * 5_000 + "</a>" * 5_000,
    ):
        side.write_text(content)
        assert stamps() not in (first, told)


# ---- where there is data


@pytest.mark.parametrize(
    ("nodata", "value"),
    [
        (-3.4028234663852886e38, -3.4028234663852886e38),
        (-3.40282e38, -3.4028234663852886e38),
        (-3.40282306073709653e38, -3.4028234663852886e38),  # as ArcGIS spells it
        (-3.39999999999999996e38, -3.4e38),  # WorldClim
        (-3.39999999999999996e38, -3.4028234663852886e38),
        (-9999.9, -9999.9),
        (None, 9.969209968386869e36),  # netCDF's own fill, untold
        (None, np.inf),
    ],
)
def test_the_lowest_float_is_no_data_however_it_is_spelt(tmp_path, nodata, value):
    values = np.random.default_rng(0).normal(100, 5, (6, 8)).astype(np.float32)
    values[:2] = value
    path = write_raster(tmp_path / "a.tif", values, nodata=nodata)
    inputs, valid = read(path)
    assert not valid[:2].any() and valid[2:].all() and (inputs[:, :2] == 0).all()
    np.testing.assert_array_equal(inputs[0, 2:], values[2:])
    inputs, valid = read(path, resolution_m=40.0)  # rows 0-3 hold fills and data, 4 and 5 nothing whole
    assert inputs[0].max() < 1e3 and inputs.min() >= 0
    if valid.any():
        np.testing.assert_allclose(inputs[0, 0], values[2:4].reshape(2, 2, 4).mean(axis=(0, 2)), rtol=1e-5)


def test_nodata_beyond_the_type_is_told_by_gdal_not_wrapped(tmp_path):
    values = np.arange(48, dtype=np.uint8).reshape(6, 8) + 200
    write_raster(tmp_path / "a.tif", values)
    vrt = write_vrt(tmp_path / "a.vrt", "a.tif", more="<NoDataValue>-9999</NoDataValue>")
    with rasterio.open(vrt) as data:
        np.testing.assert_array_equal(read(vrt)[1], data.dataset_mask() > 0)
    assert read(vrt)[1].all()  # 241 = -9999 modulo 256 is a value


def test_masks_beside_within_and_by_band(tmp_path):
    values = np.random.default_rng(0).integers(1, 9, (2, 6, 8)).astype(np.uint8)
    hole = np.full((6, 8), 255, np.uint8)
    hole[:2] = 0
    for inside in (True, False):
        path = write_raster(tmp_path / f"{inside}.tif", values)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as data:
            data.write_mask(hole)
        np.testing.assert_array_equal(read(path)[1], hole > 0)
    values[0, 3, 3], values[1, 4, 4] = 0, 0
    valid = read(write_raster(tmp_path / "nodata.tif", values, nodata=0))[1]
    np.testing.assert_array_equal(valid, (values != 0).all(axis=0))


def write_masked(path, values, hole, nodata, inside):
    write_raster(path, values, nodata=nodata)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as data:
        data.write_mask(hole)
    return path


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_mask_and_a_nodata_value_both_count(tmp_path, dtype, inside):
    values = np.full((2, 6, 8), 100, dtype)
    values[0, 0, 4], values[1, 2:4, 4:6] = 7, 7
    hole = np.full((6, 8), 255, np.uint8)
    hole[:, :2] = 0
    told = (values != 7).all(axis=0)
    for nodata, expected in ((7, told & (hole > 0)), (None, hole > 0)):
        path = write_masked(tmp_path / "a.tif", values, hole, nodata, inside)
        np.testing.assert_array_equal(read(path)[1], expected)
        inputs, valid = read(path, resolution_m=20.0)
        np.testing.assert_array_equal(valid, expected.reshape(3, 2, 4, 2).any(axis=(1, 3)))
        assert nodata is None or (inputs[:, valid] == 100).all()
        alone = read(write_masked(tmp_path / "one.tif", values[0], hole, nodata, inside), resolution_m=20.0)[1]
        one = (values[0] != nodata) & (hole > 0)
        np.testing.assert_array_equal(alone, one.reshape(3, 2, 4, 2).any(axis=(1, 3)))


def test_nodata_of_one_band_is_not_averaged_where_another_holds_data(tmp_path):
    values = np.full((2, 6, 8), 100, np.float32)
    values[0, 0, 0] = -9999
    values[1, 2:4, 2:4], values[:, 4, 5] = -9999, -9999
    path = write_raster(tmp_path / "a.tif", values, nodata=-9999)
    inputs, valid = read(path, resolution_m=20.0)
    assert (inputs[:, valid] == 100).all() and valid.sum() == 11 and not valid[1, 1]
    inputs, valid = read(path, bands="1", resolution_m=20.0)
    assert valid.all() and (inputs == 100).all()
    inputs, valid = read(path, resolution_m=5.0)
    assert (inputs[:, valid] == 100).all()
    np.testing.assert_array_equal(valid[8:], (values[0, 4:] > 0).repeat(2, axis=0).repeat(2, axis=1))


def test_nodata_of_a_band_is_its_own_and_of_several_bands_one_where_they_are_warped(tmp_path):
    write_raster(tmp_path / "a.tif", np.full((6, 8), 100, np.uint8))
    values = np.full((6, 8), 100, np.uint8)
    values[:2, :2] = 7
    write_raster(tmp_path / "b.tif", values)
    path = write_vrt(tmp_path / "two.vrt", "a.tif")
    second = """<VRTRasterBand dataType="Byte" band="2"><NoDataValue>7</NoDataValue><SimpleSource>
        <SourceFilename relativeToVRT="1">b.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"""
    path.write_text(path.read_text().replace("</VRTDataset>", f"{second}</VRTDataset>"))
    np.testing.assert_array_equal(read(path)[1], values != 7)
    assert read(path, bands="1", resolution_m=20.0)[1].all()
    np.testing.assert_array_equal(read(path, bands="2", resolution_m=20.0)[1], values[::2, ::2] != 7)
    with pytest.raises(
        ValueError, match=r"two\.vrt: its bands have different nodata values \(None, 7\.0\).*own grid only"
    ):
        read(path, resolution_m=20.0)


@pytest.mark.parametrize(
    ("name", "filled"),
    [
        ("T32TQM_20200601T101031_B02_10m.jp2", True),
        ("T32TQM_20200601T101031_B8A.tif", True),
        ("LC08_L1TP_193024_20200601_20200825_02_T1_B4.TIF", True),
        ("LC09_L2SP_193024_20220601_20220825_02_T1_SR_B5.TIF", True),
        ("LC08_L1TP_193024_20200601_20200825_02_T1_QA_PIXEL.TIF", False),
        ("T32TQM_20200601T101031_SCL_20m.tif", False),
        ("mine.tif", False),
    ],
)
def test_0_is_no_data_where_the_publisher_says_so(tmp_path, name, filled):
    values = np.random.default_rng(0).integers(1000, 1400, (8, 8)).astype(np.uint16)
    values[:3] = 0
    path = write_raster(tmp_path / f"{name}.tif", values).rename(tmp_path / name)
    np.testing.assert_array_equal(read(path)[1], values != 0 if filled else np.ones((8, 8), bool))
    inputs, valid = read(path, resolution_m=20.0)
    assert valid[1].all() and (inputs[0, 1].min() > 999) == filled  # row 2 is fill, row 3 data: not averaged with it


def test_a_tag_goes_before_the_publishers_rule(tmp_path):
    values = np.array([[0, 7, 1000, 1001]], np.uint16)
    path = write_raster(tmp_path / "T32TQM_20200601T101031_B02.tif", values, nodata=7)
    assert read(path)[1].tolist() == [[True, False, True, True]]


@pytest.mark.parametrize("nodata", [None, 7])
def test_near_infrared_that_gdal_calls_alpha_erases_no_other_band(tmp_path, nodata):
    values = np.full((4, 8, 8), 100, np.uint8)
    values[3, :4] = 0  # water
    values[3, 4:, ::2] = 200
    path = write_raster(tmp_path / "rgbn.tif", values, nodata=nodata)
    with rasterio.open(path) as data:
        assert data.colorinterp[3] == ColorInterp.alpha
    for side, method in ((20.0, None), (5.0, "nearest")):
        inputs, valid = read(path, resolution_m=side, method=method)
        assert valid.all() and (inputs[:3] == 100).all()
        half = inputs.shape[1] // 2
        assert (inputs[3, :half] == 0).all() and inputs[3, half:].mean() == 150
        inputs, valid = read(path, bands="1,2", resolution_m=side, method=method)
        assert valid.all() and (inputs == 100).all()
    values[3] = np.where(np.arange(8) < 4, 255, 0)  # this one is a mask
    inputs, valid = read(write_raster(tmp_path / "rgba.tif", values), resolution_m=20.0)
    assert len(inputs) == 3 and (valid == (np.arange(4) < 2)).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("nodata", [None, 7])
@pytest.mark.parametrize(
    ("dtype", "opaque"),
    [
        ("uint8", 255),
        ("uint16", 255),
        ("uint16", 65535),
        ("int16", 1),
        ("int16", 32767),
        ("int32", 1),
        ("float32", 255),
    ],
)
def test_an_alpha_band_is_a_mask_in_any_type_and_beside_nodata(tmp_path, dtype, opaque, nodata, bands):
    values = np.full((bands + 1, 6, 8), 100, dtype)
    values[0, 0, 4:6], values[0, 1, 4:6] = 7, 7  # a whole pixel of 20 m
    values[:, :, :2], values[-1, :, 2:] = 0, opaque  # a collar
    told = np.ones((6, 8), bool)
    told[:, :2] = False
    if nodata is not None:
        told[:2, 4:6] = False
    path = write_raster(tmp_path / "a.tif", values, nodata=nodata)
    with rasterio.open(path, "r+") as data:
        data.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (bands - 1), ColorInterp.alpha]
    assert not any(images.open_image(path).called_alpha)
    for options in ({}, {"resolution_m": 20.0}, {"resolution_m": 5.0, "method": "nearest"}):
        inputs, valid = read(path, **options)
        step = {20.0: 2, 5.0: 0.5}.get(options.get("resolution_m"), 1)
        truth = told[::2, ::2] if step == 2 else told if step == 1 else told.repeat(2, axis=0).repeat(2, axis=1)
        assert len(inputs) == bands
        np.testing.assert_array_equal(valid, truth)
        assert (inputs[1:, valid] == 100).all() and set(np.unique(inputs[0, valid])) <= {7, 100}


# ---- where it lies


def test_a_local_system_is_refused_with_a_cure(tmp_path):
    site = CRS.from_wkt('LOCAL_CS["building site",UNIT["metre",1]]')
    path = write_raster(tmp_path / "a.tif", np.ones((6, 8), np.uint8), crs=site)
    with pytest.raises(ValueError, match=r"a\.tif has a local coordinate system .*building site.*gdal_edit\.py -a_srs"):
        images.open_image(path)
