"""The dataset reader `conll_tags`, for models that tag words."""

from collections.abc import Iterator
from typing import Optional

from allennlp.data.dataset_readers import DatasetReader
from allennlp.data.fields import MetadataField, SequenceLabelField, TextField
from allennlp.data.fields.field import Field
from allennlp.data.instance import Instance
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenIndexer
from allennlp.data.tokenizers import Token
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import check_sentence
from allennlp_elmo_plus.data.text.conll import CONLL2003, CONLLU, read_tagged_sentences
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_DEFAULT_TAG_COLUMNS = {CONLLU: 3, CONLL2003: -1}


@DatasetReader.register("conll_tags")
class ConllTagsReader(StrictFromParams, DatasetReader):
    """Reads words and one tag each from CoNLL-U or CoNLL-2003 files, as AllenNLP's model "simple_tagger" needs them.

    An instance has the fields `tokens`, `tags` and `metadata` (with `words`). The data path is a file, plain or `.gz`, or `-` for
    standard input. See `allennlp_elmo_plus.data.text.conll`.

    Args:
        token_indexers: by default "single_id" under the name `tokens`.
        file_format: "conllu" or "conll2003".
        tag_column: counted from 0, or from the end where negative. By default the universal part of speech, 3, of CoNLL-U, and the
            last column, the named entities, of CoNLL-2003.
        max_instances: the maximum number of sentences.
    """

    def __init__(
        self,
        token_indexers: Optional[dict[str, TokenIndexer]] = None,
        file_format: str = CONLLU,
        tag_column: Optional[int] = None,
        max_instances: Optional[int] = None,
    ) -> None:
        super().__init__(max_instances=max_instances)
        self._token_indexers = token_indexers or {"tokens": SingleIdTokenIndexer()}
        self._file_format = file_format
        self._tag_column = _DEFAULT_TAG_COLUMNS.get(file_format, 0) if tag_column is None else tag_column

    @overrides
    def _read(self, file_path: str) -> Iterator[Instance]:
        for sentence in read_tagged_sentences(file_path, self._file_format, self._tag_column):
            yield self.text_to_instance(sentence.words, sentence.tags)

    # The base class takes `*inputs`; each reader names its own.
    @overrides(check_signature=False)
    def text_to_instance(self, words: list[str], tags: Optional[list[str]] = None) -> Instance:
        """Return the instance of a sentence, a list of strings, with `tags` where they are known."""
        check_sentence(words, "words")
        # AllenNLP refuses instances with indexers from another process, to which they would be copied with each instance.
        indexers = self._token_indexers if self._worker_info is None else None
        tokens = TextField([Token(word) for word in words], indexers)
        fields: dict[str, Field] = {"tokens": tokens, "metadata": MetadataField({"words": words})}
        if tags is not None:
            fields["tags"] = SequenceLabelField(tags, tokens)
        return Instance(fields)

    @overrides
    def apply_token_indexers(self, instance: Instance) -> None:
        """Give the words of `instance` their indexers: with `num_workers`, in the process that makes the batches."""
        instance["tokens"].token_indexers = self._token_indexers
