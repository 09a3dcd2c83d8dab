"""One archive of each kind that somebody could mean harm with: refused in one line, nothing written, no memory taken."""

import builtins
import gzip
import io
import pickle
import tarfile
import tracemalloc
import zipfile

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats import archive as archive_module
from allennlp_elmo_plus.formats.archive import read_archive
from allennlp_elmo_plus.storage import checked_tar as tar_members
from allennlp_elmo_plus.storage.checked_pickle import describe_state
from tests.helpers.small_archives import (
    archived_files,
    calling,
    member,
    repacked,
    saved,
    small_model,
    write_archive,
)

# What is really read of an archive, and of torch's own bookkeeping, takes some.
MOST_BYTES = 16 * 2**20


def refused(path, directory):
    """The message with which the archive at `path` is refused; everything stays below `directory` as it was."""
    before = sorted(directory.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as error:
            read_archive(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert sorted(directory.rglob("*")) == before
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400 + len(str(path))
    return str(error.value).removeprefix(f"{path}: ")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory in the middle of others, where archives lie and temporary files are made."""
    directory = tmp_path / "outer" / "inner"
    (directory / "temporary").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(directory / "temporary"))
    monkeypatch.chdir(directory)
    return directory


KINDS = "must be a file or a directory, got"


@pytest.mark.parametrize(
    "hostile, message",
    [
        (member("/etc/cron.d/x", b"x"), "the member '/etc/cron.d/x' must have a relative path without `..`"),
        (member("../x", b"x"), "the member '../x' must have a relative path without `..`"),
        (member("a/../../x", b"x"), "the member 'a/../../x' must have a relative path without `..`"),
        (member("..", type=tarfile.DIRTYPE), "the member '..' must have a relative path without `..`"),
        (member("a\n\x1b[2J/../x"), r"the member 'a\n\x1b[2J/../x' must have a relative path without `..`"),
        (member("a", type=tarfile.SYMTYPE, linkname="/etc"), f"the member 'a' {KINDS} a symbolic link"),
        (member("a", type=tarfile.LNKTYPE, linkname="../../x"), f"the member 'a' {KINDS} a hard link"),
        (member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=5), f"the member 'a' {KINDS} a character device"),
        (member("a", type=tarfile.BLKTYPE, devmajor=8), f"the member 'a' {KINDS} a block device"),
        (member("a", type=tarfile.FIFOTYPE), f"the member 'a' {KINDS} a named pipe"),
        (member("a", type=b"Z"), f"the member 'a' {KINDS} one of type b'Z'"),
        (member("config.json", b"{}"), "the member 'config.json' must be there once, got it twice"),
        (member("./config.json", b"{}"), "the member './config.json' must be there once, got it twice"),
        (member("vocabulary//tokens.txt"), "the member 'vocabulary//tokens.txt' must be there once, got it twice"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_member_that_is_no_plain_file_of_its_own(place, hostile, message, first):
    files = archived_files()
    if first:
        moved = {name: files.pop(name) for name in list(files)}
        path = write_archive(place / "model.tar.gz", {}, (hostile, *(member(*item) for item in moved.items())))
    else:
        path = write_archive(place / "model.tar.gz", files, (hostile,))
    problem = refused(path, place.parent)
    # Of two with one name the later is refused.
    assert problem == message or first and "must be there once" in problem and "must be there once" in message


def test_more_members_than_any_model_has(place, monkeypatch):
    monkeypatch.setattr(tar_members, "MAX_MEMBERS", 50)
    path = write_archive(place / "model.tar.gz", archived_files(), tuple(member(f"a{number}") for number in range(50)))
    assert refused(path, place.parent) == "must hold at most 50 members, got more"


def test_a_claim_of_a_terabyte(place):
    path = write_archive(place / "model.tar.gz", archived_files(), (member("big", size=2**40),))
    assert refused(path, place.parent) == "must be at most 34,359,738,368 bytes decompressed, got more"


def test_a_claim_of_more_than_there_is(place):
    path = write_archive(place / "model.tar.gz", archived_files(), (member("big", size=2**30),))
    assert refused(path, place.parent).startswith("must be a whole model.tar.gz: ")


def test_a_member_of_negative_size(place):
    info, _ = member("back")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512 * 4 & (1 << 96) - 1).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = place / "model.tar.gz"
    before = b"".join(member(f"a{number}")[0].tobuf() for number in range(4))
    path.write_bytes(gzip.compress(before + bytes(header) + b"\0" * 1024))
    # Later versions of tarfile take such a header for the end.
    assert refused(path, place.parent) in (
        "the size of a member must be at least 0, got less",
        "holds no `config.json`",
    )


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory(place, kind):
    path = place / "model.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member("long", type=kind, size=2**26)[0].tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(b"a" * 2**20)
    assert path.stat().st_size < 2**20
    assert refused(path, place.parent) == "the headers of a member must be at most 65,536 bytes, got 67,108,864"


def test_headers_within_headers(place):
    header = member("x", type=tarfile.XHDTYPE)[0].tobuf(tarfile.GNU_FORMAT)
    path = place / "model.tar.gz"
    path.write_bytes(gzip.compress(header * 5000))
    assert refused(path, place.parent).startswith("must be a whole model.tar.gz: ")


@pytest.mark.parametrize(
    "holes, message",
    [
        ("0,0,1099511627776,0", f"the member 'weights.th' {KINDS} a sparse file"),
        ("0,x", "must be a whole model.tar.gz: ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_file_with_holes(place, holes, message):
    info = tarfile.TarInfo("weights.th")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": holes}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    path = place / "model.tar.gz"
    path.write_bytes(file.getvalue())
    assert refused(path, place.parent) == message


def test_what_decompresses_to_more_than_a_model(place, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", 2**20)
    path = write_archive(place / "model.tar.gz", archived_files(), (member("zeros", b"\0" * 2**24),))
    assert path.stat().st_size < 2**20
    assert refused(path, place.parent) == "must be at most 1,048,576 bytes decompressed, got more"
    path.write_bytes(gzip.compress(b"\0" * 1024) + gzip.compress(b"\0" * 2**24))
    assert refused(path, place.parent) == "must be at most 1,048,576 bytes decompressed, got more"


class TestWeights:
    """The file of weights in an archive that is otherwise in order."""

    def refused(self, place, weights):
        path = write_archive(place / "model.tar.gz", {**archived_files(), "weights.th": weights})
        return refused(path, place.parent).removeprefix("its `weights.th` ")

    @pytest.mark.parametrize(
        "function, arguments, name",
        [
            (print, ("run",), "'__builtin__.print'"),
            (eval, ("1",), "'__builtin__.eval'"),
            # What `weights_only` lets through.
            (bytearray, (2**40,), "'__builtin__.bytearray'"),
            (torch.FloatTensor, (2**38,), "'torch.FloatTensor'"),
            (torch._utils._rebuild_sparse_tensor, (torch.sparse_coo, ()), "'torch._utils._rebuild_sparse_tensor'"),
        ],
    )
    def test_a_call(self, place, capsys, function, arguments, name):
        message = self.refused(place, calling(function, *arguments))
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
    def test_another_pickle(self, place, pickled, message):
        assert self.refused(place, repacked(saved({}), {"data.pkl": pickled})).startswith(message)

    def test_a_key_that_takes_years_to_hash(self, place):
        nested = b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 200 + b"K\x01s."
        assert self.refused(place, repacked(saved({}), {"data.pkl": nested})) == (
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
    def test_another_tensor(self, place, change, message):
        assert self.refused(place, saved({**small_model().state_dict(), **change})).startswith(message)

    def test_a_tensor_that_is_missing(self, place):
        state = small_model().state_dict()
        del state["softmax.bias"]
        assert self.refused(place, saved(state)) == (
            "`language_model.softmax.bias` must be there, with shape (6,), by the options, got none"
        )

    def test_a_tensor_that_claims_more_numbers_than_the_file_has(self, place):
        content = saved(small_model().state_dict())
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            pickled = file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))
        key = f"data/{describe_state(pickled)['language_model.softmax.bias'].key}"
        message = self.refused(place, repacked(content, {key: b"\0" * 4}))
        assert message == "`language_model.softmax.bias` must have 24 bytes of numbers in the file, got 4"
        message = self.refused(place, repacked(content, {key: None}))
        assert message == "`language_model.softmax.bias` must have 24 bytes of numbers in the file, got None"

    def test_records_that_are_compressed(self, place):
        content = repacked(saved(small_model().state_dict()), {}, compression=zipfile.ZIP_DEFLATED)
        assert self.refused(place, content).endswith("must be stored without compression")

    def test_a_program(self, place):
        class Program(torch.nn.Module):
            def forward(self, value: torch.Tensor) -> torch.Tensor:
                return value

        file = io.BytesIO()
        torch.jit.save(torch.jit.script(Program()), file)
        assert self.refused(place, file.getvalue()).startswith("must hold the records that `torch.save` writes, got ")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_record_that_comes_twice(self, place):
        file = io.BytesIO(saved(small_model().state_dict()))
        with zipfile.ZipFile(file, "a") as archive:
            name = archive.namelist()[0]
            archive.writestr(name, b"")
        assert self.refused(place, file.getvalue()) == f"the record '{name}' must be there once, got it twice"

    def test_the_formats_of_old(self, place, capsys):
        file = io.BytesIO()
        torch.save(small_model().state_dict(), file, _use_new_zipfile_serialization=False)
        assert self.refused(place, file.getvalue()).startswith("must be a whole file that `torch.save` wrote: ")

        class Planted:
            def __reduce__(self):
                return builtins.print, ("run",)

        assert self.refused(place, pickle.dumps(Planted())).startswith("must be a whole file that `torch.save` wrote: ")
        assert capsys.readouterr().out == ""
