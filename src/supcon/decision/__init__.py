"""Logits to labels: merging (`merge`), the rule (`rule`), its tuning (`tune`), its honest score (`crossfit`)."""
