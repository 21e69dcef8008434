from pathlib import Path

import pytest

from roadseg.prepare.images.palettes import PaletteCheck
from roadseg.system.errors import InputError

A, B, C = Path("a.png"), Path("b.png"), Path("c.png")


def test_equal_colors_and_new_indices_are_accepted():
    check = PaletteCheck()
    check.add(A, {0: (0, 0, 0), 7: (128, 64, 128)})
    check.add(B, {7: (128, 64, 128), 8: (0, 0, 0)})  # one color may have two indices
    check.add(C, {})


def test_another_color_of_an_index_names_both_files():
    check = PaletteCheck()
    check.add(A, {0: (0, 0, 0)})
    check.add(B, {7: (128, 64, 128)})
    with pytest.raises(InputError) as caught:
        check.add(C, {0: (0, 0, 0), 7: (1, 2, 3)})
    assert str(caught.value) == (
        "c.png: palette index 7 has the color [1, 2, 3], but in b.png [128, 64, 128], so it may be "
        "another class; set data.mask_values: colors, or save all masks with one palette"
    )
