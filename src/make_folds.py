"""Split the training rows into folds: folds/folds.csv. An empty input/ gets the built-in competition first."""

from collections.abc import Sequence

from supcon.competition.builtin import write_builtin
from supcon.competition.folds import make_folds, read_folds, write_folds
from supcon.competition.read import read_competition
from supcon.config import parse
from supcon.config.builtin_mark import is_empty
from supcon.errors import run_stage
from supcon.images.hashes import content_hashes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    call = parse(__doc__, argv)
    settings = call.settings.data
    folder, path = call.root / "input", call.root / "folds" / "folds.csv"
    if is_empty(folder):
        write_builtin(folder)
        print(f"{folder} was empty: it now holds the built-in competition (handwritten digits)", flush=True)

    competition = read_competition(folder, settings)
    if path.exists():
        read_folds(path, competition, settings)
        kept = f" ({path} stays: every run of this root stands on it)" if call.force else ""
        print(f"folds: done already{kept}", flush=True)
        return
    hashes = content_hashes(call.root / "cache", folder, list(competition.train["path"]))
    table = make_folds(competition, hashes, settings)
    write_folds(path, table)
    sizes = ", ".join(str(size) for size in table["fold"].value_counts(sort=False).sort_index())
    print(
        f"folds: {len(table)} training rows of {len(competition.classes)} classes in {settings.folds} folds"
        f" of {sizes}; {len(competition.test)} test rows"
    )


if __name__ == "__main__":
    run_stage(main)
