"""Scores (`f1`, `metric`), calibration and probable label errors; embeddings: `embeddings`, `drift`."""
