"""The contrastive losses (`contrastive`) and the bounds a healthy run lies between (`bounds`)."""

from supcon.losses.bounds import contrastive_bounds
from supcon.losses.contrastive import contrastive_loss

__all__ = ["contrastive_bounds", "contrastive_loss"]
