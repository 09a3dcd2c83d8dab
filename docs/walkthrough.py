"""
From raw text to a better classifier, with nothing but what is installed:  python docs/walkthrough.py [DIRECTORY]

The raw text is the documentation of Python's standard library. The task: which package does a sentence document? A biLM learns
from the raw text; then a classifier learns from few labelled sentences, once over words of its own, once over a biLM that learnt
nothing, once over the pretrained one. Under 15 minutes on two CPU cores.

Runs as a script; editors that know `# %%` run it cell by cell. Every step is a command that could be typed in the repository.
"""

# %% Where things go, and how commands are run
import json
import random
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.stdlib_corpus import is_held_out, python_files
from allennlp_elmo_plus.stdlib_text import prose_sentences

CONFIG = Path("training_config/bilm.jsonnet")
PACKAGES = [
    "asyncio",
    "ctypes",
    "email",
    "http",
    "idlelib",
    "logging",
    "multiprocessing",
    "tkinter",
    "unittest",
    "urllib",
]
LABELLED_A_PACKAGE = 40


def run(*command: Any) -> None:
    """Runs a command, having printed it."""
    words = list(map(str, command))
    print("\n$", *words, flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)


# %% 1. Raw text: one sentence a line, words separated by spaces
def raw_text(directory: Path) -> None:
    run("allennlp_elmo_plus.stdlib_corpus", directory)


# %% 2. Pretrain: the weights and everything else end up in one archive
def pretrain(directory: Path, config: Path = CONFIG) -> Path:
    data = {"train_data_path": str(directory / "train.txt"), "validation_data_path": str(directory / "heldout.txt")}
    run("allennlp", "train", config, "-s", directory / "bilm", "-f", "-o", json.dumps(data))
    return directory / "bilm" / "model.tar.gz"


# %% 3. Labelled sentences: few to learn from; the test's are of the held-out text, which the biLM has never seen
def labelled_sentences(directory: Path) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    of_package = {package: list(dict.fromkeys(_sentences(library / package))) for package in PACKAGES}
    common = {sentence for a in PACKAGES for b in PACKAGES if a < b for sentence in {*of_package[a]} & {*of_package[b]}}
    parts: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for package, sentences in of_package.items():
        lines = [{"text": sentence, "label": package} for sentence in sentences if sentence not in common]
        parts["test"] += [line for line in lines if is_held_out(line["text"], 5)]
        seen = [line for line in lines if not is_held_out(line["text"], 5)]
        parts["train"] += random.Random(0).sample(seen, min(LABELLED_A_PACKAGE, len(seen)))
    for name, lines in parts.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"{len(parts['train'])} labelled sentences to learn from, {len(parts['test'])} to test with")


def _sentences(package: Path) -> Iterator[str]:
    for path in python_files(package):
        yield from prose_sentences(path.read_bytes())


# %% 4. The classifier: AllenNLP's own; only where its word vectors come from differs
def classifier(directory: Path, indexer: dict[str, Any], embedder: dict[str, Any], width: int) -> dict[str, Any]:
    return {
        "dataset_reader": {
            "type": "text_classification_json",
            "tokenizer": "just_spaces",
            "token_indexers": {"words": indexer},
        },
        "train_data_path": str(directory / "train.jsonl"),
        "test_data_path": str(directory / "test.jsonl"),
        "evaluate_on_test": True,
        "model": {
            "type": "basic_classifier",
            "text_field_embedder": {"token_embedders": {"words": embedder}},
            "seq2vec_encoder": {"type": "boe", "embedding_dim": width, "averaged": True},
            "dropout": 0.2,
        },
        "data_loader": {"batch_size": 16, "shuffle": True},
        "trainer": {"num_epochs": 30, "optimizer": {"type": "adam", "lr": 0.005}, "cuda_device": -1},
    }


def accuracy(directory: Path, name: str, config: dict[str, Any]) -> float:
    """Of the test sentences, after training with `config`."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    run("allennlp", "train", path, "-s", directory / name, "-f")
    return json.loads((directory / name / "metrics.json").read_text("utf-8"))["test_accuracy"]


# %% 5. The same classifier over words, over an untrained biLM and over the pretrained one
def compare(directory: Path, archive: Path) -> dict[str, float]:
    archived = json.loads((archive.parent / "config.json").read_text("utf-8"))["model"]
    options = {key: value for key, value in archived.items() if key != "type"}
    width, characters = 2 * options["lstm"]["projection_dim"], {"type": "bilm_characters"}
    embedders = {
        "words": ({"type": "single_id"}, {"type": "embedding", "embedding_dim": width}),
        "untrained": (characters, {"type": "bilm", "options": options}),
        "pretrained": (characters, {"type": "bilm", "archive_file": str(archive)}),
    }
    return {
        name: accuracy(directory, name, classifier(directory, indexer, embedder, width))
        for name, (indexer, embedder) in embedders.items()
    }


# %% All of it
def main(directory: Path, config: Path = CONFIG) -> None:
    raw_text(directory)
    archive = pretrain(directory, config)
    labelled_sentences(directory)
    print("\nSentences of the test set given to the right package:")
    for name, share in compare(directory, archive).items():
        print(f"  {name:<12}{share:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/walkthrough"))
