"""Write the model card and its figures."""

import os
from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.params import load_params
from roadseg.evaluation.metric_files import EvaluationMetrics, ExportReport, TrainingMetrics
from roadseg.evaluation.run_log import read_runs
from roadseg.prepare.fetch.manifest import read_manifest
from roadseg.provenance.model_metadata import TrainedModelMetadata, read_metadata
from roadseg.reporting.charts import save_class_bars, save_confusion, save_curves
from roadseg.reporting.export_section import CHART, export_section, save_export_chart
from roadseg.reporting.model_card import model_card, test_set_section
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, atomic_folder, file_sha256
from roadseg.system.tables import read_table

_PER_CLASS = ("class", "iou", "color")
_HISTORY = ("epoch", "train_ce", "val_ce", "val_miou")


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    inputs = (
        "raw",
        "model",
        "training",
        "evaluation",
        "history",
        "per-class",
        "confusion",
        "test-runs",
        "export",
    )
    args = parse_paths(argv, __doc__, "params", *inputs, "card", "figures")
    evaluate = load_params(args.params).evaluate
    num_views = len(evaluate.scales) * (2 if evaluate.flip else 1)
    figures = Path(os.path.relpath(args.figures, args.card.parent)).as_posix()
    metadata = read_metadata(args.model, TrainedModelMetadata)
    manifest = read_manifest(args.raw)
    training = read_model(TrainingMetrics, args.training)
    evaluation = read_model(EvaluationMetrics, args.evaluation)
    history = read_table(args.history, *_HISTORY)
    export = read_model(ExportReport, args.export) if args.export.exists() else None
    sha256 = file_sha256(args.model)
    confusion = read_table(args.confusion, "actual", "share")
    per_class = read_table(args.per_class, *_PER_CLASS)
    if list(per_class["class"]) != metadata.classes.names:
        raise InputError(
            f"{args.per_class}: its classes differ from those of {args.model}; run dvc repro"
        )
    card = model_card(
        args.model,
        metadata,
        manifest,
        training,
        evaluation,
        per_class,
        num_views,
        figures,
        test_set_section(args.test_runs, read_runs(args.test_runs), sha256),
        export_section(export, sha256, figures),
    )
    with atomic_folder(args.figures) as folder:
        save_curves(folder / "curves.png", history, training.best_epoch)
        save_class_bars(folder / "per_class.png", per_class)
        save_confusion(folder / "confusion.png", confusion)
        if export and export.model_sha256 == sha256:
            save_export_chart(folder / CHART, export)
    with atomic_file(args.card) as temporary:
        temporary.write_text(card, encoding="utf-8")
    print(f"card: {args.card}, with figures in {args.figures}")


if __name__ == "__main__":
    run_main(main)
