"""Tables and plots over the experiments that DVC lists."""
