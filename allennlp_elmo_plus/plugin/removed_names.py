"""Names that AllenNLP 2.10.1 imports and that later releases of other libraries have removed.

`restore` must run before the first import of AllenNLP. `elmo-plus` and `import allennlp_elmo_plus.plugin` do that; the program
`allennlp` imports AllenNLP before this package, so for that program these libraries must be older. A restored name lets AllenNLP be
imported; the one feature that uses the name ends with an `InputError`.
"""

import importlib
import sys
from typing import Any

from torch.optim import Optimizer

from allennlp_elmo_plus.errors import InputError


def restore() -> None:
    """Define the removed names, where they are missing."""
    # Symptom: AllenNLP cannot be imported: `cannot import name 'HfFolder'` (common/push_to_hf.py:14), from huggingface_hub 1.0 on.
    hub = importlib.import_module("huggingface_hub")
    _define(hub, "Repository", "`push-to-hf` needs huggingface_hub<1, got {version}")
    if not hasattr(hub, "HfFolder"):
        # It is a namespace for `get_token`, which is a function of the library now.
        hub.HfFolder = hub  # type: ignore[attr-defined]
    # Symptom: `module transformers has no attribute AdamW` (training/optimizers.py:456), from transformers 4.50 on.
    # transformers 5 replaces its own module while this part of it is imported (`direct_transformers_import`).
    importlib.import_module("transformers.processing_utils")
    _define(
        sys.modules["transformers"],
        "AdamW",
        'the optimizer "huggingface_adamw" needs transformers<4.50, got {version}; "adamw" is PyTorch\'s',
        Optimizer,
    )


def _define(module: Any, name: str, message: str, *bases: type) -> None:
    if not hasattr(module, name):

        def refuse(*args: Any, **options: Any) -> None:
            raise InputError(message.format(version=module.__version__))

        setattr(module, name, type(name, bases, {"__init__": refuse}))
