"""Embed, draw and find: what each sample is, and each row stays its row. Trees, planes and transforms have tests of their own."""

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist

from geonb.embeddings import embedding
from geonb.plots import maps
from geonb.workloads.segmentation import figures


def made(n=60, dims=8, seed=0):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, n)
    values = random.normal(size=(n, dims)) + 12 * np.eye(3, dims)[groups]
    coords = {"label": ("sample", groups.astype(str)), "row": ("sample", np.arange(n) * 7)}
    return xr.Dataset({"embedding": (("sample", "dim"), values.astype(np.float32))}, coords), groups


def test_nearest_is_by_cosine_and_leaves_itself_out():
    data, _ = made()
    found = embedding.nearest(data, sample=5, count=4)
    distance = cdist(data["embedding"][[5]], data["embedding"], "cosine")[0]
    distance[5] = np.inf
    np.testing.assert_array_equal(found["row"], data["row"][np.argsort(distance)[:4]])
    assert found["similarity"].values == pytest.approx(1 - np.sort(distance)[:4], abs=1e-5)


def test_windows_at_the_edge_of_the_data_are_left_out():
    import pandas as pd

    index = pd.DataFrame({"split": ["train"] * 50 + ["test"] * 50, "valid_share": np.tile([1.0, 0.5], 50)})
    rows = embedding.draw_rows(index, 30, seed=0)
    assert len(rows) == 30 and (rows % 2 == 0).all() and (rows < 50).sum() == 15
    assert list(rows) == sorted(rows) and (rows == embedding.draw_rows(index, 30, seed=0)).all()
    assert len(embedding.draw_rows(index.assign(valid_share=0.1), 30, seed=0)) == 30


def pretend(monkeypatch, folder, index, legend, windows):
    """A store, a run and a model, as much of them as embedding needs."""
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        card, sizes = {"network": "mean"}, []

        def encode(self, inputs):
            self.sizes.append(len(inputs))
            return inputs.flatten(2).mean(-1)

    Model.sizes = []
    store = type(
        "Store",
        (),
        {"path": folder / "store", "index": index, "meta": {"simulated": False, "notes": []}, "legend": legend},
    )()
    store.windows, store.labels = lambda: windows, lambda items: ["one"] * len(items)
    monkeypatch.setattr(embedding, "positions", lambda *_: (np.zeros(len(index)), np.zeros(len(index))))
    return type("Run", (), {"path": folder, "embeddings": folder / "embeddings.zarr"})(), store, Model()


def table(n, **columns):
    import pandas as pd

    plain = {"split": "train", "y": 0, "x": 0, "height": 10, "width": 10, "source": "grid"}
    return pd.DataFrame(plain | columns, index=range(n))


def filled(n):
    torch = pytest.importorskip("torch")
    return [{"inputs": torch.full((2, 10, 10), float(k))} for k in range(n)]


def test_large_windows_are_embedded_few_at_a_time(tmp_path, monkeypatch):
    run, store, model = pretend(monkeypatch, tmp_path, table(9), {"one": "#000000"}, filled(9))
    monkeypatch.setattr(embedding, "MOST_NUMBERS", 900)
    found = embedding.embed(run, store, model)
    assert model.sizes == [4, 4, 1] and found["embedding"].values[:, 0].tolist() == list(range(9))
    assert found["label"].values.tolist() == ["one"] * 9 and np.isnat(found["time"].values).all()


def test_the_precision_is_that_of_the_machine_unless_told(tmp_path, monkeypatch, bfloat16):
    torch = pytest.importorskip("torch")
    run, store, model = pretend(monkeypatch, tmp_path, table(2), {}, filled(2))
    computed = []
    model.encode = lambda inputs: (
        computed.append((inputs.flatten(2)[:, 0] @ torch.ones(100, 3)).dtype),
        torch.ones(len(inputs), 2),
    )[1]
    assert embedding.embed(run, store, model).attrs["precision"] == "bfloat16"
    assert embedding.embed(run, store, model, precision="float32").attrs["precision"] == "float32"
    assert computed == [torch.bfloat16, torch.float32]
    with pytest.raises(ValueError, match="precision = 'half' is unknown"):
        embedding.embed(run, store, model, precision="half")


def test_an_encoder_that_was_not_trained_is_told_of(tmp_path, monkeypatch):
    run, store, model = pretend(monkeypatch, tmp_path, table(3), {}, filled(3))
    assert embedding.embed(run, store, model).attrs["notes"] == []
    model.card = {**model.card, "weights": "start"}
    assert "was not trained" in embedding.embed(run, store, model).attrs["notes"][0]


def test_labels_times_and_margins_are_there_where_they_are_known(tmp_path, monkeypatch):
    import pandas as pd

    times = pd.to_datetime(["2020-04-01 12:05", None, "2020-04-01 12:10"], utc=True)
    run, store, model = pretend(monkeypatch, tmp_path, table(3, time=times), {}, filled(3))
    model.margins = lambda of, rows: rows * 0.5
    found = embedding.embed(run, store, model)
    assert "label" not in found.coords
    again = embedding.open_embeddings(run.embeddings)
    for data in (found, again):
        assert data["time"].values[[0, 2]].tolist() == [t.value for t in times[[0, 2]]]
        assert np.isnat(data["time"].values[1]) and data["margin"].values.tolist() == [0, 0.5, 1]


def test_a_tile_looks_the_same_beside_whichever_others_it_is_read(small_store):
    rows = np.array([3, 40, 41, 90])
    together = figures.rgb_tiles(small_store, rows)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(figures.rgb_tiles(small_store, [row])[0], together[place])
    assert together.dtype == np.uint8 and together.shape[1:] == (16, 16, 3) and np.ptp(together) > 100
    assert len(figures.rgb_tiles(small_store, [])) == 0
    shown = maps.default_bands(small_store.channels)
    np.testing.assert_array_equal(figures.rgb_tiles(small_store, rows, shown), together, "the colours of every map")


def test_places_of_whole_scenes_become_samples_at_every_time():
    from geonb.plots import planes

    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[ns]")
    t, y, x = np.indices((3, 9, 7))
    values = np.stack([t, y, x], -1).astype(float)  # each embedding says where and when it is
    values[1, 4, 4] = np.nan
    scene = xr.DataArray(values, dims=("time", "y", "x", "dim"), coords={"time": times, "y": np.arange(9) * -50.0})
    for places, count in ((400, 63), (20, 4 * 3)):
        found = embedding.scene_samples(scene, "meteosat", places)
        t, y, x = found["embedding"].values.T.astype(int)
        assert (found["y"] == y).all() and (found["x"] == x).all() and (found["time"].values == times[t]).all()
        assert len(set(zip(y, x, strict=True))) == count
        assert set(found["source"].values) == {"meteosat"}
    ways = planes.places_in_time(embedding.scene_samples(scene, "meteosat"))
    assert len(ways) == 63 and [len(way) for way in ways[:62]] == [3] * 62 and len(ways[-1]) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"clusters": 14, "windows": 9}, "clusters = 14 is not between 1 and the 9 samples"),
        ({"windows": 2}, "2 windows are too few"),
        ({"method": "pcb"}, "pca, umap, isomap, tsne"),
        ({"grouping": "words"}, "ward, kmeans, hdbscan"),
        ({"examples": "nice"}, "centre, random, best, worst"),
    ],
)
def test_settings_are_refused_before_anything_is_embedded(change, told):
    good = {"windows": 100, "samples": 50, "clusters": 8, "method": "pca", "grouping": "ward", "examples": "centre"}
    embedding.check_settings(**good)
    with pytest.raises(ValueError, match=told):
        embedding.check_settings(**good | change)
