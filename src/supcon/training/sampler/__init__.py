"""Batches as pure functions of (seed, epoch, batch number): resuming needs no state."""

from supcon.training.sampler.batches import BatchSampler, Key, NaturalSampler, WithUnlabelled, share_of
from supcon.training.sampler.pk import PKSampler

__all__ = ["BatchSampler", "Key", "NaturalSampler", "PKSampler", "WithUnlabelled", "share_of"]
