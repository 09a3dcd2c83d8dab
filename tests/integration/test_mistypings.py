"""What a user reads after a mistyped command: at most three lines, which name the argument, the rule and the value."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import ROOT, lines_of
from tests.helpers.runs.fork_server import ForkServer
from tests.helpers.runs.typed_commands import type_command
from tests.helpers.small_text import small_config

TEXTS = {"train_data_path": "small.txt", "validation_data_path": "held.txt"}
TAGGED = {"train_data_path": "tagged.conllu", "validation_data_path": "tagged.conllu"}
EMBEDDER = "model.text_field_embedder.token_embedders.elmo.archive_file"
ARCHIVE = "runs/bilm/model.tar.gz"
CONFIG = "training_config/bilm.jsonnet"


def train(config: str = CONFIG, paths: dict[str, str] = TEXTS, out: str = "out", **overrides: Any) -> str:
    """Return the command of a training; `overrides` are added to `paths`, with `.` for `__`."""
    options = {**paths, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return f"train {config} -s {out} -o {shlex.quote(json.dumps(options, ensure_ascii=False))}"


def tag(**overrides: Any) -> str:
    return train("training_config/pos_tagger.jsonnet", TAGGED, **overrides)


MISTYPED: dict[str, tuple[str, int, str]] = {
    "an unknown command": ("exprt runs/bilm/model.tar.gz exp", 2, "no command `exprt`: did you mean `export`?"),
    "a config that is missing": (
        "train training_config/blm.jsonnet -s out", 1,
        "training_config/blm.jsonnet not found; `elmo-plus config`",
    ),
    "the config's own paths": (f"train {CONFIG} -s out", 1, "`data/train.txt`: there is no such file; .* -o "),
    "a text that is missing": (train(train_data_path="smal.txt"), 1, "`smal.txt`: there is no such file"),
    "a pattern without a file": (
        train(train_data_path="corpus/*.txt"), 1,
        r"`corpus/\*.txt`: the pattern matches no file",
    ),
    "overrides that are no JSON": (
        f"train {CONFIG} -s out -o '{{train_data_path: small.txt}}'", 1,
        "the overrides .* must be JSON .*: small",
    ),
    "an option of the model": (train(model__droput=0.3), 1, "`droput`: did you mean `dropout`"),
    "an option of the LSTM": (train(model__lstm__hidden_size=0.3), 1, "lstm.hidden_size"),
    "an option at the top": (train(num_epochs=1), 1, "no option `num_epochs`"),
    "an option of the trainer": (train(trainer__epochs=1), 1, "`epochs`: did you mean `num_epochs`"),
    "an option of the loader": (train(data_loader__batchsize=8), 1, "`batchsize`: did you mean `batch_size`"),
    "an option of the vocabulary": (train(vocabulary__min_cuont=8), 1, "`min_cuont`: did you mean `min_count`"),
    "an empty text": (train(train_data_path="empty.txt"), 1, "empty.txt"),
    "a text in another encoding": (train(train_data_path="cp949.txt"), 1, "cp949.txt.*UTF-8"),
    "an archive as text": (train(train_data_path=ARCHIVE), 1, "runs/bilm/model.tar.gz"),
    "JSON lines as text": (train(train_data_path="petitions.jsonl"), 1, "petitions.jsonl.*prepare"),
    "a text in one line": (train(train_data_path="longline.txt"), 1, "longline.txt"),
    "a directory that is in use": (train(out="texts"), 1, "`-s` must be a new or an empty directory, .* got texts"),
    "a run that is missing": (f"{train()} --recover", 1, "nothing to recover"),
    "a GPU that is missing": (train(trainer__cuda_device=0), 1, "GPU.*cuda_device"),
    "a precision": (train(model__precision="fp16"), 1, '`precision` must be "fp32" or "bf16", got "fp16"'),
    "an optimizer's option": (
        train(trainer__optimizer={"type": "adam", "max_norm": 5}), 1,
        "AdamOptimizer has no option `max_norm`",
    ),
    "a text as archive": ("evaluate held.txt held.txt", 1, "held.txt: must be a model.tar.gz"),
    "an archive that is missing": ("evaluate nope/model.tar.gz held.txt", 1, "nope/model.tar.gz not found"),
    "a held-out text that is missing": (f"evaluate {ARCHIVE} nope.txt", 1, "`nope.txt`: there is no such file"),
    "no choice of layers": (f"elmo held.txt v.hdf5 --model {ARCHIVE}", 2, "--all --top"),
    "text and vectors swapped": (f"elmo v.hdf5 held.txt --all --model {ARCHIVE}", 1, "`input_file`: .* `v.hdf5`"),
    "no model": ("elmo held.txt v.hdf5 --all", 2, "--model --options-file"),
    "a model that is missing": (
        "elmo held.txt v.hdf5 --all --model nope", 1,
        "nope: there is no such file or directory$",
    ),
    "a name of the Hub without hf://": ("elmo held.txt v.hdf5 --all --model allenai/elmo", 1, "hf://allenai/elmo"),
    "vectors as .npy": (f"elmo one.txt v.npy --all --model {ARCHIVE}", 1, "`output_file` must end in .*, got v.npy"),
    "vectors as .csv": (f"elmo one.txt v.csv --all --model {ARCHIVE}", 1, "`output_file` must end in .*, got v.csv"),
    "vectors that exist": (f"elmo one.txt old.hdf5 --all --model {ARCHIVE}", 1, "`old.hdf5`: it is there already"),
    "a word that is not in its sentence": (
        f"neighbors {ARCHIVE} held.txt --query file 'Nothing here .'", 2,
        "'file' is not a word of",
    ),
    "a query without a sentence": (f"neighbors {ARCHIVE} held.txt --query file", 2, "--query: expected 2"),
    "no query": (f"neighbors {ARCHIVE} held.txt", 2, "required: --query"),
    "a text of neighbours that is missing": (
        f"neighbors {ARCHIVE} nope.txt --query river 'the river .'", 1,
        "`nope.txt`: there is no such file",
    ),
    "British spelling": (f"neighbours {ARCHIVE} held.txt", 2, "did you mean `neighbors`"),
    "a run to report that is missing": ("report nope", 1, "nope: there is no such directory"),
    "a directory without a run": ("report texts", 1, "texts: no `config.json`"),
    "an archive in place of its run": (f"report {ARCHIVE}", 1, "model.tar.gz: there is no such directory"),
    "weights to import without a vocabulary": (
        "import elmo/options.json elmo/weights.hdf5 imp.tar.gz", 1,
        "elmo/weights.hdf5: needs its vocabulary",
    ),
    "options and weights swapped": (
        "import elmo/weights.hdf5 elmo/options.json imp.tar.gz", 1,
        "elmo/weights.hdf5: must be JSON",
    ),
    "options to export": ("export elmo/options.json exp", 1, "elmo/options.json: must be"),
    "neither output nor check": ("vocab small.txt", 2, "--output --check"),
    "a text as vocabulary": ("vocab --check held.txt", 1, "held.txt: must be a vocabulary file"),
    "a key of a request": (f"predict {ARCHIVE} bad.jsonl", 1, "line 1: `topp`"),
    "a tagger whose biLM is missing": (tag(**{EMBEDDER: "nope/model.tar.gz"}), 1, "nope/model.tar.gz"),
    "a tagger of another width": (
        tag(**{EMBEDDER: ARCHIVE}), 1,
        "embedding dim must match encoder input dim, but got 16 and 128",
    ),
    "a tagger with ids of words": (
        tag(
            **{EMBEDDER: ARCHIVE},
            model__encoder__input_size=16,
            dataset_reader__token_indexers={"elmo": {"type": "single_id"}},
        ), 1, "token indexer `bilm_characters`",
    ),
    "a tagger of raw text": (
        train("training_config/pos_tagger.jsonnet", **{EMBEDDER: ARCHIVE}), 1, "small.txt",
    ),
    "fine-tuning a biLM of another size": (
        train("training_config/finetune.jsonnet", model__pretrained_file=ARCHIVE), 1, "runs/bilm/model.tar.gz",
    ),
    "fine-tuning a biLM that is missing": (train("training_config/finetune.jsonnet"), 1, "runs/bilm/model.tar.gz"),
}  # fmt: skip

# Their messages have tests of their own, in `unit/commands/test_error_lines.py` and beside the components.
TESTED_ELSEWHERE = {
    "a config that is missing",
    "a directory that is in use",
    "a pattern without a file",
    "a precision",
    "a run that is missing",
    "a text as archive",
    "a text that is missing",
    "an archive that is missing",
    "an option at the top",
    "an option of the loader",
    "an option of the LSTM",
    "an option of the model",
    "an option of the trainer",
    "an optimizer's option",
    "overrides that are no JSON",
}

RIGHT = {
    "a training": train("small.json"),
    "a clip of the trainer": train("small.json", trainer__grad_norm=5.0),
    "another optimizer": train("small.json", trainer__optimizer={"type": "adam", "lr": 0.001}),
    "one sentence": train("small.json", train_data_path="one.txt"),
    "an evaluation": f"evaluate {ARCHIVE} held.txt",
    "an evaluation of a run": "evaluate runs/bilm held.txt",
    "an export": f"export {ARCHIVE} exp",
    "an export of a run": "export runs/bilm exp",
    "a vocabulary": "vocab small.txt --output v.txt --min-count 2",
    "predictions of a text": f"predict {ARCHIVE} one.txt",
    "a tagger with AllenNLP's characters": tag(
        **{EMBEDDER: ARCHIVE},
        model__encoder__input_size=16,
        trainer__num_epochs=1,
        dataset_reader__token_indexers={"elmo": {"type": "elmo_characters"}},
    ),
}


class Terminal:
    """Types commands in a folder."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self._server, self.folder = server, folder

    def type(self, command: str) -> tuple[int, str, str]:
        """Return the exit status of `elmo-plus COMMAND`, and what it wrote to stdout and to stderr."""
        out, err = self.folder / "stdout", self.folder / "stderr"
        process = self._server.call(type_command, str(self.folder), shlex.split(command), str(out), str(err))
        return self._server.wait(process), out.read_text(), err.read_text()


@pytest.fixture(scope="module")
def terminal(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Return a terminal in a folder with texts, a config and a trained biLM."""
    folder = tmp_path_factory.mktemp("typed")
    config = small_config(folder)
    config["trainer"]["num_epochs"] = 1
    (folder / "small.json").write_text(json.dumps(config))
    (folder / "training_config").symlink_to(ROOT / "training_config")
    (folder / "train.txt").rename(folder / "small.txt")
    (folder / "heldout.txt").rename(folder / "held.txt")
    words = (folder / "small.txt").read_text()
    (folder / "one.txt").write_text(words.partition("\n")[0] + "\n")
    (folder / "empty.txt").touch()
    (folder / "cp949.txt").write_bytes("안녕하세요 .\n".encode("cp949"))
    (folder / "longline.txt").write_text("word " * 300_000)
    (folder / "bad.jsonl").write_text('{"sentence": "the river .", "topp": 3}\n')
    (folder / "petitions.jsonl").write_text('{"content": "the river rises .", "category": "water"}\n' * 20)
    (folder / "tagged.conllu").write_text(
        "1\tRain\train\tNOUN\t_\t_\t0\t_\t_\t_\n2\tfalls\tfall\tVERB\t_\t_\t0\t_\t_\t_\n\n" * 3
    )
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("a text\n")
    (folder / "old.hdf5").touch()
    terminal = Terminal(server, folder)
    for command in (
        train("small.json", out="runs/bilm"),
        f"export {ARCHIVE} elmo",
        "vocab small.txt --output vocab.txt",
    ):
        status, _, err = terminal.type(command)
        assert status == 0, err
    (folder / "elmo" / "vocab.txt").unlink()
    return terminal


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(name, marks=pytest.mark.slow if name in TESTED_ELSEWHERE else ()) for name in MISTYPED],
)
def test_a_mistake_is_answered_in_three_lines(mistake: str, terminal: Terminal, tmp_path: Path) -> None:
    command, expected_status, answer = MISTYPED[mistake]
    status, out, err = terminal.type(command.replace("-s out", f"-s {tmp_path}/out"))
    # The bars of AllenNLP are no part of the answer.
    lines = [line for line in lines_of(out + err) if "it/s]" not in line]
    assert status == expected_status
    assert len(lines) <= 3 and "Traceback" not in err, err
    assert re.search(answer, lines[-1]), lines[-1]


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_command_succeeds(what: str, terminal: Terminal, tmp_path: Path) -> None:
    command = RIGHT[what].replace(" exp", f" {tmp_path}/exp").replace("-s out", f"-s {tmp_path}/out")
    status, out, err = terminal.type(command)
    assert status == 0 and "Traceback" not in err, err


def test_the_check_of_a_vocabulary_names_the_fault_after_its_report(terminal: Terminal) -> None:
    status, out, err = terminal.type("vocab held.txt --check vocab.txt")
    assert status == 1 and "Traceback" not in err
    assert out.startswith("vocabulary  ") and "vocab.txt: must be in the order of decreasing frequency" in out + err


def test_a_training_is_repeated_after_a_mistake(terminal: Terminal) -> None:
    mistaken = train("small.json", out="again", model__precision="fp16")
    assert terminal.type(mistaken)[0] == 1
    status, _, err = terminal.type(train("small.json", out="again"))
    assert status == 1 and err.endswith(
        "again holds a dry run, or a training that ended before its first checkpoint: --force deletes it and starts anew\n"
    )
    assert terminal.type(train("small.json", out="again") + " --force")[0] == 0
    status, _, err = terminal.type(train("small.json", out="again"))
    assert status == 1 and err.endswith(
        "again holds a training: --recover continues it, --force deletes it and starts anew\n"
    )
