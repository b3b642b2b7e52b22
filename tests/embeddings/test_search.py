"""An index finds what comparing with every vector finds, keeps what it was told through kills and reopening, and says what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geonb.embeddings import search
from geonb.embeddings.search import build_index, open_index
from geonb.embeddings.within import Within

LABELS = ["forest", "water", "road"]


def made(n=300, dims=16, seed=0, first=0):
    """Vectors in 10 clusters; chips of a hundredth of a degree in a row along the equator, one a day, labels by turns."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(10, dims))
    kinds = random.integers(10, size=n)
    vectors = 3 * centres[kinds] + random.normal(size=(n, dims))
    number = np.arange(first, first + n)
    samples = gpd.GeoDataFrame(
        {
            "id": [f"chip{i}" for i in number],
            "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(number, "D"),
            "labels": [[LABELS[i % 3], "all"] for i in number],
            "source": np.where(number % 2, "one", "two"),
            "group": [f"tile{i // 20}" for i in number],
            "quadkey": [f"q{i // 2}" for i in number],
        },
        geometry=shapely.box(0.01 * number, 0, 0.01 * number + 0.009, 0.009),
        crs="EPSG:4326",
    )
    return vectors, samples


def cosines(vectors, query):
    return vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def expected(vectors, query, count, allowed=None):
    scores = cosines(vectors, query)
    scores[~(np.ones(len(vectors), bool) if allowed is None else allowed)] = -np.inf
    return [f"chip{i}" for i in np.argsort(-scores, kind="stable")[:count] if scores[i] > -np.inf]


@pytest.fixture(params=["exact", "ann"])
def index(request, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "FEW", 10)  # so that the graph answers
    return build_index(tmp_path / "index", *made(), model="m1", kind=request.param)


def test_an_index_that_is_built_again_keeps_what_was_marked(index):
    (index.folder / "marks-roofs.json").write_text("[]")
    build_index(index.folder, *made(200), model="m2")
    assert (index.folder / "marks-roofs.json").read_text() == "[]"


def test_as_many_answers_as_there_are_samples(index):
    answers = index.search("chip3", len(index) - 1)
    assert len(answers) == len(index) - 1 and answers["id"].is_unique


def test_answers_are_the_most_alike_with_their_cosine(index):
    vectors, _ = made()
    query = np.random.default_rng(5).normal(size=16)
    found = index.search(query, 10)
    assert list(found["id"]) == expected(vectors, query, 10) and list(found["rank"]) == list(range(1, 11))
    assert found["score"].to_numpy() == pytest.approx(np.sort(cosines(vectors, query))[::-1][:10], abs=1e-5)
    row = int(found["id"][0].removeprefix("chip"))
    assert found["labels"][0] == [LABELS[row % 3], "all"] and found["time"][0] == pd.Timestamp(
        "2020-01-01"
    ) + pd.Timedelta(row, "D")
    assert (
        found.geometry[0].bounds == pytest.approx((0.01 * row, 0, 0.01 * row + 0.009, 0.009))
        and found.crs == "OGC:CRS84"
    )
    assert found["quadkey"][0] == f"q{row // 2}" and found["name"][0] == found["id"][0]


def test_a_sample_asks_and_does_not_answer(index):
    vectors, _ = made()
    wanted = [one for one in expected(vectors, vectors[7], 9) if one != "chip7"]
    assert list(index.search("chip7", 8)["id"]) == wanted
    found = index.search("chip7", 8, itself=True)
    assert found["id"][0] == "chip7" and found["score"][0] == pytest.approx(1)


def test_several_samples_ask_by_their_mean_or_by_the_best(index):
    vectors, _ = made()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    others = np.ones(300, bool)
    others[[3, 8]] = False
    assert list(index.search(["chip3", "chip8"], 6)["id"]) == expected(vectors, unit[[3, 8]].mean(0), 6, others)
    best = np.where(others, np.maximum(unit @ unit[3], unit @ unit[8]), -2)
    found = index.search(["chip3", "chip8"], 6, by="best")
    assert list(found["id"]) == [f"chip{i}" for i in np.argsort(-best)[:6]] and "query" not in found


def test_several_vectors_ask_each_for_itself(index):
    vectors, _ = made()
    found = index.search(vectors[[4, 9, 11]].astype(float), 3)
    assert list(found["query"]) == [0] * 3 + [1] * 3 + [2] * 3
    assert list(found["id"][3:6]) == expected(vectors, vectors[9], 3)


def test_a_place_asks_by_what_lies_there(index):
    assert list(index.search((0.064, 0.004), 5)["id"]) == list(index.search("chip6", 5)["id"])
    box = (0.0301, 0.001, 0.0555, 0.002)  # chips 3, 4, 5
    assert list(index.rows_at(box)) == [3, 4, 5]
    triangle = shapely.Polygon([(0.03, 0), (0.065, 0), (0.065, 0.0001)])
    assert list(index.rows_at(triangle)) == [3, 4, 5, 6]
    steep = shapely.Polygon(
        [(0.03, 0.001), (0.055, 0.001), (0.2, 2)]
    )  # above chip 5 it leaves the chips, its bounds go on
    assert list(index.rows_at(steep)) == [3, 4, 5]
    assert list(index.search(box, 5)["id"]) == list(index.search(["chip3", "chip4", "chip5"], 5)["id"])
    with pytest.raises(ValueError, match="No sample lies at"):
        index.search((0.0695, 0.004))  # between two chips
    with pytest.raises(ValueError, match=r"No sample lies at POINT \(50 50\).*lie within 0.0000, 0.0000, 2.9990"):
        index.search((50, 50))
    with pytest.raises(ValueError, match="is no place"):
        index.search((200, 50))


FILTERS = {
    "time": (Within(time=("2020-02", "2020-03")), lambda i: 31 <= i < 91),
    "end of a day": (Within(time=(None, "2020-01-15")), lambda i: i < 15),
    "any label": (Within(labels=["forest", "road"]), lambda i: i % 3 != 1),
    "all labels": (Within(labels=["forest", "all"], every=True), lambda i: i % 3 == 0),
    "box": (Within(area=(0.5, -1, 1.0, 1)), lambda i: 50 <= i <= 100),
    "polygon": (Within(area=shapely.Point(1, 0).buffer(0.2)), lambda i: 80 <= i <= 120),
    "ids": (Within(ids=["chip5", "chip70", "no such"]), lambda i: i in (5, 70)),
    "source": (Within(sources="one"), lambda i: i % 2 == 1),
    "together": (
        Within(labels="water", sources=["one"], area=(0, 0, 1, 1)),
        lambda i: i % 3 == 1 and i % 2 == 1 and i <= 100,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_keep_what_they_say_and_all_that_is_there(index, name):
    within, rule = FILTERS[name]
    vectors, _ = made()
    allowed = np.array([rule(i) for i in range(300)])
    query = np.random.default_rng(6).normal(size=16)
    found, wanted = (
        list(index.search(query, 40, within)["id"]),
        expected(vectors, query, min(40, allowed.sum()), allowed),
    )
    if index.info["kind"] == "exact":
        assert found == wanted
    else:  # a graph is built a little differently each time, and may miss one of the last
        assert len(found) == len(wanted) and len(set(found) & set(wanted)) >= 0.95 * len(wanted)
        assert all(allowed[int(one.removeprefix("chip"))] for one in found)


@pytest.mark.parametrize(
    ("within", "told"),
    [
        (Within(labels=["Wald"]), r"labels Wald keeps 0.*Labels: all \(300\), "),
        (Within(time=("2031", None)), r"time 2031 to None keeps 0.*Times: 2020-01-01.* to 2020-10-26"),
        (Within(area=(10, 10, 11, 11)), r"area keeps 0.*lie within 0.0000"),
        (Within(sources=["three"]), r"sources keeps 0.*Sources: (one, two|two, one)"),
        (Within(labels=["forest"], ids=["chip1"]), r"labels forest keeps 100, ids keeps 1"),
    ],
)
def test_a_filter_that_keeps_nothing_says_what_there_is(index, within, told):
    with pytest.raises(ValueError, match=told):
        index.search("chip0", 5, within)


def test_a_filter_that_keeps_only_what_is_far_does_not_lose_answers(tmp_path, monkeypatch):
    """Half of the samples lie opposite to the query: none of them is among those that the graph comes upon."""
    monkeypatch.setattr(search, "FEW", 10)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(3000, 16)) * 0.3 + np.repeat([[2.0], [-2.0]], 1500, axis=0)
    samples = pd.DataFrame({"id": [f"chip{i}" for i in range(3000)], "labels": [["near"]] * 1500 + [["far"]] * 1500})
    index = build_index(tmp_path / "index", vectors, samples, kind="ann")
    found = index.search(np.ones(16), 10, Within(labels=["far"]))
    assert list(found["id"]) == expected(vectors, np.ones(16), 10, np.arange(3000) >= 1500)


def test_what_was_added_is_found_and_what_was_removed_is_not(index):
    vectors, _ = made()
    more, samples = made(50, seed=1, first=300)
    before = len(index)
    index.add(more, samples, model="m1")
    query = np.random.default_rng(7).normal(size=16)
    both = np.concatenate([vectors, more])
    first = expected(both, query, 20)
    assert len(index) == before + 50 and list(index.search(query, 20)["id"]) == first
    index.remove(first[:5])
    again = open_index(index.folder)
    for one in (index, again):
        assert len(one) == 345 and list(one.search(query, 15)["id"]) == first[5:]
    with pytest.raises(KeyError, match="removed"):
        again.search(first[0])
    row = int(first[0].removeprefix("chip"))
    back = gpd.GeoDataFrame(pd.concat([made()[1], samples], ignore_index=True)).iloc[[row]]
    again.add(both[[row]], back)
    assert again.search(query, 1)["id"][0] == first[0]
    written = np.load(again.folder / "vectors.npy")
    assert written.shape == (351, 16) and np.linalg.norm(written, axis=1) == pytest.approx(1)


def test_the_folder_opens_as_files_of_others(index):
    assert np.load(index.folder / "vectors.npy").shape == (300, 16)
    table = gpd.read_parquet(index.folder / "about.0.parquet")
    assert list(table["id"]) == [f"chip{i}" for i in range(300)] and table.crs == "OGC:CRS84"


def test_answers_go_out_as_geojson(index, tmp_path):
    found = index.search("chip7", 3)
    search.write_geojson(found, tmp_path / "a.geojson")
    told = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in told and [f["properties"]["rank"] for f in told["features"]] == [1, 2, 3]
    ring = told["features"][0]["geometry"]["coordinates"][0]
    assert shapely.LinearRing(ring).is_ccw and told["features"][0]["properties"]["labels"] == found["labels"][0]


def test_samples_without_place_time_or_labels_can_be_searched(tmp_path):
    vectors, samples = made(20)
    index = build_index(tmp_path / "i", vectors, samples[["id"]])
    found = index.search("chip0", 3)
    assert len(found) == 3 and found.geometry.isna().all() and found["time"].isna().all() and found["labels"][0] == []
    with pytest.raises(ValueError, match="None of the samples has a footprint"):
        index.search("chip0", 3, Within(area=(0, 0, 1, 1)))
    with pytest.raises(ValueError, match="None of the samples has a time"):
        index.search("chip0", 3, Within(time=("2020", "2021")))
    search.write_geojson(found, tmp_path / "a.geojson")
    index.add(*(part[20:40] for part in made(40)))
    assert index.search("chip0", 30)["labels"].map(len).sum() > 0


def test_changes_are_the_pairs_of_a_place_the_largest_first(index):
    vectors, _ = made()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - (unit[0::2] * unit[1::2]).sum(1)
    found = index.changes("quadkey", count=10)
    order = np.argsort(-distance)[:10]
    assert list(found["quadkey"]) == [f"q{i}" for i in order] and found["distance"].to_numpy() == pytest.approx(
        distance[order], abs=1e-5
    )
    assert (
        list(found["id_before"]) == [f"chip{2 * i}" for i in order]
        and (found["time_before"] < found["time_after"]).all()
    )
    assert (found["source_before"] == "two").all() and (found["source_after"] == "one").all()
    one = index.changes("quadkey", of="chip9")
    assert list(one["id_before"]) == ["chip8"] and list(one["id_after"]) == ["chip9"]
    with pytest.raises(ValueError, match="was seen once only among 150 samples"):
        index.changes("quadkey", Within(sources="one"))
    with pytest.raises(ValueError, match="no column 'place', only id, name"):
        index.changes("place")


def test_an_index_is_changed_by_whatever_name_it_is_reached_and_under_one_lock(index, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(index.folder)
    search.open_index(tmp_path / "link").remove(["chip1"])
    monkeypatch.chdir(index.folder)
    search.open_index(".").remove(["chip0"])
    assert len(search.open_index(index.folder)) == 298
    assert [file.name for file in tmp_path.glob(".*.lock")] in ([f".{index.folder.name}.lock"], [])


def test_what_has_no_date_is_neither_before_nor_after(tmp_path):
    """Two of one place without dates, two with one of them, two with both: one pair can be told."""
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    dates = [None, None, "2020-01-01", None, "2021-01-01", "2020-01-01"]
    table = pd.DataFrame(
        {"id": [f"chip{i}" for i in range(6)], "time": pd.to_datetime(dates), "quadkey": list("aabbcc")}
    )
    dated = search.build_index(tmp_path / "some", vectors, table)
    found = dated.changes("quadkey")
    assert found[["id_before", "id_after"]].to_numpy().tolist() == [["chip5", "chip4"]]
    assert found.attrs["notes"] == ["3 of 6 samples have no date, so that nobody knows before and after: left out."]
    with pytest.raises(ValueError, match="chip0 has no date"):
        dated.changes("quadkey", of="chip0")
    with pytest.raises(ValueError, match=r"was seen at no two known times.*3 of 6 samples have no date"):
        dated.changes("quadkey", of="chip2")
    bare = search.build_index(tmp_path / "none", vectors, table.assign(time=pd.NaT))
    with pytest.raises(ValueError, match="6 of 6 samples have no date"):
        bare.changes("quadkey")


def test_who_adds_waits_for_who_builds(tmp_path, monkeypatch):
    """Else what is added goes into a folder that is about to be thrown away."""
    vectors, table = made(40)
    first = search.build_index(tmp_path / "a", vectors[:20], table[:20])
    building, go_on, write = threading.Event(), threading.Event(), search.write_vectors

    def slow(*given):
        building.set()
        assert go_on.wait(30)
        write(*given)

    monkeypatch.setattr(search, "write_vectors", slow)
    builder = threading.Thread(target=search.build_index, args=(tmp_path / "a", vectors[:30], table[:30]))
    builder.start()
    assert building.wait(30)
    adder = threading.Thread(target=first.add, args=(vectors[30:], table[30:]))
    adder.start()
    adder.join(0.5)
    assert adder.is_alive(), "it waits"
    go_on.set()
    for thread in (builder, adder):
        thread.join(30)
    assert len(search.open_index(tmp_path / "a")) == 40


def test_vectors_that_do_not_fit_are_refused(index):
    with pytest.raises(ValueError, match=r"Vectors of 8 numbers.*has 16"):
        index.search(np.ones(8))
    with pytest.raises(ValueError, match="hold NaN"):
        index.search(np.full(16, np.nan))
    with pytest.raises(ValueError, match="are zero"):
        index.search(np.zeros(16))
    with pytest.raises(ValueError, match="of the model m1, not of m2"):
        open_index(index.folder, model="m2")
    more, samples = made(5, first=300)
    with pytest.raises(ValueError, match="of the model m1, not of m2"):
        index.add(more, samples, model="m2")
    with pytest.raises(ValueError, match="has these samples already"):
        index.add(more, samples.assign(id=[f"chip{i}" for i in range(5)]))
    with pytest.raises(ValueError, match="301 answers were asked for; the index holds 300"):
        index.search("chip0", 301)
    with pytest.raises(KeyError, match=r"No sample 'nobody'.*Ids look like chip0"):
        index.search("nobody")


def test_samples_that_cannot_be_indexed_are_refused_with_every_fault(tmp_path):
    vectors, samples = made(10)
    wrong = samples.assign(id=["a"] * 10, labels=["forest"] * 10).set_crs(None, allow_override=True)
    with pytest.raises(ValueError, match=r"(?s)10 rows for 9 vectors.*each once.*no CRS.*lists of texts"):
        build_index(tmp_path / "i", vectors[:9], wrong)
    vectors[3, 2] = np.inf
    with pytest.raises(ValueError, match=r"1 of 10 hold NaN or infinity \(rows 3"):
        build_index(tmp_path / "i", vectors, samples)
    with pytest.raises(ValueError, match="it is one of auto, exact, ann"):
        build_index(tmp_path / "i", vectors, samples, kind="hnsw")
    assert list(tmp_path.glob("i*")) == []


@pytest.mark.parametrize(
    ("name", "told"), [("vectors.npy", "vectors.npy"), ("about.0.parquet", "about.0.parquet"), ("index.json", "readable JSON"),
                       ("graph.0.usearch", "graph.0.usearch")]
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_broken_files_are_named(tmp_path, name, told, how):
    index = build_index(tmp_path / "index", *made(), kind="ann")
    file = index.folder / name
    if how == "cut":
        os.truncate(file, file.stat().st_size - 100)
    else:
        file.unlink()
    with pytest.raises(
        (ValueError, FileNotFoundError), match=told if how == "cut" or name != "index.json" else "no index.json"
    ):
        open_index(index.folder)


def test_who_changes_the_index_by_hand_is_noticed(index):
    file = index.folder / "index.json"
    file.write_text(file.read_text().replace('"count": 300', '"count": 299'))
    with pytest.raises(ValueError, match="its own sum differs"):
        open_index(index.folder)
    with pytest.raises(FileNotFoundError, match="No index at"):
        open_index(index.folder / "nothing")


def test_an_opened_index_goes_on_while_another_changes_it(index):
    other = open_index(index.folder)
    first = list(index.search("chip7", 5)["id"])
    other.remove(first[0])
    other.add(*made(10, seed=3, first=300))
    assert list(index.search("chip7", 5)["id"]) == first


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import test_search as t

step, folders = sys.argv[1], sys.argv[2:]
for moment, folder in enumerate(folders):
    if os.fork():
        _, status = os.wait()
        print(os.waitstatus_to_exitcode(status))
        continue
    index, left = t.open_index(folder), moment

    def tick(event, args):
        global left
        writes = event == "open" and args[1] and args[1] != "r" and folder in str(args[0])
        if writes or event in ("os.rename", "os.truncate", "os.remove", "os.mkdir"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(tick)
    if step == "add":
        index.add(*t.made(50, seed=1, first=300))
    elif step == "remove":
        index.remove(["chip1", "chip2"])
    else:
        t.build_index(folder, *t.made(100, seed=2), kind="ann")
    os._exit(0)
"""
MOMENTS = 30  # more than any step has


@pytest.mark.parametrize("step", ["add", "remove", "build"])
def test_a_kill_leaves_the_old_or_the_new(tmp_path, step):
    """Killed at every change of the disk in turn, until it comes through."""
    before, after = {"add": (300, 350), "remove": (300, 298), "build": (300, 100)}[step]
    first = build_index(tmp_path / "first", *made(), kind="ann").folder
    folders = [shutil.copytree(first, tmp_path / f"{i:02d}" / "index") for i in range(MOMENTS)]
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(path=[str(Path(__file__).parent)]))
    told = subprocess.run([sys.executable, str(script), step, *map(str, folders)], capture_output=True, text=True)
    codes, seen = [int(code) for code in told.stdout.split()], []
    assert len(codes) == MOMENTS and set(codes) == {0, -signal.SIGKILL} and codes == sorted(codes), told.stderr
    for folder, code in zip(folders, codes, strict=True):
        if (
            step == "build" and code and not folder.exists()
        ):  # between the old and the new folder; the next build begins again
            continue
        index = open_index(folder)
        seen.append(len(index))
        assert len(index) in (before, after) and len(index.search(np.ones(16), 50)) == 50
        if step != "build":
            index.add(*made(30, seed=4, first=400))
            assert len(index.search("chip405", 5)) == 5 and not list(folder.glob("*.partial*"))
    assert codes.count(-signal.SIGKILL) > 3 and set(seen) == {before, after} and seen[-1] == after
