"""Datasets with hostile names and contents, for the discovery of their layout."""

import contextlib
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from roadseg.config.file_pattern import image_pattern, mask_pattern, require_same_fields
from roadseg.prepare.discovery.files import open_files
from roadseg.prepare.discovery.layouts.layout import discover_layout
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from tests.fuzz.case import Case, CaseBuilder, Step
from tests.fuzz.mutation import ODD_WORDS, mutate_bytes, truncate_bytes
from tests.layouts import LAYOUTS

DATA = "data"
LIMITS = Limits(files=1000, bytes=1 << 30, ratio=100, pixels=10**6)
NAMES = (
    *("train", "val", "test", "trainval", "images", "masks", "{id}", "{a,b}", "*", "a,b", "..."),
    *("\u00e9", "e\u0301", "\udc80", "x\\y", "C:", "~", "-", " ", "a" * 250, "\n", "__MACOSX"),
    *(".png", ".jpg", "mask.png", "train.txt", "val.txt", "a.json", "a.xml", "classes.txt"),
)


def discover(source: Path) -> None:
    """Find the layout, and check that fetch accepts it."""
    with open_files(source, LIMITS) as files:
        layout = discover_layout(files, max_pixels=LIMITS.pixels)
        names = files.names
    require_same_fields(image_pattern(layout.images), mask_pattern(layout.masks))
    patterns = FilePatterns(
        images=layout.images,
        masks=layout.masks,
        test_images=layout.test_images,
        skip_unmasked=layout.unmasked == "skip",
    )
    places = patterns.match(names).places
    assert layout.pairs, "no pairs"
    for pair in layout.pairs:
        assert Path(places[pair.image]).stem == pair.image_id, f"another id than {pair}"
        assert pair.mask in places, f"no mask of {pair}"
    for text in (layout.images, layout.masks, layout.test_images or ""):
        text.encode()  # can be written to params.yaml
    assert all(note.isprintable() for note in layout.notes), f"unprintable: {layout.notes}"


def mutate_names(rng: random.Random, root: Path) -> None:
    """Rename, copy or remove files and directories."""
    for _ in range(rng.choice((1, 3, 20))):
        paths = sorted(root.rglob("*"))
        if not paths:
            return
        path, other = rng.choices(paths, k=2)
        folder = rng.choice((path.parent, other.parent))
        target = folder / f"{rng.choice(NAMES)}{rng.choice(('', path.name))}"
        if rng.random() < 0.2:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        with contextlib.suppress(OSError):  # exists, inside itself, or too long
            if path.is_dir() or rng.random() < 0.5:
                path.rename(target)
            elif not target.exists():
                shutil.copy(path, target)


def mutate_contents(rng: random.Random, root: Path) -> None:
    """Change the contents of files, or exchange them."""
    for _ in range(rng.choice((1, 3, 20))):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        if not files:
            return
        path, other = rng.choices(files, k=2)
        data = path.read_bytes()
        choice = rng.randrange(4)
        if choice == 0:
            data = mutate_bytes(rng, data)
        elif choice == 1 and data:
            data = truncate_bytes(rng, data)
        elif choice == 2:
            data = other.read_bytes()
        else:
            data = rng.choice(ODD_WORDS).encode("utf-8", "surrogatepass")
        path.write_bytes(data)


def pack(root: Path, kind: str) -> bytes:
    """Pack a directory without the times of its files, so that it gives the same bytes again."""
    files = {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()}
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as opened:
            for name, path in files.items():
                opened.writestr(zipfile.ZipInfo(name), path.read_bytes())
    else:
        with tarfile.open(fileobj=buffer, mode="w") as packed:
            for name, path in files.items():
                info = tarfile.TarInfo(name)
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    packed.addfile(info, file)
    return buffer.getvalue()


def build(*mutate: Callable[[random.Random, Path], None], kind: str | None = None) -> CaseBuilder:
    def build_case(rng: random.Random, work: Path) -> Case:
        root = work / DATA
        LAYOUTS[rng.choice(sorted(LAYOUTS))](root / "around" if rng.random() < 0.3 else root)
        for function in mutate:
            function(rng, root)
        source = root
        if kind is not None:
            source, data = work / f"{DATA}.{kind}", pack(root, kind)
            source.write_bytes(mutate_bytes(rng, data) if rng.random() < 0.5 else data)
        return Case([Step(lambda _: discover(source), [], ())], (DATA,))

    return build_case


KINDS: dict[str, CaseBuilder] = {
    "layout, names": build(mutate_names),
    "layout, contents": build(mutate_contents),
    "layout, both": build(mutate_names, mutate_contents),
    "layout, zip": build(mutate_contents, kind="zip"),
    "layout, tar": build(mutate_contents, kind="tar"),
}
