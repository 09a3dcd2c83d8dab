"""A pretrained biLM as the three files that bilm-tf and AllenNLP load: options.json, weights.hdf5, vocab.txt."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from torch import nn

from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path

ALLENNLP_MAX_CHARACTERS = 50


class ExportedFiles(NamedTuple):
    options: Path
    weights: Path
    vocabulary: Path


def allennlp_refusal(options: BiLMOptions) -> Optional[str]:
    """Why AllenNLP's `Elmo` cannot load the files of a biLM of these options, by the option's name; None where it can."""
    cnn = options.char_cnn
    if cnn is None:
        return "`char_cnn` must be there, as it reads characters only"
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
    """Why bilm-tf's `BidirectionalLanguageModel` cannot load the files, by the option's name; None where it can."""
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
    """Raises InputError, naming the option, for a biLM that neither of the loaders of the format could load (bilm_tf_refusal,
    allennlp_refusal).

    One layer, no highway layers and missing projections are no hindrance: see `write_weights`.
    """
    beyond = options.beyond_bilm_tf()
    if beyond:
        raise InputError(f"cannot be exported: `{beyond[0]}` must be left out, as neither loader knows it")
    allennlp, bilm_tf = allennlp_refusal(options), bilm_tf_refusal(options)
    if allennlp is not None and bilm_tf is not None:
        reasons = bilm_tf if bilm_tf == allennlp else f"for bilm-tf's loader {bilm_tf}; for AllenNLP's {allennlp}"
        raise InputError(f"cannot be exported: {reasons}")


def export_model(
    model: nn.Module,
    options: BiLMOptions,
    words: Sequence[str],
    directory: Union[str, Path],
    on_bytes: Optional[Callable[[int], object]] = None,
) -> ExportedFiles:
    """Writes options.json, weights.hdf5 and vocab.txt of `model`, which has `token_encoder` and `bilm`, into `directory`,
    made where it is not there. Each file appears whole or not at all. `words`: the vocabulary in bilm-tf's order;
    `on_bytes`: told of each weight's size once it is written.

    A `softmax` that `model` has is kept in weights.hdf5, where only this package looks for it. Where the LSTM has no
    projection, `proj_clip` is left out of options.json: bilm-tf does not use it then, but AllenNLP would.

    Raises InputError where the format could not hold the model (check_exportable) or a file cannot be written.
    """
    check_exportable(options)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made a directory: {error.strerror or error}") from None
    files = ExportedFiles(directory / "options.json", directory / "weights.hdf5", directory / "vocab.txt")
    lstm = options.lstm if options.lstm.has_projection else dataclasses.replace(options.lstm, proj_clip=None)
    options = dataclasses.replace(options, lstm=lstm, n_tokens_vocab=len(words))
    write_vocabulary(files.vocabulary, words)
    write_weights(files.weights, model, options, on_bytes)
    with atomic_path(files.options) as temporary:
        temporary.write_text(json.dumps(options.to_dict(), indent=2) + "\n", encoding="utf-8")
    return files
