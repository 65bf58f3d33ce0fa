"""Supervised contrastive image classification with scores that can be trusted."""
