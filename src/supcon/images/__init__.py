"""Images on disk: hashed once (`hashes`), decoded once into a memory map (`cache`), made square (`geometry`)."""
