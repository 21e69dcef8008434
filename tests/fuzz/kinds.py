"""All kinds of hostile input, by name."""

from tests.fuzz import archives, caches, models, pictures, starts, texts, trainings
from tests.fuzz.case import Make

KINDS: dict[str, Make] = {
    **archives.KINDS,
    **pictures.KINDS,
    **texts.KINDS,
    **caches.KINDS,
    **models.KINDS,
    **starts.KINDS,
    **trainings.KINDS,
}
