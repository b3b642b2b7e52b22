"""What one look at every pixel finds: classes without any, fills that no tag tells of."""

import numpy as np
import pytest
from scenes import write_raster

from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation import store as segmentation_store


def opened(scene, image=None, **options):
    return dataset.open_pairs(str(image or scene.image), str(scene.mask), **({"classes": scene.classes} | options))


def remarks_of(scene, image, tmp_path):
    made = segmentation_store.write_store(opened(scene, image), patch=16, stride=8, block=16, root=tmp_path)
    return made.meta["notes"]


def test_a_class_of_the_table_without_a_pixel_is_a_fault(scene):
    with pytest.raises(
        ValueError, match=r"class sea \(7\) of the table has no valid pixel in mask\.tif\. Leave it out"
    ):
        dataset.scan(opened(scene, classes=scene.classes + ",7=sea"))
    assert dataset.scan(opened(scene, classes=scene.classes.replace("0=ignore", "0=ignore,7=ignore"))).found


def test_pixels_of_a_class_count_only_where_the_image_has_data(scene, tmp_path):
    codes = scene.codes.copy()
    codes[:4, :4] = 7  # in the corner without data
    write_raster(tmp_path / "mask.tif", codes)
    with pytest.raises(ValueError, match=r"class sea \(7\)"):
        dataset.scan(dataset.open_pairs(str(scene.image), str(tmp_path / "mask.tif"), scene.classes + ",7=sea"))


def test_one_class_alone_is_nothing_to_tell_apart(scene):
    with pytest.raises(ValueError, match=r"mask\.tif: all labels are of one class, field"):
        dataset.scan(opened(scene, classes="0=ignore,1=field,2=ignore,5=ignore"))


def test_blank_pixels_that_count_as_data_are_told_with_their_number(scene, tmp_path):
    inputs = scene.inputs.copy()
    inputs[:, -1, :] = 65535
    n = int((inputs == 0).all(axis=0).sum())
    said = "\n".join(remarks_of(scene, write_raster(tmp_path / "plain.tif", inputs), tmp_path))
    assert (
        f"Pixels that are 0 in all bands count as data. If 0 means no data there: gdal_edit.py -a_nodata 0 FILE: plain.tif ({n},"
        in said
    )
    assert "that are 65535 in all bands" in said and "plain.tif (128," in said
    assert not remarks_of(scene, write_raster(tmp_path / "tagged.tif", scene.inputs, nodata=0), tmp_path)


def test_numbers_that_are_none_are_told(scene, tmp_path):
    inputs = scene.inputs.astype(np.float32)
    inputs[0, 40, 40], inputs[1, 41, 41], inputs[2, 42, 42] = np.nan, -3.4028235e38, np.inf
    (said,) = remarks_of(scene, write_raster(tmp_path / "a.tif", inputs, nodata=0), tmp_path)
    assert (
        said.startswith("Pixels that hold no number in some band, or one beyond 1e30, were taken for no data")
        and "a.tif (3," in said
    )


def test_a_publishers_fill_is_told(scene, tmp_path):
    image = write_raster(tmp_path / "T32TQM_20200601T101031_B02.tif", scene.inputs[0])
    (said,) = remarks_of(scene, image, tmp_path)
    assert said.startswith("Pixels that are 0 were taken for no data, as the publisher has it: T32TQM")


def test_ground_without_a_label_is_told_where_it_is_most_of_it(scene, tmp_path):
    """As between polygons: a network that never saw it takes all of it for one of the classes."""
    valid = dataset.scan(opened(scene)).found[0]["pixels_valid"]
    codes = np.zeros_like(scene.codes)
    codes[40:60, 40:60], codes[40:60, 60:80] = 1, 2
    few = dataset.open_pairs(str(scene.image), str(write_raster(tmp_path / "few.tif", codes, nodata=0)))
    made = segmentation_store.write_store(few, patch=16, stride=8, block=16, root=tmp_path)
    labelled = made.meta["sources"][0]["pixels_labelled"]
    assert 0 < labelled <= 800
    (said,) = (note for note in made.meta["notes"] if "without a label" in note)
    assert "neither learnt nor scored" in said and f"image.tif ({valid - labelled:,}, " in said
