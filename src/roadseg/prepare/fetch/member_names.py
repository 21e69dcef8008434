"""Decode the names of the files in an archive, whatever tool and system wrote them."""

import re
from collections.abc import Container, Sequence
from pathlib import PurePosixPath

import charset_normalizer

from roadseg.config.file_pattern import ANNOTATION_SUFFIXES, IMAGE_SUFFIXES
from roadseg.system.errors import InputError

_ENCODINGS = {
    "cp932": "Shift-JIS (cp932)",
    "gb2312": "GBK (cp936)",
    "big5": "Big5 (cp950)",
    "cp949": "EUC-KR (cp949)",
    "cp1252": "cp1252 (Western European)",
    "cp850": "cp850 (Western European)",
    "cp1251": "cp1251 (Cyrillic)",
    "cp866": "cp866 (Cyrillic)",
}
"""Encodings that tools use for names, depending on the language of the system."""
_SAMPLE = 1 << 14
"""Number of bytes from which the encoding is recognized."""
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


class MemberNames:
    """The names of the members of an archive; those that are not UTF-8 are decoded by a guess."""

    def __init__(self, encoded: Sequence[bytes | str]) -> None:
        """Decode the names; those of type str are decoded already."""
        foreign = [name for name in encoded if isinstance(name, bytes) and not _is_utf8(name)]
        self._encoding = _guess_encoding(foreign)
        self._foreign = [self._decode(name) for name in foreign]
        self.decoded = [self._decode(name) for name in encoded]
        """Paths with the separators of the archive, without a leading ./; in its order."""
        for name in self.decoded:
            if _ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
                raise InputError(f"{name[:200]!r} is a path outside the archive; do not trust it")

    def _decode(self, name: bytes | str) -> str:
        if isinstance(name, bytes):
            name = name.decode("utf-8" if _is_utf8(name) else self._encoding, "replace")
        return re.sub(r"^(\./)+", "", name)

    def require_utf8(self, wanted: Container[str] | None = None) -> None:
        """Raise InputError if the name of an image or mask is not UTF-8, so its id is a guess.

        Args:
            wanted: names to consider; None: all.
        """
        suffixes = (*IMAGE_SUFFIXES, *ANNOTATION_SUFFIXES)
        names = [n for n in self._foreign if PurePosixPath(n).suffix.lower() in suffixes]
        names = names if wanted is None else [name for name in names if name in wanted]
        if names:
            raise InputError(
                f"file names are not UTF-8, but probably {_ENCODINGS[self._encoding]}: "
                f"{', '.join(map(repr, names[:2]))}; unpack the archive and set data.source to the "
                "directory, or pack it again with UTF-8 names (7-Zip: -mcu=on)"
            )


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _guess_encoding(names: Sequence[bytes]) -> str:
    sample = b"\n".join(names)[:_SAMPLE]
    found = charset_normalizer.from_bytes(sample, cp_isolation=list(_ENCODINGS)).best()
    return "cp1252" if found is None or found.encoding not in _ENCODINGS else found.encoding
