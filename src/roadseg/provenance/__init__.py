"""What a model was made from: import closure of the code, fingerprints, model metadata."""
