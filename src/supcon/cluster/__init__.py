"""Folds of a run over processes and GPUs."""
