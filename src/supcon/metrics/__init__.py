"""Scores: F1 with its bootstrap (`f1`); of embeddings: neighbours (`knn`), alignment and uniformity (`geometry`)."""
