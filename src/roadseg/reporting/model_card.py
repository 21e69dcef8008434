"""The model card (Mitchell et al. 2019): what a model is, from what, how good, and for what not."""

from pathlib import Path

import pandas as pd

from roadseg.config.class_map import ClassMap
from roadseg.evaluation.metric_files import EvaluationMetrics, TrainingMetrics
from roadseg.prepare.fetch.manifest import Manifest
from roadseg.provenance.model_metadata import TrainedModelMetadata, TrainingData, list_options

_FIGURES = {
    "miou": "mIoU, void left out",
    "miou_with_void": "mIoU with void as a class",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "mean_dice": "mean Dice",
    "boundary_f": "boundary F-score",
    "ece": "expected calibration error",
    "cross_entropy": "cross-entropy, nats per pixel",
}
_SIZES = 5
"""Of the pictures' sizes, how many the card names, the most frequent ones."""
_WEAK = 0.5
"""IoU below which the card names a class as weak."""
_FEW = 50
"""Validation pictures below which the card calls the figures rough."""


def model_card(
    model: Path,
    metadata: TrainedModelMetadata,
    manifest: Manifest,
    training: TrainingMetrics,
    evaluation: EvaluationMetrics,
    per_class: pd.DataFrame,
    num_looks: int,
    figures: str,
) -> str:
    """The card as Markdown.

    Args:
        model: the model's file, with `metadata` in it.
        manifest: of the data set.
        per_class: plots/per_class.csv, with the columns class, iou and color.
        num_looks: views of each picture whose mean `evaluation` judges; 1 is the network alone.
        figures: the folder of curves.png, per_class.png and confusion.png, as seen from the card.
    """
    data = metadata.provenance.data
    sections = [
        _head(model, metadata, manifest),
        _data(manifest, data, metadata.scale),
        _training(metadata, training, figures),
        _quality(evaluation, training, data, num_looks, figures),
        _classes(metadata.classes, per_class, figures),
        _limits(metadata.classes, data, manifest, per_class),
    ]
    return "\n\n".join(sections) + "\n"


def _head(model: Path, metadata: TrainedModelMetadata, manifest: Manifest) -> str:
    class_map = metadata.classes
    return f"""# U-Net for road scenes, {class_map.num_classes} classes

Written by the pipeline; do not edit. A picture from a car goes in, the class of each pixel comes
out: {", ".join(class_map.names)}.

| | |
|---|---|
| file | `{model.as_posix()}`, its weights, classes and provenance in one safetensors file |
| network | U-Net, {list_options(metadata.unet)} |
| input | RGB, 8 bits, any size; values divided by 255 |
| output | logits of {class_map.num_classes} classes for each pixel |
| trained on | {manifest.source} |
| licence of the data | {manifest.licence} |

```
roadseg predict IMAGES --out predictions        # masks and overlays
roadseg export --out model.onnx                 # for other programs
roadseg inspect {model.as_posix()}   # code, data, versions, processor
```"""


def _data(manifest: Manifest, data: TrainingData, scale: float) -> str:
    by_count = sorted(manifest.train_sizes.items(), key=lambda entry: -entry[1])
    sizes = ", ".join(f"{count} of {size}" for size, count in by_count[:_SIZES])
    sizes += ", and others" if len(by_count) > _SIZES else ""
    scaled = "in their own size" if scale == 1 else f"at {scale:g} of their size"
    return f"""## Data

{manifest.num_train} pictures with masks ({sizes}; height x width), of which
{data.train.pictures} trained and {data.val.pictures} validated; \
{manifest.num_test} without masks, which are only rendered.
They pass the network {scaled}. SHA-256 of the data:
`{manifest.sha256}`. Licence: {manifest.licence}."""


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

<details><summary>All of the recipe</summary>

{list_options(recipe)}

</details>

Epoch {training.best_epoch} had the highest validation mIoU; of other draws of the same pictures
{training.best_epoch_share:.0%} would have chosen it.

![Cross-entropy and validation mIoU by epoch]({figures}/curves.png)"""


def _quality(
    evaluation: EvaluationMetrics,
    training: TrainingMetrics,
    data: TrainingData,
    num_looks: int,
    figures: str,
) -> str:
    values = evaluation.model_dump(exclude_none=True)
    rows = [f"| {text} | {values[name]:.4g} |" for name, text in _FIGURES.items() if name in values]
    looks = f" The mean of {num_looks} looks at each was judged." if num_looks > 1 else ""
    low, high = evaluation.miou_low, evaluation.miou_high
    return f"""## Figures

On the {data.val.pictures} validation pictures, by epoch {training.best_epoch}. \
These pictures chose the epoch, so others would likely give less.{looks}

| figure | value |
|---|---|
{chr(10).join(rows)}

95 % interval of mIoU by bootstrap over pictures: {low:.3f} to {high:.3f}.

![Confusion matrix]({figures}/confusion.png)"""


def _classes(class_map: ClassMap, per_class: pd.DataFrame, figures: str) -> str:
    ious = per_class.set_index("class")["iou"]
    rows = []
    for class_id, entry in enumerate(class_map.classes):
        value = ious[entry.name]
        color = class_map.hex_colors[class_id]
        listed = ", ".join(map(str, entry.label_ids)) or "all others"
        rows.append(f"| {class_id} | {_cell(entry.name)} | `{color}` | {listed} | {_iou(value)} |")
    return f"""## Classes

| class id | name | colour | label ids | IoU |
|---|---|---|---|---|
{chr(10).join(rows)}

![IoU by class]({figures}/per_class.png)"""


def _limits(
    class_map: ClassMap, data: TrainingData, manifest: Manifest, per_class: pd.DataFrame
) -> str:
    judged = per_class[per_class["class"] != class_map.void]
    weak = judged[judged["iou"] < _WEAK]
    absent = judged[judged["iou"].isna()]
    lines = [
        "A model of street scenes like those it was trained on; other cameras, countries, weather "
        "and night were not looked at. Nothing that safety depends on may rest on it."
    ]
    if manifest.source == "sample":
        lines.append(
            "The sample is drawn by a program. On photographs this model is a demonstration, no "
            "more: train on photographs first (`data.source`)."
        )
    if len(weak):
        named = ", ".join(f"{row['class']} {row.iou:.2f}" for _, row in weak.iterrows())
        lines.append(f"Weak classes (IoU below {_WEAK}): {named}.")
    if len(absent):
        lines.append(f"Not in the validation pictures, so not judged: {_named(absent)}.")
    if data.val.pictures < _FEW:
        lines.append(f"{data.val.pictures} validation pictures are few: see the interval.")
    lines.append("Where neighbouring frames of one drive stand on both sides, figures flatter.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _named(rows: pd.DataFrame) -> str:
    return ", ".join(rows["class"])


def _cell(text: str) -> str:
    """Where a vertical bar does not end the cell."""
    return text.replace("|", "\\|")


def _iou(value: float) -> str:
    return "absent" if pd.isna(value) else f"{value:.3f}"
