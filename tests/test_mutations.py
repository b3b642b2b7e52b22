"""The faults of mutations.py can still be planted; its runner tells what is noticed from what is not."""

import re

import mutations
import pytest


def test_every_fault_still_has_its_place():
    assert mutations.stale(mutations.MUTANTS) == []
    for mutant in mutations.MUTANTS:
        path, text = mutations.mutated(mutant, mutations.ROOT)
        assert text != path.read_text()
        compile(text, path, "exec")
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (mutations.ROOT / file).read_text(), test


@pytest.fixture
def project(tmp_path):
    for file, text in {
        "pyproject.toml": "", "geonb/sums.py": "def add(a, b):\n    return a + b\n\n\ndef twice(a):\n    return 2 * a\n",
        "tests/test_sums.py": "from geonb.sums import add, twice\n\n\ndef test_sums():\n    assert add(1, 2) == 3 and twice(2) == 4\n",
    }.items():  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def test_pytest_decides_whether_a_fault_is_noticed(project):
    assert mutations.noticed(project, ["tests/test_sums.py"]) == (False, "")
    (project / "geonb/sums.py").write_text("def add(a, b):\n    return a - b\n\n\ntwice = abs\n")
    assert mutations.noticed(project, ["tests/test_sums.py"]) == (True, "test_sums")
    (project / "geonb/sums.py").write_text("twice = abs\n")  # breaks the import, which says nothing of the maths
    with pytest.raises(ValueError, match=r"pytest ended with 2(?s:.*)cannot import name 'add'"):
        mutations.noticed(project, ["tests/test_sums.py"])


def test_what_no_test_notices_is_told(project, monkeypatch, capsys):
    before, right = (project / "geonb/sums.py").read_text(), True

    def noticed(folder, tests):
        names = {}
        exec((folder / "geonb/sums.py").read_text(), names)
        return names["add"](1, 2) != 3 or names["twice"](2) != 4 or not right, "test_sums"

    def told_of(*faults, words=()):
        monkeypatch.setattr(mutations, "MUTANTS", list(mutations.inside("sums.py", "test_sums.py", *faults)))
        return mutations.main(list(words)), capsys.readouterr().out

    monkeypatch.setattr(mutations, "ROOT", project)
    monkeypatch.setattr(mutations, "noticed", noticed)
    minus, square = ("a difference", "a + b", "a - b"), ("a square", "2 * a", "a * a")
    for code, said, asked in (
        (0, r"killed .*/sums.py: a difference \(by test_sums\)\n1 killed, 0 survived", told_of(minus)),
        (1, r"killed .*\nSURVIVED .* a square \(in spite of tests/test_sums.py\)\n1 killed, 1 surv", told_of(minus, square)),
        (0, r"^killed .* a difference .*\n1 killed", told_of(minus, square, words=["difference"])),
        (1, r"STALE .*'sum\(' occurs 0 times in geonb/sums.py", told_of(("a sum", "sum(", "max("))),
        (1, r"STALE .*'a' occurs \d+ times", told_of(("a letter", "a", "b"))),
        (1, r"^$", told_of(minus, words=["product"])),
    ):  # fmt: skip
        assert (asked[0], bool(re.search(said, asked[1]))) == (code, True), asked
    assert (project / "geonb/sums.py").read_text() == before
    right = False
    assert told_of(minus) == (1, "tests/test_sums.py fail without a fault (test_sums): mend that first\n")
