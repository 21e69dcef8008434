"""All kinds of hostile input, by name."""

from tests.fuzz import (
    archives,
    arrays,
    caches,
    checkpoints,
    images,
    models,
    pickles,
    starts,
    tables,
    texts,
)
from tests.fuzz.case import CaseBuilder

KINDS: dict[str, CaseBuilder] = {
    **archives.KINDS,
    **images.KINDS,
    **texts.KINDS,
    **arrays.KINDS,
    **caches.KINDS,
    **models.KINDS,
    **starts.KINDS,
    **pickles.KINDS,
    **checkpoints.KINDS,
    **tables.KINDS,
}
