"""Whatever is done to a command, it ends: soon, in a line that names the cure, and with no process left behind."""

from pathlib import Path

import pytest

from tests.attacks.attack import Attack, all_attacks, finished_root
from tests.conftest import built_once


@pytest.fixture
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory, "attacked", finished_root)


@pytest.mark.slow
@pytest.mark.parametrize("attack", all_attacks(), ids=lambda attack: attack.name)
def test_it_ends_as_it_should(attack: Attack, attacked: Path) -> None:
    if not attack.needs():
        pytest.skip("this machine does not permit it")
    end = attack.do(attacked)
    assert not attack.wrong(end), end
