"""Pack a finished run for a notebook without network: weights, decision, inference code and predict.ipynb.

With --format its models run on onnxruntime or OpenVINO in place of torch, which is faster on CPUs; what that changes in
score and speed is printed.

With --push it becomes a dataset and a notebook of yours on the host, and what that writes there is submitted.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from supcon.bundle.formats import FORMATS, PRECISIONS, chosen, require_packages
from supcon.competition.client import account, find_client
from supcon.competition.host import SUBMISSION, Host, competition_name
from supcon.competition.ledger import LOCAL_SCORE, add_upload
from supcon.competition.own_work import push_dataset, push_notebook, wait_for_notebook
from supcon.competition.upload import add_upload_options, check_wait, report, say_what_is_left, wait_for_score
from supcon.errors import UserError, run_stage
from supcon.run.done import read_result
from supcon.run.experiment import load_experiment
from supcon.settings import Request, parse
from supcon.settings.parse import Parser
from supcon.storage.files import sha256_file
from supcon.storage.sizes import bytes_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    request = parse(__doc__, argv, add_options, finished=True)
    options = request.options
    if options.push and not options.message.strip():
        raise UserError("--push wants --message TEXT: say in a few words what is new in this submission")
    check_wait(options.wait)
    if options.gpu and options.format != "torch":
        raise UserError(f"--gpu: {options.format} runs on CPUs: leave it out, or use --format torch")
    target = chosen(options.format, options.precision, request.settings.train.precision)
    require_packages(target)
    experiment = load_experiment(request)
    experiment.stage("ensemble").require()
    host = owner = None
    if options.push:  # what can be refused, before the work
        host = Host(find_client(), competition_name(options.competition, request.root / "input"))
        owner = account(options.owner)
    print(f"bundle: run {request.run}, {experiment.settings.data.folds} folds, by {target}", flush=True)

    from supcon.bundle.write import write_bundle

    folder, archive = write_bundle(experiment, target)
    size = bytes_text(archive.stat().st_size)
    print(f"{folder} holds predict.ipynb and all it needs; {archive.name} beside it ({size}) is ready to upload")
    if host is not None and owner is not None:
        push(host, owner, request, folder, archive)


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument(
        "--format", choices=FORMATS, default="torch",
        help="what runs the models; onnx (onnxruntime) and openvino are for CPUs, and need requirements-runtimes.txt"
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=None,
        help="of the encoder; onnx has no bfloat16, torch no int8 (default: by torch the run's own, else float32)"
    )  # fmt: skip
    parser.add_argument(
        "--push", action="store_true", help="upload it, let the host run it, and submit what it writes; wants -m"
    )
    add_upload_options(
        parser, "with --push: kept by the host and in the ledger", wait_s=7200, waits_for="the notebook and the score"
    )
    parser.add_argument("--owner", metavar="NAME", default="", help="your account (default: whom the client knows)")
    parser.add_argument("--gpu", action="store_true", help="ask for a GPU for the notebook")


def push(host: Host, owner: str, request: Request, bundle: Path, archive: Path) -> None:
    """Upload a bundle and its notebook, submit the notebook's output, and write what becomes of it into the ledger."""
    from supcon.bundle.push import pack

    options, end, program = request.options, time.monotonic() + request.options.wait, host.program
    dataset, notebook = pack(
        bundle, bundle.with_name("push"), request.run, owner=owner, competition=host.competition, gpu=options.gpu
    )
    name = push_dataset(program, dataset, options.message)
    print(f"bundle: dataset {name} is ready", flush=True)
    version = push_notebook(program, notebook, host.competition)
    print(f"bundle: version {version.number} of {version.page} runs", flush=True)
    if not wait_for_notebook(program, version, options.wait, lambda status: print(f"bundle: {status}", flush=True)):
        words = f"-k {version.name} -v {version.number} -f {SUBMISSION} -m TEXT"
        print(f"bundle: it still runs: once it is done, kaggle competitions submit {host.competition} {words}")
        return
    before = host.submissions()
    say_what_is_left(host)
    host.submit_notebook(version.name, version.number, options.message)
    submitted = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    print(f"bundle: version {version.number} is submitted to {host.competition}", flush=True)
    ledger = request.root / "submissions" / "ledger.csv"
    scores = read_result(request.run_folder / "scores.json")
    row = add_upload(ledger, sha256_file(archive), {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"), "run": request.run, "metric": request.settings.tune.metric,
        "raw": f"{scores['raw']['pooled']['score']:z.5f}",
        LOCAL_SCORE: f"{scores['cross_fitted']['pooled']['score']:z.5f}",
        "file": f"{version.name} {version.number}", "message": options.message, "submitted": submitted,
    })  # fmt: skip
    submission = wait_for_score(host, before, options.message, max(0.0, end - time.monotonic()))
    report(host, submission, ledger, row)


if __name__ == "__main__":
    run_stage(main)
