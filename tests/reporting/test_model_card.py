"""The model card and its charts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.config.class_map import ClassMap, read_class_map
from roadseg.evaluation.metric_files import EvaluationMetrics, ExportReport, TrainingMetrics
from roadseg.prepare.fetch.manifest import Manifest
from roadseg.provenance.encoder_weights import WeightsRecord
from roadseg.provenance.model_metadata import TrainedModelMetadata
from roadseg.reporting.charts import save_class_bars, save_confusion, save_curves
from roadseg.reporting.export_section import export_section, save_export_chart
from roadseg.reporting.model_card import model_card
from tests.factories import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
COUNTS = {"pictures": 60, "sha256": "0" * 64}
METADATA = TrainedModelMetadata(
    network={
        **{"num_classes": 12, "base_channels": 64, "bilinear": True},
        **{"norm": "batch", "dropout": 0.0},
    },
    classes=TWELVE,
    ignored_class=None,
    scale=0.5,
    epoch=5,
    val_miou=0.6,
    machines=[{"from_epoch": 1, "processor": "a processor", "threads": 2}],
    provenance={
        "code": {},
        "data": {"train": COUNTS, "val": COUNTS},
        "model": {},
        "recipe": {"name": "modern", "batch_size": 2},
        "train": {"seed": 0, "epochs": 7},
        "machine": {"device": "cpu", "precision": "bf16"},
        "versions": {"torch": "2"},
    },
)
MANIFEST = Manifest(
    source="kitti",
    bytes=1,
    sha256="1" * 64,
    license="CC BY-NC-SA 3.0",
    num_train=200,
    num_test=200,
    train_sizes={"375x1242": 120, "370x1224": 80},
)
TRAINING = TrainingMetrics(
    best_epoch=5, best_epoch_share=0.8, best_val_miou=0.6, train_ce=0.1, val_ce=0.2, val_miou=0.5
)
EVALUATION = EvaluationMetrics(
    miou=0.61234,
    miou_low=0.5,
    miou_high=0.7,
    miou_with_void=0.6,
    pixel_accuracy=0.9,
    mean_class_accuracy=0.7,
    mean_dice=0.8,
    ece=0.1,
    cross_entropy=0.4,
)
IOUS = [0.1, *[0.9] * 8, 0.3, 0.8, np.nan]


def per_class() -> pd.DataFrame:
    return pd.DataFrame({"class": TWELVE.names, "iou": IOUS, "color": TWELVE.hex_colors})


def make_card(
    names: list[str] | None = None, metadata: dict[str, object] | None = None, **manifest: object
) -> str:
    """The card of a model with the classes of kitti12, the first of which may have other names."""
    classes, table = TWELVE.model_dump(), per_class()
    for number, name in enumerate(names or []):
        classes["classes"][number]["name"] = table.loc[number, "class"] = name
    classes = ClassMap.model_validate({**classes, "void": table.loc[0, "class"]})
    return model_card(
        Path("models/best.safetensors"),
        METADATA.model_copy(update={"classes": classes, **(metadata or {})}),
        MANIFEST.model_copy(update=manifest),
        TRAINING,
        EVALUATION,
        table,
        4,
        "../plots/figures",
        "## Test set",
        "",
    )


def test_limits_list_weak_and_absent_classes():
    text = make_card()
    limits = text[text.index("## Limits") :]
    assert "Weak classes (IoU below 0.5): vehicle 0.30." in limits  # not void, not the absent one
    assert "Not in the validation images, so not evaluated: cycle." in limits
    assert "drawn by a program" not in limits
    assert "are few" not in limits
    assert "drawn by a program" in make_card(source="sample")


def test_card_has_data_training_and_metrics():
    text = make_card()
    for part in (
        "200 images with masks (120 of 375x1242, 80 of 370x1224; height x width)",
        "License: CC BY-NC-SA 3.0",
        "Probabilities are averaged over 4 views (TTA).",
        "The network receives images at 0.5 of their original size",
        "Recipe `modern`, seed 0, epochs 7, device cpu, precision bf16",
        "from epoch 1: processor a processor, threads 2",
        "Epoch 5 had the highest validation mIoU",
        "also in 80% of the bootstrap samples",
        "| mIoU without void | 0.6123 |",
        "0.500 to 0.700",
        "| 11 | cycle | `#770b20` | 33, 32 | absent |",
    ):
        assert part in text
    assert "boundary" not in text  # a metric that was not computed has no row


def test_card_states_the_network_and_the_origin_of_its_weights():
    assert "initial weights" not in make_card()
    record = WeightsRecord(
        source="imagenet", encoder="resnet34", sha256="2" * 64, license="BSD-3-Clause",
        repository="hub/resnet34", revision="abc",
    )  # fmt: skip
    network = {"num_classes": 12, "encoder": "resnet34", "kernels": "auto"}
    text = make_card(metadata={"architecture": "smp/FPN", "network": network, "weights": record})
    assert text.startswith("# FPN with encoder resnet34 for road scenes")
    assert (
        f"`hub/resnet34`, revision `abc`, SHA-256 `{'2' * 64}`, license: BSD-3-Clause |\n" in text
    )


def make_report() -> ExportReport:
    """A report of two formats of the model with the SHA-256 "1"."""
    torch = {"miou": 0.71234, "agreement": 1.0, "megabytes": 70.0, "latency_ms": 400.0}
    int8 = {"miou": 0.70009, "agreement": 0.99812, "megabytes": 17.5, "latency_ms": 100.0}
    formats = [
        {"name": "torch", **torch, "latency_p95_ms": 500.0},
        {"name": "int8", **int8, "latency_p95_ms": 123.45},
    ]
    machine = {"processor": "a_processor", "threads": 2, "images": 6, "image_size": "96x320"}
    return ExportReport.model_validate({"model_sha256": "1", **machine, "formats": formats})


def test_card_has_a_table_of_the_exported_files_of_this_model():
    text = export_section(make_report(), "1", "../plots/figures")
    assert "| torch | 0.7123 | 100.000% | 70.0 | 400.0 | 500.0 |\n" in text
    assert "| int8 | 0.7001 | 99.812% | 17.5 | 100.0 | 123.5 |\n" in text
    assert "6 validation images, one at a time, most of them 96x320" in text
    assert "a\\_processor, threads: 2." in text
    assert "(../plots/figures/export.png)" in text
    assert "of another model" in export_section(make_report(), "2", "")
    assert export_section(None, "1", "") == ""


def test_bars_of_exported_files_have_the_proportions_of_the_numbers(tmp_path: Path):
    save_export_chart(tmp_path / "a.png", make_report())
    blue = (abs(read_rgb(tmp_path / "a.png").astype(int) - (76, 120, 168)).sum(axis=2) < 10).sum(1)
    rows = blue[blue > 0.9 * blue.max()], blue[(blue > 0) & (blue < 0.9 * blue.max())]
    torch, int8 = (np.median(row) for row in rows)
    assert int8 / torch == pytest.approx((0.70009 / 0.71234 + 17.5 / 70 + 100 / 400) / 3, rel=0.02)


def read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_charts_are_reproducible_and_drawn_to_scale(tmp_path: Path):
    history = pd.DataFrame(
        {"epoch": [1, 2], "train_ce": [2.0, 1.0], "val_ce": [2.1, 1.2], "val_miou": [0.2, 0.4]}
    )
    fractions = np.full((12, 12), np.nan)
    fractions[0, 0] = 1.0
    pairs = pd.DataFrame({"actual": np.repeat(TWELVE.names, 12), "share": fractions.reshape(-1)})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_curves(tmp_path / folder / "curves.png", history, 2)
        save_class_bars(tmp_path / folder / "bars.png", per_class())
        save_confusion(tmp_path / folder / "confusion.png", pairs)
    for name in ("curves.png", "bars.png", "confusion.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    bars = read_rgb(tmp_path / "one/bars.png")
    areas = [(bars == color).all(axis=2).sum() for color in TWELVE.colors]
    assert areas[11] == 0  # absent
    assert areas[10] / areas[9] == pytest.approx(0.8 / 0.3, rel=0.05)
    curves = read_rgb(tmp_path / "one/curves.png").astype(int)
    for color in ((76, 120, 168), (245, 133, 24)):  # both lines
        assert (abs(curves - color).sum(axis=2) < 10).sum() > 500


def test_rows_of_the_confusion_chart_are_the_actual_classes(tmp_path: Path):
    """All pixels of the first class are predicted as the second."""
    names = np.repeat(["road", "sky"], 2)
    pairs = pd.DataFrame({"actual": names, "share": [0.0, 1.0, 0.0, 0.0]})
    save_confusion(tmp_path / "confusion.png", pairs)
    chart, ends_of_blues = read_rgb(tmp_path / "confusion.png"), ((8, 48, 107), (247, 251, 255))
    cell, others = (np.nonzero((chart == color).all(axis=2)) for color in ends_of_blues)
    (rows, columns), (other_rows, other_columns) = cell, others
    assert len(rows) > 100
    assert rows.max() < other_rows.max()
    assert columns.min() > other_columns.min()
    assert columns.max() >= other_columns.max() - 2


def test_training_and_validation_have_their_colors_in_the_curves(tmp_path: Path):
    history = pd.DataFrame({"epoch": [1, 2], "train_ce": 2.0, "val_ce": 1.0, "val_miou": 0.0})
    save_curves(tmp_path / "curves.png", history, 1)
    curves = read_rgb(tmp_path / "curves.png").astype(int)
    losses = curves[:, : curves.shape[1] // 2]
    train, val = (
        np.nonzero((abs(losses - color).sum(axis=2) < 10).sum(axis=1) > 100)[0].mean()
        for color in ((76, 120, 168), (245, 133, 24))
    )
    assert train < val  # above
