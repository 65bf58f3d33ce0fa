"""One run: its folder, split, stages and their state, prediction files, scores."""
