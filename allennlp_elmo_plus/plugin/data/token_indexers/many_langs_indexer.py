"""The token indexer `bilm_many_langs`."""

from typing import Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.token_indexers import TokenIndexer
from allennlp.data.token_indexers.token_indexer import IndexedTokenList
from allennlp.data.tokenizers import Token
from allennlp.data.vocabulary import Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS
from allennlp_elmo_plus.data.text.many_langs import UNKNOWN, ManyLangsIndexer
from allennlp_elmo_plus.formats.many_langs import read_vocabulary
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.plugin.data.copied_words import CopiedWords
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import pad_rows
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_KEY = "elmo_tokens"


@TokenIndexer.register("bilm_many_langs")
class BilmManyLangsIndexer(StrictFromParams, TokenIndexer):
    """Gives the ids of each token in a model of ELMoForManyLangs: of the word, and of its characters, in one row.

    The rows have the key that the indexer "bilm_characters" uses too; see `allennlp_elmo_plus.data.text.many_langs` for the columns.
    A row of zeros is no token. The words and the characters of the model are copied into the vocabulary of the model that uses them,
    so that its archive needs no `pretrained_file`.

    Registered as a `TokenIndexer` with name "bilm_many_langs".

    Args:
        pretrained_file: the directory of the model or a zip of it, as for the token embedder; a path or a URL. Needed unless the
            vocabulary, from an archive, holds the words.
        namespace: the beginning of the names of two namespaces of the vocabulary, `many_langs_words` and `many_langs_characters`.
        max_characters_per_token: as in the config of the model.
        token_min_padding_length: see `TokenIndexer`.
    """

    def __init__(
        self,
        pretrained_file: Optional[str] = None,
        namespace: str = "many_langs",
        max_characters_per_token: int = DEFAULT_MAX_CHARACTERS,
        token_min_padding_length: int = 0,
    ) -> None:
        super().__init__(token_min_padding_length)
        self._pretrained_file = pretrained_file
        self._max_characters = max_characters_per_token
        self._words = CopiedWords(f"{namespace}_words", UNKNOWN, self._read_words)
        self._characters = CopiedWords(f"{namespace}_characters", UNKNOWN, self._read_characters)
        self._from_files: Optional[ManyLangsIndexer] = None
        self._indexer: Optional[ManyLangsIndexer] = None

    @overrides
    def count_vocab_items(self, token: Token, counter: dict[str, dict[str, int]]) -> None:
        """Count the words and the characters of the model, see `CopiedWords`; `token` is ignored."""
        self._words.count(counter)
        self._characters.count(counter)

    @overrides
    def tokens_to_indices(self, tokens: list[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        if self._indexer is None:
            self._indexer = self._indexer_of(vocabulary)
        return {_KEY: self._indexer.ids([token.text for token in tokens]).tolist()}

    @overrides
    def get_empty_token_list(self) -> IndexedTokenList:
        return {_KEY: []}

    @overrides
    def as_padded_tensor_dict(
        self, tokens: IndexedTokenList, padding_lengths: dict[str, int]
    ) -> dict[str, torch.Tensor]:
        assert self._indexer is not None
        return {_KEY: pad_rows(tokens[_KEY], padding_lengths[_KEY], self._indexer.num_ids)}

    def _indexer_of(self, vocabulary: Vocabulary) -> ManyLangsIndexer:
        words, characters = (
            part.words_of(vocabulary) if part.is_in(vocabulary) else None for part in (self._words, self._characters)
        )
        # A model without words or without characters has one namespace only.
        if words is None and characters is None:
            return self._read()
        return ManyLangsIndexer(words, characters, self._max_characters)

    def _read(self) -> ManyLangsIndexer:
        if self._from_files is None:
            if self._pretrained_file is None:
                raise ConfigurationError(
                    "`pretrained_file` must be given, as the vocabulary does not hold the words of the model"
                )
            indexer = read_vocabulary(local_path(self._pretrained_file))
            if indexer.max_characters != self._max_characters:
                raise ConfigurationError(
                    f"`max_characters_per_token` must be {indexer.max_characters}, as in the config of "
                    f"{self._pretrained_file}, got {self._max_characters}"
                )
            self._from_files = indexer
        return self._from_files

    def _read_words(self) -> list[str]:
        return list(self._read().words or ())

    def _read_characters(self) -> list[str]:
        return list(self._read().characters or ())
