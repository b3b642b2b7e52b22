"""Trees and kinds: against scipy's linkage over every sample, and scikit-learn."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from geonb.embeddings import trees
from geonb.embeddings.trees import cluster, link


def made(n=60, dims=8, seed=0, apart=12.0):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, n)
    values = random.normal(size=(n, dims)) + apart * np.eye(3, dims)[groups]
    coords = {"label": ("sample", groups.astype(str)), "row": ("sample", np.arange(n) * 7)}
    return xr.Dataset({"embedding": (("sample", "dim"), values.astype(np.float32))}, coords), groups


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6), st.integers(1, 9))
def test_weighted_ward_is_ward_of_every_point_as_often_as_it_counts(seed, n, dims, most):
    random = np.random.default_rng(seed)
    points, counts = random.normal(size=(n, dims)), random.integers(1, most + 1, n)
    ours = trees._scipy_form(*trees.ward(points, counts))
    whole = linkage(np.repeat(points, counts, axis=0), "ward")
    assert whole[: counts.sum() - n, 2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(ours[:, 2], whole[counts.sum() - n :, 2], rtol=1e-6, atol=1e-6)
    clusters = min(5, n)
    theirs = fcluster(whole, clusters, "maxclust")
    assert adjusted_rand_score(theirs, np.repeat(cluster(ours, clusters), counts)) == pytest.approx(1)


def test_ward_of_single_points_is_scipys_tree():
    points = np.random.default_rng(1).normal(size=(300, 7))
    ours, theirs = trees._scipy_form(*trees.ward(points, np.ones(300))), linkage(points, "ward")
    np.testing.assert_allclose(ours[:, 2:], theirs[:, 2:], rtol=1e-9)
    np.testing.assert_allclose(cophenet(ours), cophenet(theirs), rtol=1e-9)


def test_ward_ends_where_points_are_the_same():
    ours = trees._scipy_form(*trees.ward(np.zeros((50, 3), np.float32) + 7, np.ones(50)))
    assert len(ours) == 49 and ours[:, 2] == pytest.approx(0) and ours[-1, 3] == 50


def test_ward_stops_where_it_is_told_having_joined_the_nearest():
    points = np.random.default_rng(2).normal(size=(40, 2))
    pairs, _ = trees.ward(points, np.ones(40), stop=6)
    groups = trees._roots(pairs, 40)
    assert len(pairs) == 34 and len(set(groups)) == 6


def test_clusters_are_those_of_ward():
    data, groups = made()
    found = cluster(link(data), 3)
    other = AgglomerativeClustering(3, linkage="ward").fit_predict(data["embedding"])
    assert adjusted_rand_score(found, other) == 1
    assert adjusted_rand_score(found, groups) == 1


def test_clusters_are_numbered_as_the_leaves_stand():
    data, _ = made()
    tree = link(data)
    along = cluster(tree, 5)[leaves_list(tree.linkage)]
    assert list(along) == sorted(along)


def test_as_many_clusters_as_are_asked_for_also_among_equal_heights():
    data = xr.Dataset({"embedding": (("sample", "dim"), np.zeros((20, 2)))})
    assert sorted(set(cluster(link(data), 6))) == list(range(6))


@pytest.mark.parametrize("grouping", trees.GROUPINGS)
def test_more_clusters_than_samples_are_refused_at_once(grouping, monkeypatch):
    monkeypatch.setattr(trees, "_exact", lambda values: pytest.fail("a tree was begun"))
    with pytest.raises(ValueError, match="between 1 and the 60 samples"):
        link(made()[0], grouping, 61)
    with pytest.raises(ValueError, match="between 1 and the 60 samples"):
        cluster(linkage(made()[0]["embedding"], "ward"), 61)


class TestCondensed:
    def test_groups_are_a_partition_of_about_the_number_asked_for(self):
        values = np.random.default_rng(0).normal(size=(9000, 5)).astype(np.float32)
        groups = trees.condense(values, 700)
        assert len(groups) == 9000 and 690 <= groups.max() + 1 <= 710
        assert (np.bincount(groups) > 0).all()
        centres, counts = trees.weighted_centres(values, groups)
        assert counts.sum() == 9000
        np.testing.assert_allclose(centres[groups[17]], values[groups == groups[17]].mean(0), rtol=1e-5)
        within = ((values - centres[groups]) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
        assert within < 0.15, "a group holds what is alike"

    def test_its_cut_is_the_exact_one_where_kinds_are_apart(self, monkeypatch):
        data, groups = made(3000)
        exact = cluster(link(data), 3)
        monkeypatch.setattr(trees, "EXACT", 500)
        tree = link(data, clusters=3)
        assert not tree.exact and tree.leaves <= 520 and len(tree.leaf) == 3000
        assert adjusted_rand_score(cluster(tree, 3), exact) == adjusted_rand_score(exact, groups) == 1
        assert tree.agreement["rand"] == 1 and tree.agreement["cophenetic"] > 0.9
        assert tree.agreement["samples"] == 500

    def test_agreement_is_that_of_the_two_trees(self, monkeypatch):
        """Where the sample is everything, and the groups are samples, both trees are one; where groups are drawn, they are not."""
        data, _ = made(400, apart=0.0)
        values = data["embedding"].to_numpy()
        monkeypatch.setattr(trees, "EXACT", 200)
        drawn = np.random.default_rng([0, 0xA9]).permutation(400)[:200]
        whole = linkage(values.astype(float), "ward")
        found = trees.agreement(trees.as_tree(whole), values, 6)
        part = linkage(values[drawn].astype(float), "ward")
        expected = adjusted_rand_score(cluster(part, 6), cluster(whole, 6)[drawn])
        assert found["rand"] == pytest.approx(expected) and 0 < found["rand"] < 1
        all_pairs = cophenet(linkage(values.astype(float), "ward"))
        square = np.zeros((400, 400))
        square[np.triu_indices(400, 1)] = all_pairs
        square += square.T
        same = np.corrcoef(square[np.ix_(drawn, drawn)][np.triu_indices(200, 1)], cophenet(part))[0, 1]
        assert found["cophenetic"] == pytest.approx(same, abs=0.01)
        noise = trees.Tree(whole, np.random.default_rng(0).permutation(400))
        assert abs(trees.agreement(noise, values, 6)["rand"]) < 0.1

    def test_heights_inside_a_leaf_are_zero(self):
        points = np.random.default_rng(0).normal(size=(5, 2))
        tree = trees.Tree(linkage(points, "ward"), np.array([0, 0, 3, 4, 1, 2]))
        one, two = np.array([0, 2, 5]), np.array([1, 3, 4])
        expected = cophenet(tree.linkage, pdist(points))[1]
        pairs = {pair: height for pair, height in zip(zip(*np.triu_indices(5, 1), strict=True), expected, strict=True)}
        np.testing.assert_allclose(trees._join_heights(tree, one, two), [0, pairs[3, 4], pairs[1, 2]], rtol=1e-6)


class TestGroupings:
    def test_kmeans_leaves_are_its_centres_weighted(self):
        data, groups = made(200)
        tree = link(data, "kmeans", 3)
        assert tree.leaves == 3 and adjusted_rand_score(cluster(tree, 3), groups) == 1
        values = data["embedding"].to_numpy().astype(float)
        of = cluster(tree, 3)
        centres = np.stack([values[of == k].mean(0) for k in range(3)])
        counts = np.bincount(of)
        joins = [np.sqrt(2 * counts[i] * counts[j] / (counts[i] + counts[j])) * np.linalg.norm(centres[i] - centres[j])
                 for i, j in ((0, 1), (0, 2), (1, 2))]  # fmt: skip
        assert tree.linkage[0, 2] == pytest.approx(min(joins), rel=1e-5)

    def test_hdbscan_leaves_what_is_in_no_group_without_a_letter(self):
        data, groups = made(300)
        data["embedding"][:5] = 60 * np.eye(8)[:5] + 200
        tree = link(data, "hdbscan")
        numbers = cluster(tree, 8)
        assert tree.leaves == 3 and (numbers[:5] == -1).all() and (tree.leaf[:5] == -1).all()
        assert adjusted_rand_score(numbers[numbers >= 0], groups[numbers >= 0]) == 1
        assert set(trees.letters_of(numbers)) == {"A", "B", "C", "-"}

    def test_dense_groups_are_found_among_many_dims(self):
        random = np.random.default_rng(0)
        groups = random.integers(0, 3, 400)
        values = random.normal(size=(400, 120)) + 4 * np.eye(3, 120)[groups]
        data = xr.Dataset({"embedding": (("sample", "dim"), values)})
        numbers = cluster(link(data, "hdbscan"), 8)
        assert adjusted_rand_score(groups[numbers >= 0], numbers[numbers >= 0]) > 0.9 and (numbers >= 0).mean() > 0.35

    def test_where_there_are_no_groups_it_is_said(self):
        same = xr.Dataset({"embedding": (("sample", "dim"), np.ones((40, 4), np.float32))})
        with pytest.raises(ValueError, match="tells nothing apart"), pytest.warns(UserWarning):
            link(same, "kmeans", 4)
        none = xr.Dataset({"embedding": (("sample", "dim"), np.eye(30) * 9)})  # all equally far apart
        with pytest.raises(ValueError, match="HDBSCAN finds"):
            link(none, "hdbscan")
        with pytest.raises(ValueError, match="one of ward, kmeans, hdbscan"):
            link(none, "k-means")

    def test_hdbscan_of_very_many_is_refused(self):
        many = xr.Dataset({"embedding": (("sample", "dim"), np.zeros((10_001, 2), np.float32))})
        with pytest.raises(ValueError, match="at most 10,000"):
            link(many, "hdbscan")


def test_the_table_counts_what_each_kind_holds():
    data, _ = made(6)
    times = np.array(["2020-01-01", "2020-01-05", "NaT", "2020-01-03", "2020-01-02", "2020-02-01"], "M8[ns]")
    data = data.assign_coords(
        time=("sample", times), split=("sample", ["train", "val", "train", "train", "val", "train"]),
        label=("sample", ["a", "a", "b", "b", "b", "a"]),
    )  # fmt: skip
    table = trees.kinds_table(data, np.array(list("AABAB-")))
    assert list(table.index) == ["A", "B", "-"] and table["windows"].tolist() == [3, 2, 1]
    assert table.loc["A", "commonest label"] == "a" and table.loc["A", "its share"] == "67%"
    assert table.loc["A", ["of all", "lift"]].tolist() == ["50%", 1.3]  # twice of three, beside three of six
    assert table.loc["A", ["train", "val"]].tolist() == [2, 1] and table.loc["B", "share"] == "33%"
    assert str(table.loc["A", "first"].date()) == "2020-01-01" and str(table.loc["A", "last"].date()) == "2020-01-05"
    bare = trees.kinds_table(data.drop_vars(["label", "time", "split"]), np.array(list("AABAB-")))
    assert list(bare.columns) == ["windows", "share"]


def test_the_nearest_centre_is_found_for_each_of_many():
    values, centres = np.random.default_rng(0).normal(size=(9000, 5)).astype(np.float32), np.eye(5, dtype=np.float32)
    assert (trees.nearest_centre(values, centres) == values.argmax(1)).all()
    assert trees.nearest_centre(values[:0], centres).shape == (0,)
