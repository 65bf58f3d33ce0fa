"""Scores (`f1`, `metric`) and calibration; embeddings: `knn`, `geometry`, `quality`, `drift`; probable `label_errors`."""
