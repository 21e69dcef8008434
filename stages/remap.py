"""Turn masks of label ids into cached arrays of class ids, and pictures into arrays beside them."""

from src.command import parsed_paths, run
from src.config import load_params
from src.data.cache import Cache
from src.data.remap import remap_dataset
from src.labels import class_map_path, read_class_map
from src.memory import keep_freed_memory
from src.report.tables import class_frequency, write_table


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "raw", "classes", "out", "frequency")
    every = load_params(args.params)
    params, max_pixels = every.remap, every.data.max_pixels
    class_map_file = class_map_path(params.classes, args.classes)
    class_map = read_class_map(class_map_file)
    keep_freed_memory()
    pixels = remap_dataset(args.raw, args.out, class_map, params.scale, max_pixels)
    write_table(args.frequency, class_frequency(class_map, pixels))
    cache = Cache(args.out)
    print(
        f"remap: {len(cache.train_ids())} pictures with masks, {len(cache.test_ids())} without, at "
        f"scale {params.scale:g} in {args.out}"
    )
    print(f"remap: {pixels.sum():,} pixels in {class_map.num_classes} classes of {class_map_file}")
    if args.classes.resolve() not in class_map_file.resolve().parents:
        print(f"remap: DVC does not watch {class_map_file}; kept in {args.classes}/, it would")


if __name__ == "__main__":
    run(main, less_memory="lower remap.scale")
