"""Networks of the timm package, if the user has it."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchlib.errors import InputError
from benchlib.models.card import CLASSIFICATION, Card

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"


def card(name: str) -> Card:
    """The card of timm's network ``name``.

    Raises :class:`InputError` when timm is not installed or has no such network.
    """
    if find_spec("timm") is None:
        raise InputError("models", f"{PREFIX}{name} needs the timm package; pip install timm")
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=1)
        remedy = f"did you mean {PREFIX}{near[0]}?" if near else "timm.list_models() lists them"
        raise InputError("models", f"timm has no network called {name!r}; {remedy}")
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    fixed = settings is not None and settings.fixed_input_size
    return Card(
        name=PREFIX + name,
        family="Other",
        task=CLASSIFICATION,
        title=f"{name} (timm)",
        paper="",
        output="class scores (logits); no softmax",
        build=partial(_build, name),
        pretrained=partial(_pretrained, name),
        fixed_size=tuple(settings.input_size[-2:]) if fixed else None,
        note=f"Built by timm {timm.__version__}.",
    )


def _build(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)


def _pretrained(name: str) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            "weights",
            f"timm's weights of {name} could not be had ({error}); take weights=random",
        ) from error
