"""From a data source to prepared arrays: fetch, decode, remap masks, split."""
