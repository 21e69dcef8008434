"""From a data source to a verified data set in KITTI's layout."""
