"""How alike tiles are, against every distance there is."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.dashboards import likeness
from geonb.dashboards.likeness import Likeness


def made(seed=0, places=((3, 4, 6), (2, 3, 3)), dims=5, reach=(1, 2), hours=2.0, holes=0.2):
    """Tiles of a place each: times 2 hours apart (NaT in every second place), vectors drawn at random, some not there."""
    found = []
    for n, (times, rows, columns) in enumerate(places):
        rng = np.random.default_rng([seed, n])
        vectors = rng.normal(size=(times, rows, columns, dims)).astype("float32")
        vectors[rng.random((times, rows, columns)) < holes] = np.nan
        vectors[0, 0, 0] = n
        when = np.datetime64("2020-01-01T00:00", "ns") + np.arange(times) * np.timedelta64(int(hours * 3600), "s")
        found.append(SimpleNamespace(
            times=when if n % 2 == 0 else np.full(times, np.datetime64("NaT", "ns")), reach=reach, vectors=vectors.__getitem__,
            picture=lambda *at: None, label=lambda *at: str(at)))  # fmt: skip
    return found


def every_one(tiles):
    """(place, time, row, column) -> vector of all tiles that are there."""
    return {(p, t, r, c): one.vectors(t)[r, c].astype(float) for p, one in enumerate(tiles) for t in range(len(one.times))
            for r, c in np.argwhere(np.isfinite(one.vectors(t)).all(-1)).tolist()}  # fmt: skip


def overlap(tiles, one, other):
    """Whether two tiles show much the same ground within less than six hours."""
    if (
        one[0] != other[0]
        or abs(one[2] - other[2]) > tiles[one[0]].reach[0]
        or abs(one[3] - other[3]) > tiles[one[0]].reach[1]
    ):
        return False
    apart = abs(tiles[one[0]].times[one[1]] - tiles[one[0]].times[other[1]])
    return one[1] == other[1] or bool(apart < np.timedelta64(6, "h"))


def brute(tiles, chosen, count=5):
    every = every_one(tiles)
    far = {key: float(np.square(vector - every[chosen]).sum()) for key, vector in every.items()}
    taken = [chosen]
    for key in sorted(far, key=far.get):
        if not any(overlap(tiles, key, other) for other in taken):
            taken.append(key)
    return [(key, pytest.approx(far[key], rel=1e-4, abs=1e-5)) for key in taken[1 : count + 1]]


SOME = {
    "seed": st.integers(0, 99),
    "reach": st.tuples(st.integers(0, 2), st.integers(0, 3)),
    "hours": st.sampled_from([1.0, 2.9, 6.0]),
}


@settings(max_examples=15, deadline=None)
@given(**SOME)
def test_the_most_alike_are_the_nearest_that_overlap_none_before_them(**how):
    tiles = made(**how)
    like = Likeness(tiles)
    for chosen in list(every_one(tiles))[:: 1 + how["seed"] % 5]:
        assert like.alike(chosen) == brute(tiles, chosen)


@settings(max_examples=15, deadline=None)
@given(**SOME)
def test_all_at_once_find_what_each_finds(**how):
    tiles = made(**how)
    keys = np.array(list(every_one(tiles)))
    nearest, far = Likeness(tiles).nearest_of(keys, batch=7)
    for i, key in enumerate(keys):
        found = [(tuple(keys[n].tolist()), float(f)) for n, f in zip(nearest[i], far[i], strict=True) if n >= 0]
        assert found == brute(tiles, tuple(key.tolist()))
        assert np.isnan(far[i][nearest[i] < 0]).all()


def test_many_that_overlap_do_not_hide_the_others():
    """A tile whose nearest hundreds all overlap it still finds five."""
    tiles = made(places=((4, 20, 20), (1, 5, 5)), reach=(19, 19), hours=1.0, holes=0)
    keys = np.array(list(every_one(tiles)))
    nearest, _ = Likeness(tiles).nearest_of(keys, among=50)
    one = Likeness(tiles)
    for i in (0, 700, 1610):
        expected = [key for key, _ in one.alike(keys[i].tolist())]
        assert [tuple(keys[n].tolist()) for n in nearest[i] if n >= 0] == expected


def test_components_and_colours_are_those_of_all_scenes():
    tiles = made(places=((3, 6, 7), (2, 5, 4)), dims=6)
    like, vectors = Likeness(tiles), np.stack(list(every_one(tiles).values()))
    centred = vectors - vectors.mean(0)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    np.testing.assert_allclose(like.held, scores.var(0) / vectors.var(0).sum(), rtol=1e-4)
    own = np.array([like.scores(*key[:2])[key[2:]] for key in every_one(tiles)])
    np.testing.assert_allclose(np.abs(own), np.abs(scores), atol=1e-4)
    shown = np.array([like.colours(*key[:2])[key[2:]] for key in every_one(tiles)], float)
    assert (shown[:, 3] == 255).all()
    low, high = np.percentile(own[:, :3], (2, 98), axis=0)
    assert np.abs(shown[:, :3] - 255 * np.clip((own[:, :3] - low) / (high - low), 0, 1)).max() <= 0.51
    gone = ~np.isfinite(tiles[0].vectors(1)).all(-1)
    assert gone.any() and ((like.colours(0, 1)[..., 3] == 0) == gone).all()


def test_distances_are_to_the_tile_chosen_also_in_another_place():
    tiles = made()
    like, true = Likeness(tiles), np.square(tiles[1].vectors(1) - tiles[0].vectors(2)[0, 4]).sum(-1)
    np.testing.assert_array_equal(like.distances(1, 1, (0, 2, 0, 4)), true)


def test_it_starts_in_the_middle_of_the_first_scene_that_has_any():
    tiles = made(places=((2, 5, 7),), holes=0)
    assert Likeness(tiles).start() == (0, 0, 2, 3)
    tiles[0].vectors(0)[:, :5] = np.nan
    assert Likeness(tiles).start() == (0, 0, 2, 5)
    tiles[0].vectors(0)[:] = np.nan
    assert Likeness(tiles).start() == (0, 1, 2, 3)


def test_what_near_and_far_mean_is_measured_or_drawn():
    measured = Likeness(made(), (np.array([1.0, 2, 3]), np.array([10.0, 20, 90])))
    assert (measured.near, measured.far, measured.measured) == (2, 20, True) and measured.top == pytest.approx(76)
    drawn = Likeness(made(places=((3, 9, 9),), holes=0))
    assert not drawn.measured and 0 < drawn.near < drawn.far < drawn.top
    assert drawn.far == pytest.approx(10, rel=0.4)  # of two of five independent numbers each: twice five


def test_a_large_run_is_searched_in_part_and_says_so(monkeypatch):
    tiles = made(places=((4, 4, 6), (2, 4, 6)))
    assert "Searched" not in Likeness(tiles).words["note"]
    monkeypatch.setattr(likeness, "SEARCHED_MB", 4 * 5 * 24 * 3.1 / 1e6)  # of six scenes, three
    like = Likeness(tiles)
    assert like.searched == [[0, 3], [0]] and "Searched: 50% of the scenes" in like.words["note"]
    assert {key[:2] for key, _ in like.alike((0, 1, 0, 0))} <= {(0, 0), (0, 3), (1, 0)}


def test_one_tile_or_none():
    one = made(places=((1, 1, 1),), holes=0)
    like = Likeness(one)
    assert like.alike(like.start()) == [] and like.colours(0, 0)[0, 0, 3] == 255
    one[0].vectors(0)[:] = np.nan
    with pytest.raises(ValueError, match="No tile of any scene is valid"):
        Likeness(one)


def test_marked_tiles_ask_by_the_ridge_regression_of_scikit_learn():
    from sklearn.linear_model import Ridge

    from geonb.embeddings.marks import DRAWN, RIDGE, WEIGHT

    tiles = made(seed=3, holes=0.1)
    like, every = Likeness(tiles, marking=True), every_one(tiles)
    keys = list(every)
    right, wrong = keys[2:4], keys[9:12]
    drawn = like.drawn[: max(1, DRAWN)].astype(float)
    parts = [
        (np.array([every[k] for k in right]), 1, 1.0),
        (np.array([every[k] for k in wrong]), -1, 1.0),
        (drawn, -1, WEIGHT),
    ]
    x = np.concatenate([p for p, _, _ in parts])
    y = np.concatenate([np.full(len(p), float(t)) for p, t, _ in parts])
    w = np.concatenate([np.full(len(p), s / len(p)) for p, _, s in parts])
    w /= w.sum()
    inside = x - w @ x
    alpha = RIDGE * np.trace((inside * w[:, None]).T @ inside) + 1e-9
    model = Ridge(alpha=alpha).fit(x, y, sample_weight=w)
    scores = {
        key: float(model.predict(vector[None])[0]) for key, vector in every.items() if key not in (*right, *wrong)
    }
    found = like.like_marked(right, wrong, 6)
    best = sorted(scores, key=scores.get, reverse=True)[:6]
    assert [key for key, _ in found] == best
    assert [score for _, score in found] == pytest.approx([scores[key] for key in best], abs=1e-4)
    plane = like.likely(best[0][0], best[0][1], right, wrong)
    assert plane[best[0][2:]] == pytest.approx(scores[best[0]], abs=1e-4)


def test_what_is_marked_does_not_answer():
    tiles = made(seed=5, holes=0)
    like, keys = Likeness(tiles, marking=True), list(every_one(tiles))
    found = [key for key, _ in like.like_marked(keys[:2], keys[2:4], 1000)]
    assert set(found) == set(keys[4:]) and len(found) == len(set(found))
