"""Triplets as three pictures each: what is in a picture is what is in the scene, and what is missing is named."""

import made_scenes
import numpy as np
import pytest

from geonb.workloads.clouds import triplet_files


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    samples = made_scenes.store(root, counts="12/4/6")
    return samples, triplet_files.export_triplets(samples, root / "pictures")


def test_pictures_come_back_as_they_were_shown(exported):
    samples, folder = exported
    found = triplet_files.find_triplets(folder)
    assert {s: len(f["anchor"]) for s, f in found.items()} == {"train": 12, "val": 4, "test": 6}
    assert (
        found["test"]["distant"][3].name == "00003_distant.png" and found["test"]["distant"][3].parent.name == "study"
    )
    pictures = triplet_files.read_triplets(found["test"])
    rows = np.flatnonzero(samples.index["split"] == "test")
    for k, tile in enumerate(("anchor", "neighbor", "distant")):
        np.testing.assert_array_equal(pictures[:, k], samples.tiles(rows, tile))


def test_a_folder_that_is_there_is_not_written_over(exported):
    with pytest.raises(FileExistsError, match="Give a new folder"):
        triplet_files.export_triplets(*exported)


def test_a_missing_or_broken_picture_is_named(exported, tmp_path):
    import shutil

    shutil.copytree(exported[1], tmp_path / "p")
    (tmp_path / "p" / "train" / "00002_neighbor.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"00002_neighbor\.png is no readable picture"):
        triplet_files.read_triplets(triplet_files.find_triplets(tmp_path / "p")["train"])
    (tmp_path / "p" / "train" / "00002_neighbor.png").unlink()
    with pytest.raises(ValueError, match=r"00002_\*\.png: no neighbor"):
        triplet_files.find_triplets(tmp_path / "p")
    with pytest.raises(ValueError, match="holds no whole set"):
        triplet_files.find_triplets(tmp_path)
