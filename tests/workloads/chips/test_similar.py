"""What a search is asked with: pictures are read as the chips were, or refused; what is no query is told before anything runs."""

import numpy as np
import pytest
import rasterio
from PIL import Image as Picture
from rasterio.transform import from_origin

from geonb import workloads
from geonb.workloads.chips import dataset, figures, quadkeys, similar, store

SIDE, ACROSS = 32, 8


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """8 x 8 chips of noise, of a class raster that tells of the western half alone."""
    folder = tmp_path_factory.mktemp("chips")
    first = quadkeys.cells_at(15.3, 47.85, "ard", 17)[0]
    west, south, _, north = first.bounds
    place, pixels = from_origin(west, north, (north - south) / SIDE, (north - south) / SIDE), SIDE * ACROSS
    noise = np.random.default_rng(0).integers(1, 255, (3, pixels, pixels), np.uint8)
    codes = np.ones((1, pixels, pixels), np.uint8)
    codes[:, :, SIDE : 2 * SIDE], codes[:, :, pixels // 2 :] = 2, 9
    for name, values, nodata in (("noise", noise, None), ("cover", codes, 9)):
        with rasterio.open(folder / f"{name}.tif", "w", "GTiff", pixels, pixels, len(values), first.crs, place, "uint8", nodata=nodata,
                           photometric="RGB" if len(values) > 1 else "MINISBLACK") as file:  # fmt: skip
            file.write(values)
    said = dataset.read_labels(str(folder / "cover.tif"), "1=land,2=water")
    return store.write_store(dataset.open_imagery(str(folder / "noise.tif"), "ard", 17, SIDE), said, root=folder)


@pytest.fixture
def pixels(samples):
    return samples[5]["inputs"].to_numpy().transpose(1, 2, 0)


def seen(samples):
    return samples.windows().batch([5])["inputs"].numpy()[0]


def test_a_picture_of_a_chip_is_the_chip(samples, pixels, tmp_path):
    for name, picture in (("a.png", pixels), ("twice.png", pixels.repeat(2, 0).repeat(2, 1))):
        Picture.fromarray(picture).save(tmp_path / name)
        np.testing.assert_allclose(similar.picture_chip(tmp_path / name, samples), seen(samples), atol=1e-4)


def test_what_a_picture_does_not_show_is_no_colour(samples, pixels, tmp_path):
    alpha = np.full((SIDE, SIDE, 1), 255, np.uint8)
    alpha[:, : SIDE // 2] = 0
    Picture.fromarray(np.concatenate([pixels, alpha], -1)).save(tmp_path / "half.png")
    found, whole = similar.picture_chip(tmp_path / "half.png", samples), seen(samples)
    assert (found[:, :, : SIDE // 2] == 0).all()
    np.testing.assert_allclose(found[:, :, SIDE // 2 :], whole[:, :, SIDE // 2 :], atol=1e-4)
    Picture.fromarray(np.concatenate([pixels, 0 * alpha], -1)).save(tmp_path / "none.png")
    with pytest.raises(ValueError, match="all of it is without data"):
        similar.picture_chip(tmp_path / "none.png", samples)


def test_pictures_whose_values_mean_something_else_are_refused(samples, pixels, tmp_path):
    large = Picture.fromarray(pixels.repeat(8, 0).repeat(8, 1))
    for name in ("whole.png", "whole.jpg"):
        large.save(tmp_path / name)
        (tmp_path / f"cut-{name}").write_bytes((tmp_path / name).read_bytes()[:-3000])
        with pytest.raises(ValueError, match=f"cut-{name} is cut short"):
            similar.picture_chip(tmp_path / f"cut-{name}", samples)
        similar.picture_chip(tmp_path / name, samples)
    large.convert("P").save(tmp_path / "palette.png")
    with rasterio.open(tmp_path / "deep.tif", "w", "GTiff", SIDE, SIDE, 3, dtype="uint16") as file:
        file.write(pixels.transpose(2, 0, 1).astype(np.uint16) * 200)
    large.convert("L").save(tmp_path / "grey.png")
    for name, told in (
        ("palette.png", "a palette"),
        ("deep.tif", "3 bands of uint16"),
        ("grey.png", "1 bands of uint8"),
    ):
        with pytest.raises(ValueError, match=f"{name} holds {told}, and chips 3 bands of uint8"):
            similar.picture_chip(tmp_path / name, samples)


def test_what_is_no_query_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roof.png").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = {"0313102": "0313102", "noise/0313": "noise/0313", "47.8, 15.3": (15.3, 47.8), "15, 47, 16, 48": (15.0, 47.0, 16.0, 48.0),
             "179, -17, -179, -16": (179.0, -17.0, -179.0, -16.0), "roof.png": tmp_path / "roof.png",
             "~/roof.png": tmp_path / "roof.png"}  # fmt: skip
    assert {text: similar.read_query(text) for text in asked} == asked
    check = workloads.get("chips").parameters["query"].check
    assert check == "geonb.workloads.chips.similar:read_query"
    for text in (
        "roofs.png",
        "0314",
        "147.8, 15.3",
        "15, 47, 15, 48",
        "170, -17, 190, -16",
        "47.8",
        "47.8; 15.3",
        "2, 1, nan, 3",
        "x" * 300,
        "~nobody.such/x.jpg",
    ):
        with pytest.raises(ValueError, match=f"query = {text!r} is no chip, no place and no file"):
            similar.read_query(text)


def test_what_is_not_known_is_not_told_as_absent(samples):
    targets = samples.targets(np.arange(len(samples)))
    row, known = int(np.flatnonzero(np.isnan(targets).all(1))[0]), int(np.flatnonzero(targets[:, 1] == 1)[0])
    assert samples.words(row) == "not known" and samples.words(known) == "water"
    items = [
        {"targets": targets[row]},
        {"targets": targets[known]},
        {"targets": np.zeros(2)},
        {"targets": np.array([0, np.nan])},
    ]
    assert samples.labels(items) == ["not known", "water", "none", "not known"]
    assert set(samples.labels(items)) <= set(samples.legend)
    texts = [text.get_text() for text in figures.chips_with_labels(samples, [row, known]).findobj(_is_words)]
    assert "not known" in texts and "no label" not in texts


def _is_words(artist):
    return hasattr(artist, "get_text") and bool(artist.get_text())


def test_of_labels_that_nobody_knows_nothing_is_told_wrong(samples, monkeypatch):
    """A network that tells all of all chips: wrong where it is known that they are not there, unknown where nobody knows."""
    import xarray as xr

    from geonb.workloads.chips import scores

    rows = np.flatnonzero((samples.index["split"] == "test").to_numpy())
    truth = samples.targets(rows)
    assert np.isnan(truth).all(1).any() and (truth == 0).any(), "the case is one"
    told = {"row": rows, "probability": np.ones((1, len(rows), 2)), "threshold": np.full((1, 2), 0.5), "truth": truth,
            "classes": np.array(samples.names)}  # fmt: skip
    monkeypatch.setattr(scores, "gathered", lambda _: told)
    words = [ax.texts[0].get_text() for ax in figures.told_and_true(xr.DataTree(), samples).axes if ax.texts]
    assert any("✗" in text for text in words) and not any("?" in text for text in words)
    unknown = rows[np.flatnonzero(np.isnan(truth).all(1))[0]]
    monkeypatch.setattr(figures, "drawn_rows", lambda *_: [unknown])
    (words,) = [ax.texts[0].get_text() for ax in figures.told_and_true(xr.DataTree(), samples).axes if ax.texts]
    assert words == "land ?, water ?"


def test_where_the_chips_lie_has_coordinates(samples):
    ax = figures.parent_tiles(samples).axes[0]
    west, _, east, north = quadkeys.cells_at(15.3, 47.85, "ard", 17)[0].bounds
    side = east - west
    assert ax.get_xlabel() == "easting [km]" and "32633" in ax.get_title("left")
    assert ax.images[0].get_extent() == pytest.approx(
        [west / 1e3, (west + ACROSS * side) / 1e3, (north - ACROSS * side) / 1e3, north / 1e3]
    )
