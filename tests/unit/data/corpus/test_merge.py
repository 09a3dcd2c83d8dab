"""That shards encoded one by one and put together are the corpus of all of them, byte for byte."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.corpus.encoded_corpus import (
    ARRAY_TYPES,
    WORDS_FILE,
    EncodedCorpus,
    encode_text,
)
from allennlp_elmo_plus.data.corpus.merge import merge_corpora

WORDS = st.sampled_from(["mill", "rain", "<S>", "</S>", "Fluß", "x" * 60, "나비", "the", "."])
TEXTS = st.lists(st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=5).filter(any), min_size=1, max_size=4)


def encoded(texts: list[Path], directory: Path) -> Path:
    directory.mkdir()
    encode_text(",".join(map(str, texts)), directory)
    return directory


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_a_merge_is_what_one_process_writes(tmp_path_factory, sentences_of_shards):
    directory = tmp_path_factory.mktemp("merge")
    texts = []
    for number, sentences in enumerate(sentences_of_shards):
        text = directory / f"{number}.txt"
        text.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
        texts.append(text)
    whole = encoded(texts, directory / "whole")
    shards = [EncodedCorpus(encoded([text], directory / f"shard-{text.stem}"), 50) for text in texts]
    (directory / "merged").mkdir()
    merge_corpora(shards, directory / "merged")
    for name in (*ARRAY_TYPES, WORDS_FILE):
        assert (directory / "merged" / name).read_bytes() == (whole / name).read_bytes(), name
