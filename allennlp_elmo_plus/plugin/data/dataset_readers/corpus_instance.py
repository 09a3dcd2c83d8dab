"""A whole text as one instance, for counting a vocabulary."""

from allennlp.data.instance import Instance

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE


class CorpusInstance(Instance):
    """What AllenNLP's vocabularies see of a text that has been encoded: its words were counted then, so that building a vocabulary
    need not read the text a second time. It has no fields.
    """

    def __init__(self, corpus: EncodedCorpus) -> None:
        super().__init__({})
        self._corpus = corpus

    def count_vocab_items(self, counter: dict[str, dict[str, int]]) -> None:
        """Adds the words of the text, and a `<S>` and a `</S>` a sentence, to the namespace `tokens`."""
        counts = counter[TOKENS_NAMESPACE]
        for word, count in zip(self._corpus.type_words(), self._corpus.type_counts.tolist(), strict=True):
            counts[word] += count
        for boundary in (BOS_WORD, EOS_WORD):
            counts[boundary] += self._corpus.num_sentences
