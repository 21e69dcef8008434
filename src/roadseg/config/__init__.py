"""params.yaml, class maps and dvc.yaml as typed, validated objects."""
