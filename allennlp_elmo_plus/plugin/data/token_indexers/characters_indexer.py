"""The token indexer `bilm_characters`."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch
from allennlp.data.token_indexers import TokenIndexer
from allennlp.data.token_indexers.token_indexer import IndexedTokenList
from allennlp.data.tokenizers import Token
from allennlp.data.vocabulary import Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    DEFAULT_MAX_CHARACTERS,
    EOS_WORD,
    PADDING_ID,
    check_max_characters,
    encode_words,
    spell_as,
)
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_KEY = "elmo_tokens"


@TokenIndexer.register("bilm_characters")
class BilmCharactersIndexer(StrictFromParams, TokenIndexer):
    """Gives the character ids of each token, 0 where there is no token; see `allennlp_elmo_plus.data.text.characters` for the ids.

    A drop-in for AllenNLP's "elmo_characters": the same ids under the same key, padded the same way, except that a field of no
    tokens padded to no tokens has shape (0, C), where AllenNLP's has (0,).

    Args:
        max_characters_per_token: C, as in the options.json of the model: UTF-8 bytes, and the two marks of begin and end of word.
        tokens_to_add: tokens to spell by one character id of their own, in bilm-tf's count: 0 to 260, of which text does not use 1
            to 32.
        add_bos_eos: whether to put the row of `<S>` before the tokens and the row of `</S>` after them. A field then has two rows
            more than tokens.
        token_min_padding_length: see `TokenIndexer`.
    """

    def __init__(
        self,
        max_characters_per_token: int = DEFAULT_MAX_CHARACTERS,
        tokens_to_add: Optional[dict[str, int]] = None,
        add_bos_eos: bool = False,
        token_min_padding_length: int = 0,
    ) -> None:
        super().__init__(token_min_padding_length)
        check_max_characters(max_characters_per_token)
        for token, character_id in (tokens_to_add or {}).items():
            if not 0 <= character_id < PADDING_ID:
                raise ValueError(
                    f"`tokens_to_add` must give ids from 0 to {PADDING_ID - 1}, got {character_id} for {token!r}"
                )
        self.max_characters_per_token = max_characters_per_token
        self._tokens_to_add = tokens_to_add or {}
        self._add_bos_eos = add_bos_eos

    @overrides
    def count_vocab_items(self, token: Token, counter: dict[str, dict[str, int]]) -> None:
        pass

    @overrides
    def get_empty_token_list(self) -> IndexedTokenList:
        return {_KEY: []}

    @overrides
    def tokens_to_indices(self, tokens: list[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        words = [token.text for token in tokens]
        ids = encode_words(words, self.max_characters_per_token)
        if self._tokens_to_add:
            for row, word in enumerate(words):
                if word in self._tokens_to_add:
                    ids[row] = spell_as(self._tokens_to_add[word] + 1, self.max_characters_per_token)
        rows = ids.tolist()
        if self._add_bos_eos:
            bos, eos = encode_words([BOS_WORD, EOS_WORD], self.max_characters_per_token).tolist()
            rows = [bos, *rows, eos]
        return {_KEY: rows}

    @overrides
    def as_padded_tensor_dict(
        self, tokens: IndexedTokenList, padding_lengths: dict[str, int]
    ) -> dict[str, torch.Tensor]:
        return {_KEY: pad_rows(tokens[_KEY], padding_lengths[_KEY], self.max_characters_per_token)}


def pad_rows(rows: Sequence[Sequence[int]], num_rows: int, width: int) -> torch.Tensor:
    """Return `rows` of `width` numbers, cut or padded with rows of zeros to `num_rows`: (`num_rows`, `width`) int64."""
    padded = np.zeros((num_rows, width), dtype=np.int64)
    rows = rows[:num_rows]
    if rows:
        padded[: len(rows)] = rows
    return torch.from_numpy(padded)
