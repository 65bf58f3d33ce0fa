"""`data.store auto`: what is kept of these images on this disk. A run keeps the choice in its resolved.yaml."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from supcon.images.cache import building, cache_folder, distinct
from supcon.images.reading import Reading
from supcon.images.room import first_that_fits
from supcon.images.store import How, StoreName, how_for
from supcon.settings.settings import DataSettings

STORES: tuple[StoreName, ...] = ("pixels", "jpeg", "files")  # the faster ones first


def chosen_store(
    data: DataSettings, cache: Path, files: Sequence[Path], hashes: Sequence[str], reading: Reading
) -> DataSettings:
    """Return the settings with their store chosen, where it is `auto`.

    One that is there already, so that doctor, the split and all runs of a root have one; else the first of `STORES`
    that fits into half of the free disk, at the sizes of training and prediction.
    """
    if data.store != "auto":
        return data
    options = [replace(data, store=name) for name in STORES]
    with building(cache):  # what another process builds will be there
        ways = [_lacking(option, cache, hashes, reading) for option in options]
        order = sorted(range(len(options)), key=lambda number: ways[number][0] in ways[number][1])
        number = first_that_fits(cache, distinct(files, hashes)[1], [ways[number] for number in order])
    return options[order[number]]


def _lacking(data: DataSettings, cache: Path, hashes: Sequence[str], reading: Reading) -> tuple[How, list[How]]:
    """Return how images are made for training, and how for the sizes that the store has none of yet."""
    hows = [
        how_for(data, side, reading) for side in dict.fromkeys((data.image_size, data.test_size or data.image_size))
    ]
    return hows[0], [how for how in hows if not cache_folder(cache, hashes, how).exists()]
