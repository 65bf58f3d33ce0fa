"""Print the ledger: every submission, its score here, its public score there, and their rank correlation."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from supcon.competition.client import find_client
from supcon.competition.host import Host, competition_name, find_uploaded
from supcon.competition.ledger import PUBLIC_SCORE, ledger_text, read_ledger, update_row
from supcon.errors import UserError, run_stage
from supcon.settings.parse import Parser, parse_options

EPILOG = "Rows show the run's metric out of fold, raw and cross-fitted; public is what the host says."


def main(argv: Sequence[str] | None = None) -> None:
    """Print the ledger, with `--refresh` after asking the host for the scores that were pending."""
    options = read_options(argv)
    path = options.root / "submissions" / "ledger.csv"
    if options.refresh:
        refresh(path, options.competition, options.root / "input")
    table = read_ledger(path)
    if table.empty:
        print(f"ledger: {path} has no submissions yet: ./run.sh all writes one, ./run.sh submit uploads it")
    else:
        print(ledger_text(table), flush=True)


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return this command's options."""
    options, _ = parse_options(__doc__, argv, add_options, EPILOG)
    if options.competition and not options.refresh:
        raise UserError("--competition goes with --refresh: without it the host is not asked")
    return options


def add_options(parser: Parser) -> None:
    """Add this command's options."""
    parser.add_argument("--refresh", action="store_true", help="fetch pending public scores with the host's client")
    parser.add_argument(
        "--competition", metavar="NAME", default="", help="as in its address (default: the name of the zip in input/)"
    )


def refresh(path: Path, competition: str, folder: Path) -> None:
    """Write the public scores that the host has found since into the ledger."""
    table = read_ledger(path)
    pending = table[(table["submitted"] != "") & (table[PUBLIC_SCORE] == "")]
    if pending.empty:
        print("ledger: no score is pending", flush=True)
        return
    host = Host(find_client(), competition_name(competition, folder))
    listed, scored = host.submissions(), 0
    for number, row in pending.iterrows():
        submission = find_uploaded(listed, row["message"], row["submitted"])
        if submission and submission.outcome:
            update_row(path, int(str(number)), {"submitted": submission.date, PUBLIC_SCORE: submission.outcome})
            scored += 1
    print(f"ledger: {scored} of {len(pending)} pending scores fetched from {host.competition}", flush=True)


if __name__ == "__main__":
    run_stage(main)
