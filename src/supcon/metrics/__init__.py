"""Scores (`metric`), calibration and probable label errors; embeddings: `embeddings`, `drift`."""
