"""The command line: from a table to a model that says how good it is, and the assets."""
