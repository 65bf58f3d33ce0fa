"""Corruption F1: images damaged in named ways (`kinds`), predicted (`measure`), and what that came to (`result`)."""
