"""Images on disk: hashed, decoded once into memory maps, made square, compared; `augment` makes views of them."""
