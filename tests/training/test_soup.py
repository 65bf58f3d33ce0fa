"""Which runs are averaged, what the mean of files of weights is, and batch norm measured anew."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.training.model.weights import average_weights
from supcon.training.soup import Trial, greedy, measure_batch_norm

Parts = dict[str, Tensor]
PARTS = ("encoder", "classifier")


class Scores:
    """Scores of averages, by the letters of their runs."""

    def __init__(self, **known: float) -> None:
        self._known, self.asked = known, list[str]()

    def __call__(self, names: Sequence[str]) -> float:
        self.asked.append("".join(names))
        return self._known["".join(names)]


def test_runs_join_best_first_where_the_average_with_them_scores_no_less() -> None:
    scores = Scores(a=0.5, b=0.8, c=0.7, d=0.6, bc=0.8, bcd=0.79, abc=0.9)
    trials = greedy("abcd", scores, 1)
    assert trials == [
        Trial("b", 0.8, 0.8, True),
        Trial("c", 0.7, 0.8, True),  # no less
        Trial("d", 0.6, 0.79, False),
        Trial("a", 0.5, 0.9, True),  # beside those taken, and not d
    ]
    assert scores.asked[-1] == "abc"  # in the order in which the runs are named


def test_where_lower_is_better_the_lowest_comes_first_and_of_equals_the_one_named_first() -> None:
    trials = greedy("cab", Scores(a=0.3, b=0.3, c=0.9, ab=0.4, ca=0.2), -1)
    assert [(trial.run, trial.taken) for trial in trials] == [("a", True), ("b", False), ("c", True)]


def written(path: Path, **tensors: Tensor) -> Path:
    save_file({name.replace("_", ".", 1): tensor for name, tensor in tensors.items()}, path)
    return path


def test_weights_are_averaged_in_double_precision_and_equal_ones_stay_what_they_are(tmp_path: Path) -> None:
    big, small = torch.tensor([1.0, 3.0]), torch.tensor([2.0**-30, 0.1])
    files = [
        written(tmp_path / f"{number}", encoder_w=tensor, encoder_seen=torch.tensor(number), classifier_w=small.clone())
        for number, tensor in enumerate((big, small, -big))
    ]
    mean = average_weights(files, PARTS)
    assert mean["encoder.w"].dtype == torch.float32
    expected = torch.tensor([2.0**-30 / 3, small[1].double().item() / 3], dtype=torch.float64).float()
    assert torch.equal(mean["encoder.w"], expected)  # in single precision 1 + 2**-30 is 1
    assert torch.equal(mean["classifier.w"], small)
    assert mean["encoder.seen"].item() == 0  # a counter is no weight


def test_a_projection_is_averaged_where_all_files_have_it_alike(tmp_path: Path) -> None:
    weights = {"encoder_w": torch.ones(2), "classifier_w": torch.ones(2)}
    first = written(tmp_path / "first", **weights, projection_w=torch.zeros(3))
    alike = written(tmp_path / "alike", **weights, projection_w=torch.ones(3))
    wider = written(tmp_path / "wider", **weights, projection_w=torch.ones(4))
    without = written(tmp_path / "without", **weights)
    assert average_weights([first, alike], PARTS)["projection.w"].tolist() == [0.5] * 3
    for other in (wider, without):
        assert average_weights([first, other], PARTS).keys() == {"encoder.w", "classifier.w"}
        assert average_weights([other, first], PARTS).keys() == {"encoder.w", "classifier.w"}


@pytest.mark.parametrize("other", [{"classifier_w": torch.ones(3)}, {"classifier_v": torch.ones(2)}, {}])
def test_weights_of_another_network_are_named_with_the_first_that_differs(tmp_path: Path, other: Parts) -> None:
    first = written(tmp_path / "first", encoder_w=torch.ones(2), classifier_w=torch.ones(2))
    second = written(tmp_path / "second", encoder_w=torch.ones(2), **other)
    with pytest.raises(UserError, match=r"second is of another network than .*first, first classifier\.[vw]: leave it"):
        average_weights([first, second], PARTS)
    with pytest.raises(UserError, match="absent could not be loaded"):
        average_weights([first, tmp_path / "absent"], PARTS)


class Network(nn.Module):
    """Two batch norms, of images and of features, with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.of_images, self.drop, self.of_features = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm1d(3)

    def forward(self, views: Tensor) -> Tensor:
        """Return features [N, 3]."""
        images: Tensor = self.of_images(views.permute(0, 3, 1, 2).float())
        return self.of_features(self.drop(images.square().mean(dim=(2, 3)))) * 1.0


def test_batch_norm_gets_the_means_over_all_batches_and_nothing_else_changes() -> None:
    batches = [torch.randint(0, 256, (5, 1, 4, 4, 3), dtype=torch.uint8) for _ in range(3)]
    network = Network()
    network.of_images.running_mean.fill_(1e6)  # type: ignore[union-attr]  # of another network
    weights = [parameter.clone() for parameter in network.parameters()]
    measure_batch_norm(network, batches, torch.device("cpu"), "float32")
    pixels = torch.stack([batch.flatten(0, 3).float() for batch in batches])
    torch.testing.assert_close(network.of_images.running_mean, pixels.mean(dim=(0, 1)))
    torch.testing.assert_close(network.of_images.running_var, pixels.var(dim=1).mean(dim=0))
    assert not network.training
    assert [norm.momentum for norm in (network.of_images, network.of_features)] == [0.1, 0.1]
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))
    first = network.of_features.running_mean
    measure_batch_norm(network, batches, torch.device("cpu"), "float32")
    assert torch.equal(first, network.of_features.running_mean)  # type: ignore[arg-type]  # no dropout draws
