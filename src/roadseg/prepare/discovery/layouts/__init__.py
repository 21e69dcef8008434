"""Find out how the images and masks of a data set are named and paired."""
