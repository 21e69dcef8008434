"""A PNG writer that supports every color type and depth, and malformed chunks."""

import random
import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Number of channels by color type: gray, RGB, palette, gray and alpha, RGB and alpha."""
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Adam7 interlacing: first column and row of each pass, and the steps between its pixels.
PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
    (0, 1, 1, 2),
)

Chunks = list[tuple[bytes, bytes]]


def make_chunks(values: np.ndarray, color_type: int, depth: int, *, interlaced: bool) -> Chunks:
    """Encode `values` (H, W, channels) of `depth` bits as the chunks of a PNG."""
    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    parts = [values[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [values]
    rows = b"".join(_rows(part, depth) for part in parts if part.size)
    grays = bytes(number // 3 for number in range(3 << min(depth, 8)))  # a palette
    colors = [(b"PLTE", grays)] if color_type == 3 else []
    return [(b"IHDR", header), *colors, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]


def _rows(values: np.ndarray, depth: int) -> bytes:
    """Encode rows without a filter: each begins with the filter type 0."""
    flat = values.reshape(len(values), -1)
    if depth == 16:
        packed = flat.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
        packed = np.packbits(bits.reshape(len(flat), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def join_chunks(chunks: Chunks) -> bytes:
    """Join the chunks to a file with correct checksums."""
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return SIGNATURE + b"".join(parts)


def add_odd_chunk(rng: random.Random, chunks: Chunks) -> Chunks:
    """Damage, move, add or remove one chunk."""
    found = list(chunks)
    kind = rng.randrange(6)
    at = rng.randrange(len(found))
    name, data = found[at]
    if kind == 0:
        del found[at]
    elif kind == 1:
        found.insert(rng.randrange(len(found) + 1), found[at])
    elif kind == 2:
        found[at] = (name, data[: rng.randrange(len(data) + 1)])
    elif kind in (3, 4) and len(found[0][1]) != 13:
        pass  # IHDR is damaged already
    elif kind == 3:
        sizes = (0, 1, 31, 33, 60_000, 2**31 - 1, 2**31, 2**32 - 1)
        header = bytearray(found[0][1])
        place = rng.choice((0, 4))
        header[place : place + 4] = rng.choice(sizes).to_bytes(4, "big")
        found[0] = (b"IHDR", bytes(header))
    elif kind == 4:
        header = bytearray(found[0][1])
        header[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 5, 8, 16, 255))
        found[0] = (b"IHDR", bytes(header))
    else:
        found.insert(rng.choice((1, len(found) - 1, len(found))), rng.choice(EXTRA))
    return found


def _exif(orientation: int, kind: int = 3) -> bytes:
    """Return EXIF data with the orientation only; its correct field type is 3 (SHORT)."""
    entry = struct.pack("<HHIHH", 0x0112, kind, 1, orientation, 0)
    return b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


EXTRA = (
    *((b"eXIf", _exif(i)) for i in (0, 1, 2, 3, 6, 8, 9)),
    *((b"eXIf", _exif(6, kind)) for kind in (0, 1, 2, 5, 99)),
    *((b"eXIf", data) for data in (b"", b"II", b"MM\0*\xff\xff\xff\xff", b"II*\0" + bytes(50))),
    *((b"tRNS", bytes(n)) for n in (0, 1, 2, 6, 300)),
    *((b"gAMA", b""), (b"gAMA", bytes(4)), (b"cHRM", bytes(5)), (b"pHYs", bytes(3))),
    *((b"iCCP", b"a\0\0" + zlib.compress(bytes(9_000_000))), (b"iCCP", b"x"), (b"sRGB", b"")),
    *((b"zTXt", b"a\0\0" + zlib.compress(bytes(90_000_000), 9)), (b"zTXt", b"a\0\x07x")),
    *((b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(9_000_000))), (b"tEXt", b"\xff" * 80)),
    *((b"acTL", struct.pack(">II", n, 0)) for n in (0, 1, 2, 2**31)),
    *((b"fcTL", bytes(26)), (b"fdAT", bytes(10)), (b"ABCD", b"critical"), (b"abcd", b"other")),
    *((b"PLTE", b"\1\2"), (b"PLTE", bytes(769)), (b"IEND", b"x"), (b"IDAT", b"junk")),
)
