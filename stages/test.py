"""Evaluate the best model on the test set, and record that in metrics/test_runs.csv.

Not a stage of dvc.yaml: each run is a look at the test set, so only `make final` runs it. Several
models are evaluated as an ensemble.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from roadseg.config.class_map import find_class_map, read_class_map
from roadseg.config.params import Params, load_params
from roadseg.config.pipeline import require_not_written
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from roadseg.evaluation.run_log import LoggedRun, append_run, git_state, read_runs
from roadseg.inference.ensemble import combine, join_names, load_models
from roadseg.inference.image_files import select_evenly
from roadseg.inference.tta import IDENTITY, mean_logits
from roadseg.prepare.images.masks import MaskEncoding
from roadseg.prepare.remap import remap_test_set
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.reporting.figures import ImageRow, save_image_grid
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_folder, file_sha256
from roadseg.system.locks import hold_lock
from roadseg.system.memory import keep_freed_memory


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = _parse(argv)
    params = load_params(args.params)
    for output in (args.prepared, args.tables):
        require_not_written("data.source", params.data.source, [str(output)])
    read_runs(args.runs)  # a damaged log stops the stage before it reads the test set
    commit, clean = git_state(Path())  # before this stage writes anything
    make_deterministic()
    keep_freed_memory()
    lock = args.prepared.with_name(".final.lock")
    with hold_lock(lock, "test: evaluates the test set", lambda: None):
        prepared = _prepare(params, args.raw, args.classes, args.prepared)
        networks, metadata = load_models(args.models)
        _require_same_input(args.models[0], metadata[0], prepared)
        network, names = combine(networks), join_names(args.models)
        accelerator = select_accelerator(params.train.device, params.train.precision)
        result = evaluate_model(
            network,
            prepared,
            prepared.train_ids(),
            accelerator,
            params.evaluate,
            ignored=metadata[0].ignored_class,
            model=names,
        )
        _write(result, network, prepared, accelerator, args, params.render.num_pictures)
        count = append_run(args.runs, _run(result, args.models, commit, clean))
    print(f"test: {names} on {len(result.ids)} test images; metrics in {args.metrics}")
    print(result.summary())
    print(f"test: {args.runs} has run {count}; commit it")


class _MeanOfNetworks(nn.Module):
    """The network or Ensemble as a module that can be called, for the figure."""

    def __init__(self, network: nn.Module, accelerator: Accelerator) -> None:
        super().__init__()
        self.network, self.accelerator = network, accelerator

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K, H, W), of images, (N, 3, H, W)."""
        return mean_logits(self.network, images, self.accelerator, (IDENTITY,))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("params", "raw", "classes", "prepared", "metrics", "tables", "runs"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    parser.add_argument("--models", type=Path, required=True, nargs="+", metavar="PATH")
    return parser.parse_args(argv)


def _prepare(params: Params, raw: Path, classes: Path, out: Path) -> PreparedDataset:
    """Prepare the test images that have masks as the stage remap does."""
    data, remap = params.data, params.remap
    encoding = MaskEncoding(values=data.mask_values, color_tolerance=data.color_tolerance)
    class_map = read_class_map(find_class_map(remap.classes, classes))
    if not remap_test_set(raw, out, class_map, remap.scale, data.max_pixels, encoding):
        raise InputError(
            f"{raw}: no test image has a mask; set data.test_masks or data.test_ids in params.yaml "
            "(docs/metrics.md#test-set)"
        )
    return PreparedDataset(out)


def _require_same_input(model: Path, metadata: ModelMetadata, prepared: PreparedDataset) -> None:
    if metadata.classes != prepared.class_map() or metadata.scale != prepared.scale():
        raise InputError(
            f"{model}: was trained with another class map or scale than params.yaml has now; run "
            "dvc repro"
        )


def _write(
    result: ModelEvaluation,
    network: nn.Module,
    prepared: PreparedDataset,
    accelerator: Accelerator,
    args: argparse.Namespace,
    num_images: int,
) -> None:
    """Write the metrics, the tables and a figure of `num_images` predictions."""
    names = ("confusion", "per_class", "calibration", "pictures", "image_confusions")
    with atomic_folder(args.tables) as folder:
        result.write(metrics=args.metrics, **{name: folder / f"{name}.csv" for name in names})
        ids = select_evenly(result.ids, num_images)
        drawn = _MeanOfNetworks(network, accelerator)
        rows = [ImageRow(comparison_panels(drawn, prepared, name, accelerator)) for name in ids]
        path = folder / "predictions/test.png"
        path.parent.mkdir()
        save_image_grid(path, "Images of the test set", rows, prepared.class_map())


def _run(result: ModelEvaluation, models: Sequence[Path], commit: str, clean: str) -> LoggedRun:
    metrics = result.metrics
    return LoggedRun(
        commit=commit,
        clean=clean,
        model_sha256="+".join(map(file_sha256, models)),
        miou=metrics.miou,
        miou_low=metrics.miou_low,
        miou_high=metrics.miou_high,
        images=len(result.ids),
    )


if __name__ == "__main__":
    run_main(main, less_memory="lower evaluate.batch_size or remap.scale")
