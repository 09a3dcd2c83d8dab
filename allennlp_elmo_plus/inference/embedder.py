"""`ElmoEmbedder`: lists of words in, arrays of vectors out."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import NamedTuple, Optional, Union

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.sentences import batches_by_length, chunks_of_sentences
from allennlp_elmo_plus.data.text.characters import check_sentence
from allennlp_elmo_plus.data.text.word_indexers import CharacterIndexer, VocabularyIndexer, WordIndexer
from allennlp_elmo_plus.errors import InputError, check_at_least, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource, PathLike, local_path
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.pretrained import read_encoder
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.inference.chunks import pack_sentences, run_in_chunks
from allennlp_elmo_plus.inference.pooling import PooledVectors
from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.kernels.precision import check_precision, products_in
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.layer_mix import (
    ALL,
    LayerOutput,
    check_layer_output,
    combine_layers,
    num_vectors,
)

DEFAULT_BATCH_SIZE = 2048

# Sentences are sorted by length within this many batches; the vectors of these batches are in memory together.
_BATCHES_AHEAD = 8


class ElmoEmbedder(PooledVectors):
    """Compute ELMo vectors (Peters et al. 2018) of tokenized sentences with a pretrained biLM.

        embedder = ElmoEmbedder.from_pretrained("runs/bilm/model.tar.gz")
        vectors = embedder.embed_sentence("The mill turns .".split())  # array of shape (3, 4, 1024)
        top = embedder.embed_sentence("The mill turns .".split(), layers="top")  # (4, 1024)

    The argument `layers` of each method selects the vectors of a word. T is the number of words, L the number of LSTM layers
    (usually 2), and K the width: 2 D (forward, then backward), or D for a forward-only biLM.

    | `layers` | Result | Content |
    |---|---|---|
    | "all" (default) | (L + 1, T, K) | the context-free word vector, then one vector per LSTM layer |
    | "top" | (T, K) | the last LSTM layer |
    | "average" | (T, K) | the mean of all L + 1 layers |
    | "sum" | (T, K) | their sum, as SeqVec has it |
    | a number from 0 to L | (T, K) | that layer; 0 is the context-free word vector |
    | a `LayerMix` | (T, K) | a weighted sum of all L + 1 layers |

    Arrays have the floating-point type of the weights, but at least float32. A sentence without words gives T = 0.

    Each sentence is read between `<S>` and `</S>`, from a zero state. So its vectors do not depend on other sentences, except for
    rounding. (AllenNLP 0.9's `ElmoEmbedder` kept the state of the previous batch.)

    Each distinct word of a batch is encoded once, and up to 65,536 words are kept for later batches. Several threads may use
    one embedder at the same time.

    Args:
        encoder: the biLM. It is put into evaluation mode, and its weights are frozen.
        vocabulary: for a biLM of word input, the words in the order of their ids; other words are read as `<UNK>`. For a model of
            ELMoForManyLangs, its `ManyLangsIndexer`.
        batch_size: maximum tokens of a batch, `<S>` and `</S>` included; at least 1, default 2048. A longer sentence is read in
            parts, and the LSTM state is carried over, which is exact. Its input and result then take memory in proportion to its
            length, the LSTM's working memory does not.
        precision: "fp32", or "bf16" for matrix products in bfloat16, if the processor has instructions for them. A vector then differs
            by some thousandths of its length.

    Raises:
        InputError: `batch_size` is below 1, `precision` is another word, or `vocabulary` is missing for word input.
    """

    def __init__(
        self,
        encoder: BiLMEncoder,
        vocabulary: Union[Sequence[str], WordIndexer, None] = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        precision: str = "fp32",
    ) -> None:
        check_at_least(1, batch_size=batch_size)
        self.encoder = encoder.eval().requires_grad_(False)
        self.encoder.precision = check_precision(precision)
        self.batch_size = batch_size
        self._indexer = _indexer_of(encoder, vocabulary)

    @classmethod
    def from_pretrained(
        cls,
        path: PathLike,
        weight_file: Optional[PathLike] = None,
        vocab_file: Optional[PathLike] = None,
        token_embedding_file: Optional[PathLike] = None,
        device: Union[str, torch.device] = "cpu",
        batch_size: int = DEFAULT_BATCH_SIZE,
        precision: str = "fp32",
    ) -> "ElmoEmbedder":
        """Return an embedder with the biLM in `path`. All files may be URLs: `https://`, `hf://`, `s3://`, `gs://`.

        Args:
            path: a model.tar.gz of pretraining; a directory or a zip with an options.json and one HDF5 file; a directory of
                bilm-tf's training; a directory or a zip of ELMoForManyLangs; or an options.json, which needs `weight_file`.
                `docs/convert.md` lists all kinds.
            weight_file: the weights.hdf5 of the options.json `path`.
            vocab_file: the vocabulary, for word input; by default the one in the archive, or the vocab.txt beside the weights.
            token_embedding_file: a table of word vectors, so that its words need not be encoded from characters, as written
                by `elmo-plus cache`, or by bilm-tf's `dump_token_embeddings`, which needs `vocab_file` too.
            device: the device to compute on, such as "cuda"; default "cpu".
            batch_size: maximum tokens of a batch; see `ElmoEmbedder`.
            precision: the type of matrix products; see `ElmoEmbedder`.

        Raises:
            InputError: a file is missing or cannot be used; the message names the file.
        """
        encoder, vocabulary = read_encoder(ModelSource(path, weight_file, vocab_file))
        if encoder.max_characters is None and vocabulary is None:
            raise InputError(f"{path}: a biLM of word input needs its vocabulary, `vocab_file`, got none")
        if token_embedding_file is not None:
            words = vocabulary if isinstance(vocabulary, list) else None
            cached = read_token_embeddings(local_path(token_embedding_file), words)
            encoder.cache_words(cached.words, cached.vectors)
        return cls(encoder.to(device), vocabulary, batch_size, precision)

    def __repr__(self) -> str:
        weight = next(self.encoder.bilm.parameters())
        parts = [
            f"{self.num_layers} layers of {count_in_words(self.output_size, 'number')}",
            "word input" if self.encoder.max_characters is None else "character input",
            "two directions" if self.encoder.bilm.is_bidirectional else "forward only",
            count_in_words(sum(parameter.numel() for parameter in self.encoder.parameters()), "parameter"),
            f"{weight.dtype} on {weight.device}".removeprefix("torch."),
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    def digest(self) -> str:
        """Return a hash of all that vectors depend on: names, types and values of the weights, the vocabulary, the precision."""
        digest = hashlib.blake2b(digest_size=16)
        for name, parameter in self.encoder.named_parameters():
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        # Left out where they are the default, so that unfinished files of earlier versions can be finished.
        if self.encoder.max_characters is None:
            digest.update(repr(vars(self._indexer)).encode())
        if self.encoder.precision != "fp32":
            digest.update(self.encoder.precision.encode())
        return digest.hexdigest()

    @property
    def num_layers(self) -> int:
        """Return L + 1, the number of layers of "all"."""
        return self.encoder.num_layers

    @property
    def output_size(self) -> int:
        """Return K, the width of a vector."""
        return self.encoder.output_size

    def embed_sentence(self, sentence: Sequence[str], layers: LayerOutput = ALL) -> np.ndarray:
        """Return the vectors of `sentence`, a list of words; the table of `ElmoEmbedder` has the values of `layers`."""
        check_sentence(sentence, "sentence")
        return self.embed_batch([sentence], layers)[0]

    def embed_batch(
        self, sentences: Sequence[Sequence[str]], layers: LayerOutput = ALL, progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Return a list with the vectors of each of `sentences`; see `embed_sentences`."""
        return list(self.embed_sentences(sentences, layers, progress_bar))

    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], layers: LayerOutput = ALL, progress_bar: bool = False
    ) -> Iterator[np.ndarray]:
        """Return an iterator over the vectors of `sentences`, in the same order.

        `sentences` may be a stream of any length: at most 8 batches are read ahead. Within these, sentences of similar length
        are embedded together.

        Args:
            sentences: lists of words.
            layers: the vectors of a word; see the table of `ElmoEmbedder`.
            progress_bar: whether to show a progress bar, in a notebook or on stderr.

        Raises:
            InputError: `layers` is not one of these (raised at once); or a sentence is not a list of
                strings (raised where the iterator reaches the sentence, with its number).
        """
        check_layer_output(layers, self.num_layers)
        vectors = self._embed_windows(_checked(sentences), layers)
        return _with_progress_bar(vectors, sentences) if progress_bar else vectors

    def _embed_windows(self, sentences: Iterable[Sequence[str]], layers: LayerOutput) -> Iterator[np.ndarray]:
        for window in chunks_of_sentences(sentences, _BATCHES_AHEAD * self.batch_size):
            arrays: list[Optional[np.ndarray]] = [None] * len(window)
            for positions in batches_by_length([len(sentence) for sentence in window], self.batch_size):
                with products_in(self.encoder.precision, self._device()):
                    embedded = self._embed([window[position] for position in positions], layers)
                for position, array in zip(positions, embedded, strict=True):
                    arrays[position] = array
            for position, vectors in enumerate(arrays):
                # Release the array, so that memory is free once the caller has dropped it.
                arrays[position] = None
                assert vectors is not None
                yield vectors

    @torch.no_grad()
    def _embed(self, sentences: list[Sequence[str]], layers: LayerOutput) -> list[np.ndarray]:
        bilm = self.encoder.bilm
        packed_sentences = pack_sentences(self.encoder, self._indexer, sentences)
        layout, vectors, forward_rows, backward_rows = packed_sentences
        width = bilm.output_size
        shape = (num_vectors(layers, self.num_layers), len(forward_rows), self.output_size)
        # At least float32: NumPy has no bfloat16.
        packed = torch.empty(shape, dtype=widest_dtype([vectors, *bilm.parameters()]))
        mirrored_rows = layout.reversal.cpu()
        for chunk in run_in_chunks(bilm, packed_sentences, self.batch_size):
            inputs = vectors[forward_rows[chunk.rows]]
            packed[:, chunk.rows, :width] = combine_layers([inputs, *chunk.output.forward], layers).to(packed)
            if backward_rows is not None and chunk.output.backward is not None:
                inputs = vectors[backward_rows[chunk.rows]]
                packed[:, mirrored_rows[chunk.rows], width:] = combine_layers(
                    [inputs, *chunk.output.backward], layers
                ).to(packed)
        rows = layout.row_of_word.cpu().split([len(sentence) for sentence in sentences])
        arrays = [packed[:, rows_of_sentence].numpy() for rows_of_sentence in rows]
        return arrays if layers == ALL else [array[0] for array in arrays]

    def _device(self) -> torch.device:
        return next(self.encoder.bilm.parameters()).device


class EmbedderFiles(NamedTuple):
    """The arguments of `ElmoEmbedder.from_pretrained`, from which another process can load the same embedder."""

    path: str
    weight_file: Optional[str] = None
    vocab_file: Optional[str] = None
    token_embedding_file: Optional[str] = None
    device: str = "cpu"
    batch_size: int = DEFAULT_BATCH_SIZE
    precision: str = "fp32"
    mix: Optional[str] = (
        None  # the model.tar.gz of a downstream model, whose biLM's weights replace those of the other files
    )


def load_embedder(files: EmbedderFiles) -> ElmoEmbedder:
    """Return the embedder in `files`. Raises what `ElmoEmbedder.from_pretrained`, `read_trained_mix` and `fill_parameters` raise."""
    *arguments, mix = files
    embedder = ElmoEmbedder.from_pretrained(*arguments)  # type: ignore[arg-type]
    if mix is not None:
        fill_parameters(embedder.encoder, read_trained_mix(local_path(mix)).encoder_weights, f"{mix}: in its biLM")
    return embedder


def _with_progress_bar(vectors: Iterator[np.ndarray], sentences: Iterable[Sequence[str]]) -> Iterator[np.ndarray]:
    from tqdm.auto import tqdm

    total = len(sentences) if isinstance(sentences, Sized) else None
    return iter(tqdm(vectors, desc="embedding", unit=" sentences", total=total))


def _indexer_of(encoder: BiLMEncoder, vocabulary: Union[Sequence[str], WordIndexer, None]) -> WordIndexer:
    if encoder.max_characters is not None:
        return CharacterIndexer(encoder.max_characters)
    if vocabulary is None:
        raise InputError("`vocabulary` must be given for a biLM of word input, got None")
    return VocabularyIndexer(vocabulary) if isinstance(vocabulary, Sequence) else vocabulary


def _checked(sentences: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    for number, sentence in enumerate(sentences):
        check_sentence(sentence, f"sentences[{number}]")
        yield sentence
