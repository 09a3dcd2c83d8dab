"""Convert the files of bilm-tf, or of AllenNLP's Elmo, to the `model.tar.gz` of a pretrained model."""

import dataclasses
import json
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS, read_vocabulary, write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import CONFIG, VOCABULARY, WEIGHTS, WEIGHTS_PREFIX
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import has_softmax, read_parameters, read_vocab_size
from allennlp_elmo_plus.formats.model_files import PathLike, local_path
from allennlp_elmo_plus.formats.transfer import PretrainedWeights, carry_over
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path

# Held-out text is read as one lane, in windows of this many words, as in the configs of this repository.
_NUM_STEPS = 640


class ImportedModel(NamedTuple):
    """A biLM of bilm-tf's files."""

    model: LanguageModel
    options: BiLMOptions
    words: list[str]  # in bilm-tf's order
    has_softmax: bool  # whether the files have a softmax; otherwise that of `model` is zero


def import_model(options_file: PathLike, weight_file: PathLike, vocab_file: Optional[PathLike] = None) -> ImportedModel:
    """Return the biLM in an options.json and a weights.hdf5. Each argument may be a URL: see `local_path`.

    Args:
        options_file: the options.json.
        weight_file: the weights.hdf5.
        vocab_file: the words of the rows of the softmax and of a word embedding; needed only if the weights have one of them.

    Raises:
        InputError: a file cannot be read or does not fit the others, or `vocab_file` is missing.
    """
    weights_path = local_path(weight_file)
    options = BiLMOptions.from_file(local_path(options_file))
    words = _read_words(options, weight_file, weights_path, vocab_file)
    options = dataclasses.replace(options, n_tokens_vocab=len(words))
    weights = read_parameters(weights_path, options, len(words))
    model = build_language_model(options, len(words))
    if not options.share_embedding_softmax:
        # A softmax that the files do not have is recognised by its zeros. The initial bias is zero.
        torch.nn.init.zeros_(model.softmax.weight)
    carried = carry_over(model, PretrainedWeights(weights, words), words, str(weights_path))
    return ImportedModel(model, options, words, carried.has_softmax)


def write_archive(
    path: PathLike, imported: ImportedModel, progress: Callable[[int], AbstractContextManager[Callable[[int], object]]]
) -> None:
    """Write `imported` to `path`, atomically, as the archive of an AllenNLP model "bilm".

    Args:
        path: the model.tar.gz to write.
        imported: the biLM.
        progress: opens a progress bar for a number of bytes, which is then moved with each part that is compressed.

    Raises:
        InputError: `path` cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        # In the same directory, because the disk of the archive has space for both.
        tempfile.TemporaryDirectory(prefix=".elmo-import-", dir=temporary.parent) as name,
        tarfile.open(temporary, "w:gz", compresslevel=1) as archive,
    ):
        directory = Path(name)
        (directory / CONFIG).write_text(json.dumps(_config(imported.options), indent=2) + "\n", encoding="utf-8")
        vocabulary = directory / VOCABULARY
        vocabulary.parent.mkdir()
        write_vocabulary(vocabulary, imported.words)
        # AllenNLP's defaults.
        vocabulary.with_name("non_padded_namespaces.txt").write_text("*tags\n*labels\n", encoding="utf-8")
        state = {f"{WEIGHTS_PREFIX}{name}": value for name, value in imported.model.state_dict().items()}
        torch.save(state, directory / WEIGHTS)
        for member in (CONFIG, vocabulary.parent.name):
            archive.add(directory / member, arcname=member)
        with open(directory / WEIGHTS, "rb") as file:
            info = archive.gettarinfo(arcname=WEIGHTS, fileobj=file)
            with progress(info.size) as advance:
                archive.addfile(info, _CountedFile(file, advance))


def _read_words(
    options: BiLMOptions, weight_file: PathLike, weights_path: Path, vocab_file: Optional[PathLike]
) -> list[str]:
    is_softmax_there = has_softmax(weights_path)
    if vocab_file is not None:
        words = read_vocabulary(local_path(vocab_file))
        num_rows = read_vocab_size(weights_path) if options.char_cnn is None else len(words)
        if num_rows != len(words):
            raise InputError(f"{vocab_file}: must have {num_rows} words, as the word embedding has, got {len(words)}")
        return words
    if options.char_cnn is None or is_softmax_there:
        part = "softmax" if is_softmax_there else "word embedding"
        raise InputError(f"`vocab_file` must be given: {weight_file} has a {part}, whose rows belong to its words")
    return list(SPECIAL_WORDS)


def _config(options: BiLMOptions) -> dict[str, Any]:
    indexers: dict[str, Any] = {"tokens": {"type": "single_id"}}
    if options.char_cnn is not None:
        max_characters = options.char_cnn.max_characters
        indexers["characters"] = {"type": "bilm_characters", "max_characters_per_token": max_characters}
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm"},
        "model": {"type": "bilm", **options.to_dict(inference=False)},
        "data_loader": {"type": "bilm", "batch_size": 1, "num_steps": _NUM_STEPS, "shuffle": False},
    }


class _CountedFile:
    """A file that reports the size of each read."""

    def __init__(self, file: Any, advance: Callable[[int], object]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._advance(len(data))
        return data
