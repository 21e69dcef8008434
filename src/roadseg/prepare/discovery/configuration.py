"""Configuration of an inspected data set: params.yaml, a class map and a list of ids."""

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ruamel.yaml import YAML

from roadseg.config.class_map import ClassMap, read_class_map
from roadseg.config.params import Params, load_params
from roadseg.config.params_update import update_params
from roadseg.prepare.discovery.inspection import Inspection
from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.files import atomic_file

_SCALES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
_MAX_PIXELS = 0.55e6
"""Pixels of a prepared image; KITTI's images of 375x1242 and Cityscapes' at half size have less."""
_MIN_SIDE = 32
"""Pixels; the U-Net halves the sides four times."""
_SPLIT_KEYS = ("split.val_ids", "split.group_by")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The files that configure a data set."""

    params: Mapping[str, object]
    """Values of params.yaml by dotted key."""
    class_map: tuple[Path, str] | None
    """Path and content of a new class map."""
    val_ids: tuple[Path, str] | None
    """Path and content of a new list of validation ids."""

    @property
    def files(self) -> dict[Path, str]:
        """Contents of the new files besides params.yaml."""
        return dict(filter(None, (self.class_map, self.val_ids)))


def configure(
    inspection: Inspection, source: str, name: str, class_maps: Path, splits: Path
) -> Configuration:
    """Choose the parameters; files of `name` in `class_maps` and `splits` are new."""
    layout, classes = inspection.layout, inspection.classes
    class_map = val_ids = None
    if classes.known_as is None:
        remarks = [f"{fraction:.2%}" for fraction in inspection.fractions]
        title = (
            f"Classes of {source}, by roadseg init; % of the pixels of {inspection.sample_text}."
        )
        text = _format_class_map(classes.class_map, title, remarks)
        class_map = class_maps / f"{name}.yaml", text
    if isinstance(layout.val_ids, tuple):
        val_ids = splits / f"{name}_val.txt", "".join(f"{i}\n" for i in layout.val_ids)
    params = {
        "data.source": source,
        "data.sha256": None,
        "data.images": layout.images,
        "data.masks": layout.masks,
        "data.test_images": layout.test_images,
        "data.mask_values": classes.mask_values,
        "data.color_tolerance": classes.color_tolerance,
        "data.unmasked": layout.unmasked,
        "remap.classes": classes.known_as or name,
        "remap.scale": suggest_scale([example.size for example in inspection.examples]),
        "split.val_ids": f"{splits.name}/{val_ids[0].name}" if val_ids else layout.val_ids,
        "split.group_by": layout.group_by,
    }
    return Configuration(params=params, class_map=class_map, val_ids=val_ids)


def suggest_scale(sizes: Sequence[tuple[int, int]]) -> float:
    """Return the scale at which the median image has at most about half a megapixel.

    Args:
        sizes: (height, width) of some images in pixels; 1.0 is returned if there are none.
    """
    if not sizes:
        return 1.0
    height, width = (median(size[axis] for size in sizes) for axis in (0, 1))
    side = min(min(size) for size in sizes)
    large = [scale for scale in _SCALES if scale == 1 or round(side * scale) >= _MIN_SIDE]
    small = [scale for scale in large if height * width * scale**2 <= _MAX_PIXELS]
    return small[0] if small else large[-1]


def require_no_conflict(params: Params, configuration: Configuration) -> None:
    """Refuse to replace what the user has configured.

    Raises:
        InputError: `params` has another data set or split, or a file exists with another content.
    """
    sections = params.model_dump()
    current = {key: sections[key.split(".")[0]][key.split(".")[1]] for key in configuration.params}
    changed = [key for key, value in configuration.params.items() if current[key] != value]
    if current["data.source"] == "sample":  # the other values are those of the sample
        changed = [key for key in changed if key in _SPLIT_KEYS and current[key] is not None]
    elif "data.source" in changed:
        changed = ["data.source"]
    found = [f"params.yaml: {key} is {current[key]!r}" for key in changed]
    found += [
        f"{path} has another content"
        for path, text in configuration.files.items()
        if path.exists() and path.read_bytes() != text.encode()
    ]
    if found:
        raise InputError(f"{'; '.join(found)}; use --force to replace it, or another --name")


def write_configuration(params: Path, configuration: Configuration) -> None:
    """Write all files, or none of them if one is invalid or cannot be written.

    Raises:
        InputError: params.yaml or the class map would be invalid.
    """
    text = update_params(params.read_text(encoding="utf-8"), configuration.params)
    with contextlib.ExitStack() as stack:
        # the last one is renamed first: params.yaml refers to the others
        for path, content in ((params, text), *configuration.files.items()):
            temporary = stack.enter_context(atomic_file(path))
            temporary.write_text(content, encoding="utf-8", newline="\n")
            if path == params:
                load_params(temporary)
            elif configuration.class_map and path == configuration.class_map[0]:
                read_class_map(temporary)


def _format_class_map(class_map: ClassMap, title: str, remarks: Sequence[str]) -> str:
    """Format a class map as YAML with a title and a remark on each class as comments."""
    values = class_map.model_dump(exclude_unset=True)
    classes = zip(values.pop("classes"), remarks, strict=True)
    lines = [f"# {escape_unprintable(title)}"]
    lines += [_flow({key: value})[1:-1] for key, value in values.items()]
    lines += ["classes:", *(f"  - {_flow(entry)} # {remark}" for entry, remark in classes)]
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    """Format a value in YAML's flow style, in one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = True
    yaml.width = sys.maxsize
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue().strip()
