"""Differences between models, their intervals, and the tables that can be compared."""

import itertools

import numpy as np
import pytest

from roadseg.evaluation import comparison
from roadseg.evaluation.comparison import Comparison, Source, compare
from roadseg.evaluation.image_confusions import ImageConfusions
from roadseg.evaluation.metrics import iou, segmentation_metrics
from roadseg.system.errors import InputError

NAMES = ["void", "road", "sky", "sign"]
STUDENT_19 = 2.093
"""97.5th percentile of Student's t distribution with 19 degrees of freedom."""


def make_confusions(count: int = 20, seed: int = 0, better: float = 0) -> np.ndarray:
    """Confusion matrices (P, 4, 4) of one data set; each seed makes other errors.

    `better` is the fraction of the wrong pixels that becomes right.
    """
    true = np.random.default_rng(99).integers(200, 400, (count, 4))
    errors = np.random.default_rng(seed).integers(0, 30, (count, 4, 4))
    difficulty = np.random.default_rng(98).integers(1, 5, (count, 1, 1))
    errors = (errors * difficulty * (1 - better)).astype(int) // 4
    errors[:, range(4), range(4)] = 0
    errors[:, range(4), range(4)] = true - errors.sum(2)
    return errors


def source(confusions: np.ndarray, name: str = "a.csv", names: list[str] | None = None) -> Source:
    confusions = np.asarray(confusions)
    ids = [f"image{i}" for i in range(len(confusions))]
    return Source(name, ImageConfusions((names or NAMES)[: confusions.shape[1]], ids, confusions))


def compare_arrays(a: np.ndarray, b: np.ndarray, void: str | None = "void") -> Comparison:
    return compare([source(a)], [source(b, "b.csv")], void)


def width(result: Comparison, row: int = 0) -> float:
    return result.table["high"][row] - result.table["low"][row]


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparison, "DRAWS", 500)


def test_differences_of_two_images_by_hand():
    a = [[[3, 1], [0, 4]], [[2, 2], [2, 2]]]
    b = [[[4, 0], [0, 4]], [[2, 2], [1, 3]]]
    table = compare([source(a, names=["x", "y"])], [source(b, names=["x", "y"])], None).table
    assert table["metric"].tolist() == ["mIoU", "x", "y"]
    # x: 5 of 8 + 2 and 6 of 8 + 1 pixels; y: 6 of 8 + 3 and 7 of 8 + 2
    assert table["a"].tolist() == pytest.approx([(5 / 10 + 6 / 11) / 2, 5 / 10, 6 / 11])
    assert table["b"].tolist() == pytest.approx([(6 / 9 + 7 / 10) / 2, 6 / 9, 7 / 10])
    assert table["difference"][1] == pytest.approx(6 / 9 - 5 / 10)
    assert table[["low", "high"]].isna().all(axis=None)  # half of the draws contain one image only


@pytest.mark.usefixtures("few_draws")
def test_miou_is_that_of_the_metrics():
    a, b = make_confusions(), make_confusions(seed=1)
    for void, void_id in (("void", 0), (None, None), ("no such class", None)):
        row = compare_arrays(a, b, void).table.iloc[0]
        assert row["a"] == pytest.approx(segmentation_metrics(a.sum(0), void_id)["miou"])
        assert row["b"] == pytest.approx(segmentation_metrics(b.sum(0), void_id)["miou"])


@pytest.mark.usefixtures("few_draws")
def test_a_model_does_not_differ_from_itself():
    for confusions in (make_confusions(), make_confusions(count=1)):
        result = compare_arrays(confusions, confusions)
        assert (result.table[["difference", "low", "high"]] == 0).all(axis=None)
        assert result.verdict().startswith("no significant difference: mIoU +0.0000")


def reference_interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Symmetric bootstrap-t interval of mIoU by loops, with numerical derivatives."""

    def difference(weights: np.ndarray) -> float:
        sums = [np.tensordot(weights, confusions, 1) for confusions in (a, b)]
        return iou(sums[1]).mean() - iou(sums[0]).mean()

    def standard_error(weights: np.ndarray) -> float:
        step, total = 1e-5, 0.0
        for image, times in enumerate(weights):
            up, down = (weights + s * step * np.eye(len(a))[image] for s in (1, -1))
            total += times * ((difference(up) - difference(down)) / (2 * step)) ** 2
        return np.sqrt(len(a) / (len(a) - 1) * total)

    rng = np.random.default_rng(0)
    whole = np.ones(len(a))
    draws = rng.multinomial(len(a), whole / len(a), size=comparison.DRAWS).astype(float)
    ratios = [abs(difference(d) - difference(whole)) / standard_error(d) for d in draws]
    half = np.quantile(ratios, 0.95, method="higher") * standard_error(whole)
    return difference(whole) - half, difference(whole) + half


def test_interval_agrees_with_loops_and_numerical_derivatives(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparison, "DRAWS", 50)
    a, b = make_confusions(8), make_confusions(8, seed=1)
    row = compare_arrays(a, b, None).table.iloc[0]
    assert (row["low"], row["high"]) == pytest.approx(reference_interval(a, b), rel=1e-5)


def test_interval_of_a_mean_is_students():
    """With equal unions IoU is a mean over images; its quantile is known for normal values."""
    rng = np.random.default_rng(5)
    right = 1_000_000 + np.round(100_000 * rng.standard_normal((2, 20))).astype(int)
    a, b = np.zeros((2, 20, 2, 2), dtype=int)
    for confusions, values in zip((a, b), right, strict=True):
        confusions[:, 0, 0], confusions[:, 0, 1] = values, 2_000_000 - values
    result = compare([source(a, names=["x", "y"])], [source(b, names=["x", "y"])], None)
    deviation = (right[1] - right[0]).std(ddof=1) / 2_000_000
    # the quantile is estimated from 20 values and 10,000 draws
    assert width(result, 1) == pytest.approx(2 * STUDENT_19 * deviation / 20**0.5, rel=0.1)


@pytest.mark.usefixtures("few_draws")
def test_comparison_is_a_function_of_tables_and_seed():
    a, b = ([source(make_confusions(seed=s))] for s in (0, 1))
    first = compare(a, b, "void").table
    assert first.equals(compare(a, b, "void").table)
    assert not first.equals(compare(a, b, "void", seed=1).table)


def test_pairing_by_image_makes_the_interval_narrower():
    """Both models are worse on the same images; exchanging the images of B breaks the pairs."""
    rng = np.random.default_rng(0)
    wrong = rng.integers(0, 100, 20) + np.stack([np.zeros(20, int), rng.integers(0, 9, 20)])
    a, b = (np.array([[[200 - n, n], [n, 200 - n]] for n in errors]) for errors in wrong)
    assert width(compare_arrays(a, b, None)) < width(compare_arrays(a, b[::-1], None)) / 5


@pytest.mark.usefixtures("few_draws")
def test_order_of_images_and_classes_in_a_table_does_not_matter():
    a, b = make_confusions(), make_confusions(seed=1, better=0.3)
    images, classes = np.random.default_rng(0).permutation(20), [2, 0, 3, 1]
    ids, names = [f"image{i}" for i in images], [NAMES[i] for i in classes]
    shuffled = ImageConfusions(names, ids, b[images][:, classes][:, :, classes])
    expected = compare_arrays(a, b).table
    assert compare([source(a)], [Source("b.csv", shuffled)], "void").table.equals(expected)


def test_better_model_is_significantly_better_and_the_reverse_is_worse():
    a, b = make_confusions(), make_confusions(seed=1, better=0.5)
    forth, back = compare_arrays(a, b), compare_arrays(b, a)
    assert forth.significant().all()
    assert forth.verdict().startswith("B is significantly better than A: mIoU +0.0")
    assert back.verdict().startswith("B is significantly worse than A: mIoU -0.0")
    assert back.table["high"][0] == pytest.approx(-forth.table["low"][0], rel=1e-12)
    equal = compare_arrays(make_confusions(), make_confusions(seed=2))
    assert equal.verdict().startswith("no significant difference: mIoU ")


def test_absent_classes_and_classes_in_few_images_have_no_interval():
    a, b = make_confusions(), make_confusions(seed=1)
    for confusions in (a, b):
        confusions[:, 2] = confusions[:, :, 2] = 0  # sky is nowhere
        confusions[3:, 3] = confusions[3:, :, 3] = 0  # sign is in three images
    table = compare_arrays(a, b).table.set_index("metric")
    assert table.loc["sky"].isna().all()
    assert table.loc["sign", ["a", "b"]].notna().all()
    assert table.loc["sign", ["low", "high"]].isna().all()
    assert table.loc[["mIoU", "road"]].notna().all(axis=None)


@pytest.mark.usefixtures("few_draws")
def test_one_image_has_no_interval():
    result = compare_arrays(make_confusions(1), make_confusions(1, seed=1))
    assert result.table[["low", "high"]].isna().all(axis=None)
    assert result.verdict().endswith("in too few images for an interval")
    assert not result.significant().any()


@pytest.mark.usefixtures("few_draws")
def test_seeds_that_agree_add_nothing_and_seeds_that_differ_widen_the_interval():
    a, b, other = (make_confusions(seed=s, better=x) for s, x in ((0, 0), (1, 0.1), (2, 0.6)))
    one = compare_arrays(a, b)
    same = compare([source(a)] * 2, [source(b)] * 2, "void")
    columns = ["a", "b", "difference"]
    assert np.allclose(same.table[columns], one.table[columns], rtol=1e-12)
    assert width(same) == pytest.approx(width(one), rel=1e-9)
    differing = compare([source(a)] * 2, [source(b), source(other)], "void")
    assert differing.num_seeds == 2
    means = (compare_arrays(a, b).table["b"] + compare_arrays(a, other).table["b"]) / 2
    assert np.allclose(differing.table["b"], means, rtol=1e-12)
    assert width(differing) > 5 * width(one)


@pytest.mark.parametrize("first", [(50, 50, 50), (50, 53, 57)])
def test_interval_of_seeds_is_students_if_the_images_hardly_vary(
    first: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    """The differences of the pairs vary less than their models do."""
    monkeypatch.setattr(comparison, "DRAWS", 100_000)
    noise = np.random.default_rng(0).integers(10, size=20)

    def make(percent: int) -> Source:
        right = 1000 * percent + noise
        matrices = [[[n, 100_000 - n], [100_000 - n, n]] for n in right]
        return source(np.array(matrices), names=["x", "y"])

    second = (51, 54, 58)
    result = compare([make(n) for n in first], [make(n) for n in second], None)
    a, b = (np.array([n / (200 - n) for n in percents]) for percents in (first, second))
    student = 4.303  # 97.5th percentile with 2 degrees of freedom
    expected = 2 * student * np.std(b - a, ddof=1) / 3**0.5
    assert width(result) == pytest.approx(expected, rel=0.03)  # of the quantile of 100,000 draws


def test_tables_of_other_images_or_classes_are_errors():
    a, b = make_confusions(3), make_confusions(3, seed=1)
    with pytest.raises(InputError, match=r"^b.csv: image image2, which a.csv has, is missing"):
        compare_arrays(a, b[:2])
    with pytest.raises(InputError, match=r"^a.csv: image image2, which b.csv has, is missing"):
        compare_arrays(a[:2], b)
    other = source(b, "b.csv", ["void", "road", "sky", "pole"])
    with pytest.raises(InputError, match=r"^b.csv: class sign, which occurs in .* of a.csv, does"):
        compare([source(a)], [other], "void")
    with pytest.raises(InputError, match=r"^A has 2 models and B has 1; give as many"):
        compare([source(a)] * 2, [source(b)], "void")
    only_void = np.zeros((2, 4, 4), dtype=int)
    only_void[:, 0, 0] = 5
    with pytest.raises(InputError, match=r"^a.csv: no pixel has another true class than void"):
        compare_arrays(only_void, only_void)


@pytest.mark.usefixtures("few_draws")
def test_images_with_other_masks_are_counted():
    a, b = make_confusions(), make_confusions(seed=1)
    assert compare_arrays(a, b).num_differing_masks == 0
    b[[1, 4], 2, 2] += 1
    assert compare_arrays(a, b).num_differing_masks == 2


@pytest.mark.usefixtures("few_draws")
def test_chunks_of_draws_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    tables = []
    for size in (1 << 10, 1 << 23):
        monkeypatch.setattr(comparison, "_CHUNK_BYTES", size)
        tables.append(compare_arrays(make_confusions(), make_confusions(seed=1)).table)
    assert np.allclose(*(table.drop(columns="metric") for table in tables), rtol=1e-12)


def test_class_that_only_one_model_predicts_lowers_only_its_miou():
    """As in `segmentation_metrics`; the difference of that class is unknown."""
    a, b = np.array([[[9, 0], [0, 0]]] * 9), np.array([[[8, 1], [0, 0]]] * 9)
    pairs = itertools.product((a, b), repeat=2)
    results = [compare_arrays(x, y, None).table["difference"].tolist() for x, y in pairs]
    assert results[1][:2] == pytest.approx([4 / 9 - 1, 8 / 9 - 1])
    assert results[2][:2] == pytest.approx([1 - 4 / 9, 1 - 8 / 9])
    assert [np.isnan(row[2]) for row in results] == [True, True, True, False]
