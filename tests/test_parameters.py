"""Parameters: read off the cell, typed strictly, every fault told at once."""

import math
import re
from types import SimpleNamespace

import pytest
from tiny import write_notebook

from geonb import cli, parameters, registry
from geonb.base import specs
from geonb.parameters import Declared
from geonb.registry import Parameter
from geonb.runs import plan
from geonb.workloads import segmentation

DECLARED = {
    "02": {
        "epochs": Declared("int", 20, "passes"),
        "lr": Declared("float | None", None, "rate"),
        "name": Declared("str | None", None, "a name"),
        "deep": Declared("bool", False, "deeper"),
    },
    "03": {"batch": Declared("int | None", None, "windows"), "lr": Declared("float", 0.5, "rate")},
}


def settled(**values):
    return parameters.check(DECLARED, values)


def test_a_cell_is_read_with_its_comments_and_never_run(tmp_path):
    write_notebook(
        tmp_path / "02_x.ipynb",
        [
            ("code", "import os"),
            (
                "parameters",
                'epochs: int = 20  # passes [1]\n# the rate,\n# in two lines\nlr: float | None = None\nname: str = "a # b"\nlow: int = -1',
            ),
        ],
    )
    assert parameters.read(tmp_path / "02_x.ipynb") == {
        "epochs": ("int", 20, "passes [1]"),
        "lr": ("float | None", None, "the rate, in two lines"),
        "name": ("str", "a # b", ""),
        "low": ("int", -1, ""),
    }


def test_lines_that_are_no_declarations_are_all_listed(tmp_path):
    write_notebook(tmp_path / "02_x.ipynb", [("parameters", "a = 3\nb: list = [1]\nc: int = open('x')\nd: int = 1")])
    with pytest.raises(ValueError, match=r"02_x.ipynb") as error:
        parameters.read(tmp_path / "02_x.ipynb")
    assert all(f"line {n}:" in str(error.value) for n in (1, 2, 3)) and "line 4" not in str(error.value)


def test_what_is_no_notebook_is_said(tmp_path):
    (tmp_path / "x.ipynb").write_text("[]")
    with pytest.raises(ValueError, match="not a Jupyter notebook"):
        parameters.read(tmp_path / "x.ipynb")
    with pytest.raises(FileNotFoundError, match=r"y\.ipynb"):
        parameters.read(tmp_path / "y.ipynb")


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", "int", 3),
        ("3", "float", 3.0),
        ("1e-4", "float", 1e-4),
        ("3", "str", "3"),
        ("none", "int | None", None),
        ("null", "str | None", None),
        ("none", "str", "none"),
        ("True", "bool", True),
        ("3.5", "int", "3.5"),  # left as text, for check to refuse
        ("yes", "bool", "yes"),
        ("unet:encoder=resnet18", "str | None", "unet:encoder=resnet18"),
    ],
)
def test_command_line_text_takes_the_declared_type(text, annotation, value):
    found = parameters.parse_text(text, annotation)
    assert found == value and type(found) is type(value)


def test_a_value_goes_to_each_step_that_declares_it():
    assert settled(lr=1, epochs=3) == {
        "02": {"epochs": 3, "lr": 1.0, "name": None, "deep": False},
        "03": {"batch": None, "lr": 1.0},
    }
    assert type(settled(lr=1)["02"]["lr"]) is float


@pytest.mark.parametrize(
    "values",
    [{"epochs": 3.0}, {"epochs": True}, {"epochs": "3"}, {"epochs": None}, {"deep": 1}, {"name": 3}, {"lr": "x"}],
)
def test_types_are_strict(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} = .*must be"):
        settled(**values)


@pytest.mark.parametrize("values", [{"epochs": 0}, {"batch": -1}, {"lr": 0.0}, {"lr": math.nan}, {"lr": math.inf}])
def test_ranges_hold(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        settled(**values)


def test_every_fault_comes_at_once_with_the_known_names():
    with pytest.raises(ValueError, match="nothing was run") as error:
        settled(epoch=3, lr=0.0, deep=1, run="x", zzz=1)
    text = str(error.value)
    assert "did you mean 'epochs'?" in text and "deep = 1" in text and "set by geonb run" in text
    assert text.count("lr = 0.0") == 1, "a fault is told once, not once a step"
    assert "epochs: int = 20, 1 to 1000000" in text, "the known ones are listed with default and range"
    with pytest.raises(ValueError) as error:
        settled(epoch=3)
    assert len(str(error.value).splitlines()) == 2, "but not where the right one can be guessed"


def test_a_workload_may_set_another_range():
    record = SimpleNamespace(parameters={"epochs": Parameter("passes", 1, 5)}, defaults={})
    with pytest.raises(ValueError, match="1 to 5"):
        parameters.check(DECLARED, {"epochs": 6}, record)


def test_missing_input_files_are_told_before_any_compute(tmp_path):
    declared = {"01": {"images": Declared("str | None", None, ""), "masks": Declared("str | None", None, "")}}
    (tmp_path / "a.tif").touch()
    (tmp_path / "m.gpkg").touch()
    good = {"images": "*.tif", "masks": "m.gpkg:column=class"}
    assert parameters.check(declared, good, segmentation.RECORD, tmp_path)["01"] == good
    with pytest.raises(ValueError, match=r"no such file: b\.tif, c/\*\.tif"):
        parameters.check(declared, {"images": "a.tif,b.tif,c/*.tif"}, segmentation.RECORD, tmp_path)
    (tmp_path / "tiles").mkdir()
    with pytest.raises(
        ValueError, match=r"a folder, where files are wanted: tiles\. Name those in it, for instance tiles/\*"
    ):
        parameters.check(declared, {"images": "a.tif,tiles"}, segmentation.RECORD, tmp_path)
    with pytest.raises(ValueError, match=r"(?s)nothing was run.*https://no-host\.invalid/b\.tif cannot be reached"):
        parameters.check(declared, {"images": "*.tif, https://no-host.invalid/b.tif"}, segmentation.RECORD, tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "https://anna:pw-1@host/a.tif",
        "https://host/a.tif?X-Amz-Credential=pw-1",
        "https://host/a.tif?sv=2&sig=pw-1",
        "s3://k:pw-1@host/a",
    ],
)
def test_no_parameter_may_hold_a_password_or_a_signature(tmp_path, address):
    declared = {"01": {"images": Declared("str | None", None, "")}}
    with pytest.raises(ValueError, match=r"a signature or a token.*Leave it out") as error:
        parameters.check(declared, {"images": address}, segmentation.RECORD, tmp_path)
    assert "pw-1" not in str(error.value)


def test_settle_takes_the_workloads_defaults_and_checks_them():
    record = SimpleNamespace(parameters={}, defaults={"lr": 0.01, "batch": 4})
    assert vars(parameters.settle(record, lr=None, batch=8, store=None)) == {"lr": 0.01, "batch": 8, "store": None}
    with pytest.raises(ValueError, match=r"(?s)batch = 0.*precision = 'f16'.*one of auto"):
        parameters.settle(record, batch=0, precision="f16")


def test_yaml_says_what_it_looks_like(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "lr: 1e-4\nshares: 60/20/20\nstart: 2020-01-01\nat: 12:30\nepochs: 010\nname: null\ndeep: true\nx: -1.5\n"
    )
    assert parameters.load_yaml(file) == {
        "lr": 1e-4, "shares": "60/20/20", "start": "2020-01-01", "at": "12:30", "epochs": 10, "name": None, "deep": True, "x": -1.5,
    }  # fmt: skip
    file.write_text("")
    assert parameters.load_yaml(file) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: !!python/object/apply:os.system ['touch harmed']", "never run"),
        ("a: 1\na: 2", "given twice: a"),
        ("a: [1, 2]", "lists and mappings"),
        ("- 1", "name: value"),
        ("a: {", "not readable YAML"),
        ("a: " + "9" * 5000, "not readable YAML"),
        ("a: " + "[" * 20_000, "not readable YAML"),
    ],
)
def test_yaml_that_is_no_flat_mapping_is_refused(tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)p\.yaml.*{says}"):
        parameters.load_yaml(tmp_path / "p.yaml")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("workload", sorted(registry.WORKLOADS))
def test_the_help_names_every_network_loss_and_option_there_is(workload, monkeypatch):
    record = registry.get(workload)
    tables = {
        name: specs.load(meaning.options)
        for name in ("network", "loss", "augment", "sampler", "optimizer")
        if (meaning := parameters.meaning_of(name, record))
    }
    shown = " ".join(plan.describe(workload).split())
    for name, table in tables.items():
        assert table, name
        for one, options in table.items():
            assert re.search(rf"(^|[ ,]){re.escape(one)}[:,\s]", shown), (name, one)
            assert all(option in shown for option in options), (name, one)
        monkeypatch.setitem(table, "brand-new", {"spark": specs.Option(7)})
    assert plan.describe(workload).count("brand-new: spark=7") >= len(tables)


def test_a_list_of_known_parameters_imports_nothing_that_they_name(monkeypatch):
    monkeypatch.setattr(parameters, "load", lambda path: pytest.fail(f"{path} was imported"))
    with pytest.raises(ValueError, match=r"(?s)zzz: unknown.*Known parameters"):
        settled(zzz=3)


@pytest.mark.parametrize("workload", sorted(registry.WORKLOADS))
def test_settle_checks_the_options_of_a_text(workload):
    wrong = {"network": "nett", "loss": "los", "augment": "flip", "sampler": "shufle", "optimizer": "adamw:lr=1"}
    with pytest.raises(ValueError) as error:
        parameters.settle(workload, **wrong)
    for name, value in wrong.items():
        assert str(error.value).count(f"{name} = {value!r}") == 1
    assert parameters.settle(workload, **dict.fromkeys(wrong)).loss == registry.get(workload).defaults["loss"]


@pytest.mark.parametrize("name", ["name", "lr"])
def test_a_password_in_an_address_is_neither_taken_nor_shown(name):
    address = "/vsicurl/https://me:hunter2@data.example.org/a.tif"
    with pytest.raises(ValueError, match=r"holds a name or a password|must be a number") as error:
        settled(**{name: address})
    assert (
        "hunter2" not in str(error.value)
        and "me:hunter" not in str(error.value)
        and "data.example.org/a.tif" in str(error.value)
    )
    with pytest.raises(ValueError, match="GDAL_HTTP_USERPWD") as error:
        parameters.settle("segmentation", images=f"a.tif,{address}")
    assert "hunter2" not in str(error.value)
    for fine in (
        "https://data.example.org/a@b.tif",
        "s3://bucket/a:b.tif",
        "a.gpkg:column=kind",
        "https://example.org:8080/a.tif",
    ):
        assert settled(name=fine)["02"]["name"] == fine


LONG = "x" * 5000
REFUSED = {
    "segmentation": [
        "shares=nan/20/20",
        "shares=60/20/x",
        "shares=-10/60/50",
        "shares=inf/1/1",
        "shares=0/50/50",
        "shares=60/40",
        "shares=1e99/0/0",
        f"shares={LONG}",
        "network=unet:encoder_depth=9",
        "network=unet:decoder_channels=a-b",
        "network=unet:encoder_depth=-1",
        "network=unet:encoder_depth=nan",
        "network=unet:decoder_channels=99999999-99999999-64-32-16",
        "network=segmentalist:initial_filters=65536",
        "network=segmentalist:layer_blocks=999999999-2",
        "network=segmentalist:initial_kernel=99999999999",
        f"network={LONG}",
        "loss=dice:weight=1e99",
        "loss=dice:weight=1e-99",
        "loss=weighted-bce:pos_weight=nan",
        "loss=bce+",
        f"loss={LONG}",
        "shares=80/0/20",
        "rasters=/",
        "store=/tmp",
        f"store={LONG}",
        "method=dims:3-7-9",
        "method=dims:3-3",
        "method=dims:1e99",
        f"name={LONG}",
        "name=///",
        "draws=1000000",
        "weights=swa",
        "weights=ema optimizer=adamw:swa=0.5",
        "samples=10 clusters=14",
        "patch=64 block=32",
        "gap=-1",
        "gap=16 block=none",
        "network=fpn:encoder=resnet18 patch=100",
        "classes=1=a,2=b loss=cross-entropy:class_weights=1-2-4 images=x masks=x",
        f"images={LONG}",
        "images=",
        "epochs=nan",
        "lr=1e99",
        "seed=-1",
        "polygons=nan",
        "optimizer=adamw:amsgrad=1",
        "optimizer=adamw:eps=nan",
        "augment=noise:std=1e99",
        "resolution=inf",
        f"rasters={LONG}",
    ],
    "conflict": [
        "shares=nan/20/20",
        "sampler=shuffle:balance=class",
        "network=unet_lstm:filters=1024,depth=8",
        "loss=bce:weight=1e99",
        "events=/",
        "covariates=/",
        "loss=ssim:sigma=5 windows=events:size=16",
        "network=convlstm:head=none,structure=2/2 outcomes=by-type",
        "network=convlstm:structure=a/b",
        "steps=1e99",
        "period=1990-13:2019-12",
        "channels=",
        f"region={LONG}",
        f"events={LONG}",
        "event=deaths:where_prec=nan",
        "windows=events:draws=-1",
    ],
    "clouds": [
        "triplets=99999999999/1/1",
        "triplets=nan/1/1",
        "triplets=1/1",
        "sampler=shuffle:balance=class",
        "network=resnet18:dims=10 method=dims:3-10",
        "network=vit_tiny_patch16_224 patch=8",
        "network=resnet18:dims=1e99",
        "loss=infonce:temperature=1e-300",
        "loss=triplet:margin=inf",
        "channels=a,a",
        "channels=,",
        "bounds=nan,0,1,1",
        "region=box:0,0,0,0",
        "split=auto:apart_h=-1",
        "tile_km=nan",
        "distance=1e99",
        f"scenes={LONG}",
        "shares=-10/60/50",
    ],
}


@pytest.mark.parametrize(
    ("workload", "texts"), [(name, texts) for name, all_texts in REFUSED.items() for texts in all_texts]
)
def test_what_the_text_tells_is_refused_before_anything_runs(workload, texts, monkeypatch, capsys):
    monkeypatch.setattr("geonb.runs.run.new_run", lambda *arguments: pytest.fail("would run"))
    given = re.split(r" (?=\w+=)", texts)
    assert cli.main(["run", workload, *(part for text in given for part in ("-p", text))]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Parameters are not right") and "itself failed" not in told
    assert any(text.partition("=")[0] in told for text in given) and len(told) < 20_000
