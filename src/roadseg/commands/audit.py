"""Rank images and regions by how likely their labels are wrong.

Each image is predicted by the models of a cross-validation that did not train on it. The prepared
images and the split must be those of the models; digests in the models are compared.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.inference.options import add_path_options, positive_int, require_output_folder

if TYPE_CHECKING:
    from roadseg.data.prepared import PreparedDataset
    from roadseg.evaluation.audit import Audit

SPLITS = Path("splits")
"""Lists of validation images that split.val_ids may name."""
_SIDES = ("top", "left", "bottom", "right")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the models, the data, and the output options."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL|EXPERIMENT",
        help="model files or names of DVC experiments, such as one for each fold; a single model "
        "audits its validation images",
    )
    paths = {
        "params": ("params.yaml", "parameters, of which split and train.device are used"),
        "prepared": ("data/prepared", "prepared images and masks"),
        "out": ("audit", "output folder"),
    }
    add_path_options(parser, paths)
    parser.add_argument(
        "--top",
        type=positive_int,
        default=50,
        metavar="N",
        help="regions on the page (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Write regions.csv, images.csv and index.html, and print a summary."""
    from roadseg.config.params import load_params
    from roadseg.data.prepared import PreparedDataset
    from roadseg.evaluation.audit import audit_labels
    from roadseg.evaluation.out_of_fold import match_folds
    from roadseg.experiments.model_files import open_models
    from roadseg.reporting.audit_page import (
        IMAGES,
        INDEX,
        REGIONS,
        require_audit,
        save_audit_page,
    )
    from roadseg.runtime.accelerator import select_accelerator
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory
    from roadseg.system.tables import write_table

    require_output_folder(args.out)
    require_audit(args.out)
    params, prepared = load_params(args.params), PreparedDataset(args.prepared)
    make_deterministic()
    keep_freed_memory()
    accelerator = select_accelerator(params.train.device, params.train.precision)
    with open_models(args.models) as models:
        folds = match_folds(models, prepared, params.split, SPLITS)
        audit = audit_labels(folds, prepared, accelerator, args.top)
    num_images, num_predicted = len(prepared.train_ids()), sum(len(fold.ids) for fold in folds)
    lines = [
        f"{len(audit.images)} of {num_images} images, each predicted by models that did not train "
        f"on it; {audit.num_regions} regions"
    ]
    if missing := num_images - num_predicted:
        lines.append(f"{missing} images left out: each of the models trained on them")
    if unlabeled := num_predicted - len(audit.images):
        lines.append(f"{unlabeled} images left out: all of their pixels are void or ignored")
    args.out.mkdir(parents=True, exist_ok=True)
    write_table(args.out / IMAGES, _image_table(audit))
    write_table(args.out / REGIONS, _region_table(audit, prepared))
    page = args.out / INDEX
    save_audit_page(page, audit.views, prepared.class_map(), ". ".join(lines))
    print(*(f"audit: {line}" for line in lines), f"audit: wrote {page}", sep="\n")


def _image_table(audit: "Audit") -> dict[str, list[object]]:
    return {
        "rank": [*range(1, len(audit.images) + 1)],
        "image": [image_id for image_id, _ in audit.images],
        "score": [score for _, score in audit.images],
    }


def _region_table(audit: "Audit", prepared: "PreparedDataset") -> dict[str, list[object]]:
    """List the regions, with boxes in pixels of the original images."""
    names, sizes = prepared.class_map().names, prepared.recorded_sizes()
    boxes = []
    for region in audit.regions:
        lengths = zip(sizes[region.image], prepared.size(region.image), strict=True)
        scales = [original / length for original, length in lengths]  # of rows and columns
        boxes.append([round(p * scale) for p, scale in zip(region.box, scales * 2, strict=True)])
    return {
        "rank": [*range(1, len(boxes) + 1)],
        "image": [region.image for region in audit.regions],
        "class": [names[region.class_id] for region in audit.regions],
        "suggested": [names[region.suggested_id] for region in audit.regions],
        **{side: [box[i] for box in boxes] for i, side in enumerate(_SIDES)},
        "pixels": [region.pixels for region in audit.regions],
        "score": [region.score for region in audit.regions],
    }
