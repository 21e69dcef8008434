"""From a data source to prepared arrays: decoding, remapping of masks, split."""
