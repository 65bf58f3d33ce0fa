"""A bundle's models by torch: on a GPU where there is one."""

import torch
from torch import nn

from supcon.arrays import ModelLogits
from supcon.bundle.formats import Views
from supcon.bundle.manifest import CLASS_MEANS_FILE, CLASSIFIER, NEIGHBOURS_FILE, Bundle
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS
from supcon.settings.settings import MachineSettings
from supcon.training.device import forward_views, set_up_device
from supcon.training.model.classifier import Classifiers, ClassMeans, Neighbours, load_classifier
from supcon.training.model.encoder import fuse_batch_norm
from supcon.training.model.weights import load_weights, shape_in


class Model:
    """A model on a device, in the bundle's precision."""

    def __init__(self, bundle: Bundle, name: str, device: str = "auto") -> None:
        threads = bundle.settings.machine.threads  # results depend on their number in the last bits
        self._device = set_up_device(MachineSettings(threads=threads, device=device))
        self._network, self._precision = load_network(bundle, name).to(self._device), bundle.precision
        self.place = self._device.type

    def __call__(self, views: Views) -> ModelLogits:
        """Return every classifier's logits [N, classifiers, classes] of views [N, side, side, 3]."""
        batch = torch.from_numpy(views).unsqueeze(1)
        _, outputs = forward_views(self._network, batch, self._device, self._precision)
        logits: ModelLogits = outputs.squeeze(1).numpy()
        return logits


def load_network(bundle: Bundle, name: str) -> Classifiers:
    """Return a model's encoder with its classifiers, on the CPU."""
    settings = bundle.settings
    encoder, classifier = load_classifier(settings, len(bundle.classes), bundle.file(f"{name}/{CLASSIFIER}"))
    classifiers = nn.ModuleDict({HEAD: classifier})
    if CLASS_MEANS in bundle.classifiers:
        nothing = torch.zeros(0, encoder.width), torch.zeros(0, dtype=torch.long), torch.ones(len(bundle.classes))
        classifiers[CLASS_MEANS] = ClassMeans(*nothing, settings.predict.class_mean_temperature)
        load_weights(bundle.file(f"{name}/{CLASS_MEANS_FILE}"), class_means=classifiers[CLASS_MEANS])
    if NEIGHBOURS in bundle.classifiers:
        file = bundle.file(f"{name}/{NEIGHBOURS_FILE}")
        views, _ = shape_in(file, "neighbours.gallery")
        nothing = (
            torch.zeros(views, encoder.width),
            torch.zeros(views, dtype=torch.long),
            torch.ones(len(bundle.classes)),
        )
        options = settings.predict.neighbours, settings.predict.neighbour_temperature
        classifiers[NEIGHBOURS] = Neighbours(*nothing, *options)
        load_weights(file, neighbours=classifiers[NEIGHBOURS])
    return Classifiers(fuse_batch_norm(encoder, settings.data.image_size), classifiers)
