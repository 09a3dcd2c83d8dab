"""Every parser of files that may come from a stranger, with valid files to start from."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from allennlp_elmo_plus.data.corpus.encoded_corpus import encode_to_temporary
from allennlp_elmo_plus.data.text.conll import CONLL2003, CONLLU, read_tagged_sentences
from allennlp_elmo_plus.data.text.raw.documents import iter_documents
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import read_archive
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters, write_weights
from allennlp_elmo_plus.formats.many_langs import read_vocabulary as read_many_langs_vocabulary
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.tensorflow_checkpoint import TensorFlowCheckpoint
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings, write_token_embeddings
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.torch_weights import read_legacy_state
from tests.helpers.small_archives import (
    WORDS,
    archived_files,
    saved,
    small_model,
    write_archive,
)
from tests.helpers.small_encoders import VARIANTS, options_of, random_encoder
from tests.helpers.tensorflow_checkpoints import (
    packed_block,
    packed_items,
    packed_table,
    sealed_table,
    write_checkpoint,
)


class Parser(NamedTuple):
    """A function that reads the file at a path; a function that returns valid files and may write to a directory; a file suffix."""

    read: Callable[[Path], Any]
    seeds: Callable[[Path], list[bytes]]
    suffix: str = ""


def read_or_refuse(parser: Parser, path: Path) -> bool:
    """
    Return True if `parser` reads the file at `path`, False if it refuses the file in one line.

    Raises:
        AssertionError: The error has more than one line or is too long.
    """
    try:
        parser.read(path)
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000, f"must be one line: {error!r}"
        return False
    return True


_TEXT = "the hen sat\n\nthe egg 나비 🙂\r\n".encode()
_FASTA = b">sp|P1|A first\r\nMKTa\n\n>b/1-2\nGD*\n"
_CONLLU = b"# a\n1\tWe\twe\tPRON\t_\t_\t4\tnsubj\t_\t_\n\n2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
_CONLL2003 = b"-DOCSTART- -X- O\n\nWolves NNS O\nwon VBD O\n\nRain NN O"
_JSON_LINES = b'{"id": 1, "text": "It rains.\\n\\nIt \\u2603."}\n\n{"text": null}\n'
_TABLE = b'id,text\r\n1,"It ""rains"".\n\nIt snows."\r\n'
_HDF5_VARIANT = "one layer"

# Built once, because building takes longer than reading.
_ENCODER = build_encoder(options_of(_HDF5_VARIANT))


def _options(_: Path) -> list[bytes]:
    return [json.dumps(options_of(name).to_dict()).encode() for name in VARIANTS]


def _hdf5(directory: Path) -> list[bytes]:
    path = directory / "seed.hdf5"
    write_weights(path, random_encoder(options_of(_HDF5_VARIANT)), options_of(_HDF5_VARIANT))
    return [path.read_bytes()]


def _read_hdf5(path: Path) -> None:
    fill_parameters(_ENCODER, read_parameters(path, options_of(_HDF5_VARIANT), None), str(path))


def _token_embeddings(directory: Path) -> list[bytes]:
    path = directory / "seed.hdf5"
    write_token_embeddings(path, _ENCODER, WORDS)
    return [path.read_bytes()]


def _mix(directory: Path) -> list[bytes]:
    """Return a state dict of a downstream model with a biLM, with numbers of several types."""
    state = {"a.bias": torch.ones(3), "a.steps": torch.tensor(3), "a.mask": torch.tensor([True, False])}
    state |= {"b._mix.gamma": torch.ones(1), "b._mix.scalar_parameters.0": torch.ones(1), "b._encoder.x": torch.ones(2)}
    path = directory / "seed.th"
    torch.save(state, path)
    return [path.read_bytes()]


def _read_mix(path: Path) -> None:
    read_trained_mix(
        write_archive(path.with_suffix(".gz"), {"config.json": b'{"model": {}}', "weights.th": path.read_bytes()})
    )


def _archive(directory: Path) -> list[bytes]:
    return [write_archive(directory / "seed.tar.gz", archived_files()).read_bytes()]


def _unpacked_archive(directory: Path) -> list[bytes]:
    return [gzip.decompress(content) for content in _archive(directory)]


def _weights(_: Path) -> list[bytes]:
    return [saved(small_model().state_dict())]


def _read_archive(path: Path) -> None:
    archived = read_archive(path)
    model = build_language_model(archived.options, len(archived.vocabulary))
    fill_parameters(model, archived.weights, str(path))


def _read_unpacked_archive(path: Path) -> None:
    """Compress the damaged tar file, so that the checksum of gzip fits, and read it."""
    compressed = path.with_suffix(".gz")
    compressed.write_bytes(gzip.compress(path.read_bytes(), 1))
    _read_archive(compressed)


def _read_weights(path: Path) -> None:
    """Pack the damaged weights into a valid archive, and read it."""
    _read_archive(write_archive(path.with_suffix(".gz"), {**_FILES, "weights.th": path.read_bytes()}))


_TENSORS = {"lm/W": np.ones((2, 3), np.float32), "step": np.array(7)}


def _read_checkpoint(path: Path) -> None:
    index, prefix = path.read_bytes(), path.with_suffix("")
    write_checkpoint(prefix, [_TENSORS])
    path.write_bytes(index)
    TensorFlowCheckpoint(prefix).read({name: array.shape for name, array in _TENSORS.items()})


def _read_checkpoint_block(path: Path) -> None:
    """Read a checkpoint whose index has a damaged block with a correct checksum."""
    path.write_bytes(sealed_table([(b"z", path.read_bytes())]))
    _read_checkpoint(path)


_LEGACY_STATE = {"a": torch.ones(3, 2), "b": torch.ones(2, dtype=torch.float16)}


def _legacy_weights(directory: Path) -> list[bytes]:
    path = directory / "seed.pkl"
    torch.save(_LEGACY_STATE, path, _use_new_zipfile_serialization=False)
    return [path.read_bytes()]


def _read_legacy_weights(path: Path) -> None:
    read_legacy_state(path, {name: tuple(value.shape) for name, value in _LEGACY_STATE.items()})


def _read_dictionary(path: Path) -> None:
    # A model of words alone has one dictionary.
    (path.parent / "config.json").write_text('{"config_path": "cnn_0_100_512_4096_sample.json"}')
    (path.parent / "word.dic").write_bytes(path.read_bytes())
    read_many_langs_vocabulary(path.parent)


_FILES = archived_files()

PARSERS = {
    "options": Parser(BiLMOptions.from_file, _options),
    "vocabulary": Parser(read_vocabulary, lambda _: ["".join(f"{word}\n" for word in WORDS).encode()]),
    "corpus": Parser(encode_to_temporary, lambda _: [_TEXT]),
    "replaced_corpus": Parser(lambda path: encode_to_temporary(path, "replace"), lambda _: [_TEXT]),
    "compressed_corpus": Parser(encode_to_temporary, lambda _: [gzip.compress(_TEXT * 100)], ".gz"),
    "fasta": Parser(encode_to_temporary, lambda _: [_FASTA], ".fasta"),
    "json_lines": Parser(lambda path: list(iter_documents(path, "text")), lambda _: [_JSON_LINES]),
    "table": Parser(lambda path: list(iter_documents(path, "text")), lambda _: [_TABLE], ".csv"),
    "conllu": Parser(lambda path: list(read_tagged_sentences(path, CONLLU, 3)), lambda _: [_CONLLU]),
    "conll2003": Parser(lambda path: list(read_tagged_sentences(path, CONLL2003, -1)), lambda _: [_CONLL2003]),
    "hdf5": Parser(_read_hdf5, _hdf5),
    "token_embeddings": Parser(read_token_embeddings, _token_embeddings),
    "trained_mix": Parser(_read_mix, _mix),
    "archive": Parser(_read_archive, _archive),
    "unpacked_archive": Parser(_read_unpacked_archive, _unpacked_archive),
    "archived_weights": Parser(_read_weights, _weights),
    "checkpoint_index": Parser(_read_checkpoint, lambda _: [packed_table(packed_items([_TENSORS]))], ".index"),
    "checkpoint_block": Parser(_read_checkpoint_block, lambda _: [packed_block(packed_items([_TENSORS]))], ".index"),
    "legacy_weights": Parser(_read_legacy_weights, _legacy_weights),
    "dictionary": Parser(_read_dictionary, lambda _: ["<oov>\t0\nthe\t2\n나비\t1\n3\n".encode()]),
}
