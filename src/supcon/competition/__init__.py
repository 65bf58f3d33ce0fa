"""The host's side: files in (`read`, `builtin`), the split (`folds`), submission out (`form`, `submission`)."""
