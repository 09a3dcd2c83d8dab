"""The vocabulary `bilm`: bilm-tf's order of words in AllenNLP's `Vocabulary`."""

import filecmp
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Optional, Union

from allennlp.data.instance import Instance
from allennlp.data.vocabulary import DEFAULT_OOV_TOKEN, NAMESPACE_PADDING_FILE, Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import UNK_WORD
from allennlp_elmo_plus.data.text.vocabulary import order_by_frequency, read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import read_words
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.storage.atomic_files import atomic_path, remove_unfinished

TOKENS_NAMESPACE = "tokens"

# A word of a text has no spaces. AllenNLP would give a word "@@PADDING@@" the id of padding, which masks it.
PADDING_TOKEN = "@@ PADDING @@"


@Vocabulary.register("bilm", constructor="from_text")
class BilmVocabulary(StrictFromParams, Vocabulary):
    """A vocabulary whose namespace `tokens` lists `<S>`, `</S>`, `<UNK>` and then words by falling frequency.

    The id of a word is its line number in bilm-tf's vocabulary file, counted from 0, plus 1: AllenNLP keeps id 0 for padding. Words
    that are not in the vocabulary get the id of `<UNK>`. The `tokens.txt` that AllenNLP saves is a vocabulary file for bilm-tf.
    """

    @classmethod
    def from_text(
        cls,
        instances: Iterable[Instance],
        min_count: int = 1,
        max_size: Optional[int] = None,
        vocab_file: Optional[str] = None,
    ) -> "BilmVocabulary":
        """Return the vocabulary of the words of `instances`, or of a file.

        Args:
            instances: the text, which AllenNLP passes.
            min_count: words that occur less often are left out.
            max_size: the maximum number of entries, `<S>`, `</S>` and `<UNK>` included.
            vocab_file: a bilm-tf vocabulary file, or the model.tar.gz of a pretrained model "bilm"; a path or a URL. The vocabulary
                is that of the file, and the instances are not read.

        Raises:
            InputError: where `min_count` or `max_size` is given together with `vocab_file`.
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
        vocabulary._set_words(words)
        return vocabulary

    @classmethod
    @overrides
    def from_files(
        cls,
        directory: Union[str, "os.PathLike[str]"],
        padding_token: Optional[str] = None,
        oov_token: Optional[str] = None,
    ) -> "BilmVocabulary":
        """Return the vocabulary that `save_to_files` wrote.

        AllenNLP loads an archive with None for both tokens; the out-of-vocabulary token is then `<UNK>`, as in a new vocabulary.
        """
        return super().from_files(
            directory,
            PADDING_TOKEN if padding_token is None else padding_token,
            UNK_WORD if oov_token is None else oov_token,
        )

    @overrides
    def set_from_file(
        self,
        filename: str,
        is_padded: bool = True,
        oov_token: str = DEFAULT_OOV_TOKEN,
        namespace: str = TOKENS_NAMESPACE,
    ) -> None:
        """Read `namespace` from `filename`, for `tokens` each word as it stands in the file.

        AllenNLP reads `@@NEWLINE@@` as a line end. No word holds a line end, but a text may hold `@@NEWLINE@@`.
        """
        if namespace != TOKENS_NAMESPACE or not is_padded:
            super().set_from_file(filename, is_padded, oov_token, namespace)
            return
        self._set_words(read_vocabulary(filename))

    def _set_words(self, words: list[str]) -> None:
        """Set the namespace `tokens` to `words`, in the order of bilm-tf's ids."""
        index_to_token = dict(enumerate([self._padding_token, *words]))
        self._index_to_token[TOKENS_NAMESPACE] = index_to_token
        self._token_to_index[TOKENS_NAMESPACE] = {word: index for index, word in index_to_token.items()}

    @overrides
    def save_to_files(self, directory: Union[str, "os.PathLike[str]"]) -> None:
        """Write the files that AllenNLP's vocabulary writes to `directory`, each atomically.

        Raises:
            InputError: where `directory` holds another one, before anything is written: a run resumed with another text would
                leave the weights there with words that do not belong to them.
        """
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        remove_unfinished(target, ".txt")
        # Beside `directory`, since every file in it goes into an archive.
        unfinished = target.with_name(f".{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            super().save_to_files(str(unfinished))
            written = sorted(unfinished.glob("*.txt"))
            for path in written:
                # The padding file lists a set, in another order in each process.
                holds_words = path.name != NAMESPACE_PADDING_FILE
                if holds_words and (target / path.name).exists() and not filecmp.cmp(path, target / path.name, False):
                    raise InputError(
                        f"`{target / path.name}` is of another vocabulary: a run cannot be resumed with another "
                        "text (`train_data_path`) or other words (`vocab_file`)"
                    )
            for path in written:
                with atomic_path(target / path.name) as temporary:
                    shutil.copyfile(path, temporary)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def words_of(vocabulary: Vocabulary) -> list[str]:
    """Return the words of a vocabulary "bilm" in the order of bilm-tf's ids, without AllenNLP's padding."""
    tokens = vocabulary.get_index_to_token_vocabulary(TOKENS_NAMESPACE)
    return [tokens[index] for index in range(1, len(tokens))]
