"""Lists of words in, arrays of vectors out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.length_buckets import batches_by_length, windows_of
from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    EOS_WORD,
    UNK_WORD,
    check_sentence,
    encode_words,
)
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import (
    PathLike,
    find_model,
    local_path,
)
from allennlp_elmo_plus.formats.pretrained import load_files, read_words
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.inference.chunks import run_in_chunks
from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.layer_mix import (
    ALL,
    LayerOutput,
    check_layer_output,
    combine_layers,
    num_vectors,
)
from allennlp_elmo_plus.modules.token_encoder import WordEncoder

DEFAULT_BATCH_SIZE = 2048

# Sentences are sorted by length within as many batches' worth of text; their vectors are in memory together.
_BATCHES_IN_WINDOW = 8


class ElmoEmbedder:
    """ELMo vectors of tokenized sentences from a pretrained biLM (Peters et al. 2018).

        embedder = ElmoEmbedder.from_pretrained("runs/bilm/model.tar.gz")
        vectors = embedder.embed_sentence("The mill turns .".split())  # (3, 4, 2 D)

    Every sentence is read from zeros between its `<S>` and `</S>`, so that it gets the same vectors, to rounding, whatever
    comes before it and beside it; AllenNLP 0.9's `ElmoEmbedder` went on from the state of the batch before. `layers` of each
    method is "all", the word's own vector and one of each LSTM layer: `(L + 1, T, K)`, 3 for the usual two; "top", the last:
    `(T, K)`; "average" of all: `(T, K)`; or a `LayerMix`: `(T, K)`. K = 2 D, forward then backward, or D for a forward-only
    biLM. A sentence of no words has T = 0. Arrays have the type of the weights, float32 or wider.

    Each distinct word of a batch is encoded once, and its vector kept for later batches, up to 65,536 words. Several threads may
    use one embedder at once.

    encoder: the biLM; vocabulary: for a biLM of word input, its words in the order of their ids; words beyond are `<UNK>`.
    batch_size: the most tokens at once, a sentence's words and both its boundaries, at least 1. A longer sentence is run in
    pieces of as many, the LSTM's state carried over in each direction, which is exact; only what it reads and gives, and not
    what the LSTM computes in between, takes memory that grows with its length.
    """

    def __init__(
        self, encoder: BiLMEncoder, vocabulary: Optional[Sequence[str]] = None, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1, got {batch_size}")
        if encoder.max_characters is None and vocabulary is None:
            raise InputError("`vocabulary` must be given for a biLM of word input, got None")
        self.encoder = encoder.eval().requires_grad_(False)
        self.batch_size = batch_size
        self._word_ids = {word: number for number, word in enumerate(vocabulary or ())}

    @classmethod
    def from_pretrained(
        cls,
        path: PathLike,
        weight_file: Optional[PathLike] = None,
        vocab_file: Optional[PathLike] = None,
        token_embedding_file: Optional[PathLike] = None,
        device: Union[str, torch.device] = "cpu",
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> "ElmoEmbedder":
        """The biLM in `path`: a model.tar.gz of pretraining, a directory, or an options.json with `weight_file`; each may be a
        URL, `hf://` too (`formats/model_files.py`). `vocab_file` is needed for word input where there is no archive or vocab.txt.
        `token_embedding_file`: what `allennlp elmo-cache` or bilm-tf's `dump_token_embeddings` wrote, so that the words in it
        need no characters; for bilm-tf's also `vocab_file`, the words of its rows.

        Raises InputError where a file cannot be had or used.
        """
        files = find_model(path, weight_file, vocab_file)
        encoder = load_files(files)
        words = None
        if isinstance(encoder.token_encoder, WordEncoder):
            if files.words is None:
                raise InputError(f"{path}: a biLM of word input needs its vocabulary, `vocab_file`, got none")
            words = read_words(files.words)
            num_rows = len(encoder.token_encoder.embedding)
            if len(words) != num_rows:
                raise InputError(f"{path}: the vocabulary must have {num_rows} words, as the biLM, got {len(words)}")
        if token_embedding_file is not None:
            cached = read_token_embeddings(local_path(token_embedding_file), files.vocabulary)
            encoder.cache_words(cached.words, cached.vectors)
        return cls(encoder.to(device), words, batch_size)

    @property
    def num_layers(self) -> int:
        """L + 1."""
        return self.encoder.num_layers

    @property
    def output_size(self) -> int:
        """K."""
        return self.encoder.output_size

    def embed_sentence(self, sentence: Sequence[str], layers: LayerOutput = ALL) -> np.ndarray:
        """The vectors of one sentence, a list of words."""
        check_sentence(sentence, "sentence")
        return self.embed_batch([sentence], layers)[0]

    def embed_batch(self, sentences: Sequence[Sequence[str]], layers: LayerOutput = ALL) -> list[np.ndarray]:
        """The vectors of each of `sentences`."""
        return list(self.embed_sentences(sentences, layers))

    def embed_sentences(self, sentences: Iterable[Sequence[str]], layers: LayerOutput = ALL) -> Iterator[np.ndarray]:
        """The vectors of each of `sentences`, in their order, as many as there may be: they are read 8 batches ahead, and within
        these those of like length are embedded together.

        Raises InputError for `layers` that is none of the above, and for a sentence that is no list of words or a word that is
        no string, by its place.
        """
        check_layer_output(layers, self.num_layers)
        return self._embed_windows(_checked(sentences), layers)

    def _embed_windows(self, sentences: Iterable[Sequence[str]], layers: LayerOutput) -> Iterator[np.ndarray]:
        for window in windows_of(sentences, _BATCHES_IN_WINDOW * self.batch_size):
            arrays: list[Optional[np.ndarray]] = [None] * len(window)
            for places in batches_by_length([len(sentence) for sentence in window], self.batch_size):
                embedded = self._embed([window[place] for place in places], layers)
                for place, array in zip(places, embedded, strict=True):
                    arrays[place] = array
            for place, vectors in enumerate(arrays):
                # A caller who keeps none should not have all kept.
                arrays[place] = None
                assert vectors is not None
                yield vectors

    @torch.no_grad()
    def _embed(self, sentences: list[Sequence[str]], layers: LayerOutput) -> list[np.ndarray]:
        lengths = [len(sentence) for sentence in sentences]
        bilm = self.encoder.bilm
        device = next(bilm.parameters()).device
        layout = SentenceLayout.of_lengths(lengths, max(lengths), device)
        places = {word: number for number, word in enumerate(dict.fromkeys(_with_boundaries(sentences)))}
        words = torch.tensor([places[word] for word in _with_boundaries(sentences)], device=device)
        vectors = self._word_vectors(list(places), device)
        forward_rows = words[layout.word_of_row]
        backward_rows = forward_rows[layout.reversal] if len(bilm.backward_layers) else None

        width = bilm.output_size
        shape = (num_vectors(layers, self.num_layers), len(forward_rows), self.output_size)
        # NumPy has no bfloat16.
        packed = torch.empty(shape, dtype=widest_dtype([vectors, *bilm.parameters()]))
        mirrored = layout.reversal.cpu()
        for chunk in run_in_chunks(bilm, vectors, forward_rows, backward_rows, layout.batch_sizes, self.batch_size):
            read = vectors[forward_rows[chunk.rows]]
            packed[:, chunk.rows, :width] = combine_layers([read, *chunk.output.forward], layers).to(packed)
            if backward_rows is not None and chunk.output.backward is not None:
                read = vectors[backward_rows[chunk.rows]]
                packed[:, mirrored[chunk.rows], width:] = combine_layers([read, *chunk.output.backward], layers).to(
                    packed
                )
        rows = layout.row_of_word.cpu().split(lengths)
        arrays = [packed[:, rows_of_sentence].numpy() for rows_of_sentence in rows]
        return arrays if layers == ALL else [array[0] for array in arrays]

    def _word_vectors(self, words: list[str], device: torch.device) -> Tensor:
        """(len(words), D)"""
        if self.encoder.max_characters is None:
            unknown = self._word_ids[UNK_WORD]
            ids = [self._word_ids.get(word, unknown) for word in words]
            return self.encoder.token_encoder(torch.tensor(ids, device=device))
        # Words that are cut alike are spelled alike.
        characters = torch.from_numpy(encode_words(words, self.encoder.max_characters))
        distinct, inverse = unique_rows(characters)
        return self.encoder.word_vectors(distinct.to(device))[inverse.to(device)]


def _with_boundaries(sentences: Iterable[Sequence[str]]) -> Iterator[str]:
    """All words one after the other, and then `<S>` and `</S>`, as SentenceLayout counts them."""
    for sentence in sentences:
        yield from sentence
    yield BOS_WORD
    yield EOS_WORD


def _checked(sentences: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    for number, sentence in enumerate(sentences):
        check_sentence(sentence, f"sentences[{number}]")
        yield sentence
