"""Runs beside each other: each shows its own numbers, and nothing where it has none."""

from dataclasses import replace

import made_places as made
import made_sky
import numpy as np
import pytest
import viewing

from geonb.dashboards.beside import joined
from geonb.workloads.clouds import explore

OTHER = {"months": ["2020-02", "2020-03"], "models": ["network", "seldom"]}


@pytest.fixture(scope="module")
def both():
    return {"one": made.data(0), "other": made.data(1, **OTHER)}


@pytest.fixture(scope="module")
def beside(both):
    return joined({name: made.explorer(places) for name, places in both.items()})


def test_months_and_models_of_all_can_be_chosen(beside):
    run, model, month = beside.dims
    assert (run.name, run.labels) == ("run", ["one", "other"]) and model.labels == ["network", "always", "seldom"]
    assert month.labels == ["2020-01", "2020-02", "2020-03", "2020-05"] and month.labels[month.start] == "2020-05"
    assert month.remarks == ["val"] * 4


def test_a_run_shows_its_numbers_or_nothing(beside, both):
    run, models, months = (dim.labels for dim in beside.dims)
    for r, name in enumerate(run):
        for place, own in enumerate(both[name]):
            for m, model in enumerate(models):
                for t, month in enumerate(months):
                    plane = viewing.seen(beside, "guess", {"run": r, "model": m, "month": t}, place).values
                    if model not in own.model or month not in own.month:
                        assert np.isnan(plane).all()
                        continue
                    np.testing.assert_allclose(plane, own.guess.sel(model=model, month=month).values, atol=0.005)
            np.testing.assert_array_equal(viewing.seen(beside, "height", {"run": r}, place).values, own.height.values)


def test_a_month_that_is_training_to_one_and_test_to_another_says_both(both):
    runs = {name: made.explorer(places) for name, places in both.items()}
    other = [replace(dim, remarks=["test"] * len(dim.labels)) if dim.remarks else dim for dim in runs["other"].dims]
    months = joined({"one": runs["one"], "other": replace(runs["other"], dims=other)}).dims[-1]
    assert dict(zip(months.labels, months.remarks, strict=True)) == {
        "2020-01": "val", "2020-02": "val / test", "2020-03": "test", "2020-05": "val"}  # fmt: skip
    same = joined({"one": runs["one"], "again": replace(runs["one"], dims=[
        replace(dim, remarks=["test"] * len(dim.labels)) if dim.remarks else dim for dim in runs["one"].dims])})  # fmt: skip
    assert same.dims[-1].remarks == ["val / test"] * 3 and same.dims[-1].gaps == runs["one"].dims[-1].gaps


def test_a_click_tells_all_models_of_the_run(beside, both):
    told = viewing.clicked(beside, 12, 33, {"run": 1, "month": 1}, layers=["guess"])["guess"]
    own = both["other"][0].sel(x=12, y=33, method="nearest").guess.sel(month="2020-02")
    assert told == [own.sel(model="network"), None, own.sel(model="seldom")]
    told = np.array(viewing.clicked(beside, 12, 33, {"run": 0}, layers=["truth"])["truth"], float)
    np.testing.assert_array_equal(told[[0, 1, 3]], both["one"][0].sel(x=12, y=33, method="nearest").truth)
    assert np.isnan(told[2])


def test_layers_that_one_lacks_are_told_nowhere(both):
    first, other = made.explorer(both["one"]), made.explorer(both["other"])
    other = replace(
        other, layers=[layer for layer in other.layers if layer.name not in ("height", "truth")], lines=[], truth=""
    )
    beside = joined({"one": first, "other": other})
    known = {layer.name for layer in beside.layers}
    assert known == {"picture", "guess"} and beside.lines == [] and beside.truth == ""


def test_other_ground_or_other_embeddings_are_refused(both):
    one = made.explorer(both["one"])
    moved = made.explorer(made.data(shapes=((9, 14), (12, 8))))
    with pytest.raises(ValueError, match="Run other covers other ground than one"):
        joined({"one": one, "other": moved})
    sky = explore.explorer(made_sky.sky_predictions(made_sky.sky_arrays()))
    with pytest.raises(ValueError, match="one network only"):
        joined({"one": sky, "other": sky})


def test_one_run_of_higher_numbers_is_not_cut_off_by_the_other():
    both = {name: made.data(seed) for seed, name in enumerate(("one", "other"))}
    for name, most in (("one", 0.5), ("other", 4.0)):
        both[name][1]["guess"][:] = both[name][1].guess.values * most
    runs = {name: made.explorer(places) for name, places in both.items()}
    for name, high in (("one", 0.5), ("other", 4.0)):
        layers = [replace(layer, high=high) if layer.name == "guess" else layer for layer in runs[name].layers]
        runs[name] = replace(runs[name], layers=layers)
    for order in (["one", "other"], ["other", "one"]):
        beside = joined({name: runs[name] for name in order})
        at = {"run": order.index("other"), "model": 0, "month": 0}
        np.testing.assert_allclose(
            viewing.seen(beside, "guess", at, 1).values, both["other"][1].guess.values[0, 0], atol=0.02
        )
