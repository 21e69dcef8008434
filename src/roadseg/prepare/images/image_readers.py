"""Pillow's readers of image files, with corrections."""

import struct

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImagePalette,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)


class JpegFile(JpegImagePlugin.JpegImageFile):
    """JpegImageFile that does not look for a resolution in the EXIF data, which may be damaged."""

    def _read_dpi_from_exif(self) -> None:
        pass


class BmpFile(BmpImagePlugin.BmpImageFile):
    """BmpImageFile that keeps a palette of grays as a palette.

    Pillow replaces such palettes by the modes 1 and L, and then decodes files of 4 bits, or of
    8 bits with two colors, with the wrong number of bits.
    """

    def _bitmap(self, header: int = 0, offset: int = 0) -> None:
        super()._bitmap(header, offset)
        if self.mode not in ("1", "L"):
            return
        grays = (0, 255) if self.mode == "1" else range(256)
        self._mode = "P"
        self.palette = ImagePalette.raw("RGB", bytes(gray for gray in grays for _ in "RGB"))
        assert self.fp is not None
        self.fp.seek(14)
        (header_size,) = struct.unpack("<I", self.fp.read(4))
        self.fp.seek(24 if header_size == 12 else 28)
        (bits,) = struct.unpack("<H", self.fp.read(2))
        tile, (_, raw_mode) = self.tile[0], BmpImagePlugin.BIT2MODE[bits]
        assert isinstance(tile.args, tuple)
        self.tile = [tile._replace(args=(raw_mode, *tile.args[1:]))]


class TiffFile(TiffImagePlugin.TiffImageFile):
    """TiffImageFile without Pillow's process-wide limit on the size; `open_image` has its own."""

    def load_prepare(self) -> None:
        """Allocate the memory of the pixels."""
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        super().load_prepare()


READERS: dict[type[ImageFile.ImageFile], tuple[bytes, ...]] = {
    PngImagePlugin.PngImageFile: (b"\x89PNG",),
    JpegFile: (b"\xff\xd8\xff",),
    BmpFile: (b"BM",),
    TiffFile: (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    GifImagePlugin.GifImageFile: (b"GIF87a", b"GIF89a"),
    WebPImagePlugin.WebPImageFile: (b"RIFF",),
}
"""The first bytes of the files of each reader; formats are detected by content, not by name."""
FORMATS = "PNG, JPEG, BMP, TIFF, GIF or WebP"
