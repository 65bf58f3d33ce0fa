"""Runs beside each other on the same rows: who is better (`comparison`), and where (`contents`)."""
