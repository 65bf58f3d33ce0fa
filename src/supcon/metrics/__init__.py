"""Scores: F1 with its bootstrap (`f1`) and nearest neighbours in embedding space (`knn`)."""
