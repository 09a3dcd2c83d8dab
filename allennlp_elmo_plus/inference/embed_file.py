"""A file of tokenized text -> a file of vectors, as AllenNLP 0.9's `elmo` command laid it out."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from allennlp_elmo_plus.data.text.text_files import TextSource
from allennlp_elmo_plus.data.text.tokenized_file import TextSurvey, TokenizedFile
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.layer_mix import (
    ALL,
    LayerMix,
    LayerOutput,
    check_layer_output,
)
from allennlp_elmo_plus.storage.npz import write_npz
from allennlp_elmo_plus.storage.resumable_hdf5 import (
    Layout,
    NoPlaceError,
    ResumableHdf5Writer,
    check_new,
)

HDF5, NPZ = "hdf5", "npz"

SENTENCE_TO_INDEX = "sentence_to_index"


class EmbedSettings(NamedTuple):
    """layers: what each word gets, see ElmoEmbedder. The array of a sentence has as its key the number of its line, counted from
    0, or with `use_sentence_keys` its text. The text `sentence_to_index` says in JSON which key a sentence has, the last where
    it comes more than once; not with `use_sentence_keys`, nor with `forget_sentences`. output_format: "hdf5" or "npz".
    """

    layers: LayerOutput = ALL
    use_sentence_keys: bool = False
    forget_sentences: bool = False
    output_format: str = HDF5


# Adds steps to those done.
Advance = Callable[[int], object]


class Progress(Protocol):
    """A bar for `total` steps of work, `done` of which are behind us."""

    def __call__(self, what: str, unit: str, total: int, done: int, /) -> AbstractContextManager[Advance]: ...


def embed_file(
    embedder: ElmoEmbedder, input_file: TextSource, output_file: Path, settings: EmbedSettings, progress: Progress
) -> TextSurvey:
    """Writes the vectors of each line of `input_file` (see `TokenizedFile`), words separated by white space, to `output_file`,
    float32: a dataset a line, (L + 1, T, K) for "all" and (T, K) else. A blank line has T = 0; AllenNLP refused it.

    An interrupted run, killed or failed, leaves `output_file` + ".part" and a journal, and the same call goes on with it: see
    `storage/resumable_hdf5.py`. `output_file` appears whole, under its name, in the end.

    Returns what was read. Raises InputError, nothing lost, where `output_file` is there already, the text cannot be used
    (`data/text/tokenized_file.py`), or a run begun there is another one; InputError, and nothing is left of the run, where the text
    changes while it is read; and OSError where the disk fails.
    """
    check_new(output_file)
    check_layer_output(settings.layers, embedder.num_layers)
    with TokenizedFile(input_file) as text:
        return _embed_text(embedder, text, output_file, settings, progress)


def _embed_text(
    embedder: ElmoEmbedder, text: TokenizedFile, output_file: Path, settings: EmbedSettings, progress: Progress
) -> TextSurvey:
    scan = text.scan(as_keys=settings.use_sentence_keys)
    vectors_of_word = embedder.num_layers if settings.layers == ALL else 1
    num_bytes = 4 * vectors_of_word * embedder.output_size * scan.num_words
    run = {"text": scan.digest, "biLM": weights_digest(embedder.encoder), **described_settings(settings)}
    with ResumableHdf5Writer(output_file, run, _layout(embedder, text, settings), num_bytes) as file:
        try:
            with progress("embedding", "word", scan.num_words, file.written.num_words) as advance:
                _embed_rest(embedder, text, settings, file, advance)
            has_changed = text.digest() != scan.digest
        except NoPlaceError:
            has_changed = True
        if has_changed:
            # Nobody knows which of the vectors are of which text.
            file.discard()
            raise InputError(f"{text.name}: changed while it was read; its vectors are removed, begin anew")
        with file.finished() as whole:
            if settings.output_format == NPZ:
                with progress("writing the npz", "array", scan.num_sentences, 0) as advance:
                    write_npz(whole, output_file, advance)
    return scan


def weights_digest(encoder: BiLMEncoder) -> str:
    """By which to know a biLM again."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in encoder.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
        file.write(keys.popleft(), vectors, num_words)
        advance(num_words)


def _layout(embedder: ElmoEmbedder, text: TokenizedFile, settings: EmbedSettings) -> Layout:
    sentence_to_index: dict[str, str] = {}
    remembers = not settings.forget_sentences and not settings.use_sentence_keys

    def shapes() -> Iterable[tuple[str, tuple[int, ...]]]:
        for number, line in enumerate(text.lines()):
            if remembers:
                sentence_to_index[line.text] = str(number)
            shape = (len(line.words), embedder.output_size)
            key = line.text if settings.use_sentence_keys else str(number)
            yield key, (embedder.num_layers, *shape) if settings.layers == ALL else shape

    def texts() -> dict[str, str]:
        return {SENTENCE_TO_INDEX: json.dumps(sentence_to_index)} if remembers else {}

    return Layout(shapes, texts)


def described_settings(settings: EmbedSettings) -> dict[str, object]:
    """The settings that the file depends on, for JSON; its format is chosen when all vectors are there."""
    layers = settings.layers
    return {
        "choice of layers": list(layers.weights) if isinstance(layers, LayerMix) else layers,
        "use of sentence keys": settings.use_sentence_keys,
        "use of `sentence_to_index`": not settings.forget_sentences,
    }
