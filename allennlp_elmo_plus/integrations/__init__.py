"""A biLM in other tools: spaCy (`_spacy.py`), scikit-learn (`_scikit_learn.py`) and the Hugging Face Hub (`hub.py`).

Each tool is an optional library, which is imported when it is used.
"""

from importlib import import_module
from typing import Any

# The public names, and the modules that are imported when a name is first used.
_MODULES = {"ElmoVectorizer": "_scikit_learn", "push_to_hub": "hub"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
