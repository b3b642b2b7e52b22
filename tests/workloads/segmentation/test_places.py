"""Scores of a class by source, against counts by hand."""

import numpy as np
import pytest
import xarray as xr

from geonb.workloads.segmentation import places

# model, block, true, predicted: two blocks of a, one of b, one of a that is no test
CONFUSION = np.array([[[[6, 2], [1, 3]], [[4, 0], [2, 2]], [[5, 5], [0, 0]], [[9, 9], [9, 9]]]])


@pytest.fixture
def scores():
    zeros = np.zeros((1, 4, 2))
    return xr.Dataset(
        {
            "block_confusion": (("model", "block", "true", "predicted"), CONFUSION),
            "block_losses": (("model", "block", "loss"), zeros),
            "n_samples": ("split", [30]),
            "n_blocks": ("split", [3]),
            "block_edges": (("model", "block", "edge", "class"), np.zeros((1, 4, 4, 2))),
        },
        {
            "model": ["network"], "split": ["test"], "class": ["background", "building"], "source": ["a", "b", "c"],
            "pixel_ha": ("source", [1.0, 1.0, 1.0]), "block_source": ("block", ["a", "a", "b", "a"]),
            "block_split": ("block", ["test", "test", "test", "val"]),
        },
    )  # fmt: skip


def test_iou_by_source_is_that_of_its_test_blocks(scores):
    found = places.class_by_source(scores, draws=200)
    building = found.value.sel({"class": "building"}, drop=True).isel(model=0)
    assert found.source.values.tolist() == ["a", "b"]
    assert building.sel(source="a").item() == pytest.approx((3 + 2) / (4 + 4 + 2 + 0))  # hits / (true + guessed - hits)
    assert np.isnan(building.sel(source="b"))  # no building there
    assert found.value.sel({"class": "background", "source": "b"}).item() == pytest.approx(0.5)
    assert found.pixels.values.tolist() == [20, 10]
    low, high = (found[name].sel({"class": "building", "source": "a"}).item() for name in ("low", "high"))
    assert (low, high) == (pytest.approx(3 / 6), pytest.approx(2 / 4)) or low <= building.sel(source="a").item() <= high
    assert np.isnan(found.low.sel(source="b")).all()  # one block says nothing of its spread
    assert places.class_source_scores(scores).axes[0].get_yticklabels()[0].get_text().startswith("background, a")
