"""A selection's outlines lie where its samples' pixels lie, whichever row of the grid comes first."""

import numpy as np
import pytest
from made import made_arrays

from geonb.dashboards.selection import outlines_of

TABLE = "row,kind,source,y,x,height,width\n3,A,scene,10,20,8,16\n5,B,scene,0,0,4,4\n9,A,scene,96,40,4,8\n"


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "selection.csv"
    file.write_text(TABLE)
    return file


@pytest.mark.parametrize("south_up", [False, True])
def test_boxes_are_the_edges_of_the_pixels(table, south_up):
    arrays = made_arrays((100, 120))
    if south_up:
        arrays["scene"] = arrays["scene"].to_dataset().isel(y=slice(None, None, -1))
    scene = arrays["scene"].to_dataset()
    found = outlines_of(table, arrays, ["scene"])
    assert [(one["title"], one["place"]) for one in found] == [("selected: kind A (2)", 0), ("selected: kind B (1)", 0)]
    assert found[0]["colour"] != found[1]["colour"]
    half = abs(float(scene.x[1] - scene.x[0])) / 2
    for box, (y, x, height, width) in zip(found[0]["boxes"], [(10, 20, 8, 16), (96, 40, 4, 8)], strict=True):
        ys, xs = scene.y.values[y : y + height], scene.x.values[x : x + width]
        np.testing.assert_allclose(box, [xs.min() - half, ys.min() - half, xs.max() + half, ys.max() + half])


def test_of_several_places_each_has_its_own(table):
    table.write_text(TABLE.replace("9,A,scene", "9,A,other"))
    found = outlines_of(table, made_arrays((100, 120), ("scene", "other")), ["other", "scene"])
    assert {(one["title"], one["place"]) for one in found} == {
        ("selected: kind A (1) in other", 0), ("selected: kind A (1) in scene", 1), ("selected: kind B (1) in scene", 1)
    }  # fmt: skip


def test_what_is_no_selection_of_this_store_is_refused(table):
    with pytest.raises(ValueError, match=r"selects in scene; the store holds other: is it of another run"):
        outlines_of(table, made_arrays((100, 120), ("other",)), ["other"])
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="lacks kind, source, y, x, height, width"):
        outlines_of(table, made_arrays((100, 120)), ["scene"])
