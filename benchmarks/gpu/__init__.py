"""Tests and measurements on a CUDA GPU; each module with a function `lines` is a part."""
