"""Methods that override one of AllenNLP or PyTorch have the decorator `overrides`."""

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
    """Return the methods of `cls` that override one of AllenNLP or PyTorch without the decorator."""
    unmarked = []
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        # When an optimizer is constructed, PyTorch replaces the method `step` of its class by a wrapper.
        is_pytorch_wrapper = getattr(function, "hooked", False)
        if not callable(function) or is_pytorch_wrapper or (name.startswith("__") and name not in _SPECIAL):
            continue
        packages = {base.__module__.partition(".")[0] for base in cls.__mro__[1:] if name in vars(base)}
        if packages & {"allennlp", "torch"} and not getattr(function, "__override__", False):
            unmarked.append(name)
    return unmarked


def classes_of_the_plugin() -> Iterator[type]:
    for module in pkgutil.walk_packages(plugin.__path__, f"{plugin.__name__}."):
        for cls in vars(importlib.import_module(module.name)).values():
            # A command has only one method, `add_subparser`, which is always an override.
            is_own = inspect.isclass(cls) and cls.__module__ == module.name
            if is_own and not issubclass(cls, Subcommand):
                yield cls


def test_an_override_without_the_decorator_is_found() -> None:
    class Unmarked(StrictFromParams):
        @classmethod
        def from_params(cls, params, **extras):  # type: ignore[no-untyped-def,override]
            return None

    assert unmarked_overrides(Unmarked) == ["from_params"]


@pytest.mark.parametrize("cls", classes_of_the_plugin(), ids=lambda cls: cls.__name__)
def test_every_override_has_the_decorator(cls: type) -> None:
    assert unmarked_overrides(cls) == []
