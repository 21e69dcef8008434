"""All kinds of hostile input, by name."""

from tests.fuzz import archives, models, pictures, starts, texts
from tests.fuzz.case import Make

KINDS: dict[str, Make] = {
    **archives.KINDS,
    **pictures.KINDS,
    **texts.KINDS,
    **models.KINDS,
    **starts.KINDS,
}
