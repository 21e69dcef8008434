import pytest

from roadseg.prepare.discovery.configuration import suggest_scale


@pytest.mark.parametrize(
    ("sizes", "scale"),
    [
        ([(375, 1242), (370, 1224), (376, 1241)], 1.0),  # KITTI
        ([(1024, 2048)], 0.5),  # Cityscapes
        ([(720, 960)], 0.75),  # CamVid
        ([(4000, 6000)], 0.15),
        ([(48, 64), (48, 64), (4000, 6000)], 1.0),  # the median decides
        ([(20_000, 64)], 0.5),  # not less than 32 pixels
        ([(16, 16)], 1.0),
        ([], 1.0),
    ],
)
def test_images_have_about_half_a_megapixel(sizes: list[tuple[int, int]], scale: float):
    assert suggest_scale(sizes) == scale
