"""Embed a file of tokenized text into a file of vectors, in the format of AllenNLP 0.9's `elmo` command."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from allennlp_elmo_plus.data.text.text_files import TextSource
from allennlp_elmo_plus.data.text.tokenized_file import TextSurvey, TokenizedFile
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.pooling import mean_of_words
from allennlp_elmo_plus.modules.layer_mix import ALL, LayerMix, LayerOutput, check_layer_output, num_vectors
from allennlp_elmo_plus.storage.npz import MAX_NAME_BYTES, write_npz
from allennlp_elmo_plus.storage.resumable_hdf5 import (
    Layout,
    LayoutError,
    ResumableHdf5Writer,
    check_new,
)

HDF5, NPZ = "hdf5", "npz"

SENTENCE_TO_INDEX = "sentence_to_index"


class EmbedSettings(NamedTuple):
    """What is written, and under which keys.

    Attributes:
        layers: which vectors of a word are written; see `ElmoEmbedder`.
        use_sentence_keys: the key of a sentence's array is its text; otherwise the number of its line, from 0.
        forget_sentences: leave out `sentence_to_index`, a JSON text that maps each sentence to its key (to the last one, for a
            repeated sentence). With `use_sentence_keys` it is always left out.
        output_format: "hdf5" or "npz".
        pool: whether the mean over the words of a sentence is written, in place of a vector per word.
        dtype: the type of the written numbers, "float32" or "float16".
    """

    layers: LayerOutput = ALL
    use_sentence_keys: bool = False
    forget_sentences: bool = False
    output_format: str = HDF5
    pool: bool = False
    dtype: str = "float32"


# Tells a progress bar that n more units of work are done.
Advance = Callable[[int], object]


class Progress(Protocol):
    """Opens a progress bar."""

    def __call__(self, description: str, unit: str, total: int, done: int, /) -> AbstractContextManager[Advance]:
        """Return a bar for `total` units of work, of which `done` were done before."""
        ...


def embed_file(
    embedder: ElmoEmbedder, input_file: TextSource, output_file: Path, settings: EmbedSettings, progress: Progress
) -> TextSurvey:
    """Write the vectors of each line of `input_file` to `output_file`, atomically.

    There is one array per line, (L + 1, T, K) for the layers "all" and (T, K) otherwise. A blank line has T = 0; AllenNLP
    refused it. Pooled arrays are (L + 1, K) or (K,), zeros for a blank line. The keys of a FASTA file are its identifiers.

    An interrupted run leaves `output_file` + ".part" and a journal, and the same call resumes it: see `storage/resumable_hdf5.py`.

    Returns:
        The number of sentences and words of the text, and its digest.

    Raises:
        InputError: `output_file` exists, the text cannot be used, or an interrupted run at `output_file` had other arguments;
            what was written is kept. Or the text has changed while it was read; what was written is removed.
        OSError: the disk fails.
    """
    check_new(output_file)
    check_layer_output(settings.layers, embedder.num_layers)
    with TokenizedFile(input_file) as text:
        settings = settings._replace(use_sentence_keys=settings.use_sentence_keys or text.has_identifiers)
        return _embed_text(embedder, text, output_file, settings, progress)


def _embed_text(
    embedder: ElmoEmbedder, text: TokenizedFile, output_file: Path, settings: EmbedSettings, progress: Progress
) -> TextSurvey:
    scan = text.scan(as_keys=settings.use_sentence_keys)
    num_rows = scan.num_sentences if settings.pool else scan.num_words
    num_numbers = num_vectors(settings.layers, embedder.num_layers) * embedder.output_size * num_rows
    num_bytes = np.dtype(settings.dtype).itemsize * num_numbers
    run = {"text": scan.digest, "biLM": embedder.digest(), **describe_settings(settings)}
    with ResumableHdf5Writer(output_file, run, _layout(embedder, text, settings), num_bytes) as file:
        try:
            with progress("embedding", "word", scan.num_words, file.written.num_words) as advance:
                _embed_rest(embedder, text, settings, file, advance)
            has_changed = text.digest() != scan.digest
        except LayoutError:
            has_changed = True
        if has_changed:
            # It is unknown which vectors belong to the old text and which to the new.
            file.discard()
            raise InputError(f"{text.name}: changed while it was read; its vectors are removed; start again")
        with file.finished(is_converted=settings.output_format == NPZ) as hdf5_file:
            if settings.output_format == NPZ:
                with progress("writing the npz", "array", scan.num_sentences, 0) as advance:
                    write_npz(hdf5_file, output_file, advance)
    return scan


def _embed_rest(
    embedder: ElmoEmbedder, text: TokenizedFile, settings: EmbedSettings, file: ResumableHdf5Writer, advance: Advance
) -> None:
    num_done = file.written.num_arrays
    keys: deque[str] = deque()

    def sentences() -> Iterator[Sequence[str]]:
        for number, line in enumerate(text.lines()):
            if number >= num_done:
                keys.append(line.text if settings.use_sentence_keys else str(number))
                yield line.words

    for vectors in embedder.embed_sentences(sentences(), settings.layers):
        num_words = vectors.shape[-2]
        file.write(keys.popleft(), mean_of_words(vectors) if settings.pool else vectors, num_words)
        advance(num_words)


def _layout(embedder: ElmoEmbedder, text: TokenizedFile, settings: EmbedSettings) -> Layout:
    sentence_to_index: dict[str, str] = {}
    has_index = not settings.forget_sentences and not settings.use_sentence_keys

    def shapes() -> Iterable[tuple[str, tuple[int, ...]]]:
        for number, line in enumerate(text.lines()):
            if has_index:
                sentence_to_index[line.text] = str(number)
            shape = (embedder.output_size,) if settings.pool else (len(line.words), embedder.output_size)
            key = line.text if settings.use_sentence_keys else str(number)
            if settings.output_format == NPZ and len(key.encode("utf-8")) > MAX_NAME_BYTES:
                raise InputError(
                    f"{text.name}, line {number + 1}: a key in an .npz has at most {MAX_NAME_BYTES:,} bytes, got more"
                )
            yield key, (embedder.num_layers, *shape) if settings.layers == ALL else shape

    def texts() -> dict[str, str]:
        return {SENTENCE_TO_INDEX: json.dumps(sentence_to_index)} if has_index else {}

    return Layout(shapes, texts, settings.dtype)


def describe_settings(settings: EmbedSettings) -> dict[str, object]:
    """Return the settings that the vectors depend on, for JSON. The format is not among them: it is chosen at the end."""
    layers: Any = list(settings.layers.weights) if isinstance(settings.layers, LayerMix) else settings.layers
    # Only where they differ from the default, so that unfinished files of earlier versions can be finished.
    changes = [
        word for word, is_used in (("pool", settings.pool), (settings.dtype, settings.dtype != "float32")) if is_used
    ]
    return {
        "choice of layers": [layers, *changes] if changes else layers,
        "use of sentence keys": settings.use_sentence_keys,
        "use of `sentence_to_index`": not settings.forget_sentences,
    }
