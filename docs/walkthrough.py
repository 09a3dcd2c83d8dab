"""
Pretrain a biLM and use it in a part-of-speech tagger:  python docs/walkthrough.py [DIRECTORY]

Nothing is downloaded. The biLM is pretrained on the documentation of Python's standard library. Then three taggers are trained on fifty
tagged sentences and tested on fifty others: with word vectors of their own, with an untrained biLM, and with the pretrained biLM. This
takes less than 15 minutes on two CPU cores.

Run it as a script, or cell by cell in an editor that knows `# %%`. Every step is a command that you could type in the repository.
"""

# %% Where things go, and how commands are run
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIG = Path("training_config/bilm.jsonnet")
TAGGED = Path(__file__).with_name("tagged_sentences.txt")


def run(*command: Any) -> None:
    """Print a command and run it."""
    words = list(map(str, command))
    print("\n$ python -m", *words, flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)


# %% 1. Raw text: one sentence per line, words separated by spaces
def raw_text(directory: Path) -> None:
    run("examples.stdlib_corpus", directory)


# %% 2. Pretrain: the result is one archive with the weights, the vocabulary and the config
def pretrain(directory: Path, config: Path = CONFIG) -> Path:
    data = {"train_data_path": str(directory / "train.txt"), "validation_data_path": str(directory / "heldout.txt")}
    run("allennlp_elmo_plus", "train", config, "-s", directory / "bilm", "-f", "-o", json.dumps(data))
    return directory / "bilm" / "model.tar.gz"


# %% 3. Tagged sentences, WORD/TAG WORD/TAG ... in each line: every second one for training, the others for testing
def tagged_sentences(directory: Path) -> None:
    lines = TAGGED.read_text("utf-8").splitlines(keepends=True)
    for name, part in (("train", lines[::2]), ("test", lines[1::2])):
        (directory / f"{name}.tagged").write_text("".join(part), encoding="utf-8")
        print(f"{name}: {len(part)} sentences, {sum(len(line.split()) for line in part)} words")


# %% 4. The tagger is AllenNLP's own; only the source of its word vectors differs
def tagger(directory: Path, indexer: dict[str, Any], embedder: dict[str, Any], width: int) -> dict[str, Any]:
    return {
        "dataset_reader": {
            "type": "sequence_tagging",
            "word_tag_delimiter": "/",
            "token_indexers": {"words": indexer},
        },
        "train_data_path": str(directory / "train.tagged"),
        "test_data_path": str(directory / "test.tagged"),
        "evaluate_on_test": True,
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {"token_embedders": {"words": embedder}},
            "encoder": {"type": "lstm", "input_size": width, "hidden_size": 64, "bidirectional": True},
        },
        "data_loader": {"batch_size": 10, "shuffle": True},
        "trainer": {"num_epochs": 40, "optimizer": {"type": "adam", "lr": 0.005}, "cuda_device": -1},
    }


def accuracy(directory: Path, name: str, config: dict[str, Any]) -> float:
    """Train with `config` and return the accuracy on the test sentences."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    run("allennlp_elmo_plus", "train", path, "-s", directory / name, "-f")
    return json.loads((directory / name / "metrics.json").read_text("utf-8"))["test_accuracy"]


# %% 5. The same tagger with word vectors, with an untrained biLM and with the pretrained biLM
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
        name: accuracy(directory, name, tagger(directory, indexer, embedder, width))
        for name, (indexer, embedder) in embedders.items()
    }


# %% Run all steps
def main(directory: Path, config: Path = CONFIG) -> None:
    raw_text(directory)
    archive = pretrain(directory, config)
    tagged_sentences(directory)
    print("\nWords of the test sentences with the right tag:")
    for name, share in compare(directory, archive).items():
        print(f"  {name:<12}{share:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/walkthrough"))
