"""The models that the algorithms offer, by the names that scripts and saved models keep."""

from __future__ import annotations

from ...protocol import ErrorCode, OrthomaskError
from ..models.own_models import choices, title_of
from ..toolkit.words import tr

DEFAULT_MODEL = "buildings"


def model_names() -> list[str]:
    """The models to choose from, the default one first."""
    return list(dict.fromkeys([DEFAULT_MODEL, *choices()]))


def titles() -> str:
    """What the models' names stand for."""
    return "; ".join(f"{name}: {title}" for name, model in choices().items() if (title := title_of(model)))


def model_named(name: str) -> str:
    """The embedded model's name or the own one's path. QGIS itself would silently use the default instead.

    Raises:
        OrthomaskError: there is none.
    """
    models = choices()
    if name not in models:
        remedy = tr("Choose one of {}, or the path of a .safetensors file.").format(", ".join(models))
        raise OrthomaskError(ErrorCode.BUNDLE_UNREADABLE, tr("There is no model “{}”.").format(name), remedy)
    return models[name]
