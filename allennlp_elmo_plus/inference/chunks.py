"""Pack sentences of words, and run a biLM over them a few time steps at a time, so that long sentences need bounded memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.data.text.word_indexers import WordIndexer
from allennlp_elmo_plus.modules.bilm import BiLM, BiLMOutput
from allennlp_elmo_plus.modules.encoder import BiLMEncoder


class PackedSentences(NamedTuple):
    """Sentences with `<S>` and `</S>`: N packed rows, each direction in its own reading order, and U distinct words."""

    layout: SentenceLayout
    vectors: Tensor  # (U, D), the context-free vectors of the distinct words
    forward_rows: Tensor  # (N,) int64, the index into `vectors` that each packed row reads
    backward_rows: Optional[Tensor]  # (N,) int64, the same for the backward direction; None for a forward-only model


def pack_sentences(encoder: BiLMEncoder, indexer: WordIndexer, sentences: Sequence[Sequence[str]]) -> PackedSentences:
    """Return `sentences`, lists of words, packed on the device of `encoder`. Each distinct word is encoded once."""
    lengths = [len(sentence) for sentence in sentences]
    device = next(encoder.bilm.parameters()).device
    layout = SentenceLayout.of_lengths(lengths, max(lengths), device)
    # The boundaries are last, as SentenceLayout numbers the words.
    all_words = [word for sentence in (*sentences, indexer.boundaries) for word in sentence]
    indices = {word: number for number, word in enumerate(dict.fromkeys(all_words))}
    words = torch.tensor([indices[word] for word in all_words], device=device)
    rows = words[layout.word_of_row]
    vectors = _word_vectors(encoder, torch.from_numpy(indexer.ids(list(indices))).to(device))
    return PackedSentences(layout, vectors, rows, rows[layout.reversal] if encoder.bilm.is_bidirectional else None)


def _word_vectors(encoder: BiLMEncoder, ids: Tensor) -> Tensor:
    """Return the token encoder's vectors of words, (U, D), from their `ids`, (U, R) or (U,)."""
    if ids.dim() == 1:
        return encoder.token_encoder(ids)
    # Long words may be equal after truncation.
    distinct, inverse = unique_rows(ids)
    return encoder.word_vectors(distinct)[inverse]


class Chunk(NamedTuple):
    """The biLM's output for some of the N packed rows, each direction in its own reading order."""

    rows: slice  # of the N packed rows
    output: BiLMOutput


def run_in_chunks(bilm: BiLM, packed: PackedSentences, max_rows: int) -> Iterator[Chunk]:
    """Yield the output of `bilm` in chunks of complete time steps. The initial state is zero.

    Each chunk starts from the final state of the previous chunk, so the result is exactly that of one run. Only the gathered
    input and the LSTM's working memory are limited to one chunk. Each direction is packed in its own reading order, so a chunk
    of the backward direction continues from the words to its right.

    Args:
        bilm: the biLM.
        packed: the sentences.
        max_rows: the maximum rows of a chunk; a single step may have more.
    """
    layout, vectors, forward_rows, backward_rows = packed
    batch_sizes = layout.batch_sizes
    state = bilm.zero_state(batch_sizes[0] if batch_sizes else 0)
    first_step = first_row = 0
    while first_step < len(batch_sizes):
        step, row = first_step, first_row
        while step < len(batch_sizes) and (step == first_step or row + batch_sizes[step] - first_row <= max_rows):
            row += batch_sizes[step]
            step += 1
        rows = slice(first_row, row)
        output = bilm(
            vectors[forward_rows[rows]],
            None if backward_rows is None else vectors[backward_rows[rows]],
            batch_sizes[first_step:step],
            state,
        )
        yield Chunk(rows, output)
        state = output.state
        first_step, first_row = step, row
