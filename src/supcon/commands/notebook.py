"""Write a notebook that trains on the host, and what it needs there: it runs `all`, and goes on from its own output."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from supcon.competition.client import account
from supcon.competition.host import competition_name
from supcon.errors import UserError, run_stage
from supcon.settings import Request, parse
from supcon.settings.budget import budget_of, parse_budget
from supcon.settings.parse import Parser
from supcon.storage.sizes import bytes_text

LONGEST_H = 12  # hours that a notebook may run on Kaggle
EPILOG = """Example: ./run.sh notebook --config configs/default.yaml --data.image_size 224 --time_budget 8h. All
settings go with it. Once the first version has ended on the host, write the second with --goes_on: it is given the
output of the first."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    request = parse(__doc__, argv, add_options, epilog=EPILOG)
    options = request.options
    if not 0 < parse_budget(options.limit, "--limit") <= LONGEST_H * 3600:
        raise UserError(
            f"--limit {options.limit}: a notebook of the host runs up to {LONGEST_H}h: write less, such as 11h"
        )
    budget_of(request)
    refuse_what_stays_here(request)
    if request.settings.average.runs:
        command = shlex.join(["./run.sh", "bundle", "--run", request.run])
        raise UserError(f"run {request.run} trains nothing: `{command}` packs its weights")
    competition = competition_name(options.competition, request.root / "input")
    owner = account(options.owner)
    print(f"notebook: run {request.run} for {competition}, as {owner}", flush=True)

    from supcon.bundle.training import write_training

    folder = request.root / "submissions" / "notebook"
    how = {"owner": owner, "competition": competition, "gpu": not options.cpu, "goes_on": options.goes_on}
    name = write_training(request, folder, limit=options.limit, **how)
    size = bytes_text(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    create = shlex.join(["kaggle", "datasets", "create", "-p", str(folder / "code"), "--dir-mode", "zip"])
    print(f"{folder} ({size}) holds train.ipynb and, in code/, what is attached to it. Upload both:")
    print(f"  {create}    # later: version, with -m TEXT")
    print(f"  {shlex.join(['kaggle', 'kernels', 'push', '-p', str(folder)])}    # which runs {name}")


def refuse_what_stays_here(request: Request) -> None:
    """Raise `UserError` for settings that name what the host does not have, or what would leak there (law 1)."""
    settings, runs = request.settings, (request.root / "runs").resolve()
    if settings.pseudo.run:
        raise UserError(
            f"--pseudo.run {settings.pseudo.run}: that run is not on the host: train the second round here, or take"
            " a --run without it"
        )
    if settings.tune.runs:
        raise UserError(
            f"run {request.run} blends {', '.join(settings.tune.runs)}, which are not on the host: name a --run that is"
            " trained itself"
        )
    if settings.tune.storage:
        raise UserError(
            f"--tune.storage {settings.tune.storage} is not on the host: leave it out, or give --tune.storage '' where"
            " the run has it"
        )
    if Path(settings.model.weights).is_relative_to(runs):
        raise UserError(
            f"--model.weights {settings.model.weights}: this encoder learned labels that other folds are scored on:"
            " give one of another competition"
        )


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument(
        "--competition", metavar="NAME", default="", help="as in its address (default: the name of the zip in input/)"
    )
    parser.add_argument("--owner", metavar="NAME", default="", help="your account (default: whom the client knows)")
    parser.add_argument(
        "--limit", metavar="TIME", default="11h", help="end after this long; a later version goes on (default: 11h)"
    )
    parser.add_argument("--cpu", action="store_true", help="ask for no GPU")
    text = "attach the output of the earlier version, once that has ended on the host"
    parser.add_argument("--goes_on", action="store_true", help=text)


if __name__ == "__main__":
    run_stage(main)
