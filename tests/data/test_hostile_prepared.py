"""Prepared data and split files that were modified or damaged are refused with their name."""

import json
from pathlib import Path

import numpy as np
import pytest

from roadseg.config.class_map import read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split, read_split
from roadseg.prepare.remap import remap_dataset
from roadseg.system.errors import InputError
from tests.factories import ROOT

SPLIT = {"train": ["a", "b"], "val": ["c"], "test": ["a"]}


@pytest.fixture
def prepared(raw_images: Path, tmp_path: Path) -> PreparedDataset:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(raw_images, tmp_path / "prepared", class_map, 1.0)
    return PreparedDataset(tmp_path / "prepared")


@pytest.mark.parametrize("size", [[0, 48], [-32, 48], [32, 2**31], [32.0, 48], [32], [True, 48]])
def test_invalid_recorded_sizes_are_refused(prepared: PreparedDataset, size: list):
    path = prepared.root / "sizes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "000000_10": size}))
    with pytest.raises(InputError, match=r"sizes.json: was modified after remap wrote it"):
        prepared.recorded_sizes()


def test_recorded_sizes_without_a_mask_are_refused(prepared: PreparedDataset):
    assert list(prepared.recorded_sizes()) == prepared.train_ids()
    mask = prepared.root / "masks/000003_10.npy"
    mask.rename(mask.with_name("x.npy"))
    with pytest.raises(InputError, match=r"sizes.json: '000003_10' has only a size here, or"):
        prepared.recorded_sizes()


def test_undecodable_file_name_is_refused(prepared: PreparedDataset):
    mask = prepared.root / "test_images/000000_10.npy"
    mask.rename(mask.with_name("\udcff.npy"))
    with pytest.raises(
        InputError, match=r"test_images/\\udcff.npy: was modified after remap wrote it"
    ):
        prepared.test_ids()


@pytest.mark.parametrize("descr", ["<u2", "|i1", "|b1", "<f4"])
def test_array_of_another_dtype_is_refused(prepared: PreparedDataset, descr: str):
    np.save(prepared.root / "masks/000000_10.npy", np.zeros((32, 48), dtype=descr))
    with pytest.raises(InputError, match=r"masks/000000_10.npy: was modified after remap wrote it"):
        prepared.mask("000000_10")


def test_npy_header_of_another_length_is_refused(prepared: PreparedDataset):
    path = prepared.root / "masks/000000_10.npy"
    data = bytearray(path.read_bytes())
    data[8] -= 1  # numpy would read the last byte of the header as the first pixel
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"masks/000000_10.npy: was modified after remap wrote it"):
        prepared.mask("000000_10")


@pytest.mark.parametrize("name", ["../masks/a", "a/b", "", "a\0b", "\ud800", 1, None])
@pytest.mark.parametrize("key", ["train", "val", "test"])
def test_split_with_an_invalid_id_is_refused(tmp_path: Path, key: str, name: object):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**SPLIT, key: [*SPLIT[key], name]}))
    with pytest.raises(InputError, match=r"split.json: \w+.*; run dvc repro to rebuild it"):
        read_split(path)


@pytest.mark.parametrize("change", [{"train": ["a", "a"]}, {"val": ["a"]}, {"test": ["a", "a"]}])
def test_split_with_a_repeated_id_is_refused(tmp_path: Path, change: dict):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(SPLIT))
    assert read_split(path) == Split(**SPLIT)
    path.write_text(json.dumps({**SPLIT, **change}))
    with pytest.raises(InputError, match=r"split.json: (train, val|test): 'a' is listed twice;"):
        read_split(path)
