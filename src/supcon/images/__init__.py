"""Images on disk: hashed, decoded once into a store, made square, compared; `augment` makes views of them."""
