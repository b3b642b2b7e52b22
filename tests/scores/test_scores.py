"""Scores against scikit-learn, intervals against what they promise."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from sklearn import metrics

from geonb import scores as s
from geonb.base import conventions
from geonb.scores.comparison import of_split
from geonb.scores.scores import read_scores
from geonb.workloads.segmentation import boundary
from geonb.workloads.segmentation import scores as segmentation_scores

CLASSES = ["water", "forest", "field", "rare"]


def tree(rows=60, columns=80, seed=0, skill=1.0):
    random = np.random.default_rng(seed)
    truth = random.choice(4, (rows, columns), p=[0.4, 0.3, 0.29, 0.01]).astype(np.uint8)
    logits = random.normal(size=(2, 4, rows, columns))
    logits[0] += skill * (truth == np.arange(4)[:, None, None])
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = probability.argmax(axis=1).astype(np.uint8)
    truth[random.random(truth.shape) < 0.1] = conventions.IGNORE
    label[:, :5] = conventions.IGNORE
    block = (np.arange(rows) // 10)[:, None] * 8 + np.arange(columns) // 10
    split = np.array([1, 2, 3])[block % 3].astype(np.int8)
    data = xr.Dataset(
        {
            "probability": (("model", "class", "y", "x"), probability.astype(np.float16)),
            "label": (("model", "y", "x"), label),
            "truth": (("y", "x"), truth),
            "split": (("y", "x"), split),
            "block": (("y", "x"), block.astype(np.int32)),
        },
        coords={"model": ["network", "majority"], "class": CLASSES},
    )
    attrs = {
        "workload": "segmentation",
        "simulated": 1,
        "colours": ["#000000"] * 4,
        "headline": "mean_iou",
        "notes": [],
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/a": data})


def pixels(data, split, model=0):
    known = (
        (data["truth"] != conventions.IGNORE)
        & (data["label"][model] != conventions.IGNORE)
        & (data["split"] == conventions.SPLIT_CODES[split])
    )
    known = known.values
    return (
        data["truth"].values[known],
        data["label"].values[model][known],
        data["probability"].values[model][:, known].T.astype(float),
    )


@pytest.fixture(scope="module")
def made():
    predictions = tree()
    return predictions["a"].to_dataset(), segmentation_scores.score_classes(predictions, draws=300, rows=17)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("model", [0, 1])
def test_metrics_agree_with_scikit_learn(made, split, model):
    data, scores = made
    true, guess, probability = pixels(data, split, model)
    at = scores["score"].isel(model=model).sel(split=split)
    assert at.sel(metric="accuracy").item() == pytest.approx(metrics.accuracy_score(true, guess))
    assert at.sel(metric="mean_iou").item() == pytest.approx(metrics.jaccard_score(true, guess, average="macro"))
    assert at.sel(metric="macro_f1").item() == pytest.approx(metrics.f1_score(true, guess, average="macro"))
    probability /= probability.sum(axis=1, keepdims=True)
    assert at.sel(metric="log_loss").item() == pytest.approx(
        metrics.log_loss(true, probability, labels=range(4)), rel=1e-3
    )
    brier = ((probability - np.eye(4)[true]) ** 2).sum(axis=1).mean()
    assert at.sel(metric="brier").item() == pytest.approx(brier, rel=1e-3)
    by_class = scores["class_score"].isel(model=model).sel(split=split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, count = metrics.precision_recall_fscore_support(true, guess, labels=range(4))
    np.testing.assert_allclose(by_class.sel(class_metric="recall"), recall)
    np.testing.assert_allclose(by_class.sel(class_metric="f1"), f1)
    np.testing.assert_allclose(by_class.sel(class_metric="precision"), precision)
    matrix = scores["confusion"].isel(model=model).sel(split=split)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(true, guess, labels=range(4)))
    np.testing.assert_allclose(scores["prevalence"].sel(split=split), count / count.sum())
    assert scores["n_samples"].sel(split=split) == len(true)


def test_reliability_bins_hold_the_pixels_of_their_confidence(made):
    data, scores = made
    true, guess, probability = pixels(data, "test")
    top = probability.max(axis=1)
    mine = (top >= 0.5) & (top < 0.6)
    at = scores.isel(model=0, bin=5).sel(split="test")
    assert at["bin_samples"] == mine.sum()
    assert at["confidence"].item() == pytest.approx(top[mine].mean())
    assert at["hit_rate"].item() == pytest.approx((true == guess)[mine].mean())


def test_absent_classes_do_not_enter_the_mean():
    predictions = tree()
    data = predictions["a"].to_dataset()
    predictions["a"] = xr.DataTree(data.assign(truth=data["truth"].where(data["truth"] != 3, 0)))
    scores = segmentation_scores.score_classes(predictions, draws=0)
    true, guess, _ = pixels(predictions["a"].to_dataset(), "test")
    expected = metrics.jaccard_score(true, guess, average="macro", labels=[0, 1, 2])
    assert scores["score"].sel(model="network", split="test", metric="mean_iou").item() == pytest.approx(expected)
    assert scores["n_classes"].sel(split="test") == 3
    assert np.isnan(scores["class_score"].sel(model="network", split="test", class_metric="iou", **{"class": "rare"}))


def test_intervals_hold_the_score_and_shrink_with_more_blocks(made):
    _, scores = made
    score, low, high = scores["score"], scores["score_low"], scores["score_high"]
    assert ((low <= score) & (score <= high)).sel(metric="accuracy").all()
    larger = segmentation_scores.score_classes(tree(rows=240, columns=320), draws=300)
    width = (high - low).sel(model="network", split="test", metric="accuracy").item()
    wider = (larger["score_high"] - larger["score_low"]).sel(model="network", split="test", metric="accuracy").item()
    assert wider < 0.5 * width


def test_bootstrap_agrees_with_resampling_by_hand():
    predictions = tree(skill=2)
    data = predictions["a"].to_dataset()
    scores = segmentation_scores.score_classes(predictions, draws=4000)
    hit = data["label"][0] == data["truth"]
    known = (data["truth"] != conventions.IGNORE) & (data["label"][0] != conventions.IGNORE) & (data["split"] == 3)
    blocks = [b for b in np.unique(data["block"]) if (known & (data["block"] == b)).any()]
    hits = np.array([int((hit & known & (data["block"] == b)).sum()) for b in blocks])
    counts = np.array([int((known & (data["block"] == b)).sum()) for b in blocks])
    random = np.random.default_rng(1)
    drawn = random.integers(0, len(blocks), (4000, len(blocks)))
    by_hand = np.percentile(hits[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    at = scores.sel(model="network", split="test", metric="accuracy")
    assert [at["score_low"].item(), at["score_high"].item()] == pytest.approx(by_hand, abs=3e-3)


def test_a_paired_gain_is_narrower_than_the_scores_it_compares(made):
    data, _ = made
    twin = data.copy(deep=True)
    twin["label"][1], twin["probability"][1] = data["label"][0], data["probability"][0]
    worse = np.random.default_rng(5).random(twin["label"][1].shape) < 0.1
    twin["label"][1] = xr.where((twin["label"][1] != conventions.IGNORE) & worse, 0, twin["label"][1])
    predictions = tree()
    predictions["a"] = xr.DataTree(twin)
    scores = segmentation_scores.score_classes(predictions, draws=500)
    at = scores.sel(model="majority", split="test", metric="accuracy")
    one = scores["score"].sel(split="test", metric="accuracy")
    assert at["gain"].item() == pytest.approx((one[0] - one[1]).item())
    assert at["gain_low"] <= at["gain"] <= at["gain_high"]
    assert at["gain_high"] - at["gain_low"] < 0.5 * (at["score_high"] - at["score_low"])
    assert scores["gain"].sel(model="network", split="test", metric="accuracy") == 0


def test_the_verdict_is_honest():
    for skill, told in ((3, "beats"), (0, "cannot be told"), (-3, "WORSE")):
        assert told in s.verdict(segmentation_scores.score_classes(tree(skill=skill), draws=300))


def with_rare(where, skill=1.0):
    """A tree whose class "rare" stands at the pixels of `where` alone (slices of y and x); elsewhere it is class 0."""
    predictions = tree(skill=skill)
    data = predictions["a"].to_dataset()
    truth = data["truth"].where(data["truth"] != 3, 0).astype(np.uint8)
    for place in where:
        truth[place] = 3
    predictions["a"] = xr.DataTree(data.assign(truth=truth))
    return predictions


def test_pixels_and_blocks_of_each_class_are_counted_and_what_is_rare_is_told():
    # block 2 (y 0-9, x 20-29) and block 5 (x 50-59) are of the test split; rows 0 to 4 have no prediction
    two = [np.s_[6:8, 22:24], np.s_[7:9, 52:57]]
    predictions = with_rare(two)
    scores = segmentation_scores.score_classes(predictions, draws=100)
    data = predictions["a"].to_dataset()
    true, guess, _ = pixels(data, "test")
    at = scores.sel(split="test")
    np.testing.assert_array_equal(at["class_samples"], np.bincount(true, minlength=4))
    assert at["class_samples"].values[3] == 14 and at["class_blocks"].values[3] == 2
    assert (at["class_blocks"].values[:3] == int(at["n_blocks"])).all()
    assert at["rare"].values.tolist() == [False, False, False, True]
    without = metrics.jaccard_score(true, guess, average="macro", labels=[0, 1, 2])
    assert at["score_without_rare"].sel(model="network").item() == pytest.approx(without)
    guessed = pixels(data, "test", 1)[1]
    other = metrics.jaccard_score(true, guessed, average="macro", labels=[0, 1, 2])
    told = "Rare, but as heavy in mean_iou as any other of the 4 classes: rare (14 pixels in 2 blocks); without it: "
    assert s.verdict(scores).endswith(f". {told}network {without:.3f}, majority {other:.3f}.")
    assert "Rare" not in s.verdict(scores.assign(rare=scores["rare"] & False))
    assert "Rare" not in s.verdict(scores.drop_vars("rare")), "scores of an earlier geonb"


def test_what_is_rare():
    def rare(where):
        at = segmentation_scores.score_classes(with_rare(where), draws=0).sel(split="test")
        return bool(at["rare"].values[3]), int(at["class_blocks"].values[3]), float(at["prevalence"].values[3])

    everywhere = [np.s_[y : y + 2, x : x + 2] for y in range(6, 60, 10) for x in range(5, 80, 10)]
    some = [np.s_[6:7, 22:23], np.s_[7:8, 52:53], np.s_[12:13, 2:3], np.s_[12:13, 32:33]]
    large = [np.s_[0:10, 20:30], np.s_[0:10, 50:60]]
    flags = [rare(where) for where in (everywhere, some, large, [])]
    assert [flag for flag, _, _ in flags] == [False, True, True, False]
    (_, many, share), (_, few, tiny), (_, two, much), (_, none, nothing) = flags
    assert many > 3 and share > 0.01 and few >= 3 and tiny < 0.01 and two == 2 and much > 0.05 and none == nothing == 0


def test_where_all_classes_are_rare_it_is_told():
    predictions = tree()
    data = predictions["a"].to_dataset()
    kept = data["split"].where(data["block"].isin([2, 5]) | (data["split"] != 3), 0).astype(np.int8)
    predictions["a"] = xr.DataTree(data.assign(split=kept))
    said = s.verdict(segmentation_scores.score_classes(predictions, draws=50))
    assert "All 4 classes are rare here, so that mean_iou hangs on few places" in said and "in 2 blocks)" in said


def test_one_seed_one_answer(made):
    _, scores = made
    xr.testing.assert_identical(scores, segmentation_scores.score_classes(tree(), draws=300, rows=17))


def test_headline_names_the_best_baseline(made):
    _, scores = made
    told = s.headline(scores, "mean_iou")
    assert told["baseline"] == "majority" and told["low"] <= told["value"] <= told["high"]


def test_what_is_wrong_with_a_file_of_scores_is_named(made, tmp_path):
    scores, file = made[1], tmp_path / "scores.nc"
    told = s.headline(scores, "mean_iou")
    scores.to_netcdf(file, engine="h5netcdf")
    s.check_scores(file, told)
    for damaged, fault in (
        (scores.drop_vars("score_low"), "no score_low"),
        (scores.assign(gain=scores["gain"].isel(split=0, drop=True)), "gain has dims"),
        (scores.drop_sel(model="network"), "no model 'network', only majority"),
        (scores.assign(score_low=scores["score_high"] + 1), "intervals end before they begin"),
        (scores.assign(score=scores["score"] + 0.1), "run.json says mean_iou"),
        (scores.assign(score=scores["score"] / 0), "scores are infinite"),
    ):
        damaged.to_netcdf(file, engine="h5netcdf")
        with pytest.raises(ValueError, match=fault):
            s.check_scores(file, told)
    file.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="cannot be read"):
        s.check_scores(file)


def test_nothing_to_score_is_an_error():
    predictions = tree()
    data = predictions["a"].to_dataset()
    predictions["a"] = xr.DataTree(data.assign(truth=xr.full_like(data["truth"], conventions.IGNORE)))
    with pytest.raises(ValueError, match="nothing to score"):
        segmentation_scores.score_classes(predictions)


def boundary_by_hand(data, model, split, tolerance):
    """Boundary precision and recall of each class on whole arrays, with scipy's morphology: (class, 2), NaN where none."""
    known = (
        (data["truth"] != conventions.IGNORE)
        & (data["label"][model] != conventions.IGNORE)
        & (data["split"] == conventions.SPLIT_CODES[split])
    )
    known = known.values
    reach = int(tolerance)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = rows**2 + columns**2 <= tolerance**2
    cross = ndimage.generate_binary_structure(2, 1)
    out = []
    for c in range(len(CLASSES)):
        lines = []
        for labels in (data["truth"].values, data["label"].values[model]):
            mine = (labels == c) & known
            lines.append(mine & ndimage.binary_dilation((labels != c) & known, cross))
        true, guess = lines
        grown = [ndimage.binary_dilation(line, disk) for line in lines]
        pairs = ((guess, grown[0]), (true, grown[1]))
        out.append([(line & near).sum() / line.sum() if line.any() else np.nan for line, near in pairs])
    return np.array(out)


def smooth_tree(seed=0, noise=1.0):
    """As `tree`, but in patches, so that most boundaries are found within some pixels."""
    predictions = tree(seed=seed)
    data = predictions["a"].to_dataset()
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.normal(size=(4, 60, 80)), (0, 4, 4))
    grain = ndimage.gaussian_filter(random.normal(size=(4, 60, 80)), (0, 2, 2))
    fields, grain = (f / f.std() for f in (fields, grain))
    truth, label = fields.argmax(0), (fields + 0.4 * noise * grain).argmax(0)
    data["truth"] = data["truth"].where(data["truth"] == conventions.IGNORE, truth).astype("uint8")
    data["label"][0] = data["label"][0].where(data["label"][0] == conventions.IGNORE, label).astype("uint8")
    predictions["a"] = xr.DataTree(data)
    return predictions


@pytest.mark.parametrize(("tolerance", "rows"), [(0, 60), (1, 7), (2, 1), (2.5, 16), (4, 11)])
def test_boundary_f1_agrees_with_morphology_on_whole_arrays_however_the_strips_fall(tolerance, rows):
    predictions = smooth_tree()
    scores = segmentation_scores.score_classes(predictions, draws=0, rows=rows, tolerance_px=tolerance)
    for model, split in ((0, "test"), (0, "val"), (1, "train")):
        precision, recall = boundary_by_hand(predictions["a"].to_dataset(), model, split, tolerance).T
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        at = scores.isel(model=model).sel(split=split)
        np.testing.assert_allclose(at["class_score"].sel(class_metric="boundary_f1"), f1)
        assert at["score"].sel(metric="boundary_f1").item() == pytest.approx(np.nanmean(f1))
    assert 0.05 < scores["score"].sel(model="network", split="test", metric="boundary_f1") < 1


def test_nothing_but_two_known_classes_of_one_split_makes_a_boundary():
    truth = np.array([[0, 0, 1, 1, 1, 1, 2]], np.uint8)
    part = np.array([[1, 1, 1, 0, 1, 3, 3]], np.int8)
    assert boundary.contours(truth, part).tolist() == [[0, 256, 257, 0, 0, 769, 770]]
    # shifted by one: right with a tolerance of a pixel, wrong without
    label = np.array([[0, 1, 1, 1, 1, 1, 2]], np.uint8)
    for tolerance, hits in ((0, 0), (1, 2)):
        found = boundary.edges(truth, label, np.ones_like(part), tolerance)
        assert found.guess.sum() == 4 and (found.guess_near & (np.arange(7) < 4)).sum() == hits


def test_boundary_f1_falls_as_boundaries_move():
    f1 = [
        float(
            segmentation_scores.score_classes(smooth_tree(noise=noise), draws=0)["score"].sel(
                model="network", split="train", metric="boundary_f1"
            )
        )
        for noise in (0, 0.5, 1, 3)
    ]  # fmt: skip
    assert f1[0] == pytest.approx(1) and f1 == sorted(f1, reverse=True) and f1[3] < 0.8


def placed(predictions, cell_m, crs="EPSG:32617"):
    """The same pixels, put on the ground."""
    data = predictions["a"].to_dataset()
    grid = {"y": 4_000_000 - cell_m * (np.arange(60) + 0.5), "x": 500_000 + cell_m * (np.arange(80) + 0.5)}
    return data.assign_coords(grid).rio.write_crs(crs)


def test_area_error_and_hectares():
    import rioxarray  # noqa: F401

    data = placed(tree(), 20)
    scores = segmentation_scores.score_classes(xr.DataTree.from_dict({"/": xr.Dataset(), "/a": data}), draws=200)
    true, guess, _ = pixels(data, "test")
    counts, guessed = (np.bincount(values, minlength=4) for values in (true, guess))
    at = scores.sel(model="network", split="test")
    np.testing.assert_allclose(at["class_score"].sel(class_metric="area_error"), guessed / counts - 1)
    # at the central meridian of UTM a metre on the map is 1 / 0.9996 m on the ground
    np.testing.assert_allclose(at["true_area_ha"], counts * 0.04 / 0.9996**2, rtol=1e-4)
    np.testing.assert_allclose(at["area_ha"], guessed * 0.04 / 0.9996**2, rtol=1e-4)
    low, high = (scores[f"class_score_{end}"].sel(model="network", split="test") for end in ("low", "high"))
    assert (low <= at["class_score"]).sel(class_metric="area_error").all()
    assert (at["class_score"] <= high).sel(class_metric="area_error").all()
    assert np.isnan(segmentation_scores.score_classes(tree(), draws=0)["area_ha"]).all(), (
        "no place on earth, no hectares"
    )


def test_areas_of_two_resolutions_add_up_as_areas_not_as_pixels():
    fine, coarse = placed(tree(seed=1), 10), placed(tree(seed=2), 30)
    sources = {"/": xr.Dataset(), "/fine": fine, "/coarse": coarse}
    scores = segmentation_scores.score_classes(xr.DataTree.from_dict(sources), draws=0)
    (t1, g1, _), (t2, g2, _) = pixels(fine, "test"), pixels(coarse, "test")
    true = np.bincount(t1, minlength=4) + 9 * np.bincount(t2, minlength=4)
    guess = np.bincount(g1, minlength=4) + 9 * np.bincount(g2, minlength=4)
    at = scores["class_score"].sel(model="network", split="test", class_metric="area_error")
    np.testing.assert_allclose(at, guess / true - 1, rtol=1e-3)


def three_sources():
    parts = {name: tree(seed=seed, skill=skill)["a"].to_dataset() for seed, (name, skill) in enumerate(SKILLS.items())}
    for name, data in parts.items():
        data.attrs["dataset"] = "old" if name == "c" else "new"
    return xr.DataTree.from_dict({"/": tree()["/"].to_dataset()} | {f"/{name}": data for name, data in parts.items()})


SKILLS = {"a": 0.5, "b": 2, "c": 3}


def test_each_source_is_scored_as_if_it_were_alone():
    scores = segmentation_scores.score_classes(three_sources(), draws=200)
    for name in SKILLS:
        alone = xr.DataTree.from_dict({"/": xr.Dataset(), f"/{name}": three_sources()[name].to_dataset()})
        one = segmentation_scores.score_classes(alone, draws=0)
        np.testing.assert_allclose(scores["source_score"].sel(source=name), one["score"])
        np.testing.assert_array_equal(scores["source_samples"].sel(source=name), one["n_samples"])
        np.testing.assert_array_equal(scores["source_blocks"].sel(source=name), one["n_blocks"])
    at = scores.sel(model="network", split="test", metric="accuracy")
    assert (at["source_score_low"] < at["source_score"]).all() and (at["source_score"] < at["source_score_high"]).all()
    assert at["source_score"].values.tolist() == sorted(at["source_score"].values)
    assert (scores["source_gain"].sel(model="network", metric="accuracy") == 0).all()
    assert scores["dataset"].values.tolist() == ["new", "new", "old"]
    assert scores["constituent"].values.tolist() == ["new", "old"]
    np.testing.assert_allclose(
        scores["constituent_score"].sel(constituent="old"), scores["source_score"].sel(source="c")
    )
    assert scores["constituent_samples"].sum() == scores["n_samples"].sum()
    assert "constituent_score" not in segmentation_scores.score_classes(tree(), draws=0)


def test_a_source_of_one_block_has_a_score_and_no_interval():
    data = tree()["a"].to_dataset()
    data["block"] = xr.zeros_like(data["block"])
    data["split"] = xr.full_like(data["split"], 3)
    scores = segmentation_scores.score_classes(xr.DataTree.from_dict({"/": xr.Dataset(), "/a": data}), draws=50)
    at = scores.isel(source=0).sel(model="network", split="test", metric="accuracy")
    assert at["source_blocks"] == 1 and np.isfinite(at["source_score"]) and np.isnan(at["source_score_low"])


def test_scattered_block_numbers_count_alike(made):
    data = tree()["a"].to_dataset()
    data["block"] = data["block"] * 1_000_003
    scores = segmentation_scores.score_classes(
        xr.DataTree.from_dict({"/": tree()["/"].to_dataset(), "/a": data}), draws=0
    )
    np.testing.assert_allclose(scores["score"], made[1]["score"])
    np.testing.assert_array_equal(scores["n_blocks"], made[1]["n_blocks"])


def test_counts_by_block_lead_back_to_every_score(made, tmp_path):
    data, scores = made
    scores.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as again:
        table = segmentation_scores.block_table(of_split(again.load(), "test"))
    assert table.shape[1] == scores["n_blocks"].sel(split="test")
    overall, by_class = segmentation_scores.metrics_of(table.sum(axis=1), len(CLASSES))
    np.testing.assert_allclose(overall, scores["score"].sel(split="test"))
    np.testing.assert_allclose(by_class, scores["class_score"].sel(split="test"))
    one = segmentation_scores.block_scores(scores, "accuracy")
    known = (data["truth"] != conventions.IGNORE) & (data["label"][0] != conventions.IGNORE) & (data["split"] == 3)
    mine = known & (data["block"] == one["block_number"].values[3])
    assert one["pixels"][3] == mine.sum()
    assert one[3].item() == pytest.approx(float((data["label"][0] == data["truth"]).values[mine.values].mean()))


def test_two_runs_are_compared_over_the_same_blocks():
    one, twin, better = (segmentation_scores.score_classes(tree(skill=skill), draws=0) for skill in (1, 1, 2))
    told = s.compare(better, one, "mean_iou", draws=500)
    gap = (better["score"] - one["score"]).sel(model="network", split="test", metric="mean_iou").item()
    assert told["difference"] == pytest.approx(gap) and told["low"] > 0 and told["low"] < gap < told["high"]
    assert s.compare(one, twin, "mean_iou") == {"difference": 0, "low": 0, "high": 0, "blocks": one["n_blocks"][2]}
    shuffled = better.isel(block=slice(None, None, -1))
    assert s.compare(shuffled, one, "mean_iou", draws=500) == told
    with pytest.raises(ValueError, match="do not hold the same pixels"):
        s.compare(one, segmentation_scores.score_classes(tree(seed=1), draws=0), "mean_iou")
    with pytest.raises(ValueError, match="made by an older geonb"):
        s.compare(one, twin.drop_vars("block_confusion"), "mean_iou")
    with pytest.raises(
        ValueError, match=r"not both have rmse of the test split \(both have mean_iou, .*brier; train, val, test"
    ):
        s.compare(one, twin, "rmse")
    with pytest.raises(ValueError, match=r"other classes \(water, forest, field, rare; a, b, c, d\)"):
        s.compare(one, twin.assign_coords({"class": list("abcd")}), "mean_iou")
    del twin.attrs["workload"]
    with pytest.raises(ValueError, match=r"do not say of which workload they are .* run 04_analytics again"):
        s.compare(one, twin, "mean_iou")


def test_scores_of_before_have_the_names_of_today(tmp_path):
    old = xr.Dataset({"n_pixels": ("split", [7]), "source_pixels": (("split", "source"), [[3, 4]]), "score": 0.5})
    old.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    found = read_scores(tmp_path / "scores.nc")
    assert set(found) == {"n_samples", "source_samples", "score"} and found["source_samples"].values.tolist() == [
        [3, 4]
    ]
