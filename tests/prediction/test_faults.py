"""What is wrong with predictions is named, of each workload, and of good ones nothing is."""

import json
import shutil
from types import SimpleNamespace

import fake_cubes
import forecasting
import harm
import made_scenes
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from untrained import untrained

import geonb
from geonb import registry
from geonb.base import manifest
from geonb.prediction import predictions
from geonb.prediction.faults import check_predictions
from geonb.store.arrays import quiet_zarr
from geonb.workloads.clouds import baselines as clouds_baselines
from geonb.workloads.clouds import predict as clouds_predict
from geonb.workloads.clouds.task import Triplet
from geonb.workloads.conflict import baselines as conflict_baselines
from geonb.workloads.conflict import predict as conflict_predict
from geonb.workloads.segmentation import baselines, predict

WORKLOADS = ("segmentation", "conflict", "clouds")


def folder(path):
    return SimpleNamespace(path=path, predictions=path / "predictions.zarr", name=path.name)


def of_segmentation(run, store):
    found = [baselines.majority(store), baselines.pixel_linear(store)]
    return predict.predict_scenes(run, store, untrained(store), found)


def of_conflict(run, store):
    found = [conflict_baselines.never(store), conflict_baselines.climatology(store)]
    return conflict_predict.predict_region(run, store, forecasting.model_of(workload="conflict"), found)


def of_clouds(run, store):
    torch.manual_seed(0)
    card = {"network": "resnet10t:dims=6", "loss": "triplet", "lr": 1e-3, "workload": "clouds", "geonb": "0", "training": {},
            "best": {}}  # fmt: skip
    found = [clouds_baselines.mean_and_spread(store), clouds_baselines.pixel_pca(store)]
    return clouds_predict.predict_triplets(run, store, Triplet(card | Triplet.card_of(store)).eval(), found)


@pytest.fixture(scope="module")
def whole(small_store, tmp_path_factory):
    """Predictions of each workload: name -> path."""
    months = fake_cubes.contagion(splits={"train": (6, 98), "val": (107, 108), "test": (150, 151)}, months=154)
    scenes = made_scenes.store(
        tmp_path_factory.mktemp("project"), made_scenes.DAYS[:4], patch=16, counts="30/10/10", split="area"
    )
    ways = {
        "segmentation": (of_segmentation, small_store),
        "conflict": (of_conflict, months),
        "clouds": (of_clouds, scenes),
    }
    return {name: make(folder(tmp_path_factory.mktemp(name)), store) for name, (make, store) in ways.items()}


def group_of(path, workload):
    """The group that every workload has, and a placed one with y and x."""
    tree = xr.open_datatree(path, engine="zarr", consolidated=False)
    return {"segmentation": next(iter(tree.children)), "conflict": "grid", "clouds": "triplets"}[workload]


@pytest.fixture
def damage(whole, tmp_path):
    """Copy a workload's predictions, let `how` change the dataset of a group, and tell what the check says of them."""

    def told(workload, how, group=None, deep=False):
        path = tmp_path / "predictions.zarr"
        harm.unsealed(shutil.copytree(whole[workload], path))
        group = group or group_of(path, workload)
        with xr.open_datatree(path, engine="zarr", consolidated=False) as tree:
            data = tree[group].to_dataset().load().drop_encoding()
        shutil.rmtree(path / group)
        with quiet_zarr():
            how(data).to_zarr(path, group=group, mode="a", zarr_format=3, consolidated=False)
            zarr.consolidate_metadata(path)
        with pytest.raises(ValueError) as error:
            check_predictions(path, deep=deep)
        return str(error.value)

    return told


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("deep", [False, True])
def test_good_predictions_of_every_workload_pass(whole, workload, deep):
    geonb.check_predictions(whole[workload], deep=deep)
    geonb.check_predictions(whole[workload], workload)


@pytest.mark.parametrize(
    ("workload", "variable"),
    [("segmentation", "label"), ("segmentation", "probability"), ("conflict", "probability"), ("conflict", "valid"),
     ("clouds", "far"), ("clouds", "source")],
)  # fmt: skip
def test_a_missing_variable_is_named(damage, workload, variable):
    assert f"no {variable}" in damage(workload, lambda data: data.drop_vars(variable))


@pytest.mark.parametrize(
    ("workload", "variable"), [("segmentation", "truth"), ("conflict", "truth"), ("clouds", "block")]
)
def test_a_wrong_dim_is_named(damage, workload, variable):
    said = damage(
        workload, lambda data: data.assign({variable: data[variable].rename({data[variable].dims[-1]: "odd"})})
    )
    assert f"{variable} has dims" in said and "odd" in said


@pytest.mark.parametrize(
    ("workload", "gone"), [("segmentation", "pixel-linear"), ("conflict", "climatology"), ("clouds", "untrained")]
)
def test_a_missing_baseline_is_named(damage, workload, gone):
    said = damage(workload, lambda data: data.drop_sel(model=gone))
    assert f": no {gone} among the models (network, " in said


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_network_comes_first(damage, workload):
    assert "first model is" in damage(workload, lambda data: data.isel(model=[1, 0, 2]))


def changed(variable, value, **places):
    """Set one value; `places`: dim -> index, others 0."""

    def how(data):
        values = data[variable].values.copy()
        values[tuple(places.get(dim, 0) for dim in data[variable].dims)] = value
        return data.assign({variable: (data[variable].dims, values, data[variable].attrs)})

    return how


@pytest.mark.parametrize("value", [1.5, -0.25, np.nan, np.inf])
@pytest.mark.parametrize("workload", ["segmentation", "conflict"])
def test_a_probability_out_of_range_is_named(damage, whole, workload, value):
    with xr.open_datatree(whole[workload], engine="zarr", consolidated=False) as tree:
        data = tree[group_of(whole[workload], workload)].to_dataset().load()
    if workload == "segmentation":  # a labelled pixel of the middle row, which is read when it is not deep
        row = data.sizes["y"] // 2
        places = {"y": row, "x": int(np.flatnonzero(data["label"].values[1, row] < 255)[0])}
    else:
        places = dict(zip("yx", np.argwhere(data["valid"].values)[0].tolist(), strict=True))
    said = damage(workload, changed("probability", value, model=1, **places))
    assert (
        f"probability of {data['model'].values[1]}" in said
        and "1 values are not 0-1" in said
        and f"(as {value:g})" in said
    )


def test_one_value_anywhere_is_found_when_every_value_is_read(damage, whole):
    with xr.open_datatree(whole["segmentation"], engine="zarr", consolidated=False) as tree:
        label = tree[group_of(whole["segmentation"], "segmentation")]["label"].values
    row, column = np.argwhere(label[0] < 255)[0].tolist()
    assert row < label.shape[1] // 2
    said = damage("segmentation", changed("probability", 2, y=row, x=column), deep=True)
    assert "probability of network: 1 values are not 0-1 (as 2)" in said


@pytest.mark.parametrize(
    ("workload", "how", "told"),
    [
        ("segmentation", changed("truth", 77, y=48, x=60), r"truth: 1 values are not 0-2 (as 77)"),
        ("conflict", changed("truth", 3), "truth, "),
        ("conflict", lambda data: data.assign(split=data["split"].copy(data=["odd"] * data.sizes["time"])), "['odd']"),
        ("conflict", lambda data: data.isel(y=slice(None, None, -1)), "y does not ascend"),
        ("conflict", lambda data: data.assign_coords(x=data["x"].where(data["x"] > data["x"][0])), "x is unknown at 1"),
        ("conflict", lambda data: data.drop_vars("spatial_ref"), "no coordinate reference system"),
        ("clouds", changed("near", -1.0), "near of network: 1 values are not 0 or more (as -1)"),
        ("clouds", changed("far", np.nan, model=2), "far of mean-and-spread: 1 values are not 0 or more (as nan)"),
    ],
)  # fmt: skip
def test_other_damage_is_named(damage, workload, how, told):
    assert told in damage(workload, how)


def test_an_embedding_that_is_unknown_where_there_are_data_is_named(damage, whole):
    name = next(n for n in predictions.open_predictions(whole["clouds"]).children if n != "triplets")

    def how(data):
        t, y, x = np.argwhere(data["valid"].values)[0].tolist()
        assert t == 0
        return changed("embedding", np.nan, time=t, y=y, x=x, dim=3)(data)

    assert f"{name}: embedding of scene 0: 1 values are not finite" in damage("clouds", how, name)


def without(path, target, *attributes):
    """A copy whose root lacks attributes, and which says nothing of its files."""
    harm.unsealed(shutil.copytree(path, target))
    root = zarr.open_group(target, mode="r+")
    for name in attributes:
        del root.attrs[name]
    with quiet_zarr():
        zarr.consolidate_metadata(target)
    return target


def test_predictions_that_say_nothing_are_those_of_the_run_beside_them(whole, tmp_path):
    path = without(whole["conflict"], tmp_path / "predictions.zarr", "workload")
    with pytest.raises(
        ValueError, match=r"(?s)attributes missing: workload.*neither they nor a run.json.*give\s+`workload`"
    ):
        check_predictions(path)
    for beside in ({"workload": "conflict"}, {"workload": "x", "record": "conflict"}):
        (tmp_path / "run.json").write_text(json.dumps(beside))
        with pytest.raises(ValueError) as error:
            check_predictions(path)
        assert str(error.value).count("\n- ") == 1 and "attributes missing: workload" in str(error.value)


def test_a_workload_that_is_not_known_is_said_and_not_imported(whole, tmp_path, monkeypatch):
    path = without(whole["segmentation"], tmp_path / "p.zarr")
    zarr.open_group(path, mode="r+").attrs["workload"] = "os:system"
    with quiet_zarr():
        zarr.consolidate_metadata(path)
    with pytest.raises(ValueError, match=r"'os:system' is not known in this process"):
        check_predictions(path)
    with pytest.raises(ValueError, match="they say that they are of the workload 'segmentation', not 'clouds'"):
        check_predictions(whole["segmentation"], "clouds")


def test_earlier_predictions_that_name_no_models_need_as_many_as_the_record_has(whole, tmp_path):
    check_predictions(without(whole["clouds"], tmp_path / "a.zarr", "models"))
    with pytest.raises(ValueError, match=r"3 models \(network, never, climatology\), but .*'conflict' has 8 baselines"):
        check_predictions(without(whole["conflict"], tmp_path / "b.zarr", "models"))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_harm_to_every_file_is_named_and_nothing_else_is_raised(whole, workload):
    passed, unnamed = [], []
    for file, kind in harm.each(whole[workload]):
        if (file.name, kind) == (manifest.MANIFEST, "deleted"):  # as an earlier geonb would have written it
            continue
        with harm.harmed(file, kind):
            try:
                check_predictions(whole[workload], deep=True)
                passed.append((kind, file))
            except ValueError as error:
                if file.name not in str(error) or "03_prediction" not in str(error):
                    unnamed.append((kind, file, str(error)))
            if kind != "flipped":
                with pytest.raises(ValueError, match=f"(?s){file.name}.*03_prediction"):
                    predictions.open_predictions(whole[workload])
    assert passed == [] and unnamed == []
    check_predictions(whole[workload], deep=True)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_of_earlier_predictions_what_cannot_be_read_is_told(whole, workload, tmp_path):
    path = harm.unsealed(shutil.copytree(whole[workload], tmp_path / "p.zarr"))
    check_predictions(path, deep=True)
    for file, kind in harm.each(path):
        if file.name == "zarr.json" and kind in ("cut", "emptied"):
            with harm.harmed(file, kind):
                for check in (check_predictions, predictions.open_predictions):
                    with pytest.raises(ValueError, match=r"p\.zarr"):
                        check(path)
    chunk = max((f for f in harm.files_of(path) if f.name != "zarr.json"), key=lambda file: file.stat().st_size)
    with harm.harmed(chunk, "flipped"), pytest.raises(ValueError, match=f"(?s){chunk.name} is damaged.*03_prediction"):
        check_predictions(path, deep=True)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_chunk_carries_a_sum_and_is_there(whole, workload):
    for file in whole[workload].rglob("zarr.json"):
        about = json.loads(file.read_text())
        if about["node_type"] == "array":
            assert about["codecs"][-1]["name"] == "crc32c", file
            chunks = np.ceil(np.divide(about["shape"], about["chunk_grid"]["configuration"]["chunk_shape"]))
            assert len([f for f in file.parent.rglob("*") if f.is_file() and f != file]) == int(np.prod(chunks)), file


def test_what_is_no_predictions_at_all(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match=r"empty.zarr is no predictions.zarr of geonb: it cannot be opened"):
        check_predictions(tmp_path / "empty.zarr")
    with pytest.raises(FileNotFoundError, match="03_prediction"):
        check_predictions(tmp_path / "none.zarr")


def test_a_record_of_your_own_checks_its_own_part(whole, monkeypatch):
    assert all(record.check_predictions for record in map(registry.get, registry.WORKLOADS))
    seen = []
    monkeypatch.setattr(predict, "scene_faults", lambda tree, deep: seen.append(deep) or ["mine"])
    with pytest.raises(ValueError, match=r"- mine$"):
        check_predictions(whole["segmentation"], deep=True)
    assert seen == [True]
