from collections.abc import Callable

import pytest

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus, encode_to_temporary


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[list[str]]], EncodedCorpus]:
    """A function that returns the encoded corpus of sentences."""
    path = tmp_path_factory.mktemp("text") / "text.txt"

    def encode(sentences: list[list[str]]) -> EncodedCorpus:
        path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
        return encode_to_temporary(path)

    return encode
