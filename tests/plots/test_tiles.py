"""Dendrogram, scatter, grid, ways: the tile drawn is the tile of that row, and letters mean the same everywhere."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import COLOURS, made_embeddings, made_tiles
from matplotlib.offsetbox import AnnotationBbox
from scipy.spatial.distance import cdist

from geonb import embeddings, plots
from geonb.dashboards import tiles as dashboards_tiles
from geonb.embeddings import trees
from geonb.plots import planes

BASE = 250  # rows are written into a tile as two digits of this base


def numbered(rows):
    """Tiles whose pixels tell the row that they were read for."""
    rows = np.asarray(rows)
    tiles = np.zeros((len(rows), 3, 4, 3), np.uint8)
    tiles[..., 0], tiles[..., 1] = (rows // BASE)[:, None, None], (rows % BASE)[:, None, None]
    return tiles


def row_of(pixels):
    pixels = np.asarray(pixels)
    return int(pixels[0, 0, 0]) * BASE + int(pixels[0, 0, 1])


def drawn_rows(figure):
    """Sample -> row that the pixels of its tile tell, of every tile in a figure."""
    boxes = {box.get_gid(): box.offsetbox.get_data() for box in figure.findobj(AnnotationBbox)}
    images = {image.get_gid(): image.get_array() for ax in figure.axes for image in ax.images}
    found = {k: v for k, v in (boxes | images).items() if k and k.startswith("tile-")}
    return {int(gid.removeprefix("tile-")): row_of(pixels) for gid, pixels in found.items()}


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_the_tile_drawn_is_the_tile_of_that_row_after_every_filter_and_sort(data):
    seed = data.draw(st.integers(0, 1000))
    random = np.random.default_rng(seed)
    vectors = made_embeddings(60, dim=6, seed=seed)
    vectors = vectors.assign_coords(
        row=("sample", random.permutation(2000)[:60]), time=("sample", np.arange(60).astype("M8[h]").astype("M8[ns]")),
        y=("sample", random.integers(0, 3, 60)), x=("sample", random.integers(0, 3, 60)),
    )  # fmt: skip
    for step in data.draw(st.lists(st.sampled_from(["shuffle", "half", "by-y", "not-A"]), max_size=4)):
        if step == "shuffle":
            vectors = vectors.isel(sample=random.permutation(vectors.sizes["sample"]))
        elif step == "half" and vectors.sizes["sample"] > 24:
            vectors = vectors.isel(sample=np.sort(random.permutation(vectors.sizes["sample"])[::2]))
        elif step == "by-y":
            vectors = vectors.sortby("y")
        elif vectors.sizes["sample"] > 30:
            vectors = vectors.where(vectors["label"] != vectors["label"][0], drop=True)
    vectors["row"] = vectors["row"].astype(int)
    plane, rows = embeddings.reduce(vectors), vectors["row"].values
    for tiles in (numbered(rows), numbered):  # all of them in order, or those that are drawn, by row
        figure, letters = plots.dendrogram(embeddings.link(vectors), vectors, tiles, clusters=4, count=3)
        near = embeddings.nearest(vectors, 2, 5)
        figures = [
            figure,
            plots.scatter_with_tiles(plane, tiles, letters, show=9),
            plots.alike(tiles, vectors, 2, near),
        ]
        figures += [plots.manifold(plane, tiles, letters, side=5, filled=filled) for filled in (False, True)]
        figures += [plots.trajectories(plane, letters, tiles=tiles)]
        for one in figures:
            found = drawn_rows(one)
            assert len(found) >= 4 and all(rows[sample] == row for sample, row in found.items())
        assert {rows[s] for s in drawn_rows(figures[2])} == {rows[2], *near["row"].values}


def test_only_the_tiles_that_are_drawn_are_read():
    asked = []
    vectors = made_embeddings(200)

    def tiles(rows):
        asked.extend(rows.tolist())
        return numbered(rows)

    _, letters = plots.dendrogram(embeddings.link(vectors), vectors, tiles, clusters=3, count=2)
    plots.scatter_with_tiles(embeddings.reduce(vectors), tiles, letters, show=7)
    assert len(asked) == 3 * 2 + 7 and set(asked) <= set(vectors["row"].values)
    with pytest.raises(ValueError, match="2 tiles for 6 samples"):
        plots.dendrogram(embeddings.link(vectors), vectors, lambda rows: numbered(rows[:2]), clusters=3, count=2)


class TestDendrogram:
    def test_each_cluster_has_its_own_tiles_letter_colour_and_count(self):
        vectors = made_embeddings(60)
        figure, letters = plots.dendrogram(embeddings.link(vectors), vectors, numbered, clusters=5, count=3)
        assert sorted(set(letters)) == list("ABCDE")
        shown = [(ax.images[0].get_gid(), ax.spines["left"].get_edgecolor()) for ax in figure.axes if ax.images]
        places = {int(row): place for place, row in enumerate(vectors["row"].values)}
        for column, letter in enumerate("ABCDE"):
            for gid, edge in shown[3 * column : 3 * column + 3]:
                sample = int(gid.removeprefix("tile-"))
                assert letters[sample] == letter and places[drawn_rows(figure)[sample]] == sample
                assert matplotlib.colors.to_hex(edge) == plots.cluster_colours("ABCDE")[letter]
        under = [text.get_text() for text in figure.texts if "windows" in text.get_text()]
        assert [int(text.split()[0]) for text in under] == [(letters == letter).sum() for letter in "ABCDE"]

    def test_examples_are_those_asked_for(self):
        vectors = made_embeddings(60)
        vectors = vectors.assign_coords(margin=("sample", np.random.default_rng(1).normal(size=60)))
        tree, values = embeddings.link(vectors), vectors["embedding"].values
        letters = plots.dendrogram(tree, vectors, numbered, 3)[1]
        mine = np.flatnonzero(letters == "B")
        margin, away = vectors["margin"].values, np.linalg.norm(values - values[mine].mean(0), axis=1)
        expected = {"best": mine[np.argsort(-margin[mine])], "worst": mine[np.argsort(margin[mine])]}
        expected["centre"] = mine[np.argsort(away[mine])]
        for examples, order in expected.items():
            figure, _ = plots.dendrogram(tree, vectors, numbered, 3, examples, count=4)
            drawn = [int(ax.images[0].get_gid().removeprefix("tile-")) for ax in figure.axes if ax.images]
            assert drawn[4:8] == order[:4].tolist(), examples
        one, two, other = (
            sorted(drawn_rows(plots.dendrogram(tree, vectors, numbered, 3, "random", 4, seed)[0])) for seed in (1, 1, 2)
        )
        assert one == two != other

    def test_without_margins_there_is_no_best(self):
        vectors = made_embeddings(60)
        with pytest.raises(ValueError, match="needs a coordinate 'margin'"):
            plots.dendrogram(embeddings.link(vectors), vectors, numbered, examples="best")
        with pytest.raises(ValueError, match="one of centre, random, best, worst"):
            plots.dendrogram(embeddings.link(vectors), vectors, numbered, examples="nicest")

    def test_without_labels_it_is_drawn(self):
        vectors = made_embeddings(60).drop_vars("label")
        figure, letters = plots.dendrogram(embeddings.link(vectors), vectors, numbered, 3)
        assert "%" not in words(figure).split("Ward linkage")[0] and len(letters) == 60
        assert plots.alike(numbered, vectors, 0, embeddings.nearest(vectors, 0, 3))

    def test_noise_is_no_cluster_and_said(self):
        vectors = made_embeddings(300, dim=4)
        tree = embeddings.link(vectors, "hdbscan")
        figure, letters = plots.dendrogram(tree, vectors, numbered, 6)
        noise = int((tree.leaf < 0).sum())
        assert noise > 0 and (letters == "-").sum() == noise and f"{noise:,} samples" in words(figure)
        assert not {s for s in drawn_rows(figure) if letters[s] == "-"}
        assert list(plots.cluster_colours(letters))[-1] == "-"

    def test_a_condensed_tree_says_how_it_agrees_with_the_exact_one(self, monkeypatch):
        from geonb.embeddings import trees

        monkeypatch.setattr(trees, "EXACT", 60)
        vectors = made_embeddings(300)
        tree = embeddings.link(vectors)
        told = words(plots.dendrogram(tree, vectors, numbered, 5)[0]).replace("\n", " ")
        assert not tree.exact and f"joins {tree.leaves} groups" in told
        assert f"adjusted Rand index {tree.agreement['rand']:.2f}" in told
        assert f"cophenetic correlation {tree.agreement['cophenetic']:.2f}" in told

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"tiles": np.zeros((60, 4, 4, 3))}, "uint8"),
            ({"tiles": np.zeros((59, 4, 4, 3), np.uint8)}, "59 tiles for 60 samples"),
            ({"clusters": 15}, "allowed are 2 to 14"),
            ({"linkage": np.zeros((3, 4))}, "joins 4 samples"),
        ],
    )
    def test_faults_are_named(self, change, message):
        vectors = made_embeddings(60)
        given = {"linkage": embeddings.link(vectors), "embeddings": vectors, "tiles": made_tiles(vectors)} | change
        with pytest.raises(ValueError, match=message):
            plots.dendrogram(**given)


class TestScatter:
    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 300),
        st.floats(0.05, 0.15), st.floats(0.05, 0.15), st.booleans(),
    )  # fmt: skip
    def test_placed_tiles_do_not_overlap(self, seed, count, n, width, height, same):
        points = np.random.default_rng(seed).random((n, 2))
        points = np.full_like(points, 0.5) if same else points
        anchors = points[planes.spread(points, count)]
        count, cell = len(anchors), (width, height)
        if int(1 / width) * int(1 / height) < count:
            return
        centres = planes.place_tiles(points, anchors, cell)
        apart = np.abs(centres[:, None] - centres[None])
        over = (apart[..., 0] < width - 1e-9) & (apart[..., 1] < height - 1e-9)
        assert len(centres) == count and not (over & ~np.eye(count, dtype=bool)).any()
        assert (centres > np.array(cell) / 2 - 1e-9).all() and (centres < 1 - np.array(cell) / 2 + 1e-9).all()

    def test_tiles_lie_where_they_cost_least(self):
        """Against all points and cells taken together, which would be too many for 100,000."""
        from scipy.optimize import linear_sum_assignment

        points = np.random.default_rng(3).beta(2, 4, (500, 2))
        cell, anchors = (0.17, 0.24), points[:9]
        centres = np.stack(np.meshgrid((np.arange(5) + 0.5) / 5, (np.arange(4) + 0.5) / 4), -1).reshape(-1, 2)
        covered = (np.abs(points[:, None] - centres) < np.array(cell) / 2).all(-1).sum(0)
        cost = cdist(anchors, centres) + 0.8 * np.sqrt(covered / covered.max())
        best = centres[linear_sum_assignment(cost)[1]]
        np.testing.assert_allclose(planes.place_tiles(points, anchors, cell), best)

    def test_a_hundred_thousand_points(self):
        random = np.random.default_rng(0)
        plane, letters = random.normal(size=(100_000, 2)), np.array(list("ABC"))[random.integers(0, 3, 100_000)]
        figure = plots.scatter_with_tiles(plane, numbered, letters, show=40)
        figure.canvas.draw()
        boxes = figure.findobj(AnnotationBbox)
        placed = [box.get_window_extent() for box in boxes]
        assert len(placed) == 40 and not any(a.overlaps(b) for i, a in enumerate(placed) for b in placed[:i])
        assert len(figure.axes[0].collections[0].get_offsets()) == 100_000

    def test_points_of_one_place_are_each_chosen_once(self):
        assert sorted(planes.spread(np.zeros((5, 2)), 9)) == [0, 1, 2, 3, 4]

    def test_more_tiles_than_room(self):
        points = np.random.default_rng(0).random((80, 2))
        with pytest.raises(ValueError, match="do not fit"):
            planes.place_tiles(points, points, (0.3, 0.3))

    def test_tiles_are_joined_to_their_points_and_do_not_overlap(self):
        vectors = made_embeddings(50)
        tiles = np.zeros((50, 4, 4, 3), np.uint8)
        tiles[..., 0] = np.arange(50)[:, None, None]
        plane = embeddings.reduce(vectors)
        figure = plots.scatter_with_tiles(plane, tiles, vectors.label.values, show=10)
        figure.canvas.draw()
        boxes = figure.findobj(AnnotationBbox)
        unit = (plane.values - plane.values.min(0)) / np.ptp(plane.values, axis=0) * 0.84 + 0.08
        lines = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
        for box in boxes:
            sample = int(box.get_gid().removeprefix("tile-"))
            assert int(np.asarray(box.offsetbox.get_data())[0, 0, 0]) == sample
            assert any(np.allclose(line, [unit[sample], box.xy]) for line in lines)
        placed = [box.get_window_extent() for box in boxes]
        assert len(placed) == 10
        assert not any(a.overlaps(b) for i, a in enumerate(placed) for b in placed[:i])
        assert {line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"} <= set(COLOURS)

    def test_each_point_has_the_colour_of_its_letter(self):
        vectors = made_embeddings(80)
        letters = plots.dendrogram(embeddings.link(vectors), vectors, numbered, 4)[1]
        plane = embeddings.reduce(vectors)
        cloud = plots.scatter_with_tiles(plane, numbered, letters).axes[0].collections[0]
        unit = (plane.values - plane.values.min(0)) / np.ptp(plane.values, axis=0) * 0.84 + 0.08
        which = cdist(cloud.get_offsets(), unit).argmin(1)
        colours = [matplotlib.colors.to_hex(colour) for colour in cloud.get_facecolors()]
        assert colours == [plots.cluster_colours(letters)[letter] for letter in letters[which]]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"labels": ["A"] * 4}, "4 labels for 5 points"),
            ({"xy": np.zeros((5, 3))}, r"must be \(sample, 2\)"),
            ({"xy": np.full((5, 2), np.nan)}, "5 points are not finite"),
        ],
    )
    def test_faults_are_named(self, change, message):
        given = {"xy": np.random.default_rng(0).random((5, 2)), "tiles": numbered, "labels": ["A"] * 5} | change
        for draw in (plots.scatter_with_tiles, plots.manifold):
            with pytest.raises(ValueError, match=message):
                draw(**given)

    def test_the_same_embedding_everywhere_is_still_drawn(self):
        """A network that has collapsed must be seen to have."""
        vectors = made_embeddings(30)
        vectors["embedding"] = vectors["embedding"] * 0
        figure, letters = plots.dendrogram(embeddings.link(vectors), vectors, numbered, 3)
        figure.canvas.draw()
        assert sorted(set(letters)) == list("ABC")
        plots.scatter_with_tiles(vectors["embedding"].values[:, :2], numbered, letters).canvas.draw()


class TestManifold:
    def test_each_tile_lies_in_the_cell_of_its_point_and_is_the_nearest_to_its_middle(self):
        points = np.random.default_rng(0).random((400, 2))
        figure = plots.manifold(points, numbered, ["A"] * 400, side=6)
        unit = (points - points.min(0)) / np.ptp(points, axis=0) * 6
        cells = np.clip(unit.astype(int), 0, 5)
        assert len(figure.axes[0].images) == len(np.unique(cells, axis=0))
        for image in figure.axes[0].images:
            sample, corner = int(image.get_gid().removeprefix("tile-")), np.floor(np.array(image.get_extent())[[0, 2]])
            inside = np.flatnonzero((cells == corner).all(1))
            assert sample == inside[np.linalg.norm(unit[inside] - corner - 0.5, axis=1).argmin()]

    def test_a_filled_grid_has_no_gap_and_keeps_the_order_of_a_line(self):
        points = np.stack([np.linspace(0, 1, 9), np.zeros(9)], 1) ** 3
        points = np.concatenate([points + np.array([0, y]) for y in range(9)])
        figure = plots.manifold(points, numbered, ["A"] * 81, side=9, filled=True)
        corners = {
            tuple(np.floor(np.array(i.get_extent())[[0, 2]])): int(i.get_gid()[5:]) for i in figure.axes[0].images
        }
        assert len(corners) == 81
        for row in range(9):
            along = [points[corners[column, row]][0] for column in range(9)]
            assert along == sorted(along)


class TestWays:
    def made(self, times, y):
        n = len(times)
        return xr.DataArray(
            np.random.default_rng(0).random((n, 2)), dims=("sample", "axis"),
            coords={"time": ("sample", np.array(times, "M8[ns]")), "source": ("sample", ["a"] * n),
                    "y": ("sample", y), "x": ("sample", [0] * n), "row": ("sample", np.arange(n))},
        )  # fmt: skip

    def test_a_place_goes_through_the_plane_in_the_order_of_time(self):
        plane = self.made(["2020-01-03", "2020-01-01", "NaT", "2020-01-02", "2020-01-01"], [4, 4, 4, 4, 9])
        (way,) = planes.places_in_time(plane)
        assert way.tolist() == [1, 3, 0]
        figure = plots.trajectories(plane)
        unit = plane.values - plane.values.min(0)
        unit = unit / np.ptp(plane.values, axis=0) * 0.84 + 0.08
        steps = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
        np.testing.assert_allclose(steps, [unit[[1, 3]], unit[[3, 0]]])
        assert "2020-01-01 to 2020-01-03" in figure.axes[0].get_legend().get_texts()[0].get_text()

    def test_of_places_seen_as_often_some_are_drawn_from_everywhere(self):
        ways = [np.arange(4)] + [np.arange(3) + 10 * k for k in range(9)]
        assert [way[0] for way in planes._most_seen(ways, 4)] == [0, 10, 40, 70]
        assert planes._most_seen(ways, 20) == ways

    def test_where_nothing_moves_there_is_no_figure(self):
        assert plots.trajectories(self.made(["2020-01-01"] * 3, [1, 2, 3])) is None
        assert plots.trajectories(self.made(["NaT"] * 3, [1, 1, 1])) is None
        assert plots.trajectories(self.made(["2020-01-01"] * 2, [1, 1]).drop_vars("time")) is None


def facts_of(page):
    """What a page of ours tells its scripts."""
    import json

    return json.loads(page.split('id="facts">')[1].split("</script>")[0])["facts"]


class TestTilesMap:
    def test_every_point_carries_its_own_tile_in_the_colour_of_its_letter(self):
        import base64
        import io

        from PIL import Image

        vectors = made_embeddings(40)
        letters = plots.dendrogram(embeddings.link(vectors), vectors, numbered, 4)[1]
        plane = embeddings.reduce(vectors)
        page = dashboards_tiles.tiles_page(plane, numbered, letters)
        facts = facts_of(page)
        for point, tile, kind, row in zip(facts["points"], facts["tiles"], facts["kinds"], facts["table"], strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.partition(",")[2]))))
            place = int(np.flatnonzero(vectors["row"].values == row_of(pixels))[0])
            told = dict(zip(facts["columns"], row, strict=True))
            assert plane.values[place] == pytest.approx(point, abs=1e-5) and letters[place] == kind == told["kind"]
            known = vectors.isel(sample=place)
            assert all(told[name] == known[name].item() for name in ("row", "label", "split", "source", "y", "x"))
            assert facts["colours"][kind] == plots.cluster_colours(letters)[kind]
        assert len(facts["points"]) == 40 and "simulated data" in page
        with pytest.raises(ValueError, match="3 letters for 40 points"):
            dashboards_tiles.tiles_page(plane, numbered, letters[:3])

    def test_thumbnails_stay_under_the_budget(self):
        tiles = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3)).astype(np.uint8)
        large, small = dashboards_tiles.thumbnails(tiles, 5), dashboards_tiles.thumbnails(tiles, 0.15)
        assert sum(map(len, small)) <= 150_000 < sum(map(len, large)) <= 5e6
        with pytest.raises(ValueError, match="do not fit"):
            dashboards_tiles.thumbnails(tiles, 0.01)

    def test_many_points_are_drawn_in_part_and_said(self):
        plane = xr.DataArray(np.random.default_rng(0).random((3000, 2)), dims=("sample", "axis"))
        asked = []
        page = dashboards_tiles.tiles_page(
            plane, lambda rows: asked.extend(rows) or numbered(rows), ["A"] * 3000, most=100
        )
        assert len(set(asked)) == len(asked) == 100 and "100 of 3,000 samples" in page

    @pytest.mark.browser
    def test_the_plane_shows_tiles_selects_by_lasso_and_letter_and_writes_the_table(self, tmp_path):
        from browsing import browser_page

        at = {
            "row": [7, 300, 9],
            "source": ["a", "a", "b"],
            "y": [0, 8, 8],
            "x": [4, 4, 0],
            "height": [8] * 3,
            "width": [8] * 3,
        }
        plane = xr.DataArray(
            np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]),
            dims=("sample", "axis"),
            coords={name: ("sample", values) for name, values in at.items()},
        )
        file = tmp_path / "page.html"
        file.write_text(str(dashboards_tiles.tiles_map(plane, numbered, ["A", "B", "A"]).data))
        with browser_page(1000, 800) as page:
            page.goto(file.as_uri())
            frame = page.frame_locator("iframe")
            canvas = frame.locator("canvas").first
            canvas.wait_for(timeout=20_000)
            box = canvas.bounding_box()

            def place(x, y):  # of a point, on the page: 20 px are free around all
                return box["x"] + 20 + x * (box["width"] - 40), box["y"] + box["height"] - 20 - y * (box["height"] - 40)

            page.mouse.move(*place(0.5, 0.5))
            frame.get_by_alt_text("tile of sample 3").wait_for(timeout=5_000)
            corners = [
                (0.25, 0.25),
                (0.75, 0.2),
                (0.8, 0.5),
                (0.75, 0.75),
                (0.5, 0.8),
                (0.25, 0.7),
                (0.2, 0.4),
                (0.25, 0.25),
            ]
            page.mouse.move(*place(*corners[0]))
            page.mouse.down()
            for corner in corners[1:]:
                page.mouse.move(*place(*corner))
            page.mouse.up()
            assert frame.locator("html").get_attribute("data-geonb") == "1 of 3"
            frame.get_by_role("button", name="A 2").click()
            assert frame.locator("html").get_attribute("data-geonb") == "2 of 3"
            with page.expect_download() as saved:
                frame.get_by_role("button", name="table as CSV").click()
            table = pd.read_csv(saved.value.path())
            assert (
                table["row"].tolist() == [7, 9]
                and set(table["kind"]) == {"A"}
                and table["source"].tolist() == ["a", "b"]
            )
            canvas.press("Escape")
            canvas.press("ArrowRight")
            canvas.press("Enter")
            assert frame.locator("html").get_attribute("data-geonb") == "1 of 3" and page.troubles == []


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 14))
def test_letters_are_a_partition_numbered_as_the_leaves_stand(seed, clusters):
    vectors = made_embeddings(40, seed=seed)
    tree = embeddings.link(vectors)
    letters = plots.dendrogram(tree, vectors, numbered, clusters, count=1)[1]
    assert (letters == np.array(list(trees.LETTERS))[embeddings.cluster(tree, clusters)]).all()
    assert len(set(letters)) == clusters
