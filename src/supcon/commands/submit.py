"""Check a submission, upload it with the host's `kaggle` client, and write what becomes of it into the ledger."""

import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from supcon.competition.host import Host, Submission, competition_name, find_client, find_new, page_of
from supcon.competition.ledger import PUBLIC_SCORE, add_upload, read_ledger, update_row
from supcon.competition.read import read_competition
from supcon.competition.submission import verify_submission
from supcon.errors import UserError, raised_signals, run_stage
from supcon.settings import Request, parse
from supcon.settings.parse import Parser
from supcon.storage.files import sha256_file

PAUSE_S = 5.0  # between two looks at the host's list
EPILOG = """Example: ./run.sh submit -m 'five folds, joint loss'. The client is an extra: pip install -r
requirements-kaggle.txt, then `kaggle auth login`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Submit one file."""
    request = read_request(argv)
    options = request.options
    folder, ledger = request.root / "input", request.root / "submissions" / "ledger.csv"
    path = Path(options.file).expanduser() if options.file else ledger.with_name("submission.csv")

    competition = read_competition(folder, request.root / "cache", request.settings.data)
    if competition.hides_test and not options.file:
        raise UserError(
            "the host hides the test images, so there is no submission to send: ./run.sh bundle packs the notebook that"
            " writes it there"
        )
    verify_submission(path, competition)
    if not options.again:
        refuse_repeat(path, ledger)
    host = Host(find_client(), competition_name(options.competition, folder))
    before = host.submissions()
    say_what_is_left(host)
    row = upload(host, path, options.message, ledger)
    submission = wait_for_score(host, before, options.message, options.wait)
    report(host, submission, ledger, row)


def read_request(argv: Sequence[str] | None) -> Request:
    """Return what is asked for."""
    words = join_message(sys.argv[1:] if argv is None else argv)
    request = parse(__doc__, words, add_options, epilog=EPILOG)
    if not request.options.message.strip():
        raise UserError("--message is empty: say in a few words what is new in this submission")
    if not 0 <= request.options.wait <= 86_400:
        raise UserError(f"--wait {request.options.wait:g}: it takes 0 to 86400 seconds")
    return request


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="what to submit (default: submissions/submission.csv)")
    parser.add_argument("-m", "--message", metavar="TEXT", required=True, help="kept by the host and in the ledger")
    parser.add_argument(
        "--competition", metavar="NAME", default="", help="as in its address (default: the name of the zip in input/)"
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=300.0, help="how long to wait for the score (default: 300)"
    )
    parser.add_argument("--again", action="store_true", help="upload a file that was uploaded before")


def join_message(argv: Sequence[str]) -> list[str]:
    """Join the message with its option, so that a dash at its beginning makes no option of it."""
    words, joined = list(argv), []
    while words:
        word = words.pop(0)
        joined.append(f"--message={words.pop(0)}" if word in ("-m", "--message") and words else word)
    return joined


def refuse_repeat(path: Path, ledger: Path) -> None:
    """Raise `UserError` where these very bytes were uploaded before: the host would say the same score again."""
    table = read_ledger(ledger)
    same = table[(table["sha256"] == sha256_file(path)) & (table["submitted"] != "")]
    if len(same):
        last = same.iloc[-1]
        known = last[PUBLIC_SCORE]
        score = f"public score {known}" if known else "./run.sh ledger --refresh fetches its score"
        raise UserError(f"{path} was uploaded on {last['submitted']} UTC ({score}): --again uploads it once more")


def say_what_is_left(host: Host) -> None:
    """Print today's remaining submissions where the client tells; `UserError` when there are none."""
    left = host.left_today()
    if left == 0:
        page = f"{page_of(host.competition)}/submissions"
        raise UserError(f"no submissions to {host.competition} are left today ({page}): try again after midnight UTC")
    if left is not None:
        print(f"submit: {left} submissions to {host.competition} are left today, this one included", flush=True)


def upload(host: Host, path: Path, message: str, ledger: Path) -> int:
    """Upload a file; return the number of its row in the ledger."""
    sha256 = sha256_file(path)
    submitted = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    try:
        host.upload(path, message)
    except KeyboardInterrupt:
        raise UserError(f"interrupted: look at {page_of(host.competition)}/submissions whether it arrived") from None
    print(f"submit: {path} is uploaded to {host.competition}", flush=True)
    cells = {"time": time.strftime("%Y-%m-%d %H:%M:%S"), "file": path.name, "sha256": sha256}
    kept = re.sub(r"\r\n?", "\n", message)  # pandas reads a bare carriage return as the end of a row
    return add_upload(ledger, sha256, {**cells, "message": kept, "submitted": submitted})


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


if __name__ == "__main__":
    run_stage(main)
