"""The synthetic data set is deterministic, has KITTI's layout, and realistic class frequencies."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streetscenes.dataset import write_dataset
from streetscenes.scene import street_scene

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, SCENES = 96, 320, 64

# The label ids of the classes of kitti12, and the allowed percentage of all pixels over the default
# 64 scenes. Real streets are in the middle of each band. A network needs the lower limit to learn a
# class from few images; above the upper limit, scenes would look unrealistic.
BANDS = {
    "void": ((0, 4, 5, 6, 10), 1.0, 3.0),
    "road": ((7,), 25, 35),
    "sidewalk": ((8, 9), 5, 8),
    "construction": ((11, 12, 13, 14, 15, 16), 15, 25),
    "pole": ((17, 18), 1.0, 2.0),
    "sign": ((19, 20), 0.5, 1.2),
    "vegetation": ((21, 22), 20, 30),
    "sky": ((23,), 8, 15),
    "human": ((24, 25), 0.5, 1.2),
    "vehicle": ((26, 27, 28, 29, 30), 5, 10),
    "train": ((31,), 0.5, 1.5),
    "cycle": ((32, 33), 0.4, 1.0),
}
SPREAD = (4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture(scope="module")
def default_scenes() -> tuple[np.ndarray, np.ndarray]:
    """Images (64, H, W, 3) and label ids (64, H, W) of the default sample at seed 0."""
    scenes = [street_scene(0, index, HEIGHT, WIDTH) for index in range(SCENES)]
    return np.stack([image for image, _ in scenes]), np.stack([label for _, label in scenes])


def _digest(seed: int, index: int) -> str:
    image, label_ids = street_scene(seed, index, 48, 160)
    return hashlib.sha256(image.tobytes() + label_ids.tobytes()).hexdigest()


def test_scene_is_identical_in_another_process() -> None:
    # A different hash seed and an earlier scene would reveal hidden state or the order of a set.
    code = (
        "import hashlib; from streetscenes.scene import street_scene;"
        "street_scene(5, 0, 40, 90);"
        "a, b = street_scene(1, 2, 48, 160);"
        "print(hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        process = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.strip() == _digest(1, 2)


def test_scenes_differ_for_each_seed_and_index() -> None:
    digests = {_digest(seed, index) for seed in range(3) for index in range(4)}
    assert len(digests) == 12


@pytest.mark.parametrize(
    "size", [(32, 64), (33, 65), (96, 320), (97, 319), (180, 240), (375, 1242), (200, 90)]
)
def test_scene_of_any_size_has_sky_above_road(size: tuple[int, int]) -> None:
    image, label_ids = street_scene(0, 3, *size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert label_ids.shape == size
    assert label_ids.dtype == np.uint8
    assert label_ids.max() <= 33
    rows = np.arange(size[0])[:, None]
    sky, road = label_ids == 23, label_ids == 7
    assert sky.any()
    assert road.mean() > 0.1
    assert (rows * sky).sum() / sky.sum() < (rows * road).sum() / road.sum()


def test_scene_of_1024_by_2048_pixels() -> None:
    image, label_ids = street_scene(0, 1, 1024, 2048)
    assert image.shape == (1024, 2048, 3)
    assert {7, 11, 21, 23} <= set(np.unique(label_ids).tolist())


def test_scene_scales_with_the_image_size() -> None:
    _, large = street_scene(0, 9, 96, 320)
    _, small = street_scene(0, 9, 48, 160)
    fractions = [np.bincount(label_ids.ravel(), minlength=34) / label_ids.size
                 for label_ids in (large, small)]  # fmt: skip
    # Smaller trees have fewer leaf clusters, which changes 1 to 4 %; other scenes differ by 22 %.
    assert np.abs(fractions[0] - fractions[1]).sum() < 0.06


def test_class_frequencies_are_realistic(default_scenes: tuple[np.ndarray, np.ndarray]) -> None:
    _, label_ids = default_scenes
    percent = 100 * np.bincount(label_ids.ravel(), minlength=256) / label_ids.size
    assert percent[34:].sum() == 0
    grouped = {name: percent[list(ids)].sum() for name, (ids, _, _) in BANDS.items()}
    assert sum(grouped.values()) == pytest.approx(100)
    outside = {
        name: round(grouped[name], 2)
        for name, (_, low, high) in BANDS.items()
        if not low <= grouped[name] <= high
    }
    assert outside == {}
    assert [label_id for label_id in SPREAD if percent[label_id] == 0] == []


def test_small_classes_occur_in_most_scenes(
    default_scenes: tuple[np.ndarray, np.ndarray],
) -> None:
    _, label_ids = default_scenes

    def scenes_with(name: str) -> np.ndarray:
        return np.flatnonzero(np.isin(label_ids, BANDS[name][0]).any(axis=(1, 2)))

    # If two thirds of the scenes have a class, both sides of any split have it.
    for name in ("human", "cycle", "pole", "sign"):
        assert len(scenes_with(name)) >= SCENES * 2 / 3, name
    trains = scenes_with("train")
    assert len(trains) >= 4
    # The 16 scenes of a block have the same size, and may be on the same side of a split.
    assert set(trains // 16) == {0, 1, 2, 3}


def test_near_people_are_large(default_scenes: tuple[np.ndarray, np.ndarray]) -> None:
    _, label_ids = default_scenes
    # Longest column of person pixels in a scene; a nearby person takes a quarter of the height.
    tallest = [_longest_run(scene == 24) for scene in label_ids]
    assert sum(length >= HEIGHT / 4 for length in tallest) >= 8


def _longest_run(mask: np.ndarray) -> int:
    run, longest = np.zeros(mask.shape[1], int), 0
    for row in mask:
        run = (run + 1) * row
        longest = max(longest, int(run.max()))
    return longest


def test_sky_is_brighter_and_bluer_than_road(
    default_scenes: tuple[np.ndarray, np.ndarray],
) -> None:
    for image, label_ids in zip(*default_scenes, strict=True):
        sky, road = label_ids == 23, label_ids == 7
        if sky.mean() < 0.01:
            continue  # trees or houses hide the sky
        assert image[sky].mean() > image[road].mean()
    images, labels = default_scenes
    sky, road = images[labels == 23].mean(axis=0), images[labels == 7].mean(axis=0)
    assert sky[2] - sky[0] > road[2] - road[0]


def test_edges_of_labels_are_edges_of_the_image(
    default_scenes: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = default_scenes
    gray = images.astype(np.float32).mean(axis=-1)
    step = np.abs(np.diff(gray, axis=2))  # (64, H, W - 1)
    edge = np.diff(labels.astype(int), axis=2) != 0
    assert step[edge].mean() > 2.5 * step[~edge].mean()
    # Labels that are shifted by three pixels fit worse in every scene.
    for index in range(SCENES):
        shifted = np.roll(edge[index], 3, axis=1)
        assert step[index][edge[index]].mean() > 1.2 * step[index][shifted].mean()


def test_files_have_kittis_layout_and_the_scenes_pixels(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_train=8, num_test=4, height=48, width=160, seed=7)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    train, test = [f"{n:06d}_10.png" for n in range(8)], [f"{n:06d}_10.png" for n in range(4)]
    assert files == sorted(
        [f"training/image_2/{name}" for name in train]
        + [f"training/semantic/{name}" for name in train]
        + [f"testing/{kind}/{name}" for kind in ("image_2", "semantic") for name in test]
    )
    sizes = []
    for name in train:
        with Image.open(tmp_path / "training/image_2" / name) as image:
            assert image.mode == "RGB"
            sizes.append((image.height, image.width))
        with Image.open(tmp_path / "training/semantic" / name) as semantic:
            assert semantic.mode == "L"
            assert (semantic.height, semantic.width) == sizes[-1]
    image, label_ids = street_scene(7, 5, *sizes[5])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "training/image_2" / train[5])), image)
    written = np.asarray(Image.open(tmp_path / "training/semantic" / train[5]))
    assert np.array_equal(written, label_ids)


def test_each_quarter_of_the_images_has_one_size(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_train=8, num_test=0, height=48, width=160, seed=0)
    sizes = []
    for path in sorted((tmp_path / "training/image_2").iterdir()):
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    assert sizes[0] == (48, 160)
    assert sizes[::2] == sizes[1::2]
    assert len(set(sizes)) >= 3
    assert all(abs(h / 48 - 1) < 0.05 and abs(w / 160 - 1) < 0.05 for h, w in sizes)
    assert any(h % 16 or w % 16 for h, w in sizes)


def test_dataset_is_reproducible_and_test_scenes_are_different(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_dataset(tmp_path / folder, num_train=2, num_test=2, height=32, width=96, seed=1)
    write_dataset(tmp_path / "more", num_train=3, num_test=2, height=32, width=96, seed=1)

    def contents(folder: str, part: str) -> list[bytes]:
        return [p.read_bytes() for p in sorted((tmp_path / folder / part).iterdir())]

    for part in ("training/image_2", "training/semantic", "testing/image_2"):
        assert contents("first", part) == contents("second", part)
    # The number of training scenes does not change the test scenes.
    assert contents("more", "testing/image_2") == contents("first", "testing/image_2")
    images = contents("first", "training/image_2") + contents("first", "testing/image_2")
    assert len(set(images)) == 4
