import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX, read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare import remap
from roadseg.prepare.annotations.shapes import Polygon, Shapes, write_shapes
from roadseg.prepare.images.masks import MaskEncoding
from roadseg.prepare.images.resize import scaled_size
from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset
from roadseg.system import files
from roadseg.system.errors import InputError
from roadseg.system.locks import acquire_lock
from tests.factories import ROOT, SIZES, make_striped_pair, write_images
from tests.faults.limited_process import tree

KITTI12, KITTI11 = (read_class_map(ROOT / f"classes/kitti{n}.yaml") for n in (12, 11))


def test_prepared_arrays_equal_the_images(raw_images: Path, tmp_path: Path):
    pixels = remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 1.0).pixels
    prepared = PreparedDataset(tmp_path / "prepared")
    assert prepared.train_ids() == [f"{i:06d}_10" for i in range(8)]
    assert prepared.test_ids() == ["000000_10", "000001_10"]
    total = np.zeros(256, dtype=np.int64)
    for i, name in enumerate(prepared.train_ids()):
        image, label_ids = make_striped_pair(*SIZES[i % 2], shift=i)
        assert np.array_equal(prepared.image(name), image)
        assert np.array_equal(prepared.mask(name), KITTI12.table()[0][label_ids])
        total += np.bincount(prepared.mask(name).reshape(-1), minlength=256)
    assert np.array_equal(
        prepared.test_image("000001_10"), make_striped_pair(*SIZES[1], shift=4)[0]
    )
    assert pixels.tolist() == total.tolist()
    assert (pixels[:12] > 0).all()


def test_scaling_takes_the_nearest_pixel_of_masks_and_interpolates_images(tmp_path: Path):
    """An interpolating filter would give class ids between the two that the mask contains."""
    raw = write_images(tmp_path / "raw", 1, 0, sizes=[(128, 192)])
    path = raw / TRAIN_MASKS / "000000_10.png"
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (128, 192, 3), dtype=np.uint8))
    image.save(raw / TRAIN_IMAGES / "000000_10.png")
    label_ids = np.where(rng.random((128, 192)) < 0.5, 7, 33).astype(np.uint8)  # classes 1 and 11
    Image.fromarray(label_ids).save(path)
    remap_dataset(raw, tmp_path / "prepared", KITTI12, 0.25)
    prepared = PreparedDataset(tmp_path / "prepared")
    mask = prepared.mask("000000_10")
    assert mask.shape == (32, 48)
    expected = np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(prepared.image("000000_10"), expected)
    assert set(np.unique(mask)) == {1, 11}
    # NEAREST takes the pixel under the center of each new one
    chosen = label_ids[2::4, 2::4]
    assert np.array_equal(mask, np.where(chosen == 7, 1, 11))


def test_recorded_sizes_are_the_original_ones(tmp_path: Path):
    sizes = [(128, 192), (129, 191)]
    raw = write_images(tmp_path / "raw", 2, 0, sizes=sizes)
    remap_dataset(raw, tmp_path / "prepared", KITTI12, 0.5)
    prepared = PreparedDataset(tmp_path / "prepared")
    assert list(prepared.recorded_sizes().values()) == sizes
    assert prepared.class_map() == KITTI12


def test_image_too_small_for_the_network_is_named(raw_images: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"_10.png: 2\dx3\d pixels at remap.scale 0.7; .* 32 on"):
        remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 0.7)


def test_scaled_size_is_rounded_and_at_least_one():
    assert scaled_size(1242, 375, 0.5) == (621, 188)
    assert scaled_size(3, 3, 0.01) == (1, 1)


def test_label_id_without_a_class_is_named(raw_images: Path, tmp_path: Path):
    path = raw_images / TRAIN_MASKS / "000003_10.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[5, 6:9] = 200
    Image.fromarray(mask).save(path)
    message = r"000003_10.png: label id 200 \(3 pixels\) has no class; .* row 5, column 6"
    with pytest.raises(InputError, match=message):
        remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 1.0)


def test_ignored_label_ids_become_the_ignore_index(raw_images: Path, tmp_path: Path):
    pixels = remap_dataset(raw_images, tmp_path / "prepared", KITTI11, 1.0).pixels
    mask = PreparedDataset(tmp_path / "prepared").mask("000000_10")
    assert mask[0, 0] == IGNORE_INDEX  # the first stripe is void
    assert mask[0, 4] == 0  # the next is road
    assert pixels[IGNORE_INDEX] > 0


def replace_mask_by_shapes(raw: Path, label: str) -> np.ndarray:
    """Replace the first mask by two rectangles; return their label ids, (32, 48) uint8."""
    (raw / TRAIN_MASKS / "000000_10.png").unlink()
    shapes = [
        Polygon(label="vehicle", points=[0, 0, 20, 0, 20, 9, 0, 9]),
        Polygon(label=label, points=[10, 5, 47, 5, 47, 31, 10, 31]),
    ]
    path = raw / TRAIN_MASKS / "000000_10.json"
    write_shapes(path, Shapes(source="set.json: image 'a'", height=32, width=48, shapes=shapes))
    label_ids = np.full((32, 48), 7, dtype=np.uint8)
    label_ids[:10, :21] = 26
    label_ids[5:, 10:] = 23
    return label_ids


def test_shapes_become_the_same_arrays_as_a_mask_of_label_ids(tmp_path: Path):
    sizes, class_map = [(32, 48)], KITTI12.model_copy(update={"background": "road"})
    drawn = write_images(tmp_path / "shapes", 1, 0, sizes)
    label_ids = replace_mask_by_shapes(drawn, "sky")
    painted = write_images(tmp_path / "masks", 1, 0, sizes)
    Image.fromarray(label_ids).save(painted / TRAIN_MASKS / "000000_10.png")
    for raw, out in ((drawn, "a"), (painted, "b")):
        remap_dataset(raw, tmp_path / out, class_map, 1.0)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_label_without_a_class_is_named_with_the_annotation_file(raw_images: Path, tmp_path: Path):
    replace_mask_by_shapes(raw_images, "skyy")
    class_map = KITTI12.model_copy(update={"background": "road", "unknown_label_ids": "error"})
    message = r"^set.json: image 'a': label 'skyy' \(1 of 2 shapes\) .* did you mean 'sky'\?"
    with pytest.raises(InputError, match=message):
        remap_dataset(raw_images, tmp_path / "prepared", class_map, 1.0)


def save_palette_masks(raw: Path) -> None:
    """Save the masks as palette images in the colors of kitti12, the last with another order."""
    for i, path in enumerate(sorted((raw / TRAIN_MASKS).iterdir())):
        class_ids = KITTI12.table()[0][np.asarray(Image.open(path))]
        order = np.arange(12)[:: -1 if i == 7 else 1]
        mask = Image.fromarray(order[class_ids].astype(np.uint8))
        mask.putpalette(KITTI12.colors[order].tobytes())
        mask.save(path)


def test_palettes_of_another_order_are_an_error_or_read_by_color(raw_images: Path, tmp_path: Path):
    remap_dataset(raw_images, tmp_path / "expected", KITTI12, 1.0)
    save_palette_masks(raw_images)
    message = "000007_10.png: palette index 0 has the color .*, but in .*/000000_10.png "
    with pytest.raises(InputError, match=message):
        remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 1.0)
    colors = MaskEncoding(values="colors")
    result = remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 1.0, encoding=colors)
    assert tree(tmp_path / "prepared") == tree(tmp_path / "expected")
    assert (result.num_approximate, result.num_original) == (0, int(result.pixels.sum()))


@pytest.mark.parametrize("folder", [TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES])
def test_truncated_image_is_named(raw_images: Path, tmp_path: Path, folder: str):
    path = raw_images / folder / "000001_10.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{folder}/000001_10.png: cannot be decoded"):
        remap_dataset(raw_images, tmp_path / "prepared", KITTI12, 1.0)


def remap_until_killed(number: int, raw_images: Path, out: Path) -> None:
    save, count = remap.save_array, iter(range(1, 1000))

    def save_or_die(path: Path, array: np.ndarray) -> str:
        if next(count) == number:
            path.write_bytes(array.tobytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
        return save(path, array)

    remap.save_array = save_or_die
    remap_dataset(raw_images, out, KITTI11, 1.0)


def test_killed_remap_keeps_the_old_arrays_and_the_next_one_cleans_up(raw_images, tmp_path: Path):
    out = tmp_path / "data/prepared"
    remap_dataset(raw_images, out, KITTI12, 1.0)
    before = tree(out)
    process = get_context("fork").Process(target=remap_until_killed, args=(12, raw_images, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert tree(out) == before
    assert (out.parent / f".prepared.{process.pid}.tmp/new/images").is_dir()
    files._find_leftovers.cache_clear()  # as in a new process
    remap_dataset(raw_images, out, KITTI11, 1.0)
    assert sorted(path.name for path in out.parent.iterdir()) == [".prepared.lock", "prepared"]
    remap_dataset(raw_images, tmp_path / "straight", KITTI11, 1.0)
    assert tree(out) == tree(tmp_path / "straight") != before


def test_error_keeps_the_old_arrays(raw_images: Path, tmp_path: Path):
    out = tmp_path / "data/prepared"
    remap_dataset(raw_images, out, KITTI12, 1.0)
    before = tree(out)
    path = raw_images / TRAIN_MASKS / "000005_10.png"
    Image.fromarray(np.full(SIZES[1], 200, np.uint8)).save(path)
    with pytest.raises(InputError, match="label id 200"):
        remap_dataset(raw_images, out, KITTI12, 1.0)
    assert tree(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == [".prepared.lock", "prepared"]


@pytest.mark.slow
def test_second_remap_of_the_same_directory_waits(raw_images: Path, tmp_path: Path):
    lock = acquire_lock(tmp_path / ".prepared.lock")
    with ThreadPoolExecutor(1) as pool:
        with lock:
            second = pool.submit(remap_dataset, raw_images, tmp_path / "prepared", KITTI12, 1.0)
            with pytest.raises(TimeoutError):
                second.result(timeout=2)
            assert not (tmp_path / "prepared").exists()
        second.result(timeout=60)
    assert PreparedDataset(tmp_path / "prepared").train_ids()
