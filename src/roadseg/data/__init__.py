"""What training reads: prepared arrays, data set, batches and augmentation."""
