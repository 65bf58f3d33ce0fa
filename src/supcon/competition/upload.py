"""An upload on its way to its score: what is left today, the wait, and the row in the ledger."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from supcon.competition.client import page_of
from supcon.competition.host import Host, Submission, find_new
from supcon.competition.ledger import PUBLIC_SCORE, read_ledger, update_row
from supcon.errors import UserError, raised_signals
from supcon.settings.parse import Parser

PAUSE_S = 5.0  # between two looks at the host's list


def add_upload_options(
    parser: Parser, message: str, *, required: bool = False, wait_s: float = 300, waits_for: str = "the score"
) -> None:
    """Add the options of an upload to those of a command, `message` being the help of --message."""
    parser.add_argument("-m", "--message", metavar="TEXT", required=required, default="", help=message)
    parser.add_argument(
        "--competition", metavar="NAME", default="", help="as in its address (default: the name of the zip in input/)"
    )
    text = f"how long to wait for {waits_for} (default: {wait_s:g})"
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=wait_s, help=text)


def check_wait(seconds: float) -> None:
    """Raise `UserError` for a --wait that is none."""
    if not 0 <= seconds <= 86_400:
        raise UserError(f"--wait {seconds:g}: it takes 0 to 86400 seconds")


def say_what_is_left(host: Host) -> None:
    """Print today's remaining submissions where the client tells; `UserError` when there are none."""
    left = host.left_today()
    if left == 0:
        page = f"{page_of(host.competition)}/submissions"
        raise UserError(f"no submissions to {host.competition} are left today ({page}): try again after midnight UTC")
    if left is not None:
        print(f"submit: {left} submissions to {host.competition} are left today, this one included", flush=True)


@raised_signals()
def wait_for_score(host: Host, before: Sequence[Submission], message: str, limit_s: float) -> Submission | None:
    """Return the new submission once the host has judged it, or as it stands after `limit_s` seconds or Ctrl-C."""
    end = time.monotonic() + limit_s
    submission = None
    with tqdm(total=round(limit_s), desc="waiting for the score", unit="s", leave=False, disable=None) as bar:
        try:
            while True:
                try:
                    submission = find_new(host.submissions(), before, message) or submission
                except UserError as error:  # the file is there already: a broken line now loses nothing
                    tqdm.write(f"submit: {error}", file=sys.stderr)
                left = end - time.monotonic()
                if (submission and submission.status != "pending") or left <= 0:
                    return submission
                time.sleep(min(PAUSE_S, left))
                bar.update(min(round(PAUSE_S), round(limit_s) - bar.n))
        except KeyboardInterrupt:
            return submission


def report(host: Host, submission: Submission | None, ledger: Path, row: int) -> None:
    """Write the outcome into the ledger and say it; `UserError` when the host could not score the file."""
    if submission:
        update_row(ledger, row, {"submitted": submission.date, PUBLIC_SCORE: submission.outcome})
    page = f"{page_of(host.competition)}/submissions"
    if submission is None or not submission.outcome:
        seen = "the score is pending" if submission else "the host does not list it yet"
        later = f"./run.sh ledger --refresh --competition {host.competition}"
        print(f"submit: {seen}: {later} fetches it later, {page} shows it", flush=True)
    elif submission.status == "error":
        raise UserError(f"the host could not score it: {page} says why (the ledger keeps the upload)")
    else:
        local = read_ledger(ledger).iloc[row]["cross_fitted"]
        print(
            f"submit: public score {submission.outcome}" + (f" (cross-fitted here {local})" if local else ""),
            flush=True,
        )
