"""Runs beside each other on the same rows: who is better (`standings`), and where (`contents`)."""
