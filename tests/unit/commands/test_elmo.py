"""The command `allennlp elmo`: one text, without a cluster."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from allennlp.modules.elmo import _ElmoBiLm, batch_to_ids
from allennlp.nn.util import remove_sentence_boundaries

from allennlp_elmo_plus.commands import elmo as elmo_command
from tests.helpers.command_line import only_line
from tests.helpers.exported_bilm import LINES, read_vectors


def allennlp_layers(bilm: Path, sentence: str) -> np.ndarray:
    """Return the (3, T, 2 D) vectors of AllenNLP's ElmoEmbedder, for the first sentence that it reads."""
    elmo = _ElmoBiLm(str(bilm / "options.json"), str(bilm / "weights.hdf5"))
    with torch.no_grad():
        output = elmo(batch_to_ids([sentence.split()]))
    layers = [remove_sentence_boundaries(layer, output["mask"])[0][0] for layer in output["activations"]]
    return torch.stack(layers).numpy()


@pytest.mark.parametrize("layers", ["--all", "--top", "--average"])
def test_vectors_are_those_of_allennlps_command(bilm, text, tmp_path, run, layers):
    output = tmp_path / "vectors.hdf5"
    ended = run("elmo", text, output, layers, "--model", bilm, "--batch-size", 5)
    assert ended.out == f"wrote {output}: 16 words in 4 sentences\n"
    assert "16/16 " in ended.err and "embedding" in ended.err
    arrays = read_vectors(output)
    for number, sentence in enumerate(LINES):
        expected = allennlp_layers(bilm, sentence)
        expected = {"--all": expected, "--top": expected[-1], "--average": expected.mean(axis=0)}[layers]
        np.testing.assert_allclose(arrays[str(number)], expected, rtol=0, atol=1e-5)


def test_options_of_the_command(bilm, text, tmp_path, run):
    files = ("--options-file", bilm / "options.json", "--weight-file", bilm / "weights.hdf5")
    run("elmo", text, tmp_path / "keys.npz", "--top", *files, "--use-sentence-keys")
    run("elmo", text, tmp_path / "forgotten", "--top", *files, "--forget-sentences")
    run("elmo", text, tmp_path / "npz", "--top", *files, "--output-format", "npz")
    with h5py.File(tmp_path / "forgotten") as file:
        assert sorted(file) == ["0", "1", "2", "3"]
    with np.load(tmp_path / "keys.npz") as keys, np.load(tmp_path / "npz") as numbered:
        assert sorted(keys) == sorted(LINES)
        assert json.loads(numbered["sentence_to_index"][0]) == {line: str(i) for i, line in enumerate(LINES)}
        np.testing.assert_array_equal(keys[LINES[1]], numbered["1"])


def test_blank_lines_are_reported(bilm, text, tmp_path, run):
    text.write_text("\nthe cat\n")
    ended = run("elmo", text, tmp_path / "blank.hdf5", "--all", "--model", bilm)
    assert "2 words in 2 sentences, 1 blank line without vectors" in ended.out


def test_standard_input_is_a_text(bilm, text, tmp_path, run, monkeypatch):
    run("elmo", text, tmp_path / "file.hdf5", "--top", "--model", bilm)
    with open(text) as file:
        monkeypatch.setattr(sys, "stdin", file)
        ended = run("elmo", "-", tmp_path / "input.hdf5", "--top", "--model", bilm)
    assert f"wrote {tmp_path}/input.hdf5: 16 words in 4 sentences\n" in ended.out
    from_file, from_input = read_vectors(tmp_path / "file.hdf5"), read_vectors(tmp_path / "input.hdf5")
    assert from_file.keys() == from_input.keys()
    assert all(np.array_equal(from_file[key], from_input[key]) for key in from_file)


@pytest.mark.parametrize("name", ["vectors.csv", "vectors.npy"])
def test_the_output_is_not_named_as_another_format(bilm, text, tmp_path, run, monkeypatch, name):
    monkeypatch.setattr(elmo_command, "load_embedder", lambda files: pytest.fail("nothing must be loaded"))
    ended = run("elmo", text, tmp_path / name, "--all", "--model", bilm)
    assert ended.status == 1
    assert only_line(ended.err) == (
        "error: `output_file` must end in .hdf5, .h5, .hdf, .npz, by its format, or have no suffix, unless --output-format is "
        f"given, got {tmp_path}/{name}"
    )
    assert list(tmp_path.iterdir()) == [text]


def test_a_given_output_format_has_priority_over_the_name(bilm, text, tmp_path, run):
    run("elmo", text, tmp_path / "vectors.of.mine", "--top", "--model", bilm, "--output-format", "hdf5")
    run("elmo", text, tmp_path / "vectors.H5", "--top", "--model", bilm)
    assert read_vectors(tmp_path / "vectors.of.mine").keys() == read_vectors(tmp_path / "vectors.H5").keys()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of the arguments --all --top --average --sum --mix is required"),
        (["--all", "--top"], "argument --top: not allowed with argument --all"),
        (["--all", "--batch-size", "0"], "argument --batch-size: must be at least 1, got 0"),
        (["--all", "--batch-size", "many"], "argument --batch-size: must be a whole number, got 'many'"),
        (["--all", "--cuda-device", "-2"], "argument --cuda-device: must be at least -1, got -2"),
        (["--all", "--cuda-device", "99"], "argument --cuda-device: must be -1, or below "),
        (["--all", "--weight-file", "w"], "--options-file and --weight-file must be given together"),
        (["--all", "--options-file", "o"], "argument --options-file: not allowed with argument --model"),
        (["--all", "--output-format", "csv"], "argument --output-format: invalid choice: 'csv'"),
    ],
)
def test_wrong_usage_has_status_2(bilm, text, tmp_path, run, arguments, message):
    ended = run("elmo", text, tmp_path / "vectors.hdf5", "--model", bilm, *arguments)
    assert ended.status == 2 and message in only_line(ended.err)
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input": "absent.txt"}, "`input_file`: there is no file `"),
        # The two files in the wrong order: the message must not advise removing the text.
        ({"input": "vectors.hdf5", "output": "text.txt"}, "`input_file`: there is no file `"),
        ({"output": "absent/vectors.hdf5"}, "there is no directory"),
        ({"output": "text.txt"}, "is there already; name another file"),
        ({"model": "absent"}, "absent: there is no such file or directory"),
    ],
)
def test_failures_have_status_1_and_one_line(bilm, text, tmp_path, run, change, message):
    arguments = {"input": "text.txt", "output": "vectors.hdf5", "model": bilm, **change}
    ended = run(
        *("elmo", tmp_path / arguments["input"], tmp_path / arguments["output"], "--all", "--model", arguments["model"])
    )
    assert ended.status == 1 and message in only_line(ended.err)
    assert list(tmp_path.iterdir()) == [text]


def test_an_interrupted_command_can_be_resumed(bilm, text, tmp_path, run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(elmo_command, "progress_bar", interrupt)
        ended = run("elmo", text, tmp_path / "vectors.hdf5", "--all", "--model", bilm)
    assert ended.status == 130
    assert only_line(ended.err) == "interrupted: nothing is lost; to resume, run the same command again"
    run("elmo", text, tmp_path / "vectors.hdf5", "--all", "--model", bilm)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "vectors.hdf5"]
