"""The command `roadseg new` and the files of a new project."""
