import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from allennlp.commands import main
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import archive_model, load_archive
from allennlp.modules.elmo import _ElmoBiLm, batch_to_ids
from allennlp.nn.util import remove_sentence_boundaries

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands import elmo as elmo_command
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import (
    OPTIONS,
    close,
    exported,
    ids_of,
)
from tests.helpers.saved_bilm import saved

SENTENCES = ["the cat sat on a mat", "Zürich fell quiet , 나비 🙂", "un " + "x" * 60, "and then"]


@pytest.fixture(scope="module")
def bilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with options.json, weights.hdf5 and vocab.txt."""
    directory = tmp_path_factory.mktemp("bilm")
    exported(directory, BiLMOptions.from_dict(OPTIONS))
    return directory


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(sentence + "\n" for sentence in SENTENCES), encoding="utf-8")
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    # The plugin is imported here; for each command AllenNLP would walk through every module of its own and of allennlp_models.
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)

    def run_command(*arguments: Any) -> None:
        monkeypatch.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
        main(prog="allennlp")

    return run_command


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: dataset[...] for key, dataset in file.items() if key != "sentence_to_index"}


def elmos_layers(bilm: Path, sentence: str) -> np.ndarray:
    """(3, T, 2 D) as AllenNLP's ElmoEmbedder had it, before any other sentence."""
    elmo = _ElmoBiLm(str(bilm / "options.json"), str(bilm / "weights.hdf5"))
    with torch.no_grad():
        output = elmo(batch_to_ids([sentence.split()]))
    layers = [remove_sentence_boundaries(layer, output["mask"])[0][0] for layer in output["activations"]]
    return torch.stack(layers).numpy()


@pytest.mark.parametrize("layers", ["--all", "--top", "--average"])
def test_vectors_are_those_of_allennlps_command(bilm, text, tmp_path, run, capsys, layers):
    output = tmp_path / "vectors.hdf5"
    run("elmo", text, output, layers, "--model", bilm, "--batch-size", 5)
    captured = capsys.readouterr()
    assert captured.out == f"wrote {output}: 16 words in 4 sentences\n"
    assert "16.0/16.0" in captured.err and "embedding" in captured.err
    arrays = read(output)
    for number, sentence in enumerate(SENTENCES):
        expected = elmos_layers(bilm, sentence)
        expected = {"--all": expected, "--top": expected[-1], "--average": expected.mean(axis=0)}[layers]
        np.testing.assert_allclose(arrays[str(number)], expected, rtol=0, atol=1e-5)


def test_options_of_the_command(bilm, text, tmp_path, run, capsys):
    files = ("--options-file", bilm / "options.json", "--weight-file", bilm / "weights.hdf5")
    run("elmo", text, tmp_path / "keys.npz", "--top", *files, "--use-sentence-keys")
    run("elmo", text, tmp_path / "forgotten", "--top", *files, "--forget-sentences")
    run("elmo", text, tmp_path / "npz", "--top", *files, "--output-format", "npz")
    with h5py.File(tmp_path / "forgotten") as file:
        assert sorted(file) == ["0", "1", "2", "3"]
    with np.load(tmp_path / "keys.npz") as keys, np.load(tmp_path / "npz") as numbered:
        assert sorted(keys) == sorted(SENTENCES)
        assert json.loads(numbered["sentence_to_index"][0]) == {line: str(i) for i, line in enumerate(SENTENCES)}
        np.testing.assert_array_equal(keys[SENTENCES[1]], numbered["1"])
    text.write_text("\nthe cat\n")
    capsys.readouterr()
    run("elmo", text, tmp_path / "blank.hdf5", "--all", "--model", bilm)
    assert "2 words in 2 sentences, 1 blank line with no vectors" in capsys.readouterr().out


def test_standard_input_is_a_text(bilm, text, tmp_path, run, monkeypatch, capsys):
    run("elmo", text, tmp_path / "file.hdf5", "--top", "--model", bilm)
    with open(text) as file:
        monkeypatch.setattr(sys, "stdin", file)
        run("elmo", "-", tmp_path / "input.hdf5", "--top", "--model", bilm)
    assert f"wrote {tmp_path}/input.hdf5: 16 words in 4 sentences\n" in capsys.readouterr().out
    file, standard_input = read(tmp_path / "file.hdf5"), read(tmp_path / "input.hdf5")
    assert file.keys() == standard_input.keys() and all(np.array_equal(file[key], standard_input[key]) for key in file)


def test_the_output_is_not_named_as_another_format(bilm, text, tmp_path, run, monkeypatch):
    monkeypatch.setattr(elmo_command, "load_embedder", lambda files: pytest.fail("nothing must be loaded"))
    for name in ("vectors.csv", "vectors.npy"):
        with pytest.raises(SystemExit) as left:
            run("elmo", text, tmp_path / name, "--all", "--model", bilm)
        assert left.value.code == (
            "error: `output_file` must end in .hdf5, .h5, .hdf, .npz, by its format, or have no suffix, unless --output-format is "
            f"given, got {tmp_path}/{name}"
        )
    with pytest.raises(
        SystemExit, match="error: `output_file` must end in .hdf5, .h5, .hdf, by its format, or have no suffix"
    ):
        run("elmo-cache", tmp_path / "words.csv", "--model", bilm)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_an_output_format_that_is_given_goes_before_the_name(bilm, text, tmp_path, run):
    run("elmo", text, tmp_path / "vectors.of.mine", "--top", "--model", bilm, "--output-format", "hdf5")
    run("elmo", text, tmp_path / "vectors.H5", "--top", "--model", bilm)
    assert read(tmp_path / "vectors.of.mine").keys() == read(tmp_path / "vectors.H5").keys()


def tagger_archive(directory: Path, bilm: Path, **embedder: Any) -> Path:
    """A model over a biLM whose mix and weights are no longer those it began with."""
    config = {
        "type": "basic_classifier",
        "text_field_embedder": {
            "token_embedders": {
                "elmo": {
                    "type": "bilm",
                    "options": OPTIONS,
                    "pretrained_file": str(bilm / "weights.hdf5"),
                    **embedder,
                }
            }
        },
        "seq2vec_encoder": {"type": "boe", "embedding_dim": 16},
    }
    vocab = Vocabulary({"labels": {"quiet": 1, "loud": 1}})
    torch.manual_seed(1)
    model = Model.from_params(Params(json.loads(json.dumps(config))), vocab=vocab)
    with torch.no_grad():
        for parameter in model._text_field_embedder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    reader = {
        "type": "text_classification_json",
        "tokenizer": "just_spaces",
        "token_indexers": {"elmo": {"type": "elmo_characters"}},
    }
    (directory / "config.json").write_text(json.dumps({"dataset_reader": reader, "model": config}))
    vocab.save_to_files(str(directory / "vocabulary"))
    torch.save(model.state_dict(), directory / "best.th")
    return Path(archive_model(directory))


def test_a_mix_gives_what_the_model_in_the_archive_gets(bilm, text, tmp_path, run):
    archive = tagger_archive(tmp_path, bilm, requires_grad=True)
    run("elmo", text, tmp_path / "mixed.hdf5", "--mix", archive, "--model", bilm)
    embedder = load_archive(archive).model.eval()._text_field_embedder
    arrays = read(tmp_path / "mixed.hdf5")
    for number, sentence in enumerate(SENTENCES):
        vectors = embedder({"elmo": {"elmo_tokens": ids_of([sentence.split()])}})[0]
        close(torch.from_numpy(arrays[str(number)]), vectors.detach(), 1e-6)


@pytest.mark.parametrize(
    "embedder, message",
    [
        ({"do_layer_norm": True}, "a mix with `do_layer_norm` cannot be used"),
        ({"options": {**OPTIONS, "lstm": {**OPTIONS["lstm"], "dim": 21}}}, "in its biLM: `bilm."),
    ],
)
def test_a_mix_that_cannot_be_used_is_refused(bilm, text, tmp_path, run, capsys, embedder, message):
    if "options" in embedder:
        embedder["pretrained_file"] = None
    archive = tagger_archive(tmp_path, bilm, **embedder)
    with pytest.raises(SystemExit, match=message):
        run("elmo", text, tmp_path / "mixed.hdf5", "--mix", archive, "--model", bilm)


def test_an_archive_without_a_mix_is_refused(bilm, text, tmp_path, run):
    saved(tmp_path)
    with pytest.raises(SystemExit, match="must hold the mix of one token embedder of type `bilm`, got none"):
        run("elmo", text, tmp_path / "mixed.hdf5", "--mix", tmp_path / "model.tar.gz", "--model", bilm)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of the arguments --all --top --average --mix is required"),
        (["--all", "--top"], "argument --top: not allowed with argument --all"),
        (["--all", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--all", "--batch-size", "many"], "argument --batch-size: invalid int value: 'many'"),
        (["--all", "--cuda-device", "-2"], "--cuda-device must be -1 or the number of a GPU, got -2"),
        (["--all", "--weight-file", "w"], "--options-file and --weight-file go together"),
        (["--all", "--options-file", "o"], "argument --options-file: not allowed with argument --model"),
        (["--all", "--output-format", "csv"], "argument --output-format: invalid choice: 'csv'"),
    ],
)
def test_wrong_usage_is_answered_with_status_2(bilm, text, tmp_path, run, capsys, arguments, message):
    with pytest.raises(SystemExit) as left:
        run("elmo", text, tmp_path / "vectors.hdf5", "--model", bilm, *arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input": "absent.txt"}, "absent.txt: cannot be read"),
        ({"output": "absent/vectors.hdf5"}, "there is no directory"),
        ({"output": "text.txt"}, "is there already; remove it first"),
        ({"model": "absent"}, "absent: there is no such file or directory"),
        ({"cuda": "99"}, "--cuda-device 99: PyTorch finds . GPUs here"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(bilm, text, tmp_path, run, capsys, change, message):
    arguments = {"input": "text.txt", "output": "vectors.hdf5", "model": str(bilm), "cuda": "-1", **change}
    with pytest.raises(SystemExit, match=message) as left:
        run(
            *("elmo", tmp_path / arguments["input"], tmp_path / arguments["output"], "--all"),
            *("--model", arguments["model"], "--cuda-device", arguments["cuda"]),
        )
    # `sys.exit` of a text prints it on stderr, with status 1.
    assert isinstance(left.value.code, str) and "\n" not in left.value.code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_interrupted_it_says_so_and_goes_on(bilm, text, tmp_path, run, monkeypatch, capsys):
    progress_bar = elmo_command.progress_bar
    with monkeypatch.context() as patched:

        def interrupting(what, unit, total, done):
            raise KeyboardInterrupt

        patched.setattr(elmo_command, "progress_bar", interrupting)
        with pytest.raises(SystemExit) as left:
            run("elmo", text, tmp_path / "vectors.hdf5", "--all", "--model", bilm)
        assert left.value.code == 130
        assert "interrupted: nothing is lost; the same command goes on\n" in capsys.readouterr().err
    assert elmo_command.progress_bar is progress_bar
    run("elmo", text, tmp_path / "vectors.hdf5", "--all", "--model", bilm)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "vectors.hdf5"]


@pytest.mark.parametrize("command", ["elmo", "elmo-cache"])
def test_help_has_an_example(run, capsys, command):
    with pytest.raises(SystemExit) as left:
        run(command, "--help")
    assert left.value.code == 0
    assert f"example:\n  allennlp {command} " in capsys.readouterr().out


def test_a_cache_of_words_changes_nothing_but_the_work(bilm, text, tmp_path, run, capsys):
    run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm)
    assert capsys.readouterr().out == f"wrote {tmp_path / 'words.hdf5'}: 19 words\n"
    run("elmo", text, tmp_path / "plain.hdf5", "--all", "--model", bilm)
    run(
        "elmo",
        text,
        tmp_path / "cached.hdf5",
        "--all",
        "--model",
        bilm,
        "--token-embedding-file",
        tmp_path / "words.hdf5",
    )
    plain, cached = read(tmp_path / "plain.hdf5"), read(tmp_path / "cached.hdf5")
    for key, array in plain.items():
        np.testing.assert_allclose(cached[key], array, rtol=0, atol=1e-5)


def test_a_cache_needs_a_vocabulary(bilm, tmp_path, run):
    alone = tmp_path / "alone"
    alone.mkdir()
    pair = ("--options-file", bilm / "options.json", "--weight-file", shutil.copy(bilm / "weights.hdf5", alone))
    with pytest.raises(SystemExit, match="options.json: holds no vocabulary; give one with --vocab-file"):
        run("elmo-cache", tmp_path / "words.hdf5", *pair)
    with pytest.raises(SystemExit) as left:
        run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm, "--weight-file", "w")
    assert left.value.code == 2
    assert list(tmp_path.iterdir()) == [alone]
    run("elmo-cache", tmp_path / "words.hdf5", *pair, "--vocab-file", bilm / "vocab.txt")


def test_the_token_embedder_takes_a_cache_of_words(bilm, tmp_path, run):
    run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm)
    files = {"options_file": str(bilm / "options.json"), "weight_file": str(bilm / "weights.hdf5")}
    plain = BilmTokenEmbedder(**files).eval()
    embedder = BilmTokenEmbedder(**files, token_embedding_file=str(tmp_path / "words.hdf5")).eval()
    counts: list[int] = []
    embedder._elmo._encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    ids = ids_of([sentence.split() for sentence in SENTENCES])
    close(embedder(ids), plain(ids))
    # A sample of 16 words to compare, and then no word but those that are not in the vocabulary: none.
    assert counts == [16]
    with pytest.raises(
        ConfigurationError, match="`token_embedding_file` brings its own words, got `vocab_to_cache` too"
    ):
        BilmTokenEmbedder(**files, token_embedding_file=str(tmp_path / "words.hdf5"), vocab_to_cache=["the"])
