"""A study: variants x seeds x folds at the same number of image passes, and what each is worth beside the baseline."""
