"""The contrastive losses (`contrastive`, `distributed`) and the bounds between which they lie (`bounds`).

They are built on a batch sorted by class (`batch`), on log-sum-exps of the rows of the similarity matrix, computed tile
by tile (`logsumexp`), and on sums over positives (`positives`).
"""

from supcon.losses.bounds import contrastive_bounds
from supcon.losses.contrastive import BalancedContrast, Form, contrastive_loss
from supcon.losses.distributed import distributed_contrastive_loss

__all__ = ["BalancedContrast", "Form", "contrastive_bounds", "contrastive_loss", "distributed_contrastive_loss"]
