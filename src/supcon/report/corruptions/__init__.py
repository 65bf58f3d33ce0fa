"""Corruption F1: images damaged in named ways (`kinds`), predicted (`measure`), and scored (`result`)."""
