import numpy as np
import pyproj
import pytest
import xarray as xr
from scene_files import STEP_RAD, VIEW, textured, write_abi

from geonb.rasters import grids
from geonb.workloads.clouds import dataset, goes, netcdf

H = VIEW["perspective_point_height"]
SIZES = {1: (80, 96), 2: (160, 192), 3: (80, 96), 13: (40, 48)}  # of one area


def read(path, **settings):
    found = dataset.open_scenes(str(path), **{"patch": 8} | settings)
    return found, *found.series[0].read(0)


def test_a_reflective_band_becomes_its_reflectance(tmp_path):
    counts = textured((40, 48))
    counts[3, 4] = 1023  # fill
    path = write_abi(tmp_path, 1, counts)
    found, inputs, valid = read(path)
    with xr.open_dataset(path, engine="h5netcdf") as data:  # xarray unpacks by itself
        expected = data.Rad.values * data.kappa0.values
    assert found.channels == ({"name": "C01", "units": "1", "wavelength_um": 0.47},)
    assert inputs.dtype == np.float32 and (valid == np.isfinite(expected)).all() and not valid[3, 4]
    np.testing.assert_allclose(inputs[0][valid], expected[valid], rtol=1e-5)


def test_an_infrared_band_becomes_the_temperature_of_a_black_body(tmp_path):
    counts = textured((40, 48))
    counts[0, 0] = 0  # radiance -2: none
    path = write_abi(tmp_path, 13, counts)
    found, inputs, valid = read(path)
    assert found.channels[0]["units"] == "K" and not valid[0, 0] and valid.sum() == valid.size - 1
    # Planck's law turned round: the radiance of that temperature is the one in the file
    effective = inputs[0].astype(float) * 0.99975 + 0.0755
    radiance = 10803.3 / (np.exp(1392.74 / np.where(valid, effective, 1e9)) - 1)
    np.testing.assert_allclose(radiance[valid], (counts * 0.5 - 2)[valid], rtol=1e-4)


def test_pixels_lie_where_the_guide_puts_them(tmp_path):
    """Scan angles -> longitude and latitude by the equations of the Product User's Guide, volume 3, 5.1.2.8.1."""
    path = write_abi(tmp_path, 13, textured((40, 48)))
    found, _, _ = read(path)
    series = found.series[0]
    x, y = -0.012 + STEP_RAD * 20.5, 0.052 - STEP_RAD * 10.5
    equator, pole, distance = 6378137.0, 6356752.31414, H + 6378137.0
    a = np.sin(x) ** 2 + np.cos(x) ** 2 * (np.cos(y) ** 2 + equator**2 / pole**2 * np.sin(y) ** 2)
    b, c = -2 * distance * np.cos(x) * np.cos(y), distance**2 - equator**2
    r = (-b - np.sqrt(b * b - 4 * a * c)) / (2 * a)
    sx, sy, sz = r * np.cos(x) * np.cos(y), -r * np.sin(x), r * np.cos(x) * np.sin(y)
    lat = np.degrees(np.arctan(equator**2 / pole**2 * sz / np.hypot(distance - sx, sy)))
    lon = -75 - np.degrees(np.arctan(sy / (distance - sx)))
    to_lonlat = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True)
    assert to_lonlat.transform(*(series.transform * (20.5, 10.5))) == pytest.approx((lon, lat), abs=1e-5)
    assert series.transform.e < 0 and grids.crs_name(series.crs) == "geostationary, 75°W"


def test_quality_of_no_value_counts_as_none_and_saturated_cloud_stays(tmp_path):
    quality = np.zeros((40, 48))
    quality[1, 1], quality[2, 2] = 3, 2
    _, inputs, valid = read(write_abi(tmp_path, 13, textured((40, 48)), quality=quality))
    assert not valid[1, 1] and inputs[0, 1, 1] == 0 and valid[2, 2] and valid.sum() == valid.size - 1


def test_files_of_one_scan_are_one_scene(tmp_path):
    for minute, seconds in ((0, ("16.4", "16.4", "16.5")), (10, ("16.4", "16.4", "17.0"))):
        for band, second in zip((1, 3, 13), seconds, strict=True):
            write_abi(tmp_path, band, textured(SIZES[band], band), f"2020-04-01T12:{minute:02d}:{second}")
    found = dataset.open_scenes(str(tmp_path), patch=8, pixel_m=3000)
    series = found.series[0]
    assert series.channels == ("C01", "C03", "C13") and len(series) == 2
    assert [len(f) for f in series.files] == [3, 3]
    assert [str(t) for t in series.times] == ["2020-04-01 12:00:16.400000", "2020-04-01 12:10:16.400000"]
    assert "G16" in found.attribution and "NOAA" in found.attribution


def test_scans_put_together_along_t_keep_their_times(tmp_path):
    """Seconds since noon of 2000, in floats that are no whole milliseconds."""
    starts = ["2020-04-01T12:00:16.4321987", "2020-04-01T12:10:16.4321987"]
    paths = [write_abi(tmp_path, 13, textured((40, 48), k), start) for k, start in enumerate(starts)]
    scans = [xr.open_dataset(p, decode_cf=False, engine="h5netcdf").load().set_coords("t") for p in paths]
    both = xr.concat(
        scans, "t", data_vars=["Rad", "DQF"], coords="minimal", compat="override", combine_attrs="override"
    )
    (tmp_path / "both").mkdir()
    both.to_netcdf(tmp_path / "both" / "a.nc", engine="h5netcdf")
    series = read(tmp_path / "both" / "a.nc")[0].series[0]
    assert [str(t) for t in series.times] == ["2020-04-01 12:00:16.432000", "2020-04-01 12:10:16.432000"]


def test_mesoscale_sectors_half_a_minute_apart_stay_apart(tmp_path):
    for second, sector in (("00.0", "M1"), ("30.0", "M2"), ("59.0", "M1")):
        write_abi(tmp_path, 13, textured((40, 48)), f"2020-04-01T12:00:{second}", sector=sector)
    frames = [f for p in sorted(tmp_path.iterdir()) for f in netcdf.open_netcdf(p, {})]
    assert len({f.key for f in frames}) == 2
    assert len(goes.group(frames)) == 3


def test_a_scene_without_one_of_the_channels_is_left_out_and_named(tmp_path):
    for minute in (0, 10, 20):
        for band in (1, 13):
            if (minute, band) != (10, 13):
                write_abi(tmp_path, band, textured(SIZES[band], band), f"2020-04-01T12:{minute:02d}:16.4")
    found = dataset.open_scenes(str(tmp_path), patch=8)
    assert len(found) == 2
    (line,) = found.left_out
    assert "it has C01 (float32)" in line and "C01, C13" in line and "s202009212101" in line and "s202009212001" in line
    asked = dataset.open_scenes(str(tmp_path), patch=8, channels="C13,C01")
    assert (
        asked.series[0].channels == ("C13", "C01") and "it has no channel C13. Its channels: C01" in asked.left_out[0]
    )


def test_true_colour_brings_the_red_to_the_grid_of_the_others(tmp_path):
    rng = np.random.default_rng(3)
    counts = {
        1: rng.integers(100, 900, (40, 48)),
        2: rng.integers(100, 900, (80, 96)),
        3: rng.integers(100, 900, (40, 48)),
    }
    for band, values in counts.items():
        write_abi(tmp_path, band, values)
    found, inputs, valid = read(tmp_path, channels="true-colour")
    series = found.series[0]
    assert series.shape == (40, 48) and series.channels == ("red", "green", "blue") and valid.all()
    assert inputs.dtype == np.uint8
    blue, red, infrared = ((counts[b] * 0.5 - 2) * 0.0019 for b in (1, 2, 3))
    red = red.reshape(40, 2, 48, 2).mean((1, 3))
    green = 0.45 * red + 0.1 * infrared + 0.45 * blue
    expected = 255 * np.clip([red, green, blue], 0, 1) ** (1 / 2.2)
    assert np.abs(inputs - expected).max() < 0.6


def test_colours_end_at_black_and_white():
    reflectance = np.array([[[-0.01, 1.3]], [[-0.01, 1.3]], [[-0.01, 1.3]]])
    assert goes.true_colour(reflectance).tolist() == [[[0, 255]]] * 3


def test_true_colour_needs_its_channels(tmp_path):
    write_abi(tmp_path, 1, textured((40, 48)))
    with pytest.raises(ValueError, match="no channel C02, C03 for true-colour"):
        dataset.open_scenes(str(tmp_path), channels="true-colour", patch=8)


def test_cloud_and_moisture_images_come_as_they_are(tmp_path):
    counts = textured((40, 48))
    path = write_abi(tmp_path, 13, counts, product="L2-CMIP", scale=(0.1, 180.0))
    _, inputs, _ = read(path)
    np.testing.assert_allclose(inputs[0], counts * 0.1 + 180, rtol=1e-6)


def test_a_file_of_all_channels_gives_each_by_its_name(tmp_path):
    one = xr.open_dataset(write_abi(tmp_path, 1, textured((40, 48)), product="L2-CMIP"), decode_cf=False).load()
    merged = one.drop_vars(["CMI", "DQF", "band_id"])
    for band in (1, 2, 13):
        merged[f"CMI_C{band:02d}"] = one.CMI + band
        merged[f"CMI_C{band:02d}"].attrs = one.CMI.attrs
        merged[f"DQF_C{band:02d}"] = one.DQF
        merged[f"DQF_C{band:02d}"].attrs = one.DQF.attrs
    merged["DQF_C02"][4, 5] = 3
    (tmp_path / "all").mkdir()
    merged.to_netcdf(tmp_path / "all" / "MCMIP.nc", engine="h5netcdf")
    found, inputs, valid = read(tmp_path / "all")
    assert not valid[4, 5] and valid.sum() == valid.size - 1
    assert [c["name"] for c in found.channels] == ["C01", "C02", "C13"] and found.channels[2]["units"] == "K"
    np.testing.assert_allclose((inputs[2] - inputs[0])[valid], 12 * 0.5, atol=1e-4)
    assert str(found.series[0].times[0]).startswith("2020-04-01 12:00:16")


def test_radiances_without_their_constants_are_told(tmp_path):
    path = write_abi(tmp_path, 13, textured((40, 48)))
    data = xr.open_dataset(path, decode_cf=False, engine="h5netcdf").load()
    data.drop_vars("planck_fk1").to_netcdf(tmp_path / "cut.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"cut.nc: its radiances cannot be calibrated: it has no planck_fk1"):
        dataset.open_scenes(str(tmp_path / "cut.nc"), patch=8)
