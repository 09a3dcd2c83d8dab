"""
What AllenNLP sees of the biLM: importing this package registers every component by name.

Shells only: they unwrap AllenNLP's arguments, call `allennlp_elmo_plus.core`, and wrap the result.
"""

import warnings

from allennlp_elmo_plus import HOW_TO_GET_ALLENNLP

try:
    import allennlp  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "allennlp":
        raise
    raise ImportError(HOW_TO_GET_ALLENNLP) from None

from allennlp_elmo_plus.plugin import (  # noqa: F401
    cache_command,
    checkpointer,
    conll_reader,
    data_loader,
    elmo_command,
    encode_command,
    export_command,
    import_command,
    indexer,
    metric,
    model,
    neighbors_command,
    optimizer,
    patches,
    plan,
    plateau_scheduler,
    predictor,
    reader,
    report_command,
    resume,
    sentence_loader,
    start_of_processes,
    token_embedder,
    vocab_command,
    vocabulary,
    whole_config,
    word_indexer,
)

# The last AllenNLP calls functions by names that torch has deprecated since: nothing that whoever trains a model can change.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"allennlp\.")
