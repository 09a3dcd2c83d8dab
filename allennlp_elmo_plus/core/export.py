"""A pretrained biLM as the three files that bilm-tf and AllenNLP load: options.json, weights.hdf5, vocab.txt."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Union

from torch import nn

from .errors import InputError
from .files import atomic_path
from .hdf5 import write_weights
from .options import BiLMOptions
from .vocabulary import write_vocabulary

LOADERS_MAX_CHARACTERS = 50


class ExportedFiles(NamedTuple):
    options: Path
    weights: Path
    vocabulary: Path


def check_exportable(options: BiLMOptions) -> None:
    """
    Raises InputError, naming the option, for a biLM that bilm-tf's or AllenNLP's loader cannot hold.

    One layer, no highway layers and missing projections are no hindrance: see `write_weights`.
    """
    cnn, lstm = options.char_cnn, options.lstm
    beyond = options.beyond_bilm_tf()
    if beyond:
        raise InputError(f"cannot be exported: the files have no place for `{beyond[0]}`, which bilm-tf does not know")
    if cnn is None:
        raise InputError("cannot be exported: `char_cnn` must be there, as AllenNLP's loader reads characters only")
    if not options.bidirectional:
        raise InputError("cannot be exported: `bidirectional` must be true, as both loaders read two directions")
    if not lstm.use_skip_connections:
        raise InputError("cannot be exported: `lstm.use_skip_connections` must be true, as AllenNLP's loader requires")
    if cnn.max_characters != LOADERS_MAX_CHARACTERS:
        raise InputError(
            f"cannot be exported: `char_cnn.max_characters_per_token` must be {LOADERS_MAX_CHARACTERS}, "
            f"the number of AllenNLP's indexer, got {cnn.max_characters}"
        )
    if cnn.n_filters < lstm.projection_dim:
        raise InputError(
            f"cannot be exported: `char_cnn.filters` must number at least `lstm.projection_dim`, "
            f"which is {lstm.projection_dim}, as bilm-tf's loader requires, got {cnn.n_filters}"
        )


def export_model(
    model: nn.Module, options: BiLMOptions, words: Sequence[str], directory: Union[str, Path]
) -> ExportedFiles:
    """
    Writes options.json, weights.hdf5 and vocab.txt of `model`, which has `token_encoder` and `bilm`, into `directory`,
    made where it is not there. Each file appears whole or not at all. `words`: the vocabulary in bilm-tf's order.

    Where the LSTM has no projection, `proj_clip` is left out of options.json: bilm-tf does not use it then, but
    AllenNLP would.

    Raises InputError where a loader could not hold the model (check_exportable) or a file cannot be written.
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
    write_weights(files.weights, model, options)
    with atomic_path(files.options) as temporary:
        temporary.write_text(json.dumps(options.to_dict(), indent=2) + "\n", encoding="utf-8")
    return files
