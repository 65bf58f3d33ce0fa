"""Settings that were called otherwise before version 0.1.0: whoever uses an old name is told the new one."""

from supcon.errors import UserError

_CONTRAST = (
    "form temperature epsilon hardness prototypes scale_by_temperature"
    " projection projection_layers projection_norm projection_hidden projection_dim"
)
RENAMED = {  # old key -> new key
    **{f"pretrain.{key}": f"contrast.{key}" for key in _CONTRAST.split()},
    **{f"pretrain.{key}": f"batches.{key}" for key in ("classes_per_batch", "images_per_class", "balance")},
    "pretrain.batch_size": "batches.size",
    "predict.prototypes": "predict.class_means",
    "predict.prototype_weight": "predict.class_mean_weight",
    "predict.prototype_temperature": "predict.class_mean_temperature",
}


def refuse_old_name(key: str, where: str, cure: str = "rename it there") -> None:
    """Raise `UserError`, with the cure, where `key`, which stands in `where`, is the old name of a setting."""
    if key in RENAMED:
        raise UserError(f"{where}: {key} is called {RENAMED[key]} now: {cure}")
