"""ELMo biLM pretraining for AllenNLP: `plugin` registers with AllenNLP what all other folders compute in plain PyTorch.

Importing this package imports neither PyTorch nor AllenNLP; `from allennlp_elmo_plus import ElmoEmbedder`, for notebooks, PyTorch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0.dev0"

HOW_TO_GET_ALLENNLP = (
    "AllenNLP is not installed (of this package, all but allennlp_elmo_plus.plugin works without it): "
    "in this package's repository, pip install '.[allennlp]' && pip install --no-deps allennlp==2.10.1"
)


# The public names, and the modules that are imported when a name is first used.
_MODULES = {"ElmoEmbedder": "inference.embedder", "InputError": "errors", "LayerMix": "modules.layer_mix"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
