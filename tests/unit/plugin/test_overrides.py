"""Methods that AllenNLP or torch call by a name of their own say so."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from allennlp.commands import Subcommand

from allennlp_elmo_plus import plugin
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_SPECIAL = ("__call__", "__len__", "__iter__")


def unmarked_overrides(cls: type) -> list[str]:
    """The methods of `cls` that override one of AllenNLP or torch without `overrides`."""
    unmarked = []
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        # torch wraps `step` of each class of optimizers that is constructed, and puts the wrapper into the class.
        is_torchs_wrapper = getattr(function, "hooked", False)
        if not callable(function) or is_torchs_wrapper or (name.startswith("__") and name not in _SPECIAL):
            continue
        packages = {base.__module__.partition(".")[0] for base in cls.__mro__[1:] if name in vars(base)}
        if packages & {"allennlp", "torch"} and not getattr(function, "__override__", False):
            unmarked.append(name)
    return unmarked


def classes_of_the_plugin() -> Iterator[type]:
    for module in pkgutil.walk_packages(plugin.__path__, f"{plugin.__name__}."):
        for cls in vars(importlib.import_module(module.name)).values():
            # A command implements one method, `add_subparser`, which the class exists for.
            is_own = inspect.isclass(cls) and cls.__module__ == module.name
            if is_own and not issubclass(cls, Subcommand):
                yield cls


def test_an_unmarked_method_is_found() -> None:
    class Unmarked(StrictFromParams):
        @classmethod
        def from_params(cls, params, **extras):  # type: ignore[no-untyped-def,override]
            return None

    assert unmarked_overrides(Unmarked) == ["from_params"]


@pytest.mark.parametrize("cls", classes_of_the_plugin(), ids=lambda cls: cls.__name__)
def test_every_overriding_method_is_marked(cls: type) -> None:
    assert unmarked_overrides(cls) == []
