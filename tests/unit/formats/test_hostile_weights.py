"""Hostile files of weights in archives that are otherwise valid are refused in one line."""

import builtins
import io
import pickle
import zipfile

import pytest
import torch

from allennlp_elmo_plus.storage.checked_pickle import describe_state
from tests.helpers.small_archives import archived_files, calling, repacked, saved, small_model, write_archive
from tests.unit.formats.conftest import refusal_of


def refusal_of_weights(directory, weights):
    path = write_archive(directory / "model.tar.gz", {**archived_files(), "weights.th": weights})
    return refusal_of(path).removeprefix("its `weights.th` ")


@pytest.mark.parametrize(
    "function, arguments, name",
    [
        (print, ("run",), "'__builtin__.print'"),
        (eval, ("1",), "'__builtin__.eval'"),
        # torch.load with `weights_only` allows these calls.
        (bytearray, (2**40,), "'__builtin__.bytearray'"),
        (torch.FloatTensor, (2**38,), "'torch.FloatTensor'"),
        (torch._utils._rebuild_sparse_tensor, (torch.sparse_coo, ()), "'torch._utils._rebuild_sparse_tensor'"),
    ],
)
def test_a_pickle_that_calls_a_function_is_refused(directory, capsys, function, arguments, name):
    message = refusal_of_weights(directory, calling(function, *arguments))
    assert message == f"must hold nothing but tensors of floating-point numbers, got the name {name}"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "pickled, message",
    [
        (
            b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.",
            "must be a state dict that `torch.save` wrote, got another",
        ),
        (
            b"\x80\x02ctorch\nFloatStorage\nM\xff\xff\x85R.",
            "must be a state dict that `torch.save` wrote, got anot",
        ),
        (b"\x80\x02]q\x00.", "must be a state dict that `torch.save` wrote, got the instruction EMPTY_LIST"),
        (b"\x80\x02K\x01.", "must be a state dict, got int"),
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01s.", "'a' must be a tensor, got int"),
        (b"\x80\x02}X", "must be a state dict that `torch.save` wrote, got another pickle or a damaged one"),
        (b"\x80\x02}r\xff\xff\xff\xff.", "`language_model."),
        (b".", "must be a state dict that `torch.save` wrote, got another pickle or a damaged one"),
        (b"a" * (2**20 + 1), "`data.pkl` must be at most 1,048,576 bytes, got 1,048,577"),
        (None, "must be a file that `torch.save` wrote, got one without `data.pkl`"),
    ],
)
def test_a_pickle_that_is_not_a_state_dict_is_refused(directory, pickled, message):
    assert refusal_of_weights(directory, repacked(saved({}), {"data.pkl": pickled})).startswith(message)


def test_a_key_that_takes_too_long_to_hash_is_refused(directory):
    nested = b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 200 + b"K\x01s."
    assert refusal_of_weights(directory, repacked(saved({}), {"data.pkl": nested})) == (
        "must be a state dict that `torch.save` wrote, got another pickle or a damaged one"
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"softmax.bias": torch.zeros(7)},
            "`language_model.softmax.bias` must have shape (6,) by the options, got (7,)",
        ),
        (
            {"softmax.bias": torch.zeros(1).expand(6)},
            "`language_model.softmax.bias` must be stored in full, row after row",
        ),
        (
            {"softmax.weight": torch.zeros(5, 6).t()},
            "`language_model.softmax.weight` must be stored in full, row after row",
        ),
        (
            {"softmax.bias": torch.zeros(6, dtype=torch.int64)},
            "must hold nothing but tensors of floating-point numbers, got the name 'torch.LongStorage'",
        ),
        (
            {"softmax.bias": torch.zeros(6).to_sparse()},
            "must hold nothing but tensors of floating-point numbers, got the name 'torch._utils._rebuild_spars",
        ),
        (
            {"more": torch.zeros(1)},
            "must hold the weights that the options describe and no others, got 'language_model.more'",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_the_options_is_refused(directory, change, message):
    assert refusal_of_weights(directory, saved({**small_model().state_dict(), **change})).startswith(message)


def test_a_missing_tensor_is_refused(directory):
    state = small_model().state_dict()
    del state["softmax.bias"]
    assert refusal_of_weights(directory, saved(state)) == (
        "`language_model.softmax.bias` must be there, with shape (6,), by the options, got none"
    )


def test_a_tensor_with_fewer_bytes_than_its_shape_needs_is_refused(directory):
    content = saved(small_model().state_dict())
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        pickled = file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))
    key = f"data/{describe_state(pickled)['language_model.softmax.bias'].key}"
    message = refusal_of_weights(directory, repacked(content, {key: b"\0" * 4}))
    assert message == "`language_model.softmax.bias` must have 24 bytes of numbers in the file, got 4"
    message = refusal_of_weights(directory, repacked(content, {key: None}))
    assert message == "`language_model.softmax.bias` must have 24 bytes of numbers in the file, got None"


def test_compressed_records_are_refused(directory):
    content = repacked(saved(small_model().state_dict()), {}, compression=zipfile.ZIP_DEFLATED)
    assert refusal_of_weights(directory, content).endswith("must be stored without compression")


def test_a_torchscript_program_is_refused(directory):
    class Program(torch.nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Program()), file)
    assert refusal_of_weights(directory, file.getvalue()).startswith(
        "must hold the records that `torch.save` writes, got "
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_record_is_refused(directory):
    file = io.BytesIO(saved(small_model().state_dict()))
    with zipfile.ZipFile(file, "a") as archive:
        name = archive.namelist()[0]
        archive.writestr(name, b"")
    assert refusal_of_weights(directory, file.getvalue()) == f"the record '{name}' must be there once, got it twice"


def test_old_formats_of_torch_and_plain_pickles_are_refused(directory, capsys):
    file = io.BytesIO()
    torch.save(small_model().state_dict(), file, _use_new_zipfile_serialization=False)
    assert refusal_of_weights(directory, file.getvalue()).startswith("must be a whole file that `torch.save` wrote: ")

    class Planted:
        def __reduce__(self):
            return builtins.print, ("run",)

    assert refusal_of_weights(directory, pickle.dumps(Planted())).startswith(
        "must be a whole file that `torch.save` wrote: "
    )
    assert capsys.readouterr().out == ""
