"""One small script a DVC stage: paths in, one call of `src`, outs written."""
