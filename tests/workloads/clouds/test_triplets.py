"""Triplets: drawn by the seed alone, where they should be, and split so that nothing leaks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.clouds import leakage, triplets
from geonb.workloads.clouds.triplets import Area

BOX = {"a": (0, 0, 1, 1), "b": (0.5, 0, 2, 1), "far": (10, 0, 11, 1)}


def hours(*values):
    return pd.DatetimeIndex(
        [pd.NaT if v is None else pd.Timestamp("2020-04-01") + pd.Timedelta(hours=v) for v in values]
    )


def all_valid(source, t, corners):
    return np.ones(len(corners))


def cut(areas, takes, valid=all_valid, **options):
    settings = {"counts": {"train": 40, "val": 20, "test": 20}, "patch": 16, "min_distant": 3, "seed": 0} | options
    return triplets.cut_triplets(areas, takes, valid, **settings)


def test_scenes_of_the_same_hours_are_one_take():
    takes = triplets.takes_of({"a": hours(0, 5, 30, 31)}, BOX, apart_h=12)
    assert takes == {"a": [0, 0, 1, 1]}


def test_takes_join_where_grounds_overlap_and_not_elsewhere():
    takes = triplets.takes_of({"a": hours(0, 40), "b": hours(6), "far": hours(6)}, BOX, apart_h=12)
    assert takes["a"][0] == takes["b"][0]
    assert len({takes["a"][0], takes["a"][1], takes["far"][0]}) == 3


def test_a_take_that_bridges_two_joins_them():
    # a and far are hours apart from one another, but the wide series w touches both
    boxes = BOX | {"w": (0, 0, 11, 1)}
    takes = triplets.takes_of({"a": hours(0), "far": hours(1), "w": hours(2)}, boxes, apart_h=12)
    assert len({takes[k][0] for k in takes}) == 1


def test_scenes_without_a_time_may_be_of_any_hour():
    assert triplets.takes_of({"a": hours(0, 50, None, None)}, BOX, apart_h=12) == {"a": [0, 0, 0, 0]}
    takes = triplets.takes_of({"a": hours(None), "b": hours(0, 50), "far": hours(0, 50)}, BOX, apart_h=12)
    assert takes["a"] * 2 == takes["b"] and len({*takes["b"], *takes["far"]}) == 3
    assert triplets.takes_of({"a": hours(0, None, None)}, BOX, apart_h=0) == {"a": [0, 1, 2]}, (
        "each is said to stand alone"
    )


def test_scenes_are_dealt_in_order_of_time_and_takes_stay_whole():
    takes = {"a": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]}
    method, areas = triplets.split_scenes({"a": (64, 64)}, takes, "60/20/20", "auto", 16)
    assert method == "scene"
    assert {a.split: a.scenes for a in areas} == {"train": (0, 1, 2, 3, 4, 5), "val": (6, 7), "test": (8, 9)}


def test_few_takes_part_the_ground_instead():
    method, areas = triplets.split_scenes({"a": (128, 128)}, {"a": [0, 0]}, "50/20/30", "auto", 16)
    assert method == "area"
    assert {a.split for a in areas} == {"train", "val", "test"}
    covered = np.zeros((128, 128), int)
    for a in areas:
        covered[a.y[0] : a.y[1], a.x[0] : a.x[1]] += 1
        assert a.scenes == (0, 1)
    assert covered.max() == 1


def test_too_few_takes_for_a_split_by_scene_say_what_to_do():
    with pytest.raises(ValueError, match=r"there are 2 that are independent.*split = 'area'"):
        triplets.split_scenes({"a": (64, 64)}, {"a": [0, 1]}, "50/20/30", "scene", 16)


def test_a_scene_too_small_for_its_parts_says_so():
    with pytest.raises(ValueError, match=r"a \(40 x 40 px\) holds 1 parts.*smaller `patch`"):
        triplets.split_scenes({"a": (40, 40)}, {"a": [0]}, "50/20/30", "area", 16)


AREAS = [
    Area("a", "train", (0, 96), (0, 128), (0, 1, 2)),
    Area("a", "val", (0, 96), (0, 128), (3,)),
    Area("a", "test", (0, 96), (0, 128), (4, 5)),
]
TAKES = {"a": [0, 0, 1, 2, 3, 3]}


def test_neighbours_and_distant_tiles_lie_where_they_should():
    table = cut(AREAS, TAKES)
    assert table["split"].value_counts().to_dict() == {"train": 40, "val": 20, "test": 20}
    near = np.hypot(table["neighbor_y"] - table["y"], table["neighbor_x"] - table["x"])
    assert np.abs(near - 16).max() < 1
    take = np.array(TAKES["a"])
    same = take[table["t"]] == take[table["distant_t"]]
    far = np.hypot(table["distant_y"] - table["y"], table["distant_x"] - table["x"])
    assert far[same].min() >= 3 * 16
    assert (~same).sum() > 5 and far[~same].min() < 3 * 16  # another day may be anywhere
    for column, most in (
        ("y", 80),
        ("neighbor_y", 80),
        ("distant_y", 80),
        ("x", 112),
        ("neighbor_x", 112),
        ("distant_x", 112),
    ):
        assert table[column].between(0, most).all()


def test_the_direction_of_the_neighbour_is_anywhere():
    table = cut(AREAS, TAKES, counts={"train": 2000, "val": 1, "test": 0})
    train = table[table["split"] == "train"]
    inner = train[train["y"].between(17, 62) & train["x"].between(17, 94)]  # there nothing is refused
    angle = np.arctan2(inner["neighbor_y"] - inner["y"], inner["neighbor_x"] - inner["x"])
    counts = np.histogram(angle, 8, (-np.pi, np.pi))[0]
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.5 * counts.mean()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), distance=st.sampled_from([0.5, 1.0, 1.5]))
def test_every_seed_gives_triplets_that_do_not_leak(seed, distance):
    table = cut(AREAS, TAKES, seed=seed, distance=distance)
    index = table.assign(height=16, width=16)
    known = {"method": "scene", "patch": 16, "distance": distance, "min_distant": 3}
    assert leakage.leaks(index, {"a": (96, 128)}, TAKES, known)[0] == []


def test_one_seed_one_table():
    pd.testing.assert_frame_equal(cut(AREAS, TAKES, seed=7), cut(AREAS, TAKES, seed=7))
    assert not cut(AREAS, TAKES, seed=7).equals(cut(AREAS, TAKES, seed=8))


def test_the_table_of_seed_0_is_the_one_it_was_on_the_machine_that_wrote_this():
    first = cut(AREAS, TAKES, seed=0).iloc[0]
    columns = ["t", "y", "x", "neighbor_y", "neighbor_x", "distant_t", "distant_y", "distant_x"]
    assert first[columns].tolist() == [0, 19, 80, 27, 66, 0, 16, 5]


def test_tiles_without_data_are_drawn_again():
    def left_half(source, t, corners):
        return np.where(corners[:, 1] + 16 <= 64, 1.0, 0.3)

    table = cut(AREAS, TAKES, left_half)
    assert max(table[c].max() for c in ("x", "neighbor_x", "distant_x")) <= 48


def test_no_data_anywhere_is_an_error_and_not_an_endless_search():
    with pytest.raises(ValueError, match=r"0 of 40 train triplets could be drawn.*min_valid"):
        cut(AREAS, TAKES, lambda s, t, c: np.zeros(len(c)))


def test_a_distance_that_does_not_fit_is_refused_with_the_largest_that_does():
    one = [Area("a", "train", (0, 96), (0, 128), (0,))]
    with pytest.raises(ValueError, match=r"min_distant = 20 tiles.*at most 8\.6 tiles apart.*smaller `min_distant`"):
        cut(one, {"a": [0]}, min_distant=20, counts={"train": 5})
    with pytest.raises(ValueError, match=r"neighbours at distance = 9 tiles"):
        cut(one, {"a": [0]}, distance=9, counts={"train": 5})


def index_of(rows):
    columns = [
        "split",
        "source",
        "t",
        "y",
        "x",
        "neighbor_y",
        "neighbor_x",
        "distant_source",
        "distant_t",
        "distant_y",
        "distant_x",
    ]
    return pd.DataFrame(rows, columns=columns).assign(height=16, width=16)


KNOWN = {"method": "area", "patch": 16, "distance": 1.0, "min_distant": 3}


def test_leaks_are_found_whatever_the_cutter_thinks():
    whole = [("train", "a", 0, 0, 0, 0, 16, "a", 0, 64, 64), ("test", "a", 0, 0, 40, 16, 40, "a", 0, 80, 100)]
    assert leakage.leaks(index_of(whole), {"a": (96, 128)}, {"a": [0]}, KNOWN) == ([], 8.0)
    shared = [whole[0], ("test", "a", 0, 0, 31, 16, 31, "a", 0, 80, 100)]
    assert "overlaps" in leakage.leaks(index_of(shared), {"a": (96, 128)}, {"a": [0]}, KNOWN)[0][0]
    by_scene = KNOWN | {"method": "scene"}
    assert (
        "take 0 are in test and train" in leakage.leaks(index_of(whole), {"a": (96, 128)}, {"a": [0]}, by_scene)[0][0]
    )
    outside = [("train", "a", 0, 90, 0, 90, 16, "a", 0, 0, 100)]
    assert "leaves the scenes" in leakage.leaks(index_of(outside), {"a": (96, 128)}, {"a": [0]}, KNOWN)[0][0]
    wrong = [("train", "a", 0, 0, 0, 0, 40, "a", 0, 20, 20)]
    said = leakage.leaks(index_of(wrong), {"a": (96, 128)}, {"a": [0]}, KNOWN)[0]
    assert "2.50 tiles away, not 1" in said[0] and "1.8 tiles away in scenes of the same hours" in said[1]


def test_blocks_by_area_hold_all_scenes_of_a_place_and_by_scene_each_take():
    table = cut(AREAS, TAKES)
    by_area = triplets.blocks_of(table, TAKES, "area", 16)
    place = table["y"] // 32 * 100 + table["x"] // 32
    assert pd.Series(by_area).groupby(place).nunique().max() == 1 and len(set(by_area)) == place.nunique()
    many = {"a": list(range(30))}
    areas = [
        Area("a", "train", (0, 96), (0, 128), tuple(range(20))),
        Area("a", "val", (0, 96), (0, 128), tuple(range(20, 30))),
    ]
    table = cut(areas, many, counts={"train": 200, "val": 100})
    assert len(np.unique(triplets.blocks_of(table, many, "scene", 16))) == table["t"].nunique()
