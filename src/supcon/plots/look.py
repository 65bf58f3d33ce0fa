"""What every figure shares: size, fonts, colours, and how names are written."""

from matplotlib.figure import Figure


def as_png(figure: Figure, pixels: int = 1080) -> bytes:
    """Return the figure as a PNG of that width: three times a phone's 360 CSS pixels, sharp on its screen."""
    raise NotImplementedError
