"""Notebooks for a host: one that predicts offline (`infer`, packed by `write`), and one that trains (`training`)."""
