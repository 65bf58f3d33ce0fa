"""A stand-in for the program `kaggle` on PATH: it notes its arguments and plays the answers it was given."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """#!{python} -SE
import json, pathlib, sys, zipfile
place = pathlib.Path({place!r})
with (place / "calls.jsonl").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
path = place / (sys.argv[2] + ".json")
answers = json.loads(path.read_text()) if path.exists() else [dict(out="", err="unrecognized arguments", status=2)]
answer = answers[0]
if len(answers) > 1:
    path.write_text(json.dumps(answers[1:]))
if "zip" in answer:
    options = dict(word.split("=", 1) for word in sys.argv if "=" in word)
    name = pathlib.Path(options.get("--file", sys.argv[3] + ".zip")).name
    (pathlib.Path(options["--path"]) / name).write_bytes(bytes.fromhex(answer["zip"]))
sys.stdout.buffer.write(answer["out"].encode())
sys.stderr.buffer.write(answer["err"].encode())
sys.exit(answer["status"])
"""
HEADER = "ref,fileName,date,description,status,publicScore,privateScore"


@dataclass(frozen=True)
class FakeClient:
    """Plays and remembers."""

    place: Path

    def plays(self, command: str, *answers: "tuple[str, str, int] | str | bytes") -> None:
        """Answer COMMAND with these, one a call, the last for good: stdout, or all three, or a file."""
        whole: list[dict[str, object]] = []
        for answer in answers:
            if isinstance(answer, bytes):
                whole.append({"out": "", "err": "", "status": 0, "zip": answer.hex()})
            else:
                out, err, status = (answer, "", 0) if isinstance(answer, str) else answer
                whole.append({"out": out, "err": err, "status": status})
        (self.place / f"{command}.json").write_text(json.dumps(whole))

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call."""
        path = self.place / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def calls_of(self, command: str) -> list[list[str]]:
        """The arguments of the calls of one command."""
        return [call for call in self.calls if call[:2] == ["competitions", command]]


def install_fake(place: Path) -> FakeClient:
    """Write the program into a folder `bin` of `place`."""
    (place / "bin").mkdir(parents=True)
    program = place / "bin" / "kaggle"
    program.write_text(PROGRAM.format(python=os.path.realpath(sys.executable), place=str(place)))
    program.chmod(0o755)
    return FakeClient(place)
