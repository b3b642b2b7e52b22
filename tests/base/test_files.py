"""Files that appear whole or not at all."""

import os
import stat
import threading
from pathlib import Path

import pytest

from geonb.base import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.whole_file(file) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and names(tmp_path) == ["a.csv"]
    with files.whole_file(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and names(tmp_path) == ["a.csv"]


def test_what_a_library_writes_beside_it_goes_too_and_the_ending_is_the_librarys(tmp_path):
    with files.whole_file(tmp_path / "a.gpkg", ".gpkg") as partial:
        assert partial.suffix == ".gpkg"
        partial.write_text("table")
        partial.with_name(f"{partial.name}-journal").touch()
    assert names(tmp_path) == ["a.gpkg"]


def test_leavings_of_a_kill_are_swept_but_not_what_somebody_may_be_writing(tmp_path):
    old, young, other = (tmp_path / name for name in ("a[1].csv.7.partial", "a[1].csv.8.partial", "b.csv.7.partial"))
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    files.write_text(tmp_path / "a[1].csv", "new")
    assert names(tmp_path) == ["a[1].csv", young.name, other.name]


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "device")
    (tmp_path / "folder").mkdir()
    for name, kind in (("device", "a device"), ("folder", "a folder")):
        with pytest.raises(ValueError, match=rf"{name} is {kind}, no file: nothing was written"):
            files.write_text(tmp_path / name, "text")
    assert (tmp_path / "device").is_fifo() and names(tmp_path) == ["device", "folder"]


@pytest.mark.parametrize("text", ["null", "[1]", "3", "{", "[" * 100_000, "\udcff".encode(errors="surrogateescape")])
def test_json_that_is_no_mapping_is_told_with_its_name(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"a\.json (is not readable JSON|must hold a mapping)"):
        files.read_json(tmp_path / "a.json")


def test_threads_that_write_one_file_do_not_mix(tmp_path):
    texts = [str(i) * 100_000 for i in range(4)]
    writers = [threading.Thread(target=files.write_text, args=(tmp_path / "a.txt", text)) for text in texts]
    for step in ("start", "join"):
        [getattr(writer, step)() for writer in writers]
    assert (tmp_path / "a.txt").read_text() in texts and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o007])
def test_who_may_read_is_for_the_umask_to_say_whatever_a_library_thinks(tmp_path, mask):
    before = os.umask(mask)
    try:
        for name, mode in (("weights.safetensors", 0o600), ("a.csv", 0o666 & ~mask)):
            with files.whole_file(tmp_path / name) as partial:
                os.close(os.open(partial, os.O_CREAT | os.O_EXCL, mode))
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask
    finally:
        os.umask(before)


def test_writers_of_other_nodes_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "get_native_id", lambda: 7)  # processes in containers have the same numbers
    with files.whole_file(tmp_path / "report.html") as one, files.whole_file(tmp_path / "report.html") as other:
        one.write_text("one"), other.write_text("other")
        assert one != other and one.read_text() == "one"


def test_parts_of_a_file_that_lie_beside_it(tmp_path):
    for name in ("a.shp", "a.dbf", "a.PRJ", "a.txt", "b.gpkg", "c.tif", "c.dbf"):
        (tmp_path / name).write_text("x")
    (tmp_path / "b.gpkg-wal").write_text("not yet in the file")
    (tmp_path / "b.gpkg-journal").touch()  # nothing in it
    beside = {name: [p.name for p in files.with_sides(tmp_path / name)] for name in ("a.shp", "b.gpkg", "c.tif")}
    assert beside == {"a.shp": ["a.shp", "a.dbf", "a.PRJ"], "b.gpkg": ["b.gpkg", "b.gpkg-wal"], "c.tif": ["c.tif"]}
    assert [Path(f["path"]).name for f in files.fingerprints([tmp_path / "c.tif", tmp_path / "a.shp"])] == [
        "c.tif", "a.shp", "a.dbf", "a.PRJ",
    ]  # fmt: skip


class Killed(BaseException):
    """As if the process had been killed there."""


def test_a_folder_is_replaced_at_once_though_removing_the_old_one_takes_time(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "seal").touch()
    (folder / "table").touch()

    def cut_short(path, **options):
        if path.exists():
            next(path.iterdir()).unlink()
            raise Killed

    with pytest.raises(Killed), files.whole_folder(folder) as partial:
        (partial / "new").touch()
        monkeypatch.setattr(files.shutil, "rmtree", cut_short)
    assert [p.name for p in folder.iterdir()] == ["new"]
    monkeypatch.undo()
    with files.whole_folder(folder):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["store"], "what was put aside is swept"


def test_a_shared_folder_is_swept_once_its_owner_is_dead(tmp_path):
    (tmp_path / ".model-dead.partial").mkdir()
    (tmp_path / ".model-dead.partial" / ".lock").touch()
    with files.shared_folder(tmp_path, ".model-") as one, files.shared_folder(tmp_path, ".model-") as two:
        assert set(tmp_path.iterdir()) == {one, two}
    assert list(tmp_path.iterdir()) == []


def test_a_shapefile_cut_short_is_refused_with_the_part(tmp_path):
    path = tmp_path / "a.shp"
    shape = bytes(24) + (60).to_bytes(4, "big") + bytes(92)  # says 60 words, which are 120 bytes
    table = b"\x03" + bytes(3) + (2).to_bytes(4, "little") + (33).to_bytes(2, "little") + (5).to_bytes(2, "little")
    whole = {".shp": shape, ".shx": shape, ".dbf": table + bytes(31)}  # 43 = a header of 33, two records of 5
    for ending, content in whole.items():
        path.with_suffix(ending).write_bytes(content)
    files.check_shapefile(path)
    for ending, content in whole.items():
        for cut in (1, len(content) - 5):
            path.with_suffix(ending).write_bytes(content[:-cut])
            with pytest.raises(
                ValueError, match=rf"a\{ending} is damaged or cut short: {len(content) - cut} bytes of \d+"
            ):
                files.check_shapefile(path)
        path.with_suffix(ending).write_bytes(content)
    other = tmp_path / "a.gpkg"
    other.write_bytes(b"")
    files.check_shapefile(other)
