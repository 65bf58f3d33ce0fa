"""The contrastive losses (`contrastive`, `prototypes`, `distributed`) and the bounds of a healthy run (`bounds`).

Inside: a batch sorted by class (`batch`), row log-sum-exps by tiles (`logsumexp`), sums over positives (`positives`).
"""

from supcon.losses.bounds import contrastive_bounds
from supcon.losses.contrastive import Form, contrastive_loss
from supcon.losses.distributed import distributed_contrastive_loss
from supcon.losses.prototypes import BalancedContrast

__all__ = ["BalancedContrast", "Form", "contrastive_bounds", "contrastive_loss", "distributed_contrastive_loss"]
