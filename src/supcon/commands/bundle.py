"""Pack a finished run for a notebook without network: weights, decision, inference code and predict.ipynb."""

from collections.abc import Sequence

from supcon.errors import run_stage
from supcon.run.experiment import load_experiment
from supcon.settings import parse
from supcon.storage.sizes import bytes_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    experiment = load_experiment(parse(__doc__, argv))
    experiment.stage("ensemble").require()
    print(f"bundle: run {experiment.request.run}, {experiment.settings.data.folds} folds", flush=True)

    from supcon.bundle.write import write_bundle

    folder, archive = write_bundle(experiment)
    size = bytes_text(archive.stat().st_size)
    print(f"{folder} holds predict.ipynb and all it needs; {archive.name} beside it ({size}) is ready to upload")


if __name__ == "__main__":
    run_stage(main)
