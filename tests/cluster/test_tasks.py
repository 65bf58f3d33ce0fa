"""Tasks in this process, what they are told as, and what each may have of a machine: all without Ray."""

import builtins
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supcon.cluster import follow
from supcon.cluster.follow import Board, LogReader
from supcon.cluster.start import _share, open_cluster, open_runner
from supcon.cluster.tasks import InTurn, Task, require_all
from supcon.errors import UserError
from supcon.settings import Settings, parse
from supcon.settings.tasks import TaskOptions
from supcon.storage import lock
from tests.cluster import work


def tasks_of(folder: Path) -> list[Task]:
    return [
        Task("fold 0", work.fail, ("the loss is nan: lower pretrain.lr", folder / "0"), folder / "0.txt"),
        Task("fold 1", work.add, ([1, 2], 3), folder / "1.txt", str),
        Task("fold 2", work.fail, ("the loss is nan: lower pretrain.lr", folder / "2"), folder / "2.txt"),
        Task("fold 3", work.break_down, (), folder / "3.txt"),
    ]


def test_one_after_the_other_what_fails_leaves_the_others_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_runner(parse("", ["--root", str(tmp_path)])) as workers:
        outcomes = list(workers.run(tasks_of(tmp_path)))
    assert [outcome.value for outcome in outcomes] == [None, 6, None, None]
    said = capsys.readouterr()
    assert "fold 0: 1 of 4\n" in said.out
    assert "fold 1: 6, 0 s; 2 left, about 0 s\n" in said.out
    assert "fold 2: stopped, 0 s; 1 left, about 0 s: the loss is nan: lower pretrain.lr\n" in said.out
    assert "ZeroDivisionError" in said.err  # a defect is told whole
    with pytest.raises(UserError) as told:
        require_all(outcomes)
    assert str(told.value).startswith(
        "fold 0, fold 2: the loss is nan: lower pretrain.lr; fold 3: ZeroDivisionError: by nothing (the same command"
    )


def test_a_task_that_failed_holds_no_lock_and_takes_none_away(tmp_path: Path) -> None:
    with lock.alone(tmp_path / "own.lock", "it"):
        list(InTurn().run(tasks_of(tmp_path)[:1]))
        assert tmp_path / "own.lock" in lock._held
        assert tmp_path / "0.lock" not in lock._held


def test_what_a_single_task_returns_or_raises_is_returned_or_raised(tmp_path: Path) -> None:
    first, second, *_ = tasks_of(tmp_path)
    assert InTurn().call(second) == 6
    with pytest.raises(UserError, match="the loss is nan"):
        InTurn().call(first)


def test_a_log_is_read_from_where_it_was_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("of an earlier command\n")
    log = LogReader(path)
    assert log.lines() == []
    with path.open("a") as file:
        file.write("one\ntwo\nthr")
    assert log.lines() == ["one", "two"]
    with path.open("a") as file:
        file.write("ee\n")
    assert log.lines() == ["three"]
    assert LogReader(tmp_path / "none").lines() == []


def test_the_board_tells_who_began_where_and_again_and_the_epochs_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(follow, "time", SimpleNamespace(time=lambda: clock[0]))
    logs = {name: tmp_path / f"{name}.txt" for name in ("fold 0", "fold 1", "fold 2")}
    with Board(list(logs.items())) as board:
        logs["fold 0"].write_text("fold 0: on host-a, process 7\npretrain fold 0  epoch 1/3  loss 2\n")
        logs["fold 1"].write_text("fold 1: on host-b, process 8\npretrain fold 1  epoch 2/3  loss 2\n")
        board.look()
        assert capsys.readouterr().out == "fold 0: on host-a, process 7\nfold 1: on host-b, process 8\n"
        clock[0] += 61
        board.look()
        assert capsys.readouterr().out == "at work: fold 0 pretrain 1/3; fold 1 pretrain 2/3\n"
        board.look()
        assert capsys.readouterr().out == ""
        with logs["fold 0"].open("a") as file:
            file.write("fold 0: on host-b, process 9\n")
        board.look()
        assert capsys.readouterr().out == (
            "fold 0: on host-b, process 9 (ended before, it goes on from its last epoch)\n"
        )
        board.end("fold 1", "done", 240)
        assert capsys.readouterr().out == "fold 1: done, 240 s; 2 left, about 4 min\n"  # two at once


def options(**given: Any) -> TaskOptions:
    return replace(TaskOptions(), **given)


@pytest.mark.parametrize(
    ("asked", "nproc", "nodes", "share"),
    [
        (options(jobs=2), 1, [{"CPU": 4}], (2, 0)),
        (options(jobs=4), 1, [{"CPU": 4, "GPU": 4}], (1, 1)),
        (options(jobs=2), 1, [{"CPU": 16, "GPU": 8}], (8, 1)),  # never more GPUs than it can use
        (options(jobs=4), 1, [{"CPU": 8, "GPU": 3}], (2, 0.5)),
        (options(jobs=4, gpus=0.25), 1, [{"CPU": 8, "GPU": 3}], (2, 0.25)),
        (options(jobs=2), 2, [{"CPU": 8, "GPU": 4}], (4, 2)),
        (options(cluster="auto"), 1, [{"CPU": 8}, {"CPU": 64}], (1, 0)),
        (options(cluster="auto"), 1, [{"CPU": 8}, {"CPU": 64, "GPU": 8}, {"CPU": 16, "GPU": 1}], (8, 1)),
        (options(cluster="auto", gpus=0.5), 1, [{"CPU": 64, "GPU": 8}], (4, 0.5)),
        (options(cluster="auto", cpus=3, gpus=2), 1, [{"CPU": 64, "GPU": 8}], (3, 2)),
        (options(cluster="auto"), 2, [{"CPU": 8}], (2, 0)),
    ],
)
def test_a_task_has_its_share_of_cores_and_gpus(
    asked: TaskOptions, nproc: int, nodes: list[dict[str, float]], share: tuple[int, float]
) -> None:
    cores = max(1, int(nodes[0]["CPU"]) // asked.jobs)
    assert _share(replace(Settings(), nproc=nproc), asked, asked.cpus or cores, nodes) == share


def test_a_task_has_no_gpu_where_another_device_is_named() -> None:
    settings = Settings()
    settings = replace(settings, machine=replace(settings.machine, device="cpu"))
    assert _share(settings, options(jobs=2), 2, [{"CPU": 4, "GPU": 2}]) == (2, 0)


def test_more_than_there_is_is_refused_here_and_waited_for_in_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="a task asks for 2 GPUs, this machine has 1: lower --task.gpus"):
        _share(Settings(), options(jobs=1, gpus=2), 2, [{"CPU": 4, "GPU": 1}])
    assert _share(Settings(), options(cluster="auto", gpus=2), 1, [{"CPU": 4, "GPU": 1}]) == (8, 2)
    assert "a task asks for 8 cores and 2 GPUs, which no machine of the cluster has: waiting" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--jobs=0"], "--jobs 0: give 1 or more"),
        (["--jobs=-1"], "--jobs -1: give 1 or more"),
        (["--jobs=x"], "--jobs: Expected a whole number. Got value: x"),
        (["--cluster="], "--cluster '' is no address"),
        (["--cluster=ray://host:10001"], "is no address: give HOST:PORT"),
        (["--jobs=2", "--cluster=auto"], "--jobs is for this machine"),
        (["--jobs=2", "--task.cpus=0"], "--task.cpus 0: give 1 or more"),
        (["--jobs=2", "--task.gpus=1.5"], "--task.gpus 1.5: give a part of one GPU"),
        (["--jobs=2", "--task.gpus=-1"], "--task.gpus -1.0: give a part of one GPU"),
        (["--task.gpus=1"], "--task.gpus and --task.cpus apply to tasks side by side: give --jobs or --cluster"),
    ],
)
def test_options_that_cannot_be_are_refused(flags: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        parse("", flags, tasks=True)
    assert told in str(error.value)


def test_no_run_keeps_these_options() -> None:
    request = parse("", ["--jobs=3", "--task.cpus=2"], tasks=True)
    assert request.tasks == TaskOptions(jobs=3, cpus=2)
    assert request.settings == parse("", []).settings
    assert request.given == {}


def test_without_ray_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *words: Any) -> Any:
        if name == "ray":
            raise ImportError
        return real(name, *words)

    monkeypatch.setattr(builtins, "__import__", without)
    request = parse("", ["--root", str(tmp_path), "--jobs=2"], tasks=True)
    with (
        pytest.raises(UserError, match=r"--jobs needs Ray: .* -m pip install -r requirements-cluster.txt"),
        open_cluster(request),
    ):
        pass
