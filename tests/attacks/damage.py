"""Damage each file of a finished root in each way, and run the commands: no traceback, no hang, no silent use.

    python -m tests.attacks.damage ROOT [WORD ...]

ROOT holds one finished run called smoke, made by `./run.sh all --config configs/smoke.yaml --root ROOT` (quicker with
--model.encoder test_resnet --data.image_size 16); it is copied and stays as it is. WORDs choose attacks by their names,
such as `flipped`, `decision.json` or `tune`. Every command runs in a fork of this process, which has imported
everything already.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from supcon import errors
from supcon.run.stages import load_page

Row = tuple[str, str, bool]  # the attack, what happened, whether that is right

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds of one command
STUDY = """config: configs/smoke.yaml
baseline: one
variants: {one: {}, two: {machine.workers: 0}}
rounds: [{folds: all, seeds: [0]}]
"""


def flip(path: Path) -> None:
    """Flip one bit in a random place; of pixels one in every 97th byte, so that each image has one."""
    content = bytearray(path.read_bytes())
    places = range(0, len(content), 97) if path.suffix == ".bin" else [random.randrange(len(content) or 1)]
    for place in places if content else ():
        content[place] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def fold_up(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": fold_up,
    "unreadable": lambda path: path.chmod(0),
}
SMOKE = ["--config", str(REPOSITORY / "configs/smoke.yaml")]
QUICK = {  # commands that find their work done, or read little
    "predict": ["predict", *SMOKE],
    "tune": ["tune", *SMOKE],
    "ensemble": ["ensemble", *SMOKE],
    "check": ["check", "ROOT/submissions/submission.csv", *SMOKE],
    "ledger": ["ledger"],
    "doctor": ["doctor", "--quick", *SMOKE],
}
SLOW = {
    "verify": ["doctor", "--verify", *SMOKE],
    "finetune anew": ["finetune", *SMOKE, "--fold", "0", "--force"],
    "predict anew": ["predict", *SMOKE, "--fold", "0", "--force"],
    "tune anew": ["tune", *SMOKE, "--force"],
    "ensemble anew": ["ensemble", *SMOKE, "--force"],
    "blend": ["tune", *SMOKE, "--run", "mix", "--runs", "smoke", "twin", "--force"],
    "report": ["report", *SMOKE],
    "compare": ["compare", "smoke", "twin"],
    "bundle": ["bundle", *SMOKE],
    "fewshot": ["fewshot", "--run", "smoke", "--episodes", "20", "--ways", "3"],
    "study": ["study", "ROOT/two.yaml", "--table-only"],
}
COMMANDS = QUICK | SLOW

# what a command takes from a run's files: after damage to one of these, other than to a line end, it must stop or make
# the file anew, but not go on
READS = {
    "finetune anew": ("fold0/encoder.safetensors", "pixels-000.bin"),
    "predict anew": ("fold0/classifier.safetensors", "pixels-000.bin"),
    "tune anew": ("oof.npz", "test.npz"),
    "ensemble anew": ("oof.npz", "test.npz", "smoke/decision.json"),
    "blend": ("oof.npz", "test.npz"),
    "report": ("oof.npz", "embeddings.npz", "cross_fitted.csv", "smoke/decision.json", "scores.json", "pretrain.csv"),
    "compare": ("oof.npz", "cross_fitted.csv", "smoke/decision.json"),
    "bundle": ("classifier.safetensors", "smoke/decision.json"),
    "fewshot": ("embeddings.npz",),
    "study": ("s0/fold0/oof.npz", "s0/fold0/finetune.csv"),
    "verify": ("safetensors", ".npz", "pixels-000.bin", "smoke/decision.json", "scores.json", "cross_fitted.csv"),
}


def attacks(finished: Path, words: list[str]) -> Iterator[Row]:
    """Yield what each attack does to a copy of the root `finished`; copies lie in a folder beside it, which stays."""
    folder = finished.with_name(f"{finished.name}-damage")
    root, whole = folder / "root", folder / "whole"
    if not whole.exists():
        shutil.rmtree(root, ignore_errors=True)
        prepare(finished, root)
        root.rename(whole)
    for path in [path for path in sorted(whole.rglob("*")) if path.is_file() and is_attacked(path.relative_to(whole))]:
        file = path.relative_to(whole)
        for kind, damage in DAMAGES.items():
            if kind == "unreadable" and os.geteuid() == 0:
                continue
            for command in COMMANDS:
                name = f"{file} {kind}: {command}"
                if all(word in name for word in words) and is_worth_it(str(file), command):
                    yield attack(name, whole, root, file, damage, command)


def is_attacked(path: Path) -> bool:
    """Say whether a file is attacked: those of one run, and what all runs share."""
    return path.suffix != ".lock" and not {"input", "twin", "mix", "bundle", "old"} & set(path.parts)


def is_worth_it(path: str, command: str) -> bool:
    """Say whether a command has to do with a file: slow ones run on what they read, and on a tenth of the others."""
    if "runs/two" in path:
        return command == "study"
    read = any(part in path for part in READS.get(command, ()))
    return (command in QUICK and "tensorboard" not in path) or read or random.Random(path + command).random() < 0.1


def attack(name: str, whole: Path, root: Path, file: Path, damage: Callable[[Path], object], command: str) -> Row:
    """Damage one file in a fresh copy, run one command, and judge it."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root, copy_function=os.link)
    shutil.copy2(target := root / file, other := root / "other")  # a file of its own, with its time
    other.replace(target)
    damage(target)
    damaged = target.read_bytes() if target.is_file() else None
    status, said = run(root, command)
    last = (said.strip().splitlines() or [""])[-1]
    if "Traceback" in said or status not in (0, 2):
        return name, f"status {status}: {last}", False
    if status == 2:
        return name, last, last.startswith("error: ") and said.count("error: ") == 1
    changed = (target.read_bytes() if target.is_file() else None) != damaged
    used = any(part in str(file) for part in READS.get(command, ()))
    same = damaged == (whole / file).read_bytes()  # as half of an empty file
    return name, f"went on{', the file is another now' if changed else ''}", same or changed or not used


def run(root: Path, command: str) -> tuple[int, str]:
    """Run a command in a fork; return its status, 124 where it took too long, and what it said."""
    page, *flags = COMMANDS[command]
    flags = [flag.replace("ROOT", str(root)) for flag in flags]
    with tempfile.TemporaryFile("w+") as output:
        if (child := os.fork()) == 0:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            _run_in_fork(page, [*flags, "--root", str(root)])
        status = _wait(child)
        output.seek(0)
        return status, output.read()


def _run_in_fork(page: str, argv: list[str]) -> None:
    status = 0
    try:
        is_stage = (REPOSITORY / f"src/{page}.py").exists()
        module: Any = load_page(page) if is_stage else importlib.import_module(f"supcon.commands.{page}")
        errors.run_stage(lambda _: module.main(argv))
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait(child: int) -> int:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124


def prepare(finished: Path, root: Path) -> None:
    """Copy a finished root: its run twice more, one that blends them, and a study of two; all commands work on it."""
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns("*.lock"))
    for name in ("twin", "two-one-s0", "two-two-s0"):
        shutil.copytree(root / "runs/smoke", root / "runs" / name)
    (root / "two.yaml").write_text(STUDY)
    for command in COMMANDS:
        status, said = run(root, command)
        if status:
            raise SystemExit(f"{command} fails on the undamaged root: {said}")


def main() -> None:
    """Run the attacks, and print each with what happened."""
    wrong = 0
    random.seed(0)
    for module in ("torch", "supcon.training.predictor", "supcon.report.contents", "supcon.bundle.write", "optuna"):
        importlib.import_module(module)
    for name, happened, right in attacks(Path(sys.argv[1]).resolve(), sys.argv[2:]):
        print("right" if right else "WRONG", name, "--", happened[:200], flush=True)
        wrong += not right
    raise SystemExit(f"{wrong} attacks are not answered rightly" if wrong else 0)


if __name__ == "__main__":
    main()
