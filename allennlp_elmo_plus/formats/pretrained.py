"""Read a pretrained biLM of any kind: `KINDS` is the table of the kinds.

`model_files.py` finds the files; `archive.py`, `bilm_tf_hdf5.py`, `bilm_tf_checkpoint.py` and `many_langs.py` read the formats.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional, Union

import h5py

from allennlp_elmo_plus.data.text.many_langs import ManyLangsIndexer
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats import bilm_tf_checkpoint, bilm_tf_hdf5
from allennlp_elmo_plus.formats.archive import REFUSED_FILES, is_archive, is_zip, read_archive, read_words
from allennlp_elmo_plus.formats.many_langs import ManyLangsModel, is_many_langs, read_many_langs
from allennlp_elmo_plus.formats.model_files import (
    ARCHIVE_NAME,
    OPTIONS_PATTERN,
    VOCABULARY_NAME,
    WEIGHTS_PATTERN,
    ModelSource,
    PathLike,
    find_pair,
    find_vocabulary,
    is_url,
    local_path,
    unpacked_zip,
)
from allennlp_elmo_plus.formats.parameters import SOFTMAX_NAMES, PretrainedModel, StoredModel
from allennlp_elmo_plus.modules.build import build_encoder, build_many_langs_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.options.many_langs_options import ManyLangsOptions, Options, check_same_options

logger = logging.getLogger(__name__)


class PretrainedEncoder(NamedTuple):
    """A biLM without its softmax."""

    encoder: BiLMEncoder
    vocabulary: Union[list[str], ManyLangsIndexer, None]  # as ElmoEmbedder takes it


class Request(NamedTuple):
    """A model to read: the local files of a ModelSource, and the parts that are needed."""

    path: Path
    weight_file: Optional[Path]
    vocab_file: Optional[Path]
    softmax_file: Optional[Path]
    options: Optional[Options]  # for weights without an options.json
    with_softmax: bool
    with_adagrad_sums: bool


class Kind(NamedTuple):
    """A row of `KINDS`: one form in which a biLM is stored."""

    name: str
    is_kind: Callable[[Request], bool]
    read: Callable[[Request], Union[StoredModel, ManyLangsModel]]


def read_model(
    source: ModelSource,
    options: Optional[BiLMOptions] = None,
    with_softmax: bool = True,
    with_adagrad_sums: bool = False,
) -> StoredModel:
    """Return the biLM at `source`, whose files may come from an untrusted source.

    Args:
        source: paths or URLs.
        options: the options that the model must have; with them, a file of weights alone can be read.
        with_softmax: whether to read the softmax, where one is stored. Its vocabulary is then needed.
        with_adagrad_sums: whether to read Adagrad's sums, which only a training directory of bilm-tf has.

    Raises:
        InputError: a file is missing, damaged or of no kind in `KINDS`, or is of another model than `options` describe; or the
            model is one of ELMoForManyLangs, which `read_encoder` reads. The message names the file.
    """
    stored = _read_source(source, options, with_softmax, with_adagrad_sums)
    if isinstance(stored, ManyLangsModel):
        raise InputError(
            f"{source.path}: must be a biLM of bilm-tf, got one of ELMoForManyLangs, which gives vectors only"
        )
    return stored


def read_encoder(source: ModelSource) -> PretrainedEncoder:
    """Return the biLM at `source` without its softmax. It raises the errors of `read_model`, but takes every kind of model."""
    stored = _read_source(source, None, with_softmax=False, with_adagrad_sums=False)
    return PretrainedEncoder(stored.build_encoder(), stored.vocabulary)


def load_language_model(source: Union[PathLike, ModelSource]) -> PretrainedModel:
    """Return the biLM at `source`, with its softmax. It raises the errors of `read_model`."""
    return read_model(_as_source(source)).build_language_model()


def load_encoder(options: Optional[Options], source: Optional[Union[PathLike, ModelSource]]) -> BiLMEncoder:
    """Return the biLM at `source` without its softmax.

    Args:
        options: the options of the biLM; None takes those of `source`. For word input, `n_tokens_vocab` may be left out.
        source: a path, a URL or a ModelSource; None initializes the weights as for training.

    Raises:
        InputError: see `read_encoder`.
    """
    if source is None:
        assert options is not None
        return build_many_langs_encoder(options) if isinstance(options, ManyLangsOptions) else build_encoder(options)
    stored = _read_source(_as_source(source), options, with_softmax=False, with_adagrad_sums=False)
    if isinstance(options, BiLMOptions) and options.char_cnn is None and isinstance(stored, StoredModel):
        num_rows = stored.options.n_tokens_vocab
        if options.n_tokens_vocab not in (None, num_rows):
            raise InputError(
                f"{stored.source}: its word embedding must have {options.n_tokens_vocab} rows, the `n_tokens_vocab` of "
                f"`options`, got {num_rows}"
            )
    return stored.build_encoder()


def _read_source(
    source: ModelSource, options: Optional[Options], with_softmax: bool, with_adagrad_sums: bool
) -> Union[StoredModel, ManyLangsModel]:
    files = [None if path is None else local_path(path) for path in source]
    path, weight_file, vocab_file, softmax_file = files
    assert path is not None
    request = Request(path, weight_file, vocab_file, softmax_file, options, with_softmax, with_adagrad_sums)
    try:
        stored = _read(request)
    except InputError as error:
        message = str(error)
        for file, name in zip(files, source, strict=True):
            if is_url(name):
                message = message.replace(str(file), str(name), 1)
        raise InputError(message) from None
    if options is not None:
        check_same_options(options, stored.options, str(source.path))
    return stored


def _as_source(source: Union[PathLike, ModelSource]) -> ModelSource:
    return source if isinstance(source, ModelSource) else ModelSource(source)


def _read(request: Request) -> Union[StoredModel, ManyLangsModel]:
    for kind in KINDS:
        if kind.is_kind(request):
            return kind.read(request)
    path = request.path
    for name, reason in REFUSED_FILES.items():
        if (path / name).is_file():
            raise InputError(f"{path}: {reason}")
    got = "another file"
    if path.is_dir():
        counts = [f"{len(list(path.glob(pattern)))} {pattern}" for pattern in (OPTIONS_PATTERN, WEIGHTS_PATTERN)]
        got = f"a directory with {' and '.join(counts)}"
    *names, last_name = (kind.name for kind in KINDS)
    raise InputError(f"{path}: must be {', '.join(names)} or {last_name}, got {got}")


def _read_archive(request: Request) -> StoredModel:
    path = request.path / ARCHIVE_NAME if request.path.is_dir() else request.path
    if request.softmax_file is not None:
        raise InputError(
            f"{request.softmax_file}: a softmax goes with a file of weights, got {path}, which has its own"
        )
    archived = read_archive(path)
    words, weights = archived.vocabulary, archived.weights
    # An archive of a model that was imported without a softmax has one of zeros.
    # A shared softmax is the word embedding, which is not zero.
    own = SOFTMAX_NAMES[archived.options.share_embedding_softmax :]
    if request.with_softmax and not any(weights[name].any() for name in own if name in weights):
        weights = {name: value for name, value in weights.items() if name not in own}
    if request.vocab_file is not None:
        words = read_words(request.vocab_file)
        if request.with_softmax or archived.options.char_cnn is None:
            _check_num_words(words, len(archived.vocabulary), request.vocab_file)
    return StoredModel(str(path), archived.options, weights, words)


def _read_zip(request: Request) -> Union[StoredModel, ManyLangsModel]:
    with unpacked_zip(request.path) as directory:
        return _read(request._replace(path=directory))


def _read_pair(request: Request) -> StoredModel:
    assert request.weight_file is not None
    if request.path.is_dir():
        raise InputError(f"{request.path}: must be the options.json that goes with the weights, and is a directory")
    options = BiLMOptions.from_file(request.path, inference=request.weight_file.is_file())
    return _read_bilm_tf(request, options, request.weight_file)


def _read_weights(request: Request) -> StoredModel:
    if not isinstance(request.options, BiLMOptions):
        raise InputError(f"{request.path}: weights must come with their options.json, got the weights alone")
    return _read_bilm_tf(request, request.options, request.path)


def _read_training_directory(request: Request) -> StoredModel:
    files = sorted(request.path.glob(OPTIONS_PATTERN))
    if len(files) != 1:
        raise InputError(f"{request.path}: must hold one {OPTIONS_PATTERN} beside the checkpoint, got {len(files)}")
    return _read_bilm_tf(request, BiLMOptions.from_file(files[0], inference=False), request.path)


def _read_directory(request: Request) -> StoredModel:
    pair = find_pair(request.path, request.softmax_file)
    assert pair is not None
    return _read_bilm_tf(request, BiLMOptions.from_file(pair.options), pair.weights)


def _read_many_langs(request: Request) -> ManyLangsModel:
    for file in (request.vocab_file, request.softmax_file):
        if file is not None:
            raise InputError(f"{file}: goes with a model of bilm-tf, got {request.path}, one of ELMoForManyLangs")
    return read_many_langs(request.path)


def _read_bilm_tf(request: Request, options: BiLMOptions, weight_file: Path) -> StoredModel:
    """Return the biLM in `weight_file`, an HDF5 file or a directory with a TensorFlow checkpoint.

    Raises:
        InputError: a file is damaged or of another model, or the vocabulary is missing or has another number of words.
    """
    is_checkpoint = weight_file.is_dir()
    reader = bilm_tf_checkpoint if is_checkpoint else bilm_tf_hdf5
    softmax_file = request.softmax_file if request.with_softmax else None
    has_softmax = request.with_softmax and (softmax_file is not None or reader.has_softmax(weight_file))
    words = _find_words(request, weight_file, is_needed=has_softmax or options.char_cnn is None)
    if options.char_cnn is None:
        options = dataclasses.replace(options, n_tokens_vocab=reader.read_vocab_size(weight_file))
        if words is not None:
            _check_num_words(words, options.n_tokens_vocab, request.vocab_file or weight_file)
    if words is None and (has_softmax or (request.with_softmax and options.char_cnn is None)):
        raise InputError(
            f"{weight_file}: needs its vocabulary, a `{VOCABULARY_NAME}` beside it or `--vocab-file` of a command, since the rows "
            f"of its {'softmax' if has_softmax else 'word embedding'} stand for words"
        )
    vocab_size = len(words) if has_softmax and words is not None else None
    weights = reader.read_parameters(weight_file, options, vocab_size)
    if softmax_file is not None and vocab_size is not None:
        weights |= bilm_tf_hdf5.read_softmax(softmax_file, options, vocab_size)
    sums = {}
    if request.with_adagrad_sums and is_checkpoint:
        sums = bilm_tf_checkpoint.read_adagrad_sums(weight_file, options, vocab_size)
    return StoredModel(str(weight_file), options, weights, words, sums)


def _find_words(request: Request, weight_file: Path, is_needed: bool) -> Optional[list[str]]:
    directory = weight_file if weight_file.is_dir() else weight_file.parent
    path = request.vocab_file or find_vocabulary(directory)
    try:
        return None if path is None else read_words(path)
    except InputError as error:
        if is_needed or path == request.vocab_file:
            raise
        logger.warning("%s; this model does not need it", error)
        return None


def _check_num_words(words: list[str], num_rows: Optional[int], source: Path) -> None:
    if len(words) != num_rows:
        raise InputError(f"{source}: the vocabulary must have {num_rows} words, as the biLM, got {len(words)}")


# The first row that recognizes a model reads it. A new kind is one more row.
KINDS = (
    Kind("an options.json with its weights", lambda request: request.weight_file is not None, _read_pair),
    Kind(f"a {ARCHIVE_NAME}", lambda request: request.path.is_file() and is_archive(request.path), _read_archive),
    Kind("a zip", lambda request: request.path.is_file() and is_zip(request.path), _read_zip),
    Kind("an HDF5 file", lambda request: request.path.is_file() and h5py.is_hdf5(request.path), _read_weights),
    Kind(
        "a directory of bilm-tf's training",
        lambda request: bilm_tf_checkpoint.is_training_directory(request.path),
        _read_training_directory,
    ),
    Kind("a directory of ELMoForManyLangs", lambda request: is_many_langs(request.path), _read_many_langs),
    Kind(
        f"a directory with one {OPTIONS_PATTERN} and one {WEIGHTS_PATTERN}",
        lambda request: find_pair(request.path, request.softmax_file) is not None,
        _read_directory,
    ),
    Kind(f"a directory with a {ARCHIVE_NAME}", lambda request: (request.path / ARCHIVE_NAME).is_file(), _read_archive),
)
