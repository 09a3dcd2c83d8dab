"""Sentences of words -> the ids that `BiLMEncoder` reads."""

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words


def sentence_ids(
    sentences: Sequence[Sequence[str]], max_characters: Optional[int], word_ids: Optional[Mapping[str, int]] = None
) -> Tensor:
    """Return the ids of B sentences, which lack `<S>` and `</S>`, padded with 0 at the end.

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
        if len(sentence):
            characters[row, : len(sentence)] = torch.from_numpy(encode_words(sentence, max_characters)).long()
    return characters
