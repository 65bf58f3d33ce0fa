"""Fetch a competition's zip into an empty input/ with the host's `kaggle` client."""

from collections.abc import Sequence

from tqdm import tqdm

from supcon.competition.host import Host, competition_name, find_client
from supcon.errors import run_stage
from supcon.settings.parse import Parser, parse_options

EPILOG = """Example: ./run.sh download plant-seedlings-classification. Accept the rules on its page first. A download
that broke off goes on where it stopped. The client is an extra: pip install -r requirements-kaggle.txt."""


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch one competition."""
    options, _ = parse_options(__doc__, argv, add_options, EPILOG)
    folder = options.root / "input"
    competition = competition_name(options.competition, folder)
    with tqdm(desc=competition, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        path = Host(find_client(), competition).download(folder, lambda there: bar.update(there - bar.n))
    print(f"download: {path} ({path.stat().st_size:,} bytes)", flush=True)


def add_options(parser: Parser) -> None:
    """Add this command's options."""
    parser.add_argument("competition", metavar="COMPETITION", help="the last part of its address")


if __name__ == "__main__":
    run_stage(main)
