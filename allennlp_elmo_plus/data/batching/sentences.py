"""Prepare sentences of words for a trained model: batches of sentences of similar length, and ids."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words

# `<S>` and `</S>`
NUM_BOUNDARIES = 2


def chunks_of_sentences(sentences: Iterable[Sequence[str]], max_tokens: int) -> Iterator[list[Sequence[str]]]:
    """Yield consecutive sentences in lists of at most `max_tokens` tokens, words and boundaries, or of one longer sentence."""
    chunk: list[Sequence[str]] = []
    num_tokens = 0
    for sentence in sentences:
        size = len(sentence) + NUM_BOUNDARIES
        if chunk and num_tokens + size > max_tokens:
            yield chunk
            chunk, num_tokens = [], 0
        chunk.append(sentence)
        num_tokens += size
    if chunk:
        yield chunk


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return the indices of sentences of `lengths` words in batches of similar length, the longest first.

    A batch has at most `max_tokens` tokens, words and boundaries, or is one longer sentence. With similar lengths the LSTM has many
    rows up to its last step. Nothing is computed for padding in any case.
    """
    batches: list[list[int]] = []
    num_tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        size = lengths[index] + NUM_BOUNDARIES
        if not batches or num_tokens + size > max_tokens:
            batches.append([])
            num_tokens = 0
        batches[-1].append(index)
        num_tokens += size
    return batches


def sentence_ids(
    sentences: Sequence[Sequence[str]], max_characters: Optional[int], word_ids: Optional[Mapping[str, int]] = None
) -> Tensor:
    """Return the ids that `BiLMEncoder` reads, of B sentences without `<S>` and `</S>`, padded with 0 at the end.

    Args:
        sentences: The words of each sentence.
        max_characters: C, or None for a biLM of word input.
        word_ids: The id of each word, counted from 0, for word input.

    Returns:
        Character ids (B, T, C); for word input the ids of the words + 1, (B, T).

    Raises:
        ValueError: For word input without `word_ids`.
    """
    num_steps = max(map(len, sentences), default=0)
    if max_characters is None:
        if word_ids is None:
            raise ValueError("`word_ids` must be given for word input, got None")
        ids = torch.zeros(len(sentences), num_steps, dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            ids[row, : len(sentence)] = torch.tensor(look_up_words(sentence, word_ids), dtype=torch.int64) + 1
        return ids
    characters = torch.zeros(len(sentences), num_steps, max_characters, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        characters[row, : len(sentence)] = torch.from_numpy(encode_words(sentence, max_characters))
    return characters
