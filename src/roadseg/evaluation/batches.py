"""Batches of unchanged images for evaluation."""

from collections.abc import Sequence
from itertools import groupby

from roadseg.data.collate import Batch, Sample, pad_collate
from roadseg.data.prepared import PreparedDataset


def evaluation_groups(
    prepared: PreparedDataset, ids: Sequence[str], batch_size: int
) -> list[list[str]]:
    """Group `ids`, in order, into batches of up to `batch_size` neighbours of one size.

    Nothing is padded, because padding changes what the network sees at the border of an image.
    """
    groups = []
    for _, same_size in groupby(ids, key=prepared.size):
        names = list(same_size)
        groups += [names[at : at + batch_size] for at in range(0, len(names), batch_size)]
    return groups


def evaluation_batch(prepared: PreparedDataset, names: Sequence[str]) -> Batch:
    """Return the images `names`, which have one size, and their masks."""
    return pad_collate([Sample(*prepared.pair(name)) for name in names])
