"""A remap that was killed, or is to do a little more: what is done is not done again.

Whatever came before, the bytes are those of a run from scratch.
"""

import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data import remap, unfinished
from src.data.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from src.files import InputError
from src.labels import ClassMap, read_class_map
from tests.conftest import ROOT, write_pictures
from tests.faults.failing import tree

KITTI12, KITTI11 = (read_class_map(ROOT / f"classes/kitti{n}.yaml") for n in (12, 11))
ALL = [f"{TRAIN_IMAGES}/{i:06d}_10.png" for i in range(8)]
ALL += [f"{TRAIN_MASKS}/{i:06d}_10.png" for i in range(8)]
ALL += [f"{TEST_IMAGES}/{i:06d}_10.png" for i in range(2)]
SIZES = ((128, 192), (136, 200))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", sizes=SIZES)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The raw files that arrays were made from."""
    files: list[str] = []

    def noting(make: Callable) -> Callable:
        def noted(path: Path, *rest: object):
            files.append("/".join(path.parts[-3:]))
            return make(path, *rest)

        return noted

    for name in ("_image_array", "_mask_array"):
        monkeypatch.setattr(remap, name, noting(getattr(remap, name)))
    return files


def cached(pictures: Path, class_map: ClassMap = KITTI12, scale: float = 1.0) -> dict[str, bytes]:
    """What is beside the pictures after a remap: the cache, and what it was made from."""
    remap.remap_dataset(pictures, pictures.parent / "cache", class_map, scale)
    return tree(pictures.parent, "pictures", "scratch")


def from_scratch(pictures: Path, *arguments) -> dict[str, bytes]:
    scratch = pictures.parent / "scratch"
    scratch.mkdir()
    (scratch / "pictures").symlink_to(pictures)
    return cached(scratch / "pictures", *arguments)


def one_mask_changed(pictures: Path) -> list[str]:
    mask = np.array(Image.open(pictures / ALL[10]))
    mask[3, 4] = 7
    Image.fromarray(mask).save(pictures / ALL[10])
    return [ALL[10]]


def two_pictures_more(pictures: Path) -> list[str]:
    more = write_pictures(pictures.parent / "more", 10, 0, SIZES)
    names = [f"{kind}/{i:06d}_10.png" for kind in (TRAIN_IMAGES, TRAIN_MASKS) for i in (8, 9)]
    for name in names:
        (more / name).rename(pictures / name)
    shutil.rmtree(more)
    return names


def one_picture_less(pictures: Path) -> list[str]:
    for name in (ALL[2], ALL[10]):
        (pictures / name).unlink()
    return []


def two_masks_exchanged(pictures: Path) -> list[str]:
    names = [ALL[8], ALL[10]]
    contents = [(pictures / name).read_bytes() for name in reversed(names)]
    for name, content in zip(names, contents, strict=True):
        (pictures / name).write_bytes(content)
    return names


@pytest.mark.parametrize(
    "change", [one_mask_changed, two_pictures_more, one_picture_less, two_masks_exchanged]
)
def test_only_what_changed_is_made_again(
    pictures: Path, made: list[str], change: Callable[[Path], list[str]]
):
    first = cached(pictures)
    assert sorted(made) == sorted(ALL)
    made.clear()
    changed = change(pictures)
    second = cached(pictures)
    assert sorted(made) == sorted(changed)
    assert second != first
    assert second == from_scratch(pictures)


def test_other_classes_change_masks_and_another_scale_everything(pictures: Path, made: list[str]):
    cached(pictures)
    made.clear()
    assert cached(pictures, KITTI11) == from_scratch(pictures, KITTI11)
    ours = made[: len(made) - len(ALL)]
    assert sorted(ours) == sorted(name for name in ALL if name.startswith(TRAIN_MASKS))
    made.clear()
    cached(pictures, KITTI11, 0.5)
    assert sorted(made) == sorted(ALL)


def test_other_code_makes_everything_again(pictures: Path, made: list[str], monkeypatch):
    cached(pictures)
    made.clear()
    monkeypatch.setattr(remap, "_makers", lambda: {"libraries": {"Pillow": "0"}})
    cached(pictures)
    assert sorted(made) == sorted(ALL)


@pytest.mark.parametrize("damage", ["pixel", "cut", "gone", "folder"])
def test_an_array_that_is_not_what_was_written_is_made_again(
    pictures: Path, made: list[str], damage: str
):
    first = cached(pictures)
    path = pictures.parent / "cache/masks/000003_10.npy"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "pixel" else b""))
    made.clear()
    assert cached(pictures) == first
    assert made == [f"{TRAIN_MASKS}/000003_10.png"]


def test_of_another_cache_in_its_place_only_equal_arrays_are_taken(pictures, made, tmp_path):
    """As `dvc checkout` brings one: the notes beside it are those of another."""
    first = cached(pictures)
    shutil.copytree(tmp_path / "cache", tmp_path / "kept")
    one_mask_changed(pictures)
    cached(pictures)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "kept").rename(tmp_path / "cache")
    made.clear()
    second = cached(pictures)
    assert second == from_scratch(pictures)
    assert second != first
    assert made[:1] == [ALL[10]]


def _killed(pictures: Path, number: int, half: bool) -> None:
    """Dies without a word at the array with this number, before it is in place."""
    save, count = unfinished.save_array, iter(range(1, 1000))

    def kill(path: Path, array: np.ndarray) -> str:
        if next(count) < number:
            return save(path, array)
        if half:
            path.write_bytes(array.tobytes()[:100])
        os.kill(os.getpid(), signal.SIGKILL)

    unfinished.save_array = kill
    cached(pictures)


def killed(pictures: Path, number: int, half: bool = True) -> None:
    process = get_context("fork").Process(target=_killed, args=(pictures, number, half))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_remap_loses_what_was_at_hand(pictures: Path, made: list[str], tmp_path: Path):
    threads = os.cpu_count() or 1
    killed(pictures, 3)
    killed(pictures, 5, half=False)  # it has the first two by then
    assert not (tmp_path / "cache").exists(), "what is not whole is taken for nothing"
    journal = tmp_path / ".cache.remap/journal"
    with journal.open("a") as file:
        file.write('{"name": "')  # as a kill cuts it
    left = cached(pictures)
    assert len(ALL) - 7 <= len(made) <= len(ALL) - 6 + 4 * threads
    assert left == from_scratch(pictures)


@pytest.mark.parametrize("name", ["cache", ".cache.remap/old"])
def test_a_kill_between_two_renames_loses_nothing(pictures, made, tmp_path: Path, name: str):
    """The old cache was put aside, or the new one is in place and the old one not yet removed."""
    first = cached(pictures)
    (tmp_path / ".cache.remap").mkdir()
    shutil.copytree(tmp_path / "cache", tmp_path / ".cache.remap/old")
    shutil.rmtree(tmp_path / name)
    made.clear()
    assert cached(pictures) == first
    assert made == []


def test_what_a_mistake_has_stopped_goes_on_once_it_is_mended(pictures: Path, made: list[str]):
    good = (pictures / ALL[15]).read_bytes()
    Image.fromarray(np.full(SIZES[1], 200, dtype=np.uint8)).save(pictures / ALL[15])
    with pytest.raises(InputError, match="label id 200"):
        cached(pictures)
    before = len(made)
    (pictures / ALL[15]).write_bytes(good)
    one_picture_less(pictures)  # of which there is an array already
    left = cached(pictures)
    assert made[before:] == [ALL[15]]
    assert left == from_scratch(pictures)
