"""Specifications: how they are read, and what a table of options refuses, tells and shows."""

import pytest

from geonb.base import specs
from geonb.base.specs import Option


def even(value):
    if value % 2:
        raise ValueError(f"is odd; give {value - 1} or {value + 1}")
    return value


def built(needed, size: int = 4, share: float = 0.5, way: str | None = None, own=3):
    """What a table may be read off."""


TABLE = {
    "built": specs.options_of(
        built, {"size": Option(kind=int, least=2, most=8, read=even), "share": Option(kind=float, above=0, below=1)}, ["own"]
    ),
    "other": {
        "way": Option("none", choices=("none", "short", "long"), help="how"),
        "rate": Option(None, float, 0, choices=("auto",)),
        "on": Option(False, bool),
        "off": Option(None, bool),
    },
    "another": {},
    "third": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("unet", [("unet", {})]),
        ("unet:encoder=resnet18,weights=none", [("unet", {"encoder": "resnet18", "weights": None})]),
        ("a:x=[1, 2],y=2-2-2,z=0.5", [("a", {"x": [1, 2], "y": [2, 2, 2], "z": 0.5})]),
        ("flips,noise:sigma=0.1,share=1,none", [("flips", {}), ("noise", {"sigma": 0.1, "share": 1}), ("none", {})]),
    ],
)
def test_specifications(text, found):
    assert specs.parse_specs(text) == found


@pytest.mark.parametrize("text", ["", "unet:", "x=1", "unet:encoder", "a:x=1,x=2", "a:x=", ":x=1"])
def test_bad_specifications_are_refused(text):
    with pytest.raises(ValueError, match=r"name:key=value|given twice"):
        specs.parse_spec(text)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("built", {"size": 4, "share": 0.5, "way": None}),
        ("built:size=2,way=any", {"size": 2, "share": 0.5, "way": "any"}),
        ("other", {"way": "none", "rate": None, "on": False, "off": None}),
        ("other:way=none,rate=none,on=true", {"way": "none", "rate": None, "on": True, "off": None}),
        ("other:way=false,rate=2,off=none", {"way": "none", "rate": 2.0, "on": False, "off": None}),
        ("other:rate=auto,off=false", {"way": "none", "rate": "auto", "on": False, "off": False}),
    ],
)
def test_what_is_right_comes_with_its_defaults(text, options):
    name, found = specs.check_options("thing", text, TABLE)
    assert name == text.partition(":")[0] and found == options
    assert [type(v) for v in found.values()] == [type(v) for v in options.values()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bilt", "Unknown thing 'bilt'. Did you mean 'built'? Known: another, built, other, third."),
        ("built:sise=4", "built has no 'sise'; it takes size, share, way. Did you mean 'size'?"),
        ("built:own=4", "built has no 'own'"),
        ("another:on=true", "another has no 'on'; it takes no options"),
        ("built:size=1", "size = 1 must be a whole number from 2 to 8"),
        ("built:size=9", "size = 9 must be a whole number from 2 to 8"),
        ("built:size=4.0", "size = 4.0 must be a whole number"),
        ("built:size=true", "size = True must be a whole number"),
        ("built:size=5", "size = 5 is odd; give 4 or 6"),
        ("built:size=none", "size = None must be a whole number"),
        ("built:share=0", "share = 0 must be a number above 0 to below 1"),
        ("built:share=1", "share = 1 must be a number above 0 to below 1"),
        ("built:share=1e999", "share = inf must be a number"),
        ("built:share=nan", "share = 'nan' must be a number"),
        ("other:way=shot", "way = 'shot' must be one of none, short, long. Did you mean 'short'?"),
        ("other:way=1", "way = 1 must be one of none, short, long"),
        ("other:rate=-1", "rate = -1 must be a number of 0 or more, or one of auto, or none"),
        ("other:off=1", "off = 1 must be true or false, or none"),
        ("other:on=1", "on = 1 must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(text, told):
    with pytest.raises(ValueError) as error:
        specs.check_options("thing", text, TABLE)
    assert told in str(error.value) and str(error.value).startswith(f"thing = {text!r} is not right:\n- ")


def test_every_fault_of_every_part_is_told_once_and_whose_it_is():
    def together(name, options, given):
        assert isinstance(options.get("size", 4), int), "in place of wrong options the defaults are seen"
        if name == "other" and "on" in given:
            yield "on goes with nothing"

    with pytest.raises(ValueError) as error:
        specs.check_sum("thing", "built:size=x,share=2+bilt+other:on=true+other:on=true", TABLE, together)
    told = str(error.value).splitlines()[1:]
    assert len(told) == 4 and told[0].startswith("- built: size = 'x'") and told[1].startswith("- built: share = 2")
    assert "Unknown thing 'bilt'" in told[2] and told[3] == "- other: on goes with nothing"
    assert specs.check_sum("thing", "another+other:on=true", TABLE)[1][1]["on"] is True
    assert [name for name, _ in specs.check_list("thing", "another,other:on=true,rate=3", TABLE)] == [
        "another",
        "other",
    ]


def test_the_help_shows_every_name_option_default_and_range():
    shown = list(specs.describe_table(TABLE))
    assert shown == [
        "built: size=4 (whole 2 to 8), share=0.5 (above 0 to below 1), way",
        "other: way=none (one of none, short, long; how), rate (0 or more, or one of auto, or none), on=false (true or false), "
        "off (true or false, or none)",
        "another, third",
    ]
    assert "fourth: deep=1-2" in specs.describe_table(TABLE | {"fourth": {"deep": Option([1, 2])}})


@pytest.mark.parametrize("path", ["..:x", ":x", "nosuch:x", "raising:x", "os:nosuch", "os"])
def test_what_cannot_be_imported_is_told(tmp_path, monkeypatch, path):
    (tmp_path / "raising.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"Cannot import|has no"):
        specs.load(path)
