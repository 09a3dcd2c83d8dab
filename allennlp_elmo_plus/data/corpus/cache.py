"""Reuse an encoded corpus in later runs, as long as its text is the same."""

import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, Union

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus, encode_text, encode_to_temporary
from allennlp_elmo_plus.data.corpus.validation import validate
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS, check_max_characters
from allennlp_elmo_plus.data.text.text_files import TextSource, check_encoding_errors, resolve_paths
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import flush_to_disk
from allennlp_elmo_plus.storage.file_lock import open_locked

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_META_FILE = "meta.json"
_HASH_BLOCK_BYTES = 1 << 20
# File systems allow 255 bytes, of which the hash and the names of other files take some.
_MAX_NAME_BYTES = 200

Meta = dict[str, Any]
Encode = Callable[[Union[str, "os.PathLike[str]"], Path, str, int], None]


def open_or_encode(
    spec: Union[str, "os.PathLike[str]"],
    cache_directory: Union[str, "os.PathLike[str]", None] = None,
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
    encode: Optional[Encode] = None,
) -> EncodedCorpus:
    """Return a text as an encoded corpus, from `cache_directory` if it has a valid one, see `data/corpus/validation.py`.

    The corpus in the cache is used if every file of the text has the same size and time as when it was encoded, or else the same content.
    Otherwise the text is encoded again, and replaces it. One process encodes while other processes that need the same text wait. The
    new corpus appears atomically.

    Args:
        spec: As for `data.text.text_files.iter_sentences`.
        encoding_errors: As for `data.text.text_files.iter_sentences`.
        cache_directory: Created if necessary. The corpus is a temporary one without a cache directory, and for a text that can be read
            only once (standard input, a pipe).
        max_characters: C, at least 3.
        encode: Writes a corpus to the cache in place of `encode_text`.

    Raises:
        InputError: As in `data.text.text_files.iter_sentences`; the text changes or vanishes while it is read, or the cache cannot be
            locked.
    """
    check_max_characters(max_characters)
    check_encoding_errors(encoding_errors)
    sources = resolve_paths(spec)
    if cache_directory is None or not all(isinstance(source, Path) and source.is_file() for source in sources):
        return encode_to_temporary(spec, encoding_errors, max_characters)

    settings = {"format": FORMAT_VERSION, "encoding_errors": encoding_errors, "max_characters": max_characters}
    identity = json.dumps([os.fspath(spec), settings], sort_keys=True).encode("utf-8", "surrogatepass")
    readable = Path(sources[0]).name
    if len(os.fsencode(readable)) > _MAX_NAME_BYTES:
        readable = os.fsencode(readable)[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    name = f"{readable}-{hashlib.blake2b(identity, digest_size=8).hexdigest()}"
    directory = Path(cache_directory) / name
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open_locked(directory.with_name(f".{name}.lock"), wait=True):
        if not _is_current(directory, settings, sources):
            _encode(spec, directory, settings, sources, encode or encode_text)
        else:
            logger.info("the encoded text in %s is up to date", directory)
        return EncodedCorpus(directory, max_characters)


def _encode(
    spec: Union[str, "os.PathLike[str]"], directory: Path, settings: Meta, sources: list[TextSource], encode: Encode
) -> None:
    # The caller must hold the lock.
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    # A killed process may have left this directory.
    _remove(unfinished)
    unfinished.mkdir()
    try:
        descriptions = [{**_stat(source), "blake2b": _hash(source)} for source in sources]
        encode(spec, unfinished, settings["encoding_errors"], settings["max_characters"])
        for source, before in zip(sources, descriptions, strict=True):
            if _stat(source).items() - before.items():
                raise InputError(f"{source}: the text changed while it was being read")
        meta = {**settings, "sources": descriptions}
        (unfinished / _META_FILE).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        for path in unfinished.iterdir():
            flush_to_disk(path)
            # Memory-mapped files may be deleted or replaced; but if one is truncated, SIGBUS ends the processes that read it.
            path.chmod(0o444)
        flush_to_disk(unfinished)
        _remove(directory)
        os.rename(unfinished, directory)
        flush_to_disk(directory.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _is_current(directory: Path, settings: Meta, sources: list[TextSource]) -> bool:
    """Return whether `directory` has a complete corpus, encoded with `settings`, of the current text of `sources`."""
    try:
        if not stat.S_ISREG(os.lstat(directory / _META_FILE).st_mode):
            return False
        meta = json.loads((directory / _META_FILE).read_text(encoding="utf-8"))
        if {key: meta[key] for key in settings} != settings or len(meta["sources"]) != len(sources):
            return False
        if not all(map(_is_same, meta["sources"], sources)):
            return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # The corpus is missing, or its description is damaged.
        return False
    damage = validate(directory, settings["max_characters"])
    if damage is not None:
        logger.warning("the encoded text in %s is damaged and is made again: %s", directory, damage)
    return damage is None


def _is_same(before: Meta, source: TextSource) -> bool:
    now = _stat(source)
    if now["size"] != before["size"]:
        return False
    return all(now[key] == before[key] for key in now) or _hash(source) == before["blake2b"]


def _stat(source: TextSource) -> Meta:
    with _read_errors_named(source):
        status = os.stat(source)
    return {"path": os.path.abspath(source), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _hash(source: TextSource) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with _read_errors_named(source), open(source, "rb") as file:
        while data := file.read(_HASH_BLOCK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    """Remove the directory `path`, or the link `path` without its target."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _read_errors_named(source: TextSource) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from None
