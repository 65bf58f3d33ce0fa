"""The host's side: files in (`read`, of `files`; `builtin`), the split (`folds`), submission out (`form`, `submission`, `ledger`)."""
