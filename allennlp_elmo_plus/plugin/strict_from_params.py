"""Unknown options in a config are refused, with the option that was probably meant."""

import inspect
from typing import Any

from allennlp.common import FromParams, Params
from allennlp.common.checks import ConfigurationError
from overrides import overrides

from allennlp_elmo_plus.errors import unknown_option


class StrictFromParams(FromParams):
    """A base class that makes `from_params` compare a config's keys with the constructor's arguments first.

    It stands before the class of AllenNLP in the list of base classes.

    A misspelt option is then answered by the nearest valid name rather than by a dump of the config.
    """

    @classmethod
    @overrides
    def from_params(
        cls, params: Any, constructor_to_call: Any = None, constructor_to_inspect: Any = None, **extras: Any
    ) -> Any:
        """Return the object that `params` describe; see `FromParams`."""
        constructor = constructor_to_inspect or cls.__init__
        known = [name for name in inspect.signature(constructor).parameters if name not in ("self", "cls")]
        if isinstance(params, Params):
            refuse_unknown(cls.__name__, list(params.keys()), known)
        return super().from_params(
            params, constructor_to_call=constructor_to_call, constructor_to_inspect=constructor_to_inspect, **extras
        )


def refuse_unknown(component: str, names: list[str], known: list[str]) -> None:
    """Check that each of `names`, the options that `component` was given, is in `known`.

    Raises:
        ConfigurationError: naming the first unknown option, and the nearest known one.
    """
    for name in names:
        if name != "type" and name not in known:
            raise ConfigurationError(unknown_option(component, name, known))
