"""Class tables: from texts and files, refused by entry, and codes turned into places in them."""

import json

import numpy as np
import pytest

from geonb.rasters import images
from geonb.workloads.segmentation import class_tables, dataset, masks


def test_labels_are_places_in_the_class_table(scene):
    pairs = dataset.open_pairs(str(scene.image), str(scene.mask), classes="0=ignore,1=field,2=wood,5=lake")
    data = masks.to_xarray(pairs.images[0], pairs.masks[0], pairs.classes)
    place = {0: 255, 1: 0, 2: 1, 5: 2}
    expected = np.vectorize(place.get)(scene.codes)
    np.testing.assert_array_equal(data["targets"], np.where(data["valid"], expected, 255))


@pytest.mark.parametrize("table", ["-3=a,70000=b,2=c", "2=a,1=b,9=c"])
def test_codes_of_any_size_find_their_class(table):
    classes = tuple(class_tables.read_classes(table))
    codes = np.array([[c["code"] for c in classes] + [8, images.NO_CODE]])
    assert class_tables.targets(codes, np.ones((1, 5), bool), classes).tolist() == [[0, 1, 2, 255, 255]]


def test_class_tables_from_text_and_files(tmp_path):
    expected = [(1, "field", "#aabbcc"), (2, "wood", "#00ff00")]
    rows = [{"code": c, "name": n, "colour": k} for c, n, k in expected]
    (tmp_path / "c.csv").write_text("code,name,colour\n1,field,#aabbcc\n2, wood,#00ff00\n")
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "c.yaml").write_text("1: {name: field, colour: '#aabbcc'}\n2: {name: wood, colour: lime}\n")
    for file in ("c.csv", "c.json", "c.yaml"):
        assert class_tables.read_classes(str(tmp_path / file)) == rows, file
    assert [c["name"] for c in class_tables.read_classes("1 = field , 2=wood")] == ["field", "wood"]
    assert class_tables.read_classes(None) is None


@pytest.mark.parametrize("table", ["field,wood", "1=", "1=a,1=b", "1=a,2=a", "x=a", "0=ignore", "nothing.csv"])
def test_wrong_class_tables(table):
    with pytest.raises(ValueError, match="class"):
        class_tables.read_classes(table)


def test_class_names_of_files_stay_what_they_are(tmp_path):
    (tmp_path / "c.csv").write_text("code,name\n1,NA\n2,None\n")
    assert [c["name"] for c in class_tables.read_classes(tmp_path / "c.csv")] == ["NA", "None"]
    wrong = {
        "c.yaml": b"1: field\n1: wood\n", "d.yaml": b"1: yes\n", "e.yaml": b"1:\n2: wood\n", "e.csv": b"code,name\n1,\n",
        "f.csv": "code,name\n1,Wälder\n".encode("latin-1"),
    }  # fmt: skip
    for file, content in wrong.items():
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ValueError, match="class") as error:
            class_tables.read_classes(tmp_path / file)
        assert file in str(error.value)


def test_a_table_holds_codes_that_a_class_may_have(tmp_path):
    with pytest.raises(ValueError, match="code 4294967296: give codes from -2147483647 to 2147483647"):
        class_tables.read_classes("0=a,4294967296=b")
    (tmp_path / "c.csv").write_text("code,name\n1,NA\n2,\n")
    with pytest.raises(ValueError, match="each name once"):
        class_tables.read_classes(str(tmp_path / "c.csv"))
    (tmp_path / "c.csv").write_text("code,name\n1,NA\n2,None\n")
    assert [c["name"] for c in class_tables.read_classes(tmp_path / "c.csv")] == ["NA", "None"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("c.json", '[{"code": 1.5, "name": "a"}]', ("code 1.5 is no whole number",)),
        ("c.yaml", "1: a\n.inf: b\n", ("is not a class table",)),
        ("c.yaml", "true: a\nfalse: b\n", ("code True is no whole number",)),
        (
            "c.yaml",
            "1: {name: a, colour: [255, 0, 0]}",
            ("colour [255, 0, 0] of class a is none", '"#rrggbb" in quotes'),
        ),
        ("c.csv", "code,name,colour\n1,a,rouge\n", ("colour 'rouge' of class a is none",)),
        ("c.csv", "code,name\n1,Wood\n2,Grass, dry\n", ("line 3", "Names with commas go in quotes")),
        ("c.csv", "", ("is not a class table",)),
    ],
)
def test_a_class_table_is_refused_by_file_and_entry(tmp_path, file, content, words):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError) as caught:
        class_tables.read_classes(str(tmp_path / file))
    assert all(word in str(caught.value) for word in (file, *words)), str(caught.value)
