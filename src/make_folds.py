"""Split the training rows into folds: folds/folds.csv. An empty input/ gets a built-in competition first."""

from supcon.environment import hand_over

hand_over(__name__)


from supcon.competition.builtin import fill_empty
from supcon.competition.folds import LEFT_OUT, TRAIN_ONLY, check_copies, make_folds, read_folds, write_folds
from supcon.competition.survey import survey
from supcon.errors import one_line, run_stage
from supcon.settings import Request, command_line


def run(request: Request) -> None:
    """Run the stage."""
    settings = request.settings.data
    folder, path = request.root / "input", request.root / "folds" / "folds.csv"
    fill_empty(folder, settings.builtin)
    overview = survey(request)
    competition = overview.competition
    if path.exists():
        check_copies(path, read_folds(path, competition.train, settings), overview.copies.within_train)
        kept = f" ({path} stays: every run of this root stands on it)" if request.force else ""
        print(f"folds: done already{kept}", flush=True)
        return
    table = make_folds(competition.train, overview.copies.within_train, overview.unreadable_training_rows, settings)
    write_folds(path, table)
    for line in [*competition.notes, *overview.copies.text(competition)]:
        print(f"folds: {one_line(line)}")
    sizes = ", ".join(str(size) for size in table["fold"][table["fold"] >= 0].value_counts(sort=False).sort_index())
    alone, left_out = (int((table["fold"] == kind).sum()) for kind in (TRAIN_ONLY, LEFT_OUT))
    print(
        f"folds: {len(table)} training rows of {len(competition.classes)} classes in {settings.folds} folds of {sizes}"
        f"{f', {alone} only trained on' if alone else ''}{f', {left_out} left out' if left_out else ''};"
        f" {len(competition.test)} test rows{' (the host hides their images)' * competition.hides_test}"
    )


main = command_line(run, __doc__)

if __name__ == "__main__":
    run_stage(main)
