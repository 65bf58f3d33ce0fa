"""Check a submission, upload it with the host's `kaggle` client, and write what becomes of it into the ledger."""

import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from supcon.competition.client import find_client, page_of
from supcon.competition.host import Host, competition_name
from supcon.competition.ledger import PUBLIC_SCORE, add_upload, read_ledger
from supcon.competition.read import read_competition
from supcon.competition.submission import verify_submission
from supcon.competition.upload import add_upload_options, check_wait, report, say_what_is_left, wait_for_score
from supcon.errors import UserError, run_stage
from supcon.settings import Request, parse
from supcon.settings.parse import Parser
from supcon.storage.files import sha256_file

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
    request = parse(__doc__, words, add_options, epilog=EPILOG, finished=True)
    if not request.options.message.strip():
        raise UserError("--message is empty: say in a few words what is new in this submission")
    check_wait(request.options.wait)
    return request


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="what to submit (default: submissions/submission.csv)")
    add_upload_options(parser, "kept by the host and in the ledger", required=True)
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


if __name__ == "__main__":
    run_stage(main)
