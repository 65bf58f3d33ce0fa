"""Tasks on a Ray of this machine."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supcon.cluster import start
from supcon.cluster.on_ray import OnRay
from supcon.cluster.start import open_cluster
from supcon.cluster.tasks import Task
from supcon.errors import UserError
from supcon.settings import parse
from supcon.storage.processes import available_cores
from tests.cluster import work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="requirements-cluster.txt is not installed"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    root = str(tmp_path_factory.mktemp("root"))
    with open_cluster(
        parse("", ["--root", root, "--jobs=2", f"--task.cpus={available_cores()}"], tasks=True)
    ) as cluster:
        yield cluster


def test_tasks_are_at_work_at_once_in_processes_that_have_their_cores(
    cluster: OnRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [Task(name, work.told, (tmp_path, name, 2), tmp_path / f"{name}.txt") for name in ("a", "b", "c")]
    outcomes = {outcome.task.name: outcome for outcome in cluster.run(tasks)}
    assert not any(outcome.failure for outcome in outcomes.values())
    values = [outcome.value for outcome in outcomes.values()]
    assert (
        {value["SUPCON_CORES"] for value in values}
        == {value["OMP_NUM_THREADS"] for value in values}
        == {str(available_cores())}
    )
    assert len({value["process"] for value in values}) > 1
    begin = outcomes["a"]
    for name in "abc":
        log = (tmp_path / f"{name}.txt").read_text().splitlines()
        assert log == [
            f"{name}: on {begin.machine}, process {outcomes[name].value['process']}",
            *("on stdout", "on stderr", "of another program"),
        ]
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(":")[0] for line in said) == ["a", "a", "b", "b", "c", "c"]
    assert said[-1].endswith(": done, 0 s")


def test_it_listens_on_this_machine_alone(cluster: OnRay) -> None:
    found = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("ss, which lists what listens, is not here")
    lines = [line.split() for line in found.stdout.splitlines() if any(name in line for name in ("raylet", "gcs_serv"))]
    assert lines
    assert all("127.0.0.1" in words[3] for words in lines), lines


def test_an_error_of_the_user_ends_its_task_once_and_the_others_go_on(
    cluster: OnRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        Task("bad", work.fail, ("the loss is nan: lower pretrain.lr", tmp_path / "count"), tmp_path / "bad.txt"),
        Task("worse", work.break_down, (), tmp_path / "worse.txt"),
        Task("good", work.add, ([1], 2), tmp_path / "good.txt", str),
    ]
    outcomes = {outcome.task.name: outcome for outcome in cluster.run(tasks)}
    assert outcomes["good"].value == 3
    assert outcomes["bad"].failure == "the loss is nan: lower pretrain.lr"
    assert (tmp_path / "count").read_text() == "x"
    assert outcomes["worse"].failure.startswith("ZeroDivisionError: by nothing")
    assert "Traceback" in (tmp_path / "worse.txt").read_text()
    said = capsys.readouterr()
    assert ": the loss is nan: lower pretrain.lr\n" in said.out
    assert "good: 3, 0 s" in said.out
    assert said.err == ""


def test_a_process_that_dies_is_begun_anew_and_gives_up_after_four(
    cluster: OnRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        Task("twice", work.die, (tmp_path / "twice", 2), tmp_path / "twice.txt", str),
        Task("always", work.die, (tmp_path / "always", 99), tmp_path / "always.txt"),
    ]
    outcomes = {outcome.task.name: outcome for outcome in cluster.run(tasks)}
    assert outcomes["twice"].value == 3
    log = tmp_path / "always.txt"
    assert outcomes["always"].failure == f"its process was ended 4 times, perhaps for want of memory: see {log}"
    said = capsys.readouterr()
    assert said.out.count("(ended before, it goes on from its last epoch)") in (4, 5)  # two looks may see one line each
    assert "raylet" not in said.out + said.err


def test_a_folder_that_a_machine_does_not_see_is_named(cluster: OnRay, tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    (outcome,) = cluster.run([Task("a", work.add, ([1], 2), tmp_path / "log.txt")])
    assert "cannot write" in outcome.failure
    assert "remove it, or let all machines see its folder" in outcome.failure


def test_calls_share_what_is_handed_over_once_and_raise_what_was_raised(cluster: OnRay) -> None:
    call = cluster.sharing(work.add, [1, 2])
    assert [answer.result() for answer in [call(number) for number in range(4)]] == [3, 4, 5, 6]
    with pytest.raises(UserError, match=r"^-1 is below 0$"):
        call(-1).result()


def test_what_a_single_task_prints_is_printed(
    cluster: OnRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "process" in cluster.call(Task("a", work.told, (tmp_path, "a"), tmp_path / "a.txt"))
    assert capsys.readouterr().out == "on stdout\non stderr\nof another program\n"


def test_a_ray_that_cannot_start_ends_in_a_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(Path(tempfile.gettempdir()).glob("supcon-ray-*"))
    code = (
        "import sys, ray\n"
        "def fails(**_): raise Exception('The current node timed out')\n"
        "ray.init = fails\n"
        "from supcon.cluster.start import open_cluster\n"
        "from supcon.errors import run_stage\n"
        "from supcon.settings import parse\n"
        "run_stage(lambda _: open_cluster(parse('', sys.argv[1:], tasks=True)).__enter__())"
    )
    words = [sys.executable, "-c", code, "--root", str(tmp_path), "--jobs", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Ray cannot be started here: Exception: The current node timed out (ulimit -a")
    assert set(Path(tempfile.gettempdir()).glob("supcon-ray-*")) <= before


def test_what_killed_commands_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, others = Path(f"/tmp/supcon-ray-{ended.pid}-x"), Path(f"/tmp/supcon-ray-{os.getppid()}-x")
    for folder in (left, others):
        folder.mkdir(exist_ok=True)
    try:
        with start._folder() as own:
            assert Path(own).is_dir()
            assert not left.exists()
            assert others.exists()
    finally:
        others.rmdir()
