"""Device and precision, process group, DistributedDataParallel, and graceful shutdown."""
