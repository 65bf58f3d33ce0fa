"""Runs beside each other on the same rows: who is better (`run_comparison`), and where (`sections`)."""
