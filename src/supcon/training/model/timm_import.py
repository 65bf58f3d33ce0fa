"""The only module that imports timm; all others import it from here."""

from supcon.images.augment.operators import declare_missing_operators

declare_missing_operators()  # of torchvision, which timm imports
import timm  # noqa: E402
import timm.data  # noqa: E402
import timm.layers  # noqa: E402
import timm.optim  # noqa: E402
import timm.scheduler  # noqa: E402
import timm.utils  # noqa: E402

__all__ = ["timm"]
