"""Prepare sentences of words for a trained model: batches of sentences of similar length, and ids."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Optional, TypeVar

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words

# `<S>` and `</S>`
NUM_BOUNDARIES = 2

Item = TypeVar("Item")


def chunks_of_sentences(sentences: Iterable[Sequence[str]], max_tokens: int) -> Iterator[list[Sequence[str]]]:
    """Return an iterator over lists of consecutive sentences with at most `max_tokens` tokens, or one longer sentence."""
    return _group(sentences, len, max_tokens)


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return the indices of sentences of `lengths` words in batches of at most `max_tokens` tokens, or one longer sentence.

    A batch has sentences of similar length, the longest first, so the LSTM has many rows up to its last step. Nothing is computed for
    padding in any case.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return list(_group(longest_first, lengths.__getitem__, max_tokens))


def _group(items: Iterable[Item], num_words: Callable[[Item], int], max_tokens: int) -> Iterator[list[Item]]:
    """Yield `items` in lists of at most `max_tokens` tokens, words and sentence boundaries, or of one longer item."""
    group: list[Item] = []
    num_tokens = 0
    for item in items:
        size = num_words(item) + NUM_BOUNDARIES
        if group and num_tokens + size > max_tokens:
            yield group
            group, num_tokens = [], 0
        group.append(item)
        num_tokens += size
    if group:
        yield group


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
    if max_characters is not None:
        characters = torch.zeros(len(sentences), num_steps, max_characters, dtype=torch.int64)
        for row, sentence in zip(characters, sentences):
            row[: len(sentence)] = torch.from_numpy(encode_words(sentence, max_characters))
        return characters
    if word_ids is None:
        raise ValueError("`word_ids` must be given for word input, got None")
    ids = torch.zeros(len(sentences), num_steps, dtype=torch.int64)
    for row, sentence in zip(ids, sentences):
        row[: len(sentence)] = torch.tensor(look_up_words(sentence, word_ids), dtype=torch.int64) + 1
    return ids
