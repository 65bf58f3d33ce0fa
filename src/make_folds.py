"""Split the training rows into folds: folds/folds.csv. An empty input/ gets the built-in competition first."""

from collections.abc import Sequence

import numpy as np

from supcon.competition.builtin import write_builtin
from supcon.competition.copies import find_copies
from supcon.competition.folds import LEFT_OUT, TRAIN_ONLY, make_folds, read_folds, write_folds
from supcon.competition.read import read_competition
from supcon.config import parse
from supcon.config.builtin_mark import is_empty
from supcon.errors import run_stage
from supcon.images.cache import open_cache, require_readable
from supcon.images.duplicates import near_duplicates
from supcon.images.hashes import content_hashes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    call = parse(__doc__, argv)
    settings = call.settings.data
    folder, path = call.root / "input", call.root / "folds" / "folds.csv"
    if is_empty(folder):
        write_builtin(folder)
        print(f"{folder} was empty: it now holds the built-in competition (handwritten digits)", flush=True)

    competition = read_competition(folder, call.root / "cache", settings)
    if path.exists():
        read_folds(path, competition.train, settings)
        kept = f" ({path} stays: every run of this root stands on it)" if call.force else ""
        print(f"folds: done already{kept}", flush=True)
        return
    files = competition.files
    hashes = content_hashes(call.root / "cache", files)
    images = open_cache(call.root / "cache", files, hashes, settings.image_size, settings.fit)
    if settings.bad_images == "error":
        require_readable(images, files)
    bad = np.array(sorted(images.problems), dtype=np.int64)
    copies = find_copies(competition, near_duplicates(images, np.setdiff1d(np.arange(len(images)), bad).tolist()))
    table = make_folds(competition.train, copies.within_train, bad[bad < len(competition.train)], settings)
    write_folds(path, table)
    for line in copies.text(competition):
        print(f"folds: {line}")
    sizes = ", ".join(str(size) for size in table["fold"][table["fold"] >= 0].value_counts(sort=False).sort_index())
    alone, left_out = (int((table["fold"] == kind).sum()) for kind in (TRAIN_ONLY, LEFT_OUT))
    print(
        f"folds: {len(table)} training rows of {len(competition.classes)} classes in {settings.folds} folds"
        f" of {sizes}{f', {alone} only trained on' if alone else ''}{f', {left_out} left out' if left_out else ''};"
        f" {len(competition.test)} test rows"
    )


if __name__ == "__main__":
    run_stage(main)
