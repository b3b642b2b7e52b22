"""Marks make the next search better, are kept and undone, and go out as labels."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geonb.embeddings.marks import Marks
from geonb.embeddings.search import build_index, open_index
from geonb.embeddings.within import Within


@pytest.fixture
def index(tmp_path):
    """600 samples; the first 60 share a trait (dim 0) that is weak beside what else tells them apart."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(600, 16))
    vectors[:60, 0] += 3
    n = np.arange(600)
    samples = gpd.GeoDataFrame(
        {"id": [f"c{i}" for i in n], "labels": [["even"] if i % 2 == 0 else [] for i in n]},
        geometry=shapely.box(n * 0.01, 0, n * 0.01 + 0.01, 0.01),
        crs="EPSG:4326",
    )
    return build_index(tmp_path / "index", vectors, samples)


def hits(found):
    return sum(int(one[1:]) < 60 for one in found["id"])


def test_each_round_of_marks_finds_more_of_what_is_meant(index):
    marks = Marks(index, "trait")
    found = index.search("c0", 20)
    before = hits(found)
    marks.mark(right=["c0"])
    for _ in range(3):
        right = [one for one in found["id"] if int(one[1:]) < 60]
        marks.mark(right, [one for one in found["id"] if one not in right])
        found = marks.search(20)
        assert not set(found["id"]) & set(marks.marked) and list(found["rank"]) == list(range(1, 21))
    assert before <= 14 and hits(marks.search(40, marked=True)) >= 36  # 70 % -> 90 %
    assert (np.diff(marks.search(20)["score"]) <= 0).all()


def test_the_model_is_the_ridge_regression_of_scikit_learn(index):
    from sklearn.linear_model import Ridge

    from geonb.embeddings import marks as module

    marks = Marks(index, "trait").mark([f"c{i}" for i in range(10)], [f"c{i}" for i in range(500, 520)])
    weights, offset = marks.model(seed=3)
    drawn = np.setdiff1d(
        np.random.default_rng([3, 0x3A4]).choice(600, 600, replace=False), [*range(10), *range(500, 520)]
    )
    x = np.concatenate([index.vectors[:10], index.vectors[500:520], index.vectors[drawn]]).astype(float)
    y = np.repeat([1.0, -1, -1], [10, 20, len(drawn)])
    w = np.repeat([1 / 10, 1 / 20, module.WEIGHT / len(drawn)], [10, 20, len(drawn)])
    w /= w.sum()
    spread = (w[:, None] * (x - w @ x) ** 2).sum()
    model = Ridge(alpha=module.RIDGE * spread).fit(x, y, sample_weight=w)
    np.testing.assert_allclose(weights, model.coef_, rtol=1e-3, atol=1e-4)
    assert offset == pytest.approx(model.intercept_, abs=1e-4)
    scores = model.predict(index.vectors.astype(float))
    found = marks.search(30, marked=True, seed=3)
    assert list(found["id"]) == [f"c{i}" for i in np.argsort(-scores)[:30]]
    assert found["score"].to_numpy() == pytest.approx(np.sort(scores)[::-1][:30], abs=1e-4)


def test_right_ones_alone_are_enough_and_wrong_ones_alone_are_not(index):
    with pytest.raises(ValueError, match="No sample is marked as right for 'trait'"):
        Marks(index, "trait").mark(wrong=["c500"]).search()
    assert hits(Marks(index, "trait").mark(right=[f"c{i}" for i in range(8)]).search(20)) >= 12


def test_filters_hold(index):
    marks = Marks(index, "trait").mark(right=["c0", "c2"])
    assert set(marks.search(400, Within(labels=["even"]))["labels"].map(tuple)) == {("even",)}
    assert len(marks.search(400, Within(labels=["even"]))) == 298
    found = marks.search(5, Within(ids=["c9", "c0", "c7"]))
    assert sorted(found["id"]) == ["c7", "c9"]
    with pytest.raises(ValueError, match="Only marked samples are left"):
        marks.search(5, Within(ids=["c0", "c2"]))
    index.remove(["c9"])
    assert list(marks.search(5, Within(ids=["c9", "c7"]))["id"]) == ["c7"]


def test_marks_are_kept_undone_and_said_last_counts(index):
    marks = Marks(index, "trait").mark(["c1", "c2"], ["c3"])
    Marks(index, "other").mark(["c9"])
    marks.mark(wrong="c2")
    again = Marks(open_index(index.folder), "trait")
    assert again.marked == {"c1": True, "c3": False, "c2": False}
    assert again.undo().marked == {"c1": True, "c2": True, "c3": False}
    assert again.undo().marked == {} and Marks(index, "other").marked == {"c9": True}
    with pytest.raises(ValueError, match="nothing to undo"):
        again.undo()


def test_marks_that_say_nothing_or_both_are_refused(index, tmp_path):
    marks = Marks(index, "trait", tmp_path / "mine.json")
    with pytest.raises(ValueError, match=r"(?s)right and as wrong; say one:\n- c1"):
        marks.mark(["c1", "c2"], ["c1"])
    with pytest.raises(KeyError, match="No sample 'c9999'"):
        marks.mark(["c9999"])
    with pytest.raises(ValueError, match="Nothing was marked"):
        marks.mark()
    with pytest.raises(ValueError, match="need a name"):
        Marks(index, " ")
    assert not (tmp_path / "mine.json").exists()
    marks.mark("c1")
    assert (tmp_path / "mine.json").exists() and not (index.folder / "marks.json").exists()


def test_marks_go_out_as_labels(index, tmp_path):
    marks = Marks(index, "trait").mark(["c0", "c4"], ["c5", "c6"])
    index.remove("c6")
    told = pd.read_csv(marks.export(tmp_path / "a.csv"))
    assert told[["id", "label", "right"]].values.tolist() == [
        ["c0", "trait", True],
        ["c4", "trait", True],
        ["c5", "trait", False],
    ]
    assert told["west"].tolist() == pytest.approx([0, 0.04, 0.05])
    for ending in ("geojson", "gpkg", "parquet"):
        file = marks.export(tmp_path / f"a.{ending}")
        read = gpd.read_parquet(file) if ending == "parquet" else gpd.read_file(file)
        assert read["id"].tolist() == ["c0", "c4", "c5"] and read["right"].tolist() == [True, True, False]
        assert read.geometry[1].bounds == pytest.approx((0.04, 0, 0.05, 0.01), abs=1e-6)
    assert "crs" not in json.loads((tmp_path / "a.geojson").read_text())
    with pytest.raises(ValueError, match=r"written as \.csv, \.geojson"):
        marks.export(tmp_path / "a.shp")
