"""From a data source to a verified dataset in KITTI's directory layout."""
