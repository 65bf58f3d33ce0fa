"""Random views of images, for training and contrast: they follow from the declared invariances (law 9)."""
