"""Convert images, and masks from label ids to class ids, to arrays that load fast."""

import sys

from roadseg.config.class_map import find_class_map, read_class_map
from roadseg.config.params import load_params
from roadseg.config.tracked_files import is_tracked
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.class_frequency import class_frequency
from roadseg.prepare.images.masks import MaskEncoding
from roadseg.prepare.remap import remap_dataset
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.memory import keep_freed_memory
from roadseg.system.tables import write_table


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "raw", "classes", "out", "frequency")
    config = load_params(args.params)
    params, data = config.remap, config.data
    encoding = MaskEncoding(values=data.mask_values, color_tolerance=data.color_tolerance)
    class_map_file = find_class_map(params.classes, args.classes)
    class_map = read_class_map(class_map_file)
    if class_map.num_classes - (class_map.void is not None) < 2:
        print(
            f"remap: hint: {class_map_file} has fewer than two classes besides void, so predicting "
            "one class everywhere has mIoU 1; add a class for other pixels (docs/own-data.md)",
            file=sys.stderr,
        )
    keep_freed_memory()
    result = remap_dataset(args.raw, args.out, class_map, params.scale, data.max_pixels, encoding)
    write_table(args.frequency, class_frequency(class_map, result.pixels))
    prepared = PreparedDataset(args.out)
    print(
        f"remap: {len(prepared.train_ids())} images with masks, "
        f"{len(prepared.test_ids())} test images, at scale {params.scale:g} in {args.out}"
    )
    if data.color_tolerance:
        print(
            f"remap: data.color_tolerance {data.color_tolerance} changed the color of "
            f"{result.num_approximate:,} of {result.num_original:,} pixels "
            f"({result.num_approximate / result.num_original:.2%})"
        )
    num_pixels = result.pixels.sum()
    print(f"remap: {num_pixels:,} pixels in {class_map.num_classes} classes of {class_map_file}")
    if not is_tracked(class_map_file, args.classes):
        print(
            f"remap: DVC does not track {class_map_file}; it does if the file is in {args.classes}/"
        )


if __name__ == "__main__":
    run_main(main, less_memory="lower remap.scale")
