from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.config.class_map import ClassMap, LabelClass
from roadseg.inference.writers import write_label_ids
from roadseg.prepare.images.masks import LABEL_IDS, read_mask


@pytest.mark.parametrize(("label_ids", "mode"), [((7, 255), "L"), ((7, 1000), "I;16")])
def test_label_ids_above_255_are_written_with_16_bits(tmp_path: Path, label_ids, mode: str):
    classes = [LabelClass(name=f"c{i}", color=[0, 0, 0], label_ids=[i]) for i in label_ids]
    class_map = ClassMap(
        void=None, ignored_label_ids=[], unknown_label_ids="error", classes=classes
    )
    write_label_ids(tmp_path / "a.png", np.array([[0, 1]], dtype=np.uint8), class_map)
    with Image.open(tmp_path / "a.png") as mask:
        assert mask.mode == mode
    assert read_mask(tmp_path / "a.png", "a", 10, LABEL_IDS).values.tolist() == [list(label_ids)]
