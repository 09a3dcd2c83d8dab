"""Sentences of words -> the ids that `BiLMEncoder` reads."""

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import UNK_WORD, encode_words


def sentence_ids(
    sentences: Sequence[Sequence[str]], max_characters: Optional[int], word_ids: Optional[Mapping[str, int]] = None
) -> Tensor:
    """Character ids (B, T, C) of B sentences without `<S>` and `</S>`, 0 behind the end of each; for word input, where
    `max_characters` is None, the vocabulary ids that `word_ids` counts from 0, + 1: (B, T).

    Raises `ValueError` for word input without `word_ids`.
    """
    num_steps = max(map(len, sentences), default=0)
    if max_characters is None:
        if word_ids is None:
            raise ValueError("`word_ids` must be given for word input, got None")
        ids = torch.zeros(len(sentences), num_steps, dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            known = [word_ids.get(word, word_ids[UNK_WORD]) + 1 for word in sentence]
            ids[row, : len(sentence)] = torch.tensor(known, dtype=torch.int64)
        return ids
    characters = torch.zeros(len(sentences), num_steps, max_characters, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        if len(sentence):
            characters[row, : len(sentence)] = torch.from_numpy(encode_words(sentence, max_characters)).long()
    return characters
