"""A synthetic data set of street scenes with the label of every pixel, in KITTI's layout."""
