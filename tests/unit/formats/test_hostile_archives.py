"""Hostile archives of many kinds are refused in one line; nothing is written and little memory is allocated."""

import gzip
import io
import tarfile

import pytest

from allennlp_elmo_plus.formats import archive as archive_module
from allennlp_elmo_plus.storage import checked_tar as tar_members
from tests.helpers.small_archives import (
    archived_files,
    member,
    write_archive,
)
from tests.unit.formats.conftest import refusal_of

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
def test_a_member_with_a_bad_path_type_or_name_is_refused(directory, hostile, message, first):
    files = archived_files()
    if first:
        path = write_archive(directory / "model.tar.gz", {}, (hostile, *(member(*item) for item in files.items())))
    else:
        path = write_archive(directory / "model.tar.gz", files, (hostile,))
    problem = refusal_of(path)
    # Of two members with the same name, the later one is named.
    assert problem == message or first and "must be there once" in problem and "must be there once" in message


def test_too_many_members_are_refused(directory, monkeypatch):
    monkeypatch.setattr(tar_members, "MAX_MEMBERS", 50)
    path = write_archive(
        directory / "model.tar.gz", archived_files(), tuple(member(f"a{number}") for number in range(50))
    )
    assert refusal_of(path) == "must hold at most 50 members, got more"


def test_a_member_that_claims_a_terabyte_is_refused(directory):
    path = write_archive(directory / "model.tar.gz", archived_files(), (member("big", size=2**40),))
    assert refusal_of(path) == "must be at most 34,359,738,368 bytes decompressed, got more"


def test_a_member_that_claims_more_bytes_than_it_has_is_refused(directory):
    path = write_archive(directory / "model.tar.gz", archived_files(), (member("big", size=2**30),))
    assert refusal_of(path).startswith("must be a whole model.tar.gz: ")


def test_a_member_of_negative_size_is_refused(directory):
    info, _ = member("back")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512 * 4 & (1 << 96) - 1).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = directory / "model.tar.gz"
    before = b"".join(member(f"a{number}")[0].tobuf() for number in range(4))
    path.write_bytes(gzip.compress(before + bytes(header) + b"\0" * 1024))
    # Later versions of tarfile read such a header as the end of the archive.
    assert refusal_of(path) in (
        "the size of a member must be at least 0, got less",
        "holds no `config.json`",
    )


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_large_header_is_refused(directory, kind):
    path = directory / "model.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member("long", type=kind, size=2**26)[0].tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(b"a" * 2**20)
    assert path.stat().st_size < 2**20
    assert refusal_of(path) == "the headers of a member must be at most 65,536 bytes, got 67,108,864"


def test_nested_headers_are_refused(directory):
    header = member("x", type=tarfile.XHDTYPE)[0].tobuf(tarfile.GNU_FORMAT)
    path = directory / "model.tar.gz"
    path.write_bytes(gzip.compress(header * 5000))
    assert refusal_of(path).startswith("must be a whole model.tar.gz: ")


@pytest.mark.parametrize(
    "holes, message",
    [
        ("0,0,1099511627776,0", f"the member 'weights.th' {KINDS} a sparse file"),
        ("0,x", "must be a whole model.tar.gz: ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_sparse_file_is_refused(directory, holes, message):
    info = tarfile.TarInfo("weights.th")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": holes}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    path = directory / "model.tar.gz"
    path.write_bytes(file.getvalue())
    assert refusal_of(path) == message


def test_an_archive_that_decompresses_to_too_many_bytes_is_refused(directory, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", 2**20)
    path = write_archive(directory / "model.tar.gz", archived_files(), (member("zeros", b"\0" * 2**24),))
    assert path.stat().st_size < 2**20
    assert refusal_of(path) == "must be at most 1,048,576 bytes decompressed, got more"
    path.write_bytes(gzip.compress(b"\0" * 1024) + gzip.compress(b"\0" * 2**24))
    assert refusal_of(path) == "must be at most 1,048,576 bytes decompressed, got more"
