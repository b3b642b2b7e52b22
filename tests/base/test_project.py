"""The files that a parameter names."""

from geonb.base import project


def test_a_comma_parts_files_unless_a_file_is_called_so(tmp_path):
    for name in ("field, north.tif", "scene [1] 2020.tif", "größe 5%.tif", "a.tif"):
        (tmp_path / name).touch()
    text = "a.tif, field, north.tif,scene [1] 2020.tif , größe 5%.tif"
    found = project.find_files(text, tmp_path)
    assert {part: [path.name for path in paths] for part, paths in found.items()} == {
        name: [name] for name in ("a.tif", "field, north.tif", "scene [1] 2020.tif", "größe 5%.tif")
    }
    assert project.split_files("x.gpkg:column=kind,layer=main,a.tif") == ["x.gpkg:column=kind,layer=main", "a.tif"]
    assert project.split_files("field, north.tif:column=kind,layer=main", [tmp_path]) == [
        "field, north.tif:column=kind,layer=main"
    ]


def test_without_such_a_file_every_comma_parts():
    assert project.split_files("field, north.tif") == ["field", "north.tif"]
    assert project.split_files(" ,a.tif,, ") == ["a.tif"]


def test_files_of_a_list_may_hold_commas_too(tmp_path):
    path = tmp_path / "field, north.tif"
    path.touch()
    faults: list[str] = []
    assert project.expand_files([path], faults, "images") == [path] and not faults
