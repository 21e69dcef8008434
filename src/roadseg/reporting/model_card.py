"""The model card (Mitchell et al. 2019): description, training data, metrics and limits."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from roadseg.config.class_map import ClassMap
from roadseg.evaluation.metric_files import EvaluationMetrics, TrainingMetrics
from roadseg.evaluation.run_log import LoggedRun
from roadseg.prepare.fetch.manifest import Manifest
from roadseg.provenance.model_metadata import (
    TrainedModelMetadata,
    TrainingData,
    describe_network,
    list_options,
)

_METRICS = {
    "miou": "mIoU without void",
    "miou_with_void": "mIoU with void as a class",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "mean_dice": "mean Dice",
    "boundary_f": "boundary F-score",
    "ece": "expected calibration error",
    "cross_entropy": "cross-entropy, nats per pixel",
}
_MAX_SIZES = 5
"""Number of image sizes that the card lists, the most frequent ones."""
_WEAK_IOU = 0.5
"""IoU below which the card lists a class as weak."""
_FEW_IMAGES = 50
"""Number of validation images below which the card calls the metrics uncertain."""


def model_card(
    model: Path,
    metadata: TrainedModelMetadata,
    manifest: Manifest,
    training: TrainingMetrics,
    evaluation: EvaluationMetrics,
    per_class: pd.DataFrame,
    num_views: int,
    figures: str,
    test_set: str,
    export: str,
) -> str:
    """Format the model card as Markdown (GitHub's dialect).

    Args:
        model: path of the model file that has `metadata`.
        per_class: plots/per_class.csv, with the columns class, iou and color.
        num_views: number of scaled and flipped views per image in `evaluation`; 1 without TTA.
        figures: folder of curves.png, per_class.png and confusion.png, relative to the card.
        test_set: see `test_set_section`.
        export: see `export_section`; it may be empty.
    """
    data = metadata.provenance.data
    sections = [
        _head(model, metadata, manifest),
        _data(manifest, data, metadata.scale),
        _training(metadata, training, figures),
        _metrics(evaluation, training, data, num_views, figures),
        test_set,
        _classes(metadata.classes, per_class, figures),
        export,
        _limits(metadata.classes, data, manifest, per_class),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(model: Path, metadata: TrainedModelMetadata, manifest: Manifest) -> str:
    class_map = metadata.classes
    return f"""# {_network_name(metadata)} for road scenes, {class_map.num_classes} classes

Written by the pipeline; do not edit. The model predicts the class of each pixel of an image from a
car: {", ".join(map(escape, class_map.names))}.

| | |
|---|---|
| file | {_code(model.as_posix())}, a safetensors file with weights, classes and provenance |
| network | {describe_network(metadata)} |
| input | RGB, 8 bits, any size; values divided by 255 |
| output | logits of {class_map.num_classes} classes for each pixel |
{_weights(metadata)}| trained on | {_code(manifest.source)} |
| license of the data | {escape(manifest.license)} |

```
roadseg predict IMAGES --out predictions        # masks and overlays
roadseg export --out model.onnx                 # for ONNX Runtime and others
roadseg inspect {model.as_posix()}   # code, data, versions, processor
```"""


def _weights(metadata: TrainedModelMetadata) -> str:
    """Return the row of the initial weights of the encoder; empty if they were random."""
    if (record := metadata.weights) is None:
        return ""
    source = record.source if record.repository is None else record.repository
    revision = "" if record.revision is None else f", revision `{record.revision}`"
    return (
        f"| initial weights of the encoder | {_code(source)}{revision}, SHA-256 "
        f"`{record.sha256}`, license: {escape(record.license or 'not stated')} |\n"
    )


def _network_name(metadata: TrainedModelMetadata) -> str:
    """Return `U-Net`, or a name such as `FPN with encoder resnet34`."""
    name = {"unet": "U-Net"}.get(metadata.architecture, metadata.architecture.rpartition("/")[2])
    encoder = metadata.network.get("encoder")
    return f"{name} with encoder {encoder}" if encoder else name


def _data(manifest: Manifest, data: TrainingData, scale: float) -> str:
    by_count = sorted(manifest.train_sizes.items(), key=lambda entry: -entry[1])
    sizes = ", ".join(f"{count} of {size}" for size, count in by_count[:_MAX_SIZES])
    sizes += ", and others" if len(by_count) > _MAX_SIZES else ""
    scaled = "their original size" if scale == 1 else f"{scale:g} of their original size"
    return f"""## Data

{manifest.num_train} images with masks ({sizes}; height x width),
{data.train.pictures} for training and {data.val.pictures} for validation; \
{_test_images(manifest)}
The network receives images at {scaled}. License: {escape(manifest.license)}.
SHA-256 of the data: `{manifest.sha256}`."""


def _test_images(manifest: Manifest) -> str:
    masked, others = manifest.num_test_masks, manifest.num_test - manifest.num_test_masks
    if not masked:
        return f"{others} images without masks, for figures only."
    also = f" and {others} images without masks, for figures only" if others else ""
    return f"{masked} test images with masks, which only `make final` reads{also}."


def test_set_section(log: Path, runs: Sequence[LoggedRun], sha256: str) -> str:
    """Format how often the test set was evaluated, and the last result of this model.

    Args:
        log: the file with `runs`.
        sha256: of the model file; runs of other models are only counted.
    """
    text = f"The test set was evaluated {_times(len(runs))} ({_code(log.as_posix())})"
    own = [run for run in runs if run.model_sha256 == sha256]
    if not own:
        also = ", with other models" if runs else ""
        return f"## Test set\n\n{text}{also}. `make final` evaluates this model on it."
    last = own[-1]
    result = (
        f"mIoU {last.miou:.3f}, 95 % interval {last.miou_low:.3f} to {last.miou_high:.3f}, on "
        f"{last.images} images"
    )
    return f"""## Test set

{text}, {_times(len(own))} with this model: {result}.
The more often a test set is used for decisions, the more optimistic are its metrics."""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _training(metadata: TrainedModelMetadata, training: TrainingMetrics, figures: str) -> str:
    origin = metadata.provenance
    recipe = {key: value for key, value in origin.recipe.items() if key != "name"}
    machines = "; ".join(
        f"from epoch {machine.from_epoch}: "
        + list_options(machine.model_dump(exclude={"from_epoch"}, exclude_unset=True))
        for machine in metadata.machines
    )
    return f"""## Training

Recipe `{origin.recipe["name"]}`, {list_options(origin.train)}, {list_options(origin.machine)};
{machines}. {list_options(origin.versions)}.

<details><summary>All options of the recipe</summary>

{list_options(recipe)}

</details>

Epoch {training.best_epoch} had the highest validation mIoU, also in \
{training.best_epoch_share:.0%} of the bootstrap samples of the validation images.

![Cross-entropy and validation mIoU by epoch]({figures}/curves.png)"""


def _metrics(
    evaluation: EvaluationMetrics,
    training: TrainingMetrics,
    data: TrainingData,
    num_views: int,
    figures: str,
) -> str:
    values = evaluation.model_dump(exclude_none=True)
    rows = [f"| {text} | {values[name]:.4g} |" for name, text in _METRICS.items() if name in values]
    views = f" Probabilities are averaged over {num_views} views (TTA)." if num_views > 1 else ""
    low, high = evaluation.miou_low, evaluation.miou_high
    return f"""## Metrics

Epoch {training.best_epoch} on the {data.val.pictures} validation images. \
The epoch was selected on the same images, so expect lower values on others.{views}

| metric | value |
|---|---|
{chr(10).join(rows)}

95 % bootstrap interval of mIoU over images: {low:.3f} to {high:.3f}.

![Confusion matrix]({figures}/confusion.png)"""


def _classes(class_map: ClassMap, per_class: pd.DataFrame, figures: str) -> str:
    ious = per_class.set_index("class")["iou"]
    rows = []
    for class_id, entry in enumerate(class_map.classes):
        value = ious[entry.name]
        name, color = escape(entry.name), class_map.hex_colors[class_id]
        listed = ", ".join(map(str, entry.label_ids)) or "all others"
        rows.append(f"| {class_id} | {name} | `{color}` | {listed} | {_iou(value)} |")
    return f"""## Classes

| class id | name | color | label ids | IoU |
|---|---|---|---|---|
{chr(10).join(rows)}

![IoU by class]({figures}/per_class.png)"""


def _limits(
    class_map: ClassMap, data: TrainingData, manifest: Manifest, per_class: pd.DataFrame
) -> str:
    evaluated = per_class[per_class["class"] != class_map.void]
    weak = evaluated[evaluated["iou"] < _WEAK_IOU]
    absent = evaluated[evaluated["iou"].isna()]
    lines = [
        "The model is meant for street scenes like those it was trained on. It was not evaluated "
        "on other cameras, countries, weather or at night. Do not use it where safety depends on "
        "it."
    ]
    if manifest.source == "sample":
        lines.append(
            "The sample is drawn by a program, so this model is only a demonstration. Train on "
            "photographs (`data.source`) before you use it on photographs."
        )
    if len(weak):
        entries = zip(weak["class"], weak["iou"], strict=True)
        listed = ", ".join(f"{escape(name)} {iou:.2f}" for name, iou in entries)
        lines.append(f"Weak classes (IoU below {_WEAK_IOU}): {listed}.")
    if len(absent):
        listed = ", ".join(map(escape, absent["class"]))
        lines.append(f"Not in the validation images, so not evaluated: {listed}.")
    if data.val.pictures < _FEW_IMAGES:
        lines.append(f"{data.val.pictures} validation images are few: see the interval.")
    lines.append(
        "If neighboring frames of one drive are in both the training and the validation split, "
        "the metrics are optimistic."
    )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def escape(text: str) -> str:
    """Escape the characters that Markdown or GitHub's formulas would interpret."""
    return re.sub(r"[\\`*_\[\]<>|~$&]", r"\\\g<0>", text)


def _code(text: str) -> str:
    """Format `text` as code in a table cell."""
    span = f"`` {text} ``" if "`" in text else f"`{text}`"
    return span.replace("|", "\\|")


def _iou(value: float) -> str:
    return "absent" if pd.isna(value) else f"{value:.3f}"
