"""Write a biLM as the three files that bilm-tf and AllenNLP load: options.json, weights.hdf5, vocab.txt."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from torch import nn

from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path

# The width of AllenNLP's "elmo_characters" indexer.
ALLENNLP_MAX_CHARACTERS = 50


# The names of the files, in the order of `ExportedFiles`.
EXPORTED_NAMES = ("options.json", "weights.hdf5", "vocab.txt")


class ExportedFiles(NamedTuple):
    """The paths of the three files."""

    options: Path
    weights: Path
    vocabulary: Path


def allennlp_refusal(options: BiLMOptions) -> Optional[str]:
    """Return why AllenNLP's `Elmo` cannot load a biLM with these options, naming the option; None where it can."""
    cnn = options.char_cnn
    if cnn is None:
        return "`char_cnn` must be given, as it reads characters only"
    if not options.bidirectional:
        return "`bidirectional` must be true, as it reads two directions"
    if not options.lstm.use_skip_connections:
        return "`lstm.use_skip_connections` must be true"
    if cnn.max_characters != ALLENNLP_MAX_CHARACTERS:
        return (
            f"`char_cnn.max_characters_per_token` must be {ALLENNLP_MAX_CHARACTERS}, the width of its indexer, "
            f"got {cnn.max_characters}"
        )
    return None


def bilm_tf_refusal(options: BiLMOptions) -> Optional[str]:
    """Return why bilm-tf's `BidirectionalLanguageModel` cannot load such a biLM, naming the option; None where it can."""
    cnn = options.char_cnn
    if not options.bidirectional:
        return "`bidirectional` must be true, as it reads two directions"
    if cnn is not None and cnn.n_filters < options.lstm.projection_dim:
        return (
            f"`char_cnn.filters` must number at least `lstm.projection_dim`, which is {options.lstm.projection_dim}, "
            f"got {cnn.n_filters}"
        )
    return None


def check_exportable(options: BiLMOptions) -> None:
    """Check that bilm-tf's or AllenNLP's loader can load a biLM with these options.

    One layer, no highway layers and missing projections are allowed: see `write_weights`.

    Raises:
        InputError: neither loader can; the message names the options.
    """
    beyond = options.beyond_bilm_tf()
    if beyond:
        raise InputError(f"cannot be exported: `{beyond[0]}` must be left out, as neither loader knows it")
    allennlp, bilm_tf = allennlp_refusal(options), bilm_tf_refusal(options)
    if allennlp is not None and bilm_tf is not None:
        reasons = bilm_tf if bilm_tf == allennlp else f"for bilm-tf's loader {bilm_tf}; for AllenNLP's {allennlp}"
        raise InputError(f"cannot be exported: {reasons}")


def without_untrained_softmax(model: LanguageModel) -> nn.Module:
    """Return `model`, or its other parts where its softmax was never trained."""
    if not model.has_untrained_softmax:
        return model
    return nn.ModuleDict({"token_encoder": model.token_encoder, "bilm": model.bilm})


def export_model(
    model: nn.Module,
    options: BiLMOptions,
    words: Sequence[str],
    directory: Union[str, Path],
    on_bytes: Optional[Callable[[int], object]] = None,
) -> ExportedFiles:
    """Write options.json, weights.hdf5 and vocab.txt of `model`, each atomically.

    The softmax goes into weights.hdf5 too, where only this package looks for it. Where the LSTM has no projection, `proj_clip`
    is left out of options.json: bilm-tf does not use it then, but AllenNLP would.

    Args:
        model: a module with `token_encoder`, `bilm` and perhaps `softmax`.
        options: the options of `model`.
        words: the vocabulary in bilm-tf's order.
        directory: the directory for the files; it is created if missing.
        on_bytes: called with the size of each weight, in bytes, after it is written.

    Returns:
        The paths of the three files.

    Raises:
        InputError: the format cannot hold the model (check_exportable), or a file cannot be written.
    """
    check_exportable(options)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be created: {error.strerror or error}") from None
    files = ExportedFiles(*(directory / name for name in EXPORTED_NAMES))
    lstm = options.lstm if options.lstm.has_projection else dataclasses.replace(options.lstm, proj_clip=None)
    options = dataclasses.replace(options, lstm=lstm, n_tokens_vocab=len(words))
    write_vocabulary(files.vocabulary, words)
    write_weights(files.weights, model, options, on_bytes)
    with atomic_path(files.options) as temporary:
        temporary.write_text(json.dumps(options.to_dict(), indent=2) + "\n", encoding="utf-8")
    return files
