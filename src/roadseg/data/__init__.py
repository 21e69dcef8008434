"""The input of training: prepared arrays, dataset, sampler, batches and augmentation."""
