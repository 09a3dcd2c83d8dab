"""The vocabulary `bilm`: bilm-tf's order of words in AllenNLP's `Vocabulary`."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Optional, Union

from allennlp.data.instance import Instance
from allennlp.data.vocabulary import Vocabulary

from allennlp_elmo_plus.core.characters import UNK_WORD
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.model_files import local_path
from allennlp_elmo_plus.core.pretrained import read_words
from allennlp_elmo_plus.core.vocabulary import order_by_frequency
from allennlp_elmo_plus.plugin.known_options import KnownOptions

TOKENS_NAMESPACE = "tokens"

# With spaces, so that no word of a text is the padding: AllenNLP would give "@@PADDING@@" in a text the id that masks
# it out.
PADDING_TOKEN = "@@ PADDING @@"


@Vocabulary.register("bilm", constructor="from_text")
class BilmVocabulary(KnownOptions, Vocabulary):
    """
    A vocabulary whose namespace `tokens` lists `<S>`, `</S>`, `<UNK>` and then words by falling frequency.

    The id of a word is its line number in bilm-tf's vocabulary file, counted from 0, plus 1: AllenNLP keeps id 0 for
    padding. Words that are not in the vocabulary get the id of `<UNK>`. The `tokens.txt` AllenNLP saves is a vocabulary
    file for bilm-tf.

    Registered as a `Vocabulary` with name "bilm", constructor `from_text`.
    """

    @classmethod
    def from_text(
        cls,
        instances: Iterable[Instance],
        min_count: int = 1,
        max_size: Optional[int] = None,
        vocab_file: Optional[str] = None,
    ) -> "BilmVocabulary":
        """
        Counts the words of `instances` (which AllenNLP passes), or reads them from a file.

        # Parameters

        min_count : `int`, optional (default = `1`)
            Words that occur less often are left out.
        max_size : `int`, optional
            The most entries to keep, `<S>`, `</S>` and `<UNK>` included.
        vocab_file : `str`, optional
            A vocabulary to take as it is, a bilm-tf vocabulary file or the model.tar.gz of a pretrained model "bilm"; the
            instances are then not read. A path or a URL.
        """
        if vocab_file is None:
            counts: dict[str, dict[str, int]] = defaultdict(Counter)
            for instance in instances:
                instance.count_vocab_items(counts)
            words = order_by_frequency(counts[TOKENS_NAMESPACE], min_count, max_size)
        elif min_count != 1 or max_size is not None:
            raise InputError("`min_count` and `max_size` must be left out where `vocab_file` gives the vocabulary")
        else:
            words = read_words(local_path(vocab_file))
        vocabulary = cls(padding_token=PADDING_TOKEN, oov_token=UNK_WORD)
        index_to_token = dict(enumerate([PADDING_TOKEN, *words]))
        vocabulary._index_to_token[TOKENS_NAMESPACE] = index_to_token
        vocabulary._token_to_index[TOKENS_NAMESPACE] = {word: index for index, word in index_to_token.items()}
        return vocabulary

    @classmethod
    def from_files(
        cls,
        directory: Union[str, "os.PathLike[str]"],
        padding_token: Optional[str] = None,
        oov_token: Optional[str] = None,
    ) -> "BilmVocabulary":
        """
        Loads what `save_to_files` wrote. AllenNLP calls this, with None for both tokens, to load an archive; the
        out-of-vocabulary token is then `<UNK>`, as it is when the vocabulary is built.
        """
        return super().from_files(
            directory,
            PADDING_TOKEN if padding_token is None else padding_token,
            UNK_WORD if oov_token is None else oov_token,
        )


def words_of(vocabulary: Vocabulary) -> list[str]:
    """The words of a vocabulary "bilm" in the order of bilm-tf's ids: AllenNLP's id 0 is padding, which has no line there."""
    tokens = vocabulary.get_index_to_token_vocabulary(TOKENS_NAMESPACE)
    return [tokens[index] for index in range(1, len(tokens))]
