"""All kinds of hostile input, by name."""

from tests.fuzz import archives, arrays, caches, models, pickles, pictures, starts, texts, trainings
from tests.fuzz.case import Make

KINDS: dict[str, Make] = {
    **archives.KINDS,
    **pictures.KINDS,
    **texts.KINDS,
    **arrays.KINDS,
    **caches.KINDS,
    **models.KINDS,
    **starts.KINDS,
    **pickles.KINDS,
    **trainings.KINDS,
}
