"""Plot predictions of selected epochs, images with the lowest and highest mIoU, augmentation."""

from roadseg.config.params import load_params
from roadseg.config.plan_file import apply_plan
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.inference.image_files import select_evenly
from roadseg.reporting.augmentation_sheet import save_augmentation_sheet
from roadseg.reporting.predictions import SelectedImages, draw_epochs, draw_extremes
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.files import atomic_folder
from roadseg.system.memory import keep_freed_memory
from roadseg.system.tables import read_table

_IMAGES, _EPOCHS = 2, 6
"""Images and epochs of the contact sheet of the augmentation."""


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    inputs = ("params", "prepared", "split", "plan", "epochs", "best", "pictures")
    args = parse_paths(argv, __doc__, *inputs, "out")
    params = apply_plan(load_params(args.params), args.plan)
    for epoch in params.render.epochs:
        if epoch != "last" and epoch > params.train.epochs:
            print(f"render: epoch {epoch} of render.epochs was not trained; the last is plotted")
    split, epochs = read_split(args.split), params.epochs_to_render
    prepared, count = PreparedDataset(args.prepared), params.render.num_pictures
    accelerator = select_accelerator(params.train.device, params.train.precision)
    make_deterministic()
    keep_freed_memory()
    selected = SelectedImages(
        training=select_evenly(split.train, count),
        validation=select_evenly(split.val, count),
        test=select_evenly(split.test, count),
    )
    table = read_table(args.pictures, "picture", "miou")
    mious = dict(zip(table["picture"], table["miou"], strict=True))
    with atomic_folder(args.out) as folder:
        draw_epochs(
            folder, args.epochs, epochs, params.train.epochs, prepared, selected, accelerator
        )
        draw_extremes(folder, args.best, prepared, mious, count, accelerator)
        sheet = folder / "augmentation.png"
        save_augmentation_sheet(sheet, params, prepared, split.train, _IMAGES, _EPOCHS)
    files = sorted(path.name for path in args.out.iterdir())
    print(f"render: {len(files)} figures in {args.out}: {', '.join(files)}")


if __name__ == "__main__":
    run_main(main, less_memory="lower render.num_pictures or remap.scale")
