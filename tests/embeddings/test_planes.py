"""Planes: against scikit-learn's, honest about what was fitted; and transforms that are kept: numbers only, refused elsewhere."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from geonb.embeddings import planes, transforms
from geonb.embeddings.planes import reduce


def made(n=60, dims=8, seed=0):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, n)
    values = random.normal(size=(n, dims)) + 12 * np.eye(3, dims)[groups]
    coords = {"label": ("sample", groups.astype(str)), "row": ("sample", np.arange(n) * 7)}
    attrs = {"network": "resnet18", "run": "2026-01-01_calm-heron", "simulated": 1}
    return xr.Dataset({"embedding": (("sample", "dim"), values.astype(np.float32))}, coords, attrs), groups


class TestReduce:
    def test_pca_keeps_distances_that_lie_in_a_plane(self):
        random = np.random.default_rng(0)
        plane = random.normal(size=(40, 2))
        turned = plane @ np.linalg.qr(random.normal(size=(9, 9)))[0][:2]
        points = reduce(xr.Dataset({"embedding": (("sample", "dim"), turned)}), "pca")
        np.testing.assert_allclose(cdist(points, points), cdist(plane, plane), atol=1e-5)
        assert sum(points.attrs["explained_variance"]) == pytest.approx(1)

    @pytest.mark.parametrize("axes", [2, 3])
    def test_pca_is_scikit_learns(self, axes):
        data, _ = made()
        model = PCA(axes, svd_solver="full").fit(data["embedding"].values.astype(float))
        found = reduce(data, axes=axes)
        assert found.attrs["explained_variance"] == pytest.approx(model.explained_variance_ratio_, rel=1e-4)
        np.testing.assert_allclose(np.abs(found), np.abs(model.transform(data["embedding"].values)), atol=1e-3)
        assert f"{model.explained_variance_ratio_.sum():.0%} of the variance" in found.attrs["meaning"]

    def test_dims_are_those_named(self):
        data, _ = made()
        found = reduce(data, "dims:3-7")
        np.testing.assert_array_equal(found, data["embedding"][:, [3, 7]])
        assert "3 and 7" in found.attrs["meaning"]

    @pytest.mark.parametrize("method", ["isomap", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
    def test_neighbours_stay_neighbours(self, method):
        data, groups = made(90)
        found = reduce(data, method, seed=1)
        assert found.shape == (90, 2) and (found["row"] == data["row"]).all()
        assert trustworthiness(data["embedding"].values, found.values, n_neighbors=8) > 0.8
        near = cdist(found, found) + np.diag(np.full(90, np.inf))
        assert (groups[near.argmin(1)] == groups).mean() > 0.95
        np.testing.assert_array_equal(found, reduce(data, method, seed=1))

    def test_samples_that_were_not_fitted_lie_among_their_like_and_it_is_said(self, monkeypatch):
        data, groups = made(300)
        monkeypatch.setitem(planes.MOST_FITTED, "isomap", 100)
        found = reduce(data, "isomap")
        assert found.attrs["fitted"] == 100 and "100 samples drawn at random" in found.attrs["meaning"]
        fitted = planes._draw(300, 100, 0)
        rest = np.setdiff1d(np.arange(300), fitted)
        near = fitted[cdist(found[rest], found[fitted]).argmin(1)]
        assert (groups[near] == groups[rest]).mean() > 0.98 and np.isfinite(found).all()

    def test_coordinates_stay_with_their_samples(self):
        data, _ = made()
        assert (reduce(data)["row"] == data["row"]).all() and reduce(data).attrs["simulated"] == 1

    @pytest.mark.parametrize(
        ("method", "told"),
        [
            ("tsne?", "pca, umap, isomap, tsne"),
            ("dims:3", "dims:3-7"),
            ("dims:3-8", "no dimension 8: the embedding has 8"),
            ("dims:1-2-3", "names 3 dimensions, 2 are needed"),
        ],
    )
    def test_what_cannot_be_reduced(self, method, told):
        with pytest.raises(ValueError, match=told):
            reduce(made()[0], method)

    def test_too_few_and_too_many(self):
        with pytest.raises(ValueError, match="too few"):
            reduce(made(2)[0])
        astray, _ = made()
        astray["embedding"][4] = np.nan
        with pytest.raises(ValueError, match="1 of 60 embeddings are not finite"):
            reduce(astray)
        many = xr.Dataset({"embedding": (("sample", "dim"), np.zeros((5001, 2), np.float32))})
        with pytest.raises(ValueError, match="at most 5,000"):
            reduce(many, "tsne")


class TestTransforms:
    @pytest.mark.parametrize("method", ["pca", "dims:1-4", "isomap"])
    def test_what_was_kept_places_the_same_samples_where_they_were(self, tmp_path, method):
        data, _ = made()
        plane = reduce(data, method)
        transforms.save(transforms.plane_transform(data, plane), tmp_path, "plane")
        again = transforms.apply(transforms.load(tmp_path, "plane"), data)
        np.testing.assert_allclose(again, plane, atol=1e-2 if method == "isomap" else 1e-4)
        assert again.dims == ("sample", "axis") and (again["row"] == data["row"]).all()

    def test_new_samples_of_a_plane_without_a_formula_lie_among_their_neighbours_and_it_is_said(self):
        data, groups = made(200)
        old, new = data.isel(sample=slice(0, 150)), data.isel(sample=slice(150, None))
        plane = reduce(old, "isomap")
        transform = transforms.plane_transform(old, plane)
        found = transforms.apply(transform, new)
        near = cdist(found, plane).argmin(1)
        assert (groups[near] == groups[150:]).all() and "weighted mean of the 10 nearest" in transform.card["meaning"]
        apart = cdist(new["embedding"], old["embedding"])
        nearest = np.argsort(apart, axis=1)[:, :10]
        weight = 1 / np.take_along_axis(apart, nearest, 1)
        by_hand = np.einsum("nk,nka->na", weight / weight.sum(1, keepdims=True), plane.values[nearest])
        np.testing.assert_allclose(found, by_hand, atol=1e-4)
        assert transforms.apply(transform, new.isel(sample=slice(0))).shape == (0, 2)

    def test_kinds_give_each_sample_the_letter_of_the_nearest_mean(self, tmp_path):
        data, groups = made(120)
        letters = np.array(list("BAC"))[groups]
        letters[:3] = "-"
        assert set(transforms.keep(tmp_path, data, letters, plane=reduce(data))) == {"kinds", "plane"}
        kinds = transforms.load(tmp_path, "kinds")
        assert kinds.card["letters"] == ["A", "B", "C"] and sum(kinds.card["counts"]) == 117
        found = transforms.apply(kinds, data)
        assert (found.values[3:] == letters[3:]).all() and kinds.card["own_letter_again"] == 1
        assert (found.values[:3] == np.array(list("BAC"))[groups[:3]]).all()

    def test_whole_scenes_keep_their_dims_and_gaps(self):
        data, groups = made(120)
        scene = xr.DataArray(
            data["embedding"].values.reshape(2, 10, 6, 8).copy(),
            dims=("time", "y", "x", "dim"),
            coords={"y": np.arange(10) * 5.0},
        )
        scene[0, 0, 0] = np.nan
        plane = transforms.apply(transforms.plane_transform(data, reduce(data, axes=3)), scene)
        assert plane.dims == ("time", "y", "x", "axis") and plane.sizes["axis"] == 3 and np.isnan(plane[0, 0, 0]).all()
        np.testing.assert_allclose(plane.values.reshape(-1, 3)[1:], reduce(data, axes=3)[1:], atol=1e-4)
        letters = np.array(list("ABC"))[groups]
        kinds = transforms.apply(transforms.kinds_transform(data, letters), scene)
        assert kinds[0, 0, 0] == "" and (kinds.values.ravel()[1:] == letters[1:]).all() and kinds["y"][3] == 15

    def test_other_dims_are_refused_with_both_numbers(self):
        data, _ = made()
        other, _ = made(dims=12)
        for transform in (
            transforms.plane_transform(data, reduce(data)),
            transforms.kinds_transform(data, ["A", "B"] * 30),
        ):
            with pytest.raises(ValueError, match=r"embeddings of 8 dims \(network resnet18.*these have 12"):
                transforms.apply(transform, other)
        with pytest.raises(ValueError, match="one of them must be 'dim'"):
            transforms.apply(transform, data["embedding"].rename(dim="feature"))

    def test_nothing_that_is_kept_can_execute(self, tmp_path):
        data, _ = made()
        for method in ("pca", "isomap"):
            transforms.save(transforms.plane_transform(data, reduce(data, method)), tmp_path, method)
        assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
        for path in tmp_path.glob("*.safetensors"):
            head = path.read_bytes()
            json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])  # a table of arrays, and bytes

    @pytest.mark.parametrize("damage", ["cut", "dims", "kind", "letters", "arrays", "text"])
    def test_damaged_ones_are_refused(self, tmp_path, damage):
        data, _ = made()
        card = transforms.save(transforms.kinds_transform(data, ["A", "B"] * 30), tmp_path, "kinds")
        facts, arrays = json.loads(card.read_text()), card.with_suffix(".safetensors")
        facts |= {"dims": {"dims": 9}, "kind": {"kind": "pickle"}, "letters": {"letters": ["A"]}}.get(damage, {})
        card.write_text("{" if damage == "text" else json.dumps(facts))
        if damage == "cut":
            arrays.write_bytes(arrays.read_bytes()[:-40])
        elif damage == "arrays":
            arrays.unlink()
        with pytest.raises(ValueError, match=r"no whole transform .*Run 05_interpretation again"):
            transforms.load(tmp_path, "kinds")

    def test_a_missing_one_names_those_there_are(self, tmp_path):
        data, _ = made()
        transforms.save(transforms.plane_transform(data, reduce(data)), tmp_path, "plane")
        with pytest.raises(FileNotFoundError, match=r"No transform 'plain'.*there: plane"):
            transforms.load(tmp_path, "plain")
