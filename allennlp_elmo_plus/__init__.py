"""ELMo biLM pretraining for AllenNLP: `plugin` registers with AllenNLP what all other folders compute in plain PyTorch.

Importing this package imports neither PyTorch nor AllenNLP; `from allennlp_elmo_plus import ElmoEmbedder`, for notebooks, PyTorch.
"""

from typing import Any

__version__ = "0.1.0"

HOW_TO_GET_ALLENNLP = (
    "AllenNLP is not installed (of this package, all but allennlp_elmo_plus.plugin works without it): "
    "in this package's repository, pip install '.[allennlp]' && pip install --no-deps allennlp==2.10.1"
)


def __getattr__(name: str) -> Any:
    if name == "ElmoEmbedder":
        from allennlp_elmo_plus.inference.embedder import ElmoEmbedder

        return ElmoEmbedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
