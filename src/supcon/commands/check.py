"""Check a submission file against sample_submission.csv: rows, order, header, labels or probabilities."""

from collections.abc import Sequence

from supcon.competition.read import read_competition
from supcon.competition.submission import verify_submission
from supcon.errors import run_stage
from supcon.settings import parse


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    call = parse(__doc__ or "", argv, file_help="the submission file to check")
    assert call.file is not None
    competition = read_competition(call.root / "input", call.root / "cache", call.settings.data)
    verify_submission(call.file, competition)
    form = f"{len(competition.sample.targets)} probabilities a row" if competition.sample.one_hot else "a label a row"
    print(f"{call.file} fits {competition.sample.path.name}: {len(competition.test)} rows, {form}")


if __name__ == "__main__":
    run_stage(main)
