"""Images on disk: hashed once (`hashes`), decoded once into memory-mapped files (`cache`), made square (`geometry`).

Copies are found by `duplicates`; random and test-time views are made by `augment`.
"""
