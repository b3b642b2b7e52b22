"""Reduce, cluster and find: against scikit-learn and scipy, and each row stays its row."""

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from geonb import embeddings as e


def made(n=60, dims=8, seed=0):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, n)
    values = random.normal(size=(n, dims)) + 12 * np.eye(3, dims)[groups]
    coords = {"label": ("sample", groups.astype(str)), "row": ("sample", np.arange(n) * 7)}
    return xr.Dataset({"embedding": (("sample", "dim"), values.astype(np.float32))}, coords), groups


def test_clusters_are_those_of_ward():
    data, groups = made()
    found = e.cluster(e.link(data), 3)
    other = AgglomerativeClustering(3, linkage="ward").fit_predict(data["embedding"])
    assert adjusted_rand_score(found, other) == 1
    assert adjusted_rand_score(found, groups) == 1


def test_clusters_are_numbered_as_the_leaves_stand():
    from scipy.cluster.hierarchy import leaves_list

    data, _ = made()
    linkage = e.link(data)
    along = e.cluster(linkage, 5)[leaves_list(linkage)]
    assert list(along) == sorted(along)


def test_more_clusters_than_samples_are_refused():
    with pytest.raises(ValueError, match="between 1 and the 60 samples"):
        e.cluster(e.link(made()[0]), 61)


def test_pca_keeps_distances_that_lie_in_a_plane():
    random = np.random.default_rng(0)
    plane = random.normal(size=(40, 2))
    turned = plane @ np.linalg.qr(random.normal(size=(9, 9)))[0][:2]
    points = e.reduce(xr.Dataset({"embedding": (("sample", "dim"), turned)}), "pca")
    np.testing.assert_allclose(cdist(points, points), cdist(plane, plane), atol=1e-6)
    assert sum(points.attrs["explained_variance"]) == pytest.approx(1)


def test_reduce_keeps_each_samples_coordinates():
    data, _ = made()
    assert (e.reduce(data)["row"] == data["row"]).all()


@pytest.mark.parametrize(("method", "told"), [("tsne?", "pca, umap"), ("pca", "too few")])
def test_what_cannot_be_reduced(method, told):
    data = made(2)[0] if method == "pca" else made()[0]
    with pytest.raises(ValueError, match=told):
        e.reduce(data, method)


def test_nearest_is_by_cosine_and_leaves_itself_out():
    data, _ = made()
    found = e.nearest(data, sample=5, count=4)
    distance = cdist(data["embedding"][[5]], data["embedding"], "cosine")[0]
    distance[5] = np.inf
    np.testing.assert_array_equal(found["row"], data["row"][np.argsort(distance)[:4]])
    assert found["similarity"].values == pytest.approx(1 - np.sort(distance)[:4], abs=1e-5)


def test_windows_at_the_edge_of_the_data_are_left_out():
    import pandas as pd

    index = pd.DataFrame({"split": ["train"] * 50 + ["test"] * 50, "valid_share": np.tile([1.0, 0.5], 50)})
    rows = e.draw_rows(index, 30, seed=0)
    assert len(rows) == 30 and (rows % 2 == 0).all() and (rows < 50).sum() == 15
    assert list(rows) == sorted(rows) and (rows == e.draw_rows(index, 30, seed=0)).all()
    assert len(e.draw_rows(index.assign(valid_share=0.1), 30, seed=0)) == 30


def test_large_windows_are_embedded_few_at_a_time(tmp_path, monkeypatch):
    pd = pytest.importorskip("pandas")
    torch = pytest.importorskip("torch")
    sizes = []

    class Model(torch.nn.Module):
        def encode(self, inputs):
            sizes.append(len(inputs))
            return inputs.flatten(2).mean(-1)

    windows = [{"inputs": torch.full((2, 10, 10), float(k))} for k in range(9)]
    index = pd.DataFrame(
        {"split": "train", "y": 0, "x": 0, "height": 10, "width": 10, "source": "grid"}, index=range(9)
    )
    store = type(
        "Store", (), {"index": index, "meta": {"simulated": False, "notes": []}, "legend": {"one": "#000000"}}
    )()
    store.windows, store.labels = lambda: windows, lambda items: ["one"] * len(items)
    monkeypatch.setattr(e, "_positions", lambda *_: (np.zeros(9), np.zeros(9)))
    monkeypatch.setattr(e, "MOST_NUMBERS", 900)
    run = type("Run", (), {"path": tmp_path, "embeddings": tmp_path / "embeddings.zarr"})()
    model = Model()
    model.card = {"network": "mean"}
    found = e.embed(run, store, model)
    assert sizes == [4, 4, 1] and found["embedding"].values[:, 0].tolist() == list(range(9))
