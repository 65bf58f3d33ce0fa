"""The contrastive losses (`contrastive`, `prototypes`) and the bounds a healthy run lies between (`bounds`)."""

from supcon.losses.bounds import contrastive_bounds
from supcon.losses.contrastive import Form, contrastive_loss
from supcon.losses.prototypes import BalancedContrast

__all__ = ["BalancedContrast", "Form", "contrastive_bounds", "contrastive_loss"]
