"""Train flair's two language models of characters for a given processor time, and embed sentences with them."""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path

DIRECTIONS = ("forward", "backward")
HIDDEN_SIZE = 256
BATCH_SIZE = 32
SEQUENCE_LENGTH = 100

# The learning rate falls by flair's factor, 4, and each rate has this share of the time.
_LEARNING_RATES = {20.0: 0.7, 5.0: 0.2, 1.25: 0.1}
_LINES_PER_FILE = 10_000
_HELDOUT_LINES = 500
_MIN_COUNT = 5


def train_flair(text: Path, heldout: Path, work: Path, minutes: float) -> float:
    """Train a forward and a backward model into the directory `work`; return the processor time in minutes.

    A model that lies there already is not trained again.

    Args:
        text: one sentence per line.
        heldout: the same, of which flair prints the loss.
        work: a directory, which need not exist.
        minutes: the processor time of both trainings together.
    """
    for direction in DIRECTIONS:
        path = work / f"{direction}.pt"
        if not path.exists():
            if not (work / "test.txt").exists():
                _write_corpus(text, heldout, work)
            start = time.process_time()
            model = _train(work, direction, 30 * minutes)
            (work / f"{direction}.minutes").write_text(f"{(time.process_time() - start) / 60}\n", encoding="utf-8")
            with atomic_path(str(path)) as temporary:
                model.save(temporary)
    return sum(float((work / f"{direction}.minutes").read_text("utf-8")) for direction in DIRECTIONS)


def embed_with_flair(work: Path, sentences: Sequence[tuple[str, ...]]) -> Iterator[np.ndarray]:
    """Yield the vectors (1, words, 2 * HIDDEN_SIZE) of each sentence, by the models in the directory `work`."""
    from flair.data import Sentence
    from flair.embeddings import FlairEmbeddings, StackedEmbeddings

    embeddings = StackedEmbeddings([FlairEmbeddings(str(work / f"{direction}.pt")) for direction in DIRECTIONS])
    for start in range(0, len(sentences), 64):
        batch = [Sentence(list(words)) for words in sentences[start : start + 64]]
        embeddings.embed(batch)
        for sentence in batch:
            yield torch.stack([token.embedding for token in sentence])[None].numpy()
            sentence.clear_embeddings()


def _write_corpus(text: Path, heldout: Path, work: Path) -> None:
    """Write the files that flair reads: the directory `train`, valid.txt and test.txt."""
    (work / "train").mkdir(parents=True, exist_ok=True)
    lines = [" ".join(sentence) for sentence in iter_sentences(text)]
    for start in range(0, len(lines), _LINES_PER_FILE):
        path = work / "train" / f"{start:09}.txt"
        path.write_text("\n".join(lines[start : start + _LINES_PER_FILE]), encoding="utf-8")
    few = [" ".join(sentence) for _, sentence in zip(range(_HELDOUT_LINES), iter_sentences(heldout))]
    for name in ("valid.txt", "test.txt"):
        (work / name).write_text("\n".join(few), encoding="utf-8")


def _train(work: Path, direction: str, seconds: float) -> Any:
    # The program starts without flair, for those who compare other vectors only.
    from flair.data import Dictionary
    from flair.models import LanguageModel
    from flair.trainers.language_model_trainer import LanguageModelTrainer, TextCorpus

    torch.manual_seed(1)
    counts = Counter(character for path in (work / "train").iterdir() for character in path.read_text("utf-8"))
    characters = Dictionary()
    for character, count in sorted(counts.items()):
        if count >= _MIN_COUNT:
            characters.add_item(character)
    is_forward = direction == "forward"
    corpus = TextCorpus(work, characters, is_forward)
    model = LanguageModel(characters, is_forward, HIDDEN_SIZE, nlayers=1)
    for rate, share in _LEARNING_RATES.items():
        # From epoch 1 on, flair reads the files in random order, so each rate sees other text.
        trainer = LanguageModelTrainer(model, corpus, epoch=1)
        with _interrupted_after(share * seconds) as interruptions:
            trainer.train(
                work / f"{direction}-training",
                SEQUENCE_LENGTH,
                learning_rate=rate,
                mini_batch_size=BATCH_SIZE,
                num_workers=0,
            )
        if not interruptions:
            raise InputError("flair's training ended before its time, by Ctrl-C or by itself: nothing of it is kept")
    return model


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[list[float]]:
    """Raise a KeyboardInterrupt, at which flair ends a training, when `seconds` of processor time have passed.

    Yields:
        A list, to which `seconds` are added at that moment.
    """
    interruptions: list[float] = []

    def interrupt(*arguments: Any) -> None:
        interruptions.append(seconds)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield interruptions
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
