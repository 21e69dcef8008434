"""All kinds of hostile input, by name."""

from tests.fuzz import (
    annotations,
    archives,
    arrays,
    caches,
    checkpoints,
    data_sets,
    evaluations,
    images,
    layouts,
    models,
    pickles,
    starts,
    tables,
    tars,
    texts,
    videos,
)
from tests.fuzz.case import CaseBuilder

KINDS: dict[str, CaseBuilder] = {
    **archives.KINDS,
    **tars.KINDS,
    **images.KINDS,
    **data_sets.KINDS,
    **annotations.KINDS,
    **layouts.KINDS,
    **texts.KINDS,
    **arrays.KINDS,
    **caches.KINDS,
    **models.KINDS,
    **starts.KINDS,
    **pickles.KINDS,
    **checkpoints.KINDS,
    **tables.KINDS,
    **evaluations.KINDS,
    **videos.KINDS,
}
