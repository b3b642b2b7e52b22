"""What a folder holds is written down, and what of that is gone or changed is named."""

import errno
import json
import shutil

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec

from geonb.base import manifest


def write(folder, checked=True):
    """A table, and two arrays of which one has no checksum of its own where not `checked`."""
    folder.mkdir()
    (folder / "table.txt").write_text("1 2 3\n")
    sums = [Crc32cCodec()] if checked else None
    values = np.arange(24.0).reshape(4, 6)
    zarr.create_array(folder / "a.zarr", name="grid/values", data=values, chunks=(2, 3), compressors=sums)
    zarr.create_array(folder / "a.zarr", name="grid/one", data=np.array(7), compressors=sums)
    return folder


@pytest.fixture
def whole(tmp_path):
    manifest.write_manifest(write(tmp_path / "folder"))
    return tmp_path / "folder"


def cut(file):
    file.write_bytes(file.read_bytes()[:-3])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def test_a_whole_folder_holds_what_it_says(whole):
    said = json.loads((whole / "manifest.json").read_text())["holds"]
    assert said["table.txt"][0] == 6
    assert said["a.zarr/grid/values/"] == [4, 4 * (6 * 8 + 4)] and said["a.zarr/grid/one/"] == [1, 12]
    assert manifest.missing(whole) == manifest.missing(whole, deep=True) == []
    (whole / "more.txt").write_text("of somebody")
    assert manifest.missing(whole, deep=True) == [], "what came since is nobody's fault"


CHUNK = "a.zarr/grid/values/c/1/0"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda f: (f / "table.txt").unlink(), ["table.txt is missing"]),
        (lambda f: cut(f / "table.txt"), ["table.txt has 3 bytes, not 6"]),
        (lambda f: flip(f / "table.txt"), ["table.txt is not what was written: its sum differs"]),
        (lambda f: (f / CHUNK).unlink(), [f"{CHUNK} is missing"]),
        (lambda f: cut(f / CHUNK), [f"{CHUNK} is damaged (Stored and computed checksum do not match"]),
        (lambda f: shutil.rmtree(f / "a.zarr/grid/one"), ["a.zarr/grid/one/zarr.json is missing", "a.zarr/grid/one cannot"]),
        (lambda f: (f / "manifest.json").write_text("[]"), ["manifest.json cannot be read"]),
        (lambda f: (f / "manifest.json").write_text("{}"), ["manifest.json cannot be read"]),
        (lambda f: cut(f / "manifest.json"), ["manifest.json cannot be read"]),
    ],
)  # fmt: skip
def test_what_is_gone_or_cut_short_is_named_at_once(whole, harm, told):
    harm(whole)
    found = manifest.missing(whole)
    assert len(found) == len(told) and all(f.startswith(t) for f, t in zip(found, told, strict=True)), found


def test_another_number_in_the_manifest_is_noticed(whole):
    text = (whole / "manifest.json").read_text()
    (whole / "manifest.json").write_text(text.replace("208", "209"))
    assert manifest.missing(whole)[0].startswith("manifest.json cannot be read (its own sum differs)")


def test_a_changed_byte_is_found_when_it_is_looked_for_and_remembered(whole):
    flip(whole / CHUNK)
    assert manifest.missing(whole) == [], "its size is the same"
    found = manifest.missing(whole, deep=True)
    assert len(found) == 1 and found[0].startswith(f"{CHUNK} is damaged")
    assert manifest.missing(whole) == found, "whoever makes it again need not look at every byte"
    flip(whole / CHUNK)
    assert manifest.missing(whole, deep=True) == manifest.missing(whole) == []


def test_of_an_earlier_folder_what_cannot_be_decoded_is_known(tmp_path):
    folder = write(tmp_path / "old", checked=False)
    assert manifest.missing(folder) == manifest.missing(folder, deep=True) == []
    cut(folder / CHUNK)
    assert manifest.missing(folder) == []
    assert manifest.missing(folder, deep=True)[0].startswith(f"{CHUNK} is damaged")
    assert manifest.missing(tmp_path / "none") == manifest.missing(tmp_path / "none", deep=True) == []


def test_chunks_that_were_never_written_are_none_that_got_lost(tmp_path):
    folder = tmp_path / "folder"
    array = zarr.create_array(folder / "a.zarr", shape=(4, 4), chunks=(2, 2), dtype="i4", fill_value=0)
    array[:2, :2] = 1
    manifest.write_manifest(folder)
    assert manifest.missing(folder, deep=True) == []
    (folder / "a.zarr/c/0/0").unlink()
    assert manifest.missing(folder)[0].startswith("a.zarr/ has 0 chunks of 0 bytes in all, not 1 of ")


def test_many_chunks_are_not_looked_for_at_each_opening(whole, monkeypatch):
    (whole / CHUNK).unlink()
    monkeypatch.setattr(manifest, "_count", lambda place: pytest.fail("looked for"))
    assert manifest.missing(whole, most=4) == []
    (whole / "table.txt").unlink()
    assert manifest.missing(whole, most=4) == ["table.txt is missing"]


def test_a_chunk_that_breaks_a_reading_is_named(whole):
    array = zarr.open_array(whole / "a.zarr", path="grid/values", mode="r")
    flip(whole / CHUNK)
    told = rf"(?s)^It is damaged:\n- {CHUNK} is damaged.*\nMake it again\.$"
    with pytest.raises(ValueError, match=told), manifest.named(whole, "It is damaged", "Make it again."):
        array[:]
    with pytest.raises(ValueError, match=told), manifest.named(whole, "It is damaged", "Make it again."):
        pytest.fail("what is remembered is refused before anything is read")
    flip(whole / CHUNK)
    assert manifest.missing(whole, deep=True) == []
    with pytest.raises(ZeroDivisionError), manifest.named(whole, "It is damaged", ""):
        _ = 1 / 0
    with pytest.raises(IndexError), manifest.named(whole, "It is damaged", ""):
        array[9, 9]


@pytest.mark.parametrize("error", [MemoryError("no room"), OSError(errno.EMFILE, "Too many open files")])
def test_a_machine_that_cannot_read_is_no_damage(whole, error, monkeypatch):
    """What is noted as damaged is made again: predictions of days must not go because memory ran out once."""

    def fail(*_):
        raise error

    monkeypatch.setattr(Crc32cCodec, "_decode_sync", fail)
    array = zarr.open_array(whole / "a.zarr", path="grid/values", mode="r")
    with pytest.raises(type(error), match=str(error)[-6:]), manifest.named(whole, "It is damaged", ""):
        array[:]
    with pytest.raises(type(error)):
        manifest.missing(whole, deep=True)
    monkeypatch.undo()
    assert manifest.missing(whole) == manifest.missing(whole, deep=True) == []


def test_a_check_that_stumbles_tells_what_it_found_before():
    def check(word):
        yield word
        raise KeyError("y")

    assert manifest.gathered(check, "one") == ["one", "it cannot be checked to its end: KeyError: 'y'"]


def test_what_a_run_made_is_noted_file_by_file(tmp_path):
    for name in ("a.txt", "b.txt", "maps/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    manifest.note_made(tmp_path, "a.txt")
    assert not (tmp_path / "run.json").exists(), "a folder that is no run"
    (tmp_path / "run.json").write_text('{"state": "done"}')
    manifest.note_made(tmp_path, "a.txt", "b.txt")
    manifest.note_made(tmp_path, "maps/c.txt")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "maps/c.txt").unlink()
    manifest.note_made(tmp_path, "a.txt")
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["state"] == "done" and set(said["made"]) == {"a.txt", "maps/c.txt"}
    assert manifest.faults(tmp_path, said["made"]) == ["maps/c.txt is missing"]
