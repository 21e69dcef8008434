"""Properties of remap for random class maps and masks."""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass
from roadseg.config.schema import validate
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.fetch.archive import unpack
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.images.resize import scaled_size
from roadseg.prepare.layout import TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.lut import look_up
from roadseg.prepare.remap import remap_dataset
from tests.factories import LIMITS
from tests.hypothesis_profiles import FEW, LAW

PATTERNS = FilePatterns(
    images=f"{TRAIN_IMAGES}/{{id}}.png", masks=f"{TRAIN_MASKS}/{{id}}.png", test_images=None
)
IGNORED = -1


@st.composite
def class_maps(draw: st.DrawFn, unknown: tuple[str, ...] = ("error", "ignore", "c0")) -> ClassMap:
    """Generate class maps with up to 8 classes and 30 label ids, some of them ignored."""
    count = draw(st.integers(1, 8))
    label_ids = draw(st.lists(st.integers(0, 255), unique=True, max_size=30))
    homes = [draw(st.integers(IGNORED, count - 1)) for _ in label_ids]
    of = {
        home: [label_id for label_id, own in zip(label_ids, homes, strict=True) if own == home]
        for home in range(IGNORED, count)
    }
    return ClassMap(
        void=draw(st.sampled_from([None, "c0", f"c{count - 1}"])),
        ignored_label_ids=of[IGNORED],
        unknown_label_ids=draw(st.sampled_from(unknown)),
        classes=[
            LabelClass(name=f"c{home}", color=[0, 0, home], label_ids=of[home])
            for home in range(count)
        ],
    )


def class_id_of(label_id: int, class_map: ClassMap) -> int | None:
    """Look up a label id in the fields of the class map; None if it is an error."""
    for class_id, entry in enumerate(class_map.classes):
        if label_id in entry.label_ids:
            return class_id
    if label_id in class_map.ignored_label_ids or class_map.unknown_label_ids == "ignore":
        return IGNORE_INDEX
    if class_map.unknown_label_ids == "error":
        return None
    return class_map.names.index(class_map.unknown_label_ids)


@LAW
@given(class_maps())
def test_table_agrees_with_the_fields_of_the_class_map(class_map: ClassMap):
    class_ids, known = class_map.table()
    for label_id in range(256):
        expected = class_id_of(label_id, class_map)
        assert known[label_id] == (expected is not None)
        assert expected is None or class_ids[label_id] == expected


@LAW
@given(class_maps(), st.randoms(use_true_random=False))
def test_order_of_label_ids_is_irrelevant(class_map: ClassMap, random):
    def shuffled(ids: list[int]) -> list[int]:
        return random.sample(ids, len(ids))

    values = class_map.model_dump()
    values["ignored_label_ids"] = shuffled(class_map.ignored_label_ids)
    for entry in values["classes"]:
        entry["label_ids"] = shuffled(entry["label_ids"])
    other = ClassMap(**values)
    for mine, others in zip(class_map.table(), other.table(), strict=True):
        assert np.array_equal(mine, others)


@LAW
@given(class_maps(), st.randoms(use_true_random=False))
def test_reordered_classes_keep_their_names(class_map: ClassMap, random):
    classes = random.sample(class_map.classes, class_map.num_classes)
    other = class_map.model_copy(update={"classes": classes})
    for mine, others, known in zip(
        class_map.table()[0], other.table()[0], class_map.table()[1], strict=True
    ):
        if known and mine != IGNORE_INDEX:
            assert class_map.names[mine] == other.names[others]
        else:
            assert mine == others


@LAW
@given(class_maps())
def test_class_map_survives_serialization(class_map: ClassMap):
    assert validate(ClassMap, class_map.model_dump()) == class_map


@LAW
@given(st.data(), st.integers(0, 40), st.integers(0, 40))
def test_look_up_equals_numpy_indexing(data: st.DataObject, height: int, width: int):
    mask = np.frombuffer(
        data.draw(st.binary(min_size=height * width, max_size=height * width)), np.uint8
    ).reshape(height, width)
    table = np.frombuffer(data.draw(st.binary(min_size=256, max_size=256)), np.uint8)
    assert np.array_equal(look_up(mask, table), table[mask])
    assert np.array_equal(look_up(mask.T, table), table[mask.T])
    assert np.array_equal(look_up(mask[::2, ::-1], table), table[mask[::2, ::-1]])


def write_dataset(root: Path, masks: list[np.ndarray], random) -> Path:
    """Write a dataset with these masks; the files are written in random order."""
    for folder in (TRAIN_IMAGES, TRAIN_MASKS):
        (root / folder).mkdir(parents=True)
    for i in random.sample(range(len(masks)), len(masks)):
        Image.fromarray(masks[i]).save(root / TRAIN_MASKS / f"{i}.png")
        Image.fromarray(np.stack([masks[i]] * 3, axis=2)).save(root / TRAIN_IMAGES / f"{i}.png")
    return root


@st.composite
def label_masks(draw: st.DrawFn) -> list[np.ndarray]:
    """Generate masks of blocks with random label ids, large enough to be halved."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        seed = draw(st.integers(0, 2**32 - 1))
        size = draw(st.integers(64, 80)), draw(st.integers(64, 90))
        blocks = np.random.default_rng(seed).integers(0, 256, (8, 9), dtype=np.uint8)
        found.append(np.kron(blocks, np.ones((10, 10), np.uint8))[: size[0], : size[1]])
    return found


@FEW
@given(
    label_masks(),
    class_maps(unknown=("ignore", "c0")),
    st.sampled_from([1.0, 0.99, 0.75, 0.5]),
    st.randoms(use_true_random=False),
)
def test_scaling_adds_no_class_ids_and_file_order_is_irrelevant(
    masks: list[np.ndarray], class_map: ClassMap, scale: float, random
):
    with tempfile.TemporaryDirectory() as name:
        folder, caches = Path(name), []
        for i in range(2):
            raw = write_dataset(folder / f"raw{i}", masks, random)
            pixels = remap_dataset(raw, folder / f"cache{i}", class_map, scale).pixels
            caches.append(PreparedDataset(folder / f"cache{i}"))
        assert caches[0].train_ids() == [str(i) for i in range(len(masks))]
        total = np.zeros(256, dtype=np.int64)
        for i, mask in enumerate(masks):
            found = caches[0].mask(str(i))
            assert np.array_equal(found, caches[1].mask(str(i)))
            assert np.array_equal(caches[0].image(str(i)), caches[1].image(str(i)))
            original = class_map.table()[0][mask]
            assert found.shape == scaled_size(*mask.shape, scale)
            assert set(np.unique(found)) <= set(np.unique(original))
            assert scale != 1 or np.array_equal(found, original)
            total += np.bincount(found.ravel(), minlength=256)
        assert pixels.tolist() == total.tolist()


@FEW
@given(label_masks(), st.randoms(use_true_random=False))
def test_order_of_archive_members_is_irrelevant(masks: list[np.ndarray], random):
    with tempfile.TemporaryDirectory() as name:
        folder, places = Path(name), []
        raw = write_dataset(folder / "raw", masks, random)
        files = sorted(path for path in raw.rglob("*.png"))
        for i in range(2):
            archive = folder / f"{i}.zip"
            (folder / str(i)).mkdir()
            with zipfile.ZipFile(archive, "w") as packed:
                for path in random.sample(files, len(files)):
                    packed.write(path, f"top/{path.relative_to(raw)}")
            places.append(unpack(archive, folder / str(i), PATTERNS, LIMITS))
            for path in files:
                assert (folder / str(i) / path.relative_to(raw)).read_bytes() == path.read_bytes()
        assert places[0] == places[1]
