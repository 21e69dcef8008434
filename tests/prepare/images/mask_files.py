"""Writers of BMP and TIFF files of few bits, which Pillow does not write."""

import struct

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE = 0, 1, 3  # photometric interpretation of a TIFF


def pack_rows(values: np.ndarray, bits: int, order: str = ">") -> list[bytes]:
    """Pack (H, W) values of 1 to 16 bits; each row is padded to whole bytes."""
    if bits == 16:
        return [row.tobytes() for row in values.astype(f"{order}u2")]
    planes = np.unpackbits(values.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    return [row.tobytes() for row in np.packbits(planes.reshape(len(values), -1), axis=1)]


def write_tiff(
    values: np.ndarray,
    bits: int,
    photometric: int = BLACK_IS_ZERO,
    order: str = "<",
    fill_order: int = 1,
    palette: np.ndarray | None = None,
) -> bytes:
    """Encode (H, W) values as an uncompressed TIFF; `palette` is (2**bits, 3) uint8."""
    pixels = b"".join(pack_rows(values, bits, order))
    if fill_order == 2:  # the lowest bit of each byte comes first
        pixels = np.packbits(np.unpackbits(np.frombuffer(pixels, np.uint8)), bitorder="little")
        pixels = pixels.tobytes()
    colors = b"" if palette is None else (palette.T.astype(f"{order}u2") * 257).tobytes()
    height, width = values.shape
    fields = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    fields += [(266, fill_order), (273, 8), (277, 1), (278, height), (279, len(pixels))]
    entries = [struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in fields]
    if colors:
        entries.append(struct.pack(f"{order}HHII", 320, 3, len(colors) // 2, 8 + len(pixels)))
    start = 8 + len(pixels) + len(colors)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    count = struct.pack(f"{order}H", len(entries))
    return head + pixels + colors + count + b"".join(entries) + bytes(4)


def write_bmp(values: np.ndarray, bits: int, palette: np.ndarray) -> bytes:
    """Encode (H, W) palette indices as a BMP of 1, 4 or 8 bits; `palette` is (N, 3) uint8."""
    rows = [row + bytes(-len(row) % 4) for row in reversed(pack_rows(values, bits))]
    colors = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).astype(np.uint8).tobytes()
    height, width = values.shape
    start, size = 54 + len(colors), sum(map(len, rows))
    head = b"BM" + struct.pack("<IHHI", start + size, 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, size, 0, 0, len(palette), 0)
    return head + info + colors + b"".join(rows)
