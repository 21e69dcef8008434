"""Models of a cross-validation, and the images that each of them did not train on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from roadseg.config import params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.prepare.groups import assign_groups
from roadseg.prepare.id_list import find_id_list, read_ids
from roadseg.prepare.split import fold_sizes, split_dataset
from roadseg.provenance.model_metadata import TrainedModelMetadata, read_metadata
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class Fold:
    """The validation images of one fold, and the models that were trained on the other images."""

    ids: list[str]
    models: list[Path]


def match_folds(
    models: Mapping[str, Path], prepared: PreparedDataset, options: params.Split, splits: Path
) -> list[Fold]:
    """Find the fold of each model by the digests of its training and validation data.

    Each fold of `options` is drawn again, whatever its `fold` is. A model belongs to a fold only if
    it was trained and validated on exactly these images and masks, so a model never predicts an
    image that it has seen. Several models of one fold (seeds) are kept together.

    Args:
        models: paths by the names that errors show.
        splits: folder in which a file that `val_ids` names is looked for, as in the stage split.

    Returns:
        The folds that have a model, in the order of their numbers.

    Raises:
        InputError: a file is not a model that `train` wrote, or its data are not those of a fold.
    """
    folds = list(_draw_folds(prepared, options, splits))
    number_of = {prepared.digest(fold.val): number for number, fold in enumerate(folds)}
    matches: dict[int, list[Path]] = {}
    for name, path in models.items():
        data = read_metadata(path, TrainedModelMetadata).provenance.data
        number = number_of.get(data.val.sha256)
        if number is None or prepared.digest(folds[number].train) != data.train.sha256:
            raise InputError(
                f"{name}: its training and validation images are not those of a fold of "
                f"{prepared.root} and params.yaml; restore both with `dvc exp apply`, or set data, "
                "remap and split as they were for its training and run dvc repro split"
            )
        matches.setdefault(number, []).append(path)
    return [Fold(folds[number].val, paths) for number, paths in sorted(matches.items())]


def _draw_folds(prepared: PreparedDataset, options: params.Split, splits: Path) -> Iterator[Split]:
    """Draw all folds of the cross-validation; the only split, if `val_ids` lists its images."""
    sizes, values = prepared.recorded_sizes(), options.model_dump()
    if options.val_ids_file is not None:
        values["val_ids"] = read_ids(find_id_list(options.val_ids_file, splits), sizes)
    groups = (
        sizes if options.group_by is None else set(assign_groups(sizes, options.group_by).values())
    )
    count = len(fold_sizes(len(sizes), options.val_fraction, len(groups)))
    for fold in range(count if options.val_ids is None else 1):
        yield split_dataset(sizes, [], **{**values, "fold": fold})
