"""The package behind the stages; imports go from training, evaluation and report downwards."""
