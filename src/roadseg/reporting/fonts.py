"""Literal text in figures: no formulas, and glyphs for the characters that DejaVu Sans lacks."""

import contextlib
import sys

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from roadseg.system.errors import escape_unprintable

_PLACEHOLDERS = "Last Resort"
"""Font that matplotlib brings along; it draws any character as a box."""
_warned_about: set[str] = set()
"""Characters that the warning named; it is printed once per process."""


def make_text_literal(figure: Figure) -> None:
    """Disable formulas in `figure`, and draw characters that the default font lacks with others.

    If no installed font has a character, a box is drawn, and a warning printed once per process.
    """
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    for text in texts:
        text.set_parse_math(False)
    charmap = get_font(fontManager.findfont(FontProperties())).get_charmap()
    used = set("".join(text.get_text() for text in texts)) - {"\n"}
    missing = {character for character in used if ord(character) not in charmap}
    if not missing:
        return
    families, boxes = _find_fallback_fonts(missing)
    if boxes and not _warned_about:
        _add_new_fonts()
        families, boxes = _find_fallback_fonts(missing)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if boxes and not _warned_about:
        _warned_about.update(boxes)
        characters = escape_unprintable("".join(sorted(boxes))[:20])
        print(
            f"warning: no installed font has the characters {characters}, so "
            "figures show boxes instead; install a font that has them (for Chinese, Japanese and "
            "Korean: Noto Sans CJK)",
            file=sys.stderr,
        )


def _add_new_fonts() -> None:
    """Add the fonts that were installed after matplotlib cached its list of fonts."""
    for path in sorted({*findSystemFonts()} - {font.fname for font in fontManager.ttflist}):
        with contextlib.suppress(OSError, RuntimeError):  # not a font that matplotlib can draw
            fontManager.addfont(path)


def _find_fallback_fonts(missing: set[str]) -> tuple[list[str], set[str]]:
    """Search the installed fonts for the `missing` characters.

    Returns:
        The first family that has all, or those that have the most; and the characters without font.
    """
    coverage: dict[str, set[str]] = {}
    # the regular face first, which is the one that matplotlib selects from a family
    for font in sorted(fontManager.ttflist, key=lambda f: (f.style, f.weight) != ("normal", 400)):
        if font.name.startswith(_PLACEHOLDERS):
            continue
        with contextlib.suppress(OSError, RuntimeError):  # removed since it was listed, or broken
            charmap = get_font(font.fname).get_charmap()
            found = coverage.setdefault(font.name, {c for c in missing if ord(c) in charmap})
            if found == missing:
                return [font.name], set()
    families: list[str] = []
    while coverage:
        best = max(coverage, key=lambda family: len(coverage[family] & missing))
        if not (found := coverage.pop(best) & missing):
            break
        families.append(best)
        missing = missing - found
    return families, missing
