"""A whole text as one instance, for counting a vocabulary."""

from allennlp.data.instance import Instance
from overrides import overrides

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE


class CorpusInstance(Instance):
    """An encoded text, for AllenNLP's vocabularies: its words were counted when it was encoded, so it is not read again.

    The instance has no fields.
    """

    def __init__(self, corpus: EncodedCorpus) -> None:
        super().__init__({})
        self._corpus = corpus

    @overrides
    def count_vocab_items(self, counter: dict[str, dict[str, int]]) -> None:
        """Add the counts of all words, and of one `<S>` and one `</S>` per sentence, to the namespace `tokens`."""
        counts = counter[TOKENS_NAMESPACE]
        for word, count in zip(self._corpus.type_words(), self._corpus.type_counts.tolist(), strict=True):
            counts[word] += count
        for boundary in (BOS_WORD, EOS_WORD):
            counts[boundary] += self._corpus.num_sentences
