"""A process knows its number among those on its machine; for a process alone nothing changes."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from supcon.errors import UserError
from supcon.settings.settings import MachineSettings
from supcon.storage.processes import on_this_machine
from supcon.training import device, ranks
from supcon.training.loader import worker_count


@pytest.fixture
def second_of_four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    job = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4, "TORCHELASTIC_RUN_ID": "x"}
    for name, value in job.items():
        monkeypatch.setenv(name, str(value))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("second_of_four")
@pytest.mark.parametrize(("cores", "threads", "workers"), [(16, 4, 4), (2, 1, 0)])
def test_processes_share_the_cores_of_their_machine(
    cores: int, threads: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCON_CORES", str(cores))
    device.set_up_device(MachineSettings(device="cpu"))
    assert torch.get_num_threads() == threads
    assert worker_count(-1, on_this_machine()[1]) == workers
    device.set_up_device(MachineSettings(device="cpu", threads=3))
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("second_of_four")
def test_one_gpu_for_several_processes_is_refused() -> None:
    with pytest.raises(UserError, match=r"--machine.device cuda:0 cannot be used: it is one device for 4 processes"):
        device.set_up_device(MachineSettings(device="cuda:0"))


def test_alone_everything_is_as_it_was() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2)})
    assert ranks.parallel(model) is model
    assert ranks.unwrap(model["encoder"]) is model["encoder"]
    assert (ranks.rank(), ranks.world_size(), ranks.is_first(), on_this_machine()) == (0, 1, True, (0, 1))
    assert ranks.mean({"loss": 0.1}) == {"loss": 0.1}
    assert ranks.broadcast("a") == "a"
    rows = torch.arange(3)
    assert torch.equal(ranks.interleave(rows), rows)
