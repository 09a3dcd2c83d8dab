"""An unknown option in a config is refused with the name that was probably meant."""

import difflib
import inspect
from typing import Any

from allennlp.common import FromParams, Params
from allennlp.common.checks import ConfigurationError


class StrictFromParams(FromParams):
    """Mixed in before an AllenNLP base class: `from_params` compares a config's keys with the constructor's arguments first, so that
    a misspelt option is answered by the nearest valid name rather than by a dump of the config.
    """

    @classmethod
    def from_params(
        cls, params: Any, constructor_to_call: Any = None, constructor_to_inspect: Any = None, **extras: Any
    ) -> Any:
        constructor = constructor_to_inspect or cls.__init__
        known = [name for name in inspect.signature(constructor).parameters if name not in ("self", "cls")]
        if isinstance(params, Params):
            refuse_unknown(cls.__name__, list(params.keys()), known)
        return super().from_params(
            params, constructor_to_call=constructor_to_call, constructor_to_inspect=constructor_to_inspect, **extras
        )


def refuse_unknown(component: str, given: list[str], known: list[str]) -> None:
    """Raises `ConfigurationError` for the first name of `given` that is not `known`, with the nearest one that is."""
    for name in given:
        if name == "type" or name in known:
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{nearest[0]}`?" if nearest else f"the options are {', '.join(sorted(known))}"
        raise ConfigurationError(f"{component} has no option `{name}`: {hint}")
