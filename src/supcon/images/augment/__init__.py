"""Views of images that follow from the declared invariances (law 9): random ones for training, and test-time views."""
