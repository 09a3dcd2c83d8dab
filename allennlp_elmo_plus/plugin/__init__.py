"""The plugin for AllenNLP: importing this package registers every component by name.

The folders lie as in AllenNLP's own tree. A component unwraps AllenNLP's arguments, calls the rest of the package, and wraps the
result.
"""

import warnings

from allennlp_elmo_plus import HOW_TO_GET_ALLENNLP

try:
    import allennlp  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "allennlp":
        raise
    raise ImportError(HOW_TO_GET_ALLENNLP) from None

from allennlp_elmo_plus.plugin import patches
from allennlp_elmo_plus.plugin.commands import (  # noqa: F401
    elmo,
    elmo_cache,
    elmo_encode,
    elmo_explore,
    elmo_export,
    elmo_import,
    elmo_neighbors,
    elmo_report,
    elmo_vocab,
)
from allennlp_elmo_plus.plugin.data import vocabulary  # noqa: F401
from allennlp_elmo_plus.plugin.data.data_loaders import bilm_loader, sentence_loader  # noqa: F401
from allennlp_elmo_plus.plugin.data.dataset_readers import bilm_reader, conll_tags_reader  # noqa: F401
from allennlp_elmo_plus.plugin.data.token_indexers import characters_indexer, many_langs_indexer, words_indexer  # noqa: F401
from allennlp_elmo_plus.plugin.models import bilm_model  # noqa: F401
from allennlp_elmo_plus.plugin.modules.token_embedders import bilm_token_embedder  # noqa: F401
from allennlp_elmo_plus.plugin.predictors import bilm_predictor  # noqa: F401
from allennlp_elmo_plus.plugin.training import checkpointer, optimizer  # noqa: F401
from allennlp_elmo_plus.plugin.training.callbacks import plan, resume  # noqa: F401
from allennlp_elmo_plus.plugin.training.metrics import bilm_perplexity  # noqa: F401
from allennlp_elmo_plus.training.malloc import keep_freed_memory

patches.apply()

# A process that imports the plugin is one of AllenNLP's commands: its memory is its own.
keep_freed_memory()

# AllenNLP calls functions by names that torch has deprecated: a user cannot change that.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"allennlp\.")
