"""A command ends in one line, whatever ends it: an error, a limit of the machine, a signal, or who reads its output."""

import errno
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from supcon.errors import UserError, printable, told
from tests.conftest import REPOSITORY, TINY, write_competition

PAGES = {
    "a stage": ["src/predict.py"],
    "a tool": ["-m", "supcon.commands.ledger"],
    "jobs": ["-m", "supcon.cluster.folds"],
}
SLOW_PACKAGE = """
import time
print("loading", flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:  # as some packages do around what they import
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("page", PAGES)
def test_a_signal_is_heard_while_packages_load_even_by_one_that_swallows_exceptions(
    page: str, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text(SLOW_PACKAGE)
    process = subprocess.Popen(
        [sys.executable, *PAGES[page]],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert said == f"{how}: the same command, without --force, goes on from what is finished\n"


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(1)\nraise SystemExit(7)")
    process = subprocess.Popen(
        ["nohup", sys.executable, "src/predict.py"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert process.returncode == 7


def test_a_signal_to_the_script_alone_ends_a_line_of_stages(tmp_path: Path) -> None:
    python = tmp_path / "python"  # a doctor that is done at once, then a stage that takes long
    python.write_text(
        '#!/bin/sh\ncase "$*" in *doctor*) exit 0 ;; *run.stages*) echo "once make_folds" ;; -c*) echo 1 ;;\n'
        "*) echo started; exec sleep 60 ;; esac\n"
    )
    python.chmod(0o755)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process = subprocess.Popen(
            [str(REPOSITORY / "run.sh"), "all"],
            env={**os.environ, "SUPCON_PYTHON": str(python)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        process.communicate(timeout=20)  # its output ends with the last process that has it
        assert process.returncode == 128 + number


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("a line\nbreak"), "a line break"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files: raise the limit"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "runs/a cannot be read or written: Perm"),
        (RuntimeError("can't start new thread"), "no more processes or threads can be started"),
        (MemoryError(), "not enough memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), "not enough memory.* 20.00 MiB"),
        (caused(AssertionError("Should not reach."), OSError(errno.ENOSPC, "No space left")), "the disk is full"),
        (BrokenProcessPool("terminated abruptly"), "a worker process was killed"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a loader process was killed"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a loader process was killed"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is"), "--shm-size"),
    ],
)
def test_limits_of_the_machine_are_told_in_a_line(error: Exception, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        raise told(error) or AssertionError
    assert "\n" not in str(raised.value)


def test_a_library_that_fails_without_a_word_does_so_for_want_of_memory_where_that_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = SystemError("error return without exception set")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    assert str(told(error)).startswith("not enough memory")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert told(error) is None


def test_a_defect_keeps_its_traceback() -> None:
    assert told(KeyError("name")) is None
    assert told(RuntimeError("shapes do not fit")) is None
    assert told(FileNotFoundError(errno.ENOENT, "No such file")) is None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_competition(tmp_path / "input", ["red"] * 6 + ["\x1b[31mblue\x1b[0m"] * 6 + ["\x9b2Jtea\u202e"] * 6)
    return tmp_path


def doctor(root: Path, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "supcon.commands.doctor", "--quick", "--root", str(root), *TINY]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(command, text=True, check=False, **{"env": environment, "capture_output": True, **options})  # type: ignore[call-overload]


def test_control_characters_in_names_do_not_reach_the_terminal(root: Path) -> None:
    result = doctor(root)
    assert result.returncode == 0, result.stderr
    assert r"\x1b[31mblue\x1b[0m 6" in result.stdout
    assert r"\x9b2Jtea\u202e 6" in result.stdout
    assert printable(result.stdout) == result.stdout
    (root / "input" / "train" / "a003.png").write_bytes(b"\x1b[31m")
    (root / "input" / "train" / "a003.png").rename(root / "input" / "train" / "a003\x1b]0;title\x07.png")
    result = doctor(root)
    assert result.returncode == 2
    assert printable(result.stderr) == result.stderr


def test_names_that_the_output_cannot_encode_are_escaped(root: Path) -> None:
    write_competition(root / "other", ["crème brûlée"] * 6 + ["red"] * 6)
    (root / "input").rename(root / "before")
    (root / "other").rename(root / "input")
    result = doctor(root, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    assert r"cr\xe8me br\xfbl\xe9e 6" in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_output_that_cannot_be_written_is_one_line_and_output_that_nobody_reads_none(root: Path) -> None:
    with open("/dev/full", "w") as full:
        result = doctor(root, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr == "error: what this command prints cannot be written: No space left on device\n"
    read, write = os.pipe()
    os.close(read)
    result = doctor(root, capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert result.returncode == 128 + signal.SIGPIPE
    assert result.stderr == ""


MAC = """
import multiprocessing, os
multiprocessing.set_start_method("spawn")
known = os.sysconf
def sysconf(name):
    if name == "SC_AVPHYS_PAGES":
        raise ValueError("unrecognized configuration name")
    return known(name)
os.sysconf = sysconf
for name in ("pwritev", "sched_getaffinity"):
    delattr(os, name)
"""


def test_doctor_does_on_a_mac_what_it_does_on_linux(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mac")
    (folder / "sitecustomize.py").write_text(MAC)
    write_competition(root / "more", ["red"] * 40 + ["blue"] * 40)  # so many that processes decode them
    (root / "input").rename(root / "few")
    (root / "more").rename(root / "input")
    said = []
    for path in (f"{folder}:{REPOSITORY / 'src'}", str(REPOSITORY / "src")):
        result = subprocess.run(
            [sys.executable, "-m", "supcon.commands.doctor", "--quick", "--root", str(root), *TINY],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path, "SUPCON_CORES": "2"},
        )
        assert result.returncode == 0, result.stderr
        said.append(
            [line for line in result.stdout.splitlines() if not line.startswith(("disk", "memory", "images: "))]
        )
        (root / "cache").rename(root / f"cache{len(said)}")
        assert ("in all)" in result.stdout) == (len(said) == 1)
    assert said[0] == said[1]
