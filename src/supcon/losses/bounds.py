"""The least value of a contrastive loss, and its value when all embeddings are equal."""

import math

import torch
from torch import Tensor

from supcon.losses.batch import count_positives
from supcon.losses.contrastive import Form, check_labels, check_options


def contrastive_bounds(
    labels: Tensor,
    temperature: float,
    *,
    form: Form = "out",
    epsilon: float = 0.0,
    hardness: float = 0.0,
    normalize: bool = True,
    memory_labels: Tensor | None = None,
) -> tuple[float, float]:
    """Return the floor of a batch's loss, and its value when all embeddings are equal (collapse).

    `labels` [N] and `memory_labels` [M] are integers from 0; the other arguments are those of `contrastive_loss`.

    Let p = |P(i)| and n = |N(i)|, memory included, t the temperature and r = 2/t; without `normalize` r is infinite.
    An anchor's loss is least when all its positives are equally near (by convexity; for `in` and `balanced` by Jensen's
    inequality) and all its negatives r below them: at s = 1/t and s = -1/t. Then it is

    - `out`, `in`: log(p + n exp(-r)); collapse log(p + n) = log(N - 1)
    - `eps_supcon`: log(p exp(-epsilon) + n exp(-r))
    - `sincere`: log(1 + n exp(-r))
    - `eps_infonce`: log(exp(-epsilon) + n exp(-r))
    - `balanced` (without prototypes): log(1 + (C - 1) exp(-r)) with the C classes at hand; collapse log C

    Collapse is the same with r = 0. Both are means over the anchors with positives, and 0 where there are none. Each
    anchor can reach its minimum; all anchors of a batch reach theirs together where the geometry allows it, as with two
    classes. `hardness` changes neither bound: a weighted mean of exp s_in lies between the least and the greatest of
    them, and is exp s when all similarities are s.

    Without `normalize` similarities have no bounds, and the floor is an infimum. No anchor with negatives reaches it,
    but in two dimensions or more all come as near together as one likes, each class far out in a direction of its own.
    Collapse is the same for equal embeddings of any length, and the limit for any that shrink to 0. Equal directions of
    several lengths are no collapse: their loss may be far above it.

    Raises `ValueError` for arguments that do not fit.
    """
    check_options(form, temperature, epsilon, hardness, normalize)
    check_labels("labels", labels)
    if memory_labels is not None:
        check_labels("memory_labels", memory_labels)
    columns = labels if memory_labels is None else torch.cat([labels, memory_labels])
    positives = count_positives(labels, memory_labels)
    p = positives[positives > 0].double()
    if len(p) == 0:
        return 0.0, 0.0
    n = len(columns) - 1 - p
    own_class = {  # log of what the anchor's own class adds to the denominator, which is divided by exp s_ip
        "out": p.log(),
        "in": p.log(),
        "eps_supcon": p.log() - epsilon,
        "sincere": torch.zeros_like(p),
        "eps_infonce": torch.full_like(p, -epsilon),
        "balanced": torch.zeros_like(p),
    }
    others = torch.full_like(p, len(columns.unique()) - 1).log() if form == "balanced" else n.log()
    reach = 2 / temperature if normalize else math.inf
    floor, collapse = (torch.logaddexp(own_class[form], others - gap).mean() for gap in (reach, 0.0))
    return float(floor), float(collapse)
