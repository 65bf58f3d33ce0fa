"""Fetch a competition's zip into an empty input/, or a file of weights, with the host's `kaggle` client."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from supcon.competition.client import find_client
from supcon.competition.fetch import fetch
from supcon.competition.host import Host, competition_name
from supcon.errors import UserError, run_stage
from supcon.settings.hosted import HostedFile, read_hosted
from supcon.settings.parse import Parser, parse_options

EPILOG = """Example: ./run.sh download plant-seedlings-classification. Accept the rules on its page first. A download
that broke off goes on where it stopped. The client is an extra: pip install -r requirements-kaggle.txt. What --weights
fetches is used by --model.weights with the same name, which fetches it where it is not there yet."""


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch what is named."""
    options, _ = parse_options(__doc__, argv, add_options, EPILOG)
    if not options.competition and not options.weights:
        raise UserError("nothing is named: name a competition, or a file with --weights kaggle:OWNER/DATASET/FILE")
    weights = read_hosted(options.weights) if options.weights else None
    if options.competition:
        download_competition(options.competition, options.root / "input")
    if weights:
        download_weights(weights, options.root)


def download_competition(given: str, folder: Path) -> None:
    """Fetch a competition's zip into `folder`."""
    competition = competition_name(given, folder)
    with tqdm(desc=competition, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        path = Host(find_client(), competition).download(folder, lambda there: bar.update(there - bar.n))
    print(f"download: {path} ({path.stat().st_size:,} bytes)", flush=True)


def download_weights(hosted: HostedFile, root: Path) -> None:
    """Fetch a file of weights, if it is not there yet."""
    there = hosted.below(root).is_file()
    path = fetch(hosted, root)
    again = ", there already: delete it to fetch it anew" if there else ""
    print(f"download: {path} ({path.stat().st_size:,} bytes{again})", flush=True)


def add_options(parser: Parser) -> None:
    """Add this command's options."""
    parser.add_argument("competition", metavar="COMPETITION", nargs="?", help="the last part of its address")
    text = "kaggle:OWNER/DATASET/FILE: a file of weights in a dataset, kept below cache/"
    parser.add_argument("--weights", metavar="NAME", default="", help=text)


if __name__ == "__main__":
    run_stage(main)
