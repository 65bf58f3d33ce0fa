"""Check a submission file against sample_submission.csv: rows, order, header, labels or probabilities."""

from collections.abc import Sequence

from supcon.competition.read import read_competition
from supcon.competition.submission import verify_submission
from supcon.errors import run_stage
from supcon.settings import parse
from supcon.settings.parse import Parser, absolute


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    request = parse(__doc__, argv, add_options, finished=True)
    path = absolute("the file", request.options.file)
    competition = read_competition(request.root / "input", request.root / "cache", request.settings.data)
    verify_submission(path, competition)
    sample, form = competition.sample, competition.form
    held = f"{len(sample.targets)} probabilities" if sample.one_hot else form
    print(f"{path} fits {sample.path.name}: {len(sample.ids)} rows, {held} a row")


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument("file", metavar="FILE", help="the submission file to check")


if __name__ == "__main__":
    run_stage(main)
