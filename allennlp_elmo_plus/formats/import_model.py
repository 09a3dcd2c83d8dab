"""Write a biLM to the `model.tar.gz` of a pretrained model, as `allennlp train` does."""

import dataclasses
import json
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.formats.archive import CONFIG, VOCABULARY, WEIGHTS, WEIGHTS_PREFIX
from allennlp_elmo_plus.formats.model_files import PathLike
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path

# Held-out text is read as one lane, in windows of this many words, as in the configs of this repository.
_NUM_STEPS = 640


def write_archive(
    path: PathLike, bilm: PretrainedModel, progress: Callable[[int], AbstractContextManager[Callable[[int], object]]]
) -> None:
    """Write `bilm` to `path`, atomically, as the archive of an AllenNLP model "bilm".

    Args:
        path: the model.tar.gz to write.
        bilm: the biLM.
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
        (directory / CONFIG).write_text(json.dumps(_config(bilm.options), indent=2) + "\n", encoding="utf-8")
        vocabulary = directory / VOCABULARY
        vocabulary.parent.mkdir()
        write_vocabulary(vocabulary, bilm.vocabulary)
        # AllenNLP's defaults.
        vocabulary.with_name("non_padded_namespaces.txt").write_text("*tags\n*labels\n", encoding="utf-8")
        state = {f"{WEIGHTS_PREFIX}{name}": value for name, value in bilm.model.state_dict().items()}
        torch.save(state, directory / WEIGHTS)
        for member in (CONFIG, vocabulary.parent.name):
            archive.add(directory / member, arcname=member)
        with open(directory / WEIGHTS, "rb") as file:
            info = archive.gettarinfo(arcname=WEIGHTS, fileobj=file)
            with progress(info.size) as advance:
                archive.addfile(info, _CountedFile(file, advance))


def _config(options: BiLMOptions) -> dict[str, Any]:
    indexers: dict[str, Any] = {"tokens": {"type": "single_id"}}
    if options.char_cnn is not None:
        max_characters = options.char_cnn.max_characters
        indexers["characters"] = {"type": "bilm_characters", "max_characters_per_token": max_characters}
    # The model refuses more samples than words.
    is_sampled = options.sample_softmax and options.n_negative_samples_batch < (options.n_tokens_vocab or 0)
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm"},
        "model": {"type": "bilm", **dataclasses.replace(options, sample_softmax=is_sampled).to_dict(inference=False)},
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
