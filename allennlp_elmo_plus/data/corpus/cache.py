"""Encoded corpora kept from run to run, each as long as its text is the same."""

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
_HASHED_AT_ONCE = 1 << 20

Meta = dict[str, Any]
Encode = Callable[[Union[str, "os.PathLike[str]"], Path, str, int], None]


def open_or_encode(
    spec: Union[str, "os.PathLike[str]"],
    cache_directory: Union[str, "os.PathLike[str]", None] = None,
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
    encode: Optional[Encode] = None,
) -> EncodedCorpus:
    """The text that `spec` names (see `data/text/text_files.py`), encoded. What is found in `cache_directory` is used when every file
    of the text has the size and the time it had then, or else the same content, and what is found belongs together
    (data/corpus/validation.py); otherwise the text is encoded anew in its place.

    One process encodes while others that want the same text wait. An encoding becomes visible only when it is whole.
    Without `cache_directory`, or for text that can be read only once (standard input, a pipe), the encoding is a
    temporary one. `encode` takes the place of `encode_text` where there is a `cache_directory`.

    Raises `InputError` for what `data/text/text_files.py` refuses, for a text that changes or vanishes while it is read and
    for a cache
    that cannot be locked, and `ValueError` for a `max_characters` below 3.
    """
    check_max_characters(max_characters)
    check_encoding_errors(encoding_errors)
    sources = resolve_paths(spec)
    if cache_directory is None or not all(isinstance(source, Path) and source.is_file() for source in sources):
        return encode_to_temporary(spec, encoding_errors, max_characters)

    settings = {"format": FORMAT_VERSION, "encoding_errors": encoding_errors, "max_characters": max_characters}
    identity = json.dumps([os.fspath(spec), settings], sort_keys=True).encode("utf-8", "surrogatepass")
    name = f"{Path(sources[0]).name}-{hashlib.blake2b(identity, digest_size=8).hexdigest()}"
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
    """Encodes to `directory`, replacing what is there. Only for the holder of the lock."""
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    # Left behind by a process that was killed
    _remove(unfinished)
    unfinished.mkdir()
    try:
        described = [{**_stat(source), "blake2b": _hash(source)} for source in sources]
        encode(spec, unfinished, settings["encoding_errors"], settings["max_characters"])
        for source, before in zip(sources, described, strict=True):
            if _stat(source).items() - before.items():
                raise InputError(f"{source}: the text changed while it was being read")
        meta = {**settings, "sources": described}
        (unfinished / _META_FILE).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        for path in unfinished.iterdir():
            flush_to_disk(path)
            # Mapped files may be deleted or replaced; one that is cut short ends the processes that read it, by SIGBUS.
            path.chmod(0o444)
        flush_to_disk(unfinished)
        _remove(directory)
        os.rename(unfinished, directory)
        flush_to_disk(directory.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _is_current(directory: Path, settings: Meta, sources: list[TextSource]) -> bool:
    """Whether `directory` holds a whole encoding, made with `settings`, of the text that `sources` hold now."""
    try:
        if not stat.S_ISREG(os.lstat(directory / _META_FILE).st_mode):
            return False
        meta = json.loads((directory / _META_FILE).read_text(encoding="utf-8"))
        if {key: meta[key] for key in settings} != settings or len(meta["sources"]) != len(sources):
            return False
        if not all(map(_is_same, meta["sources"], sources)):
            return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Missing or damaged: the same as none
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
    with _unreadable_named(source):
        status = os.stat(source)
    return {"path": os.path.abspath(source), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _hash(source: TextSource) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with _unreadable_named(source), open(source, "rb") as file:
        while data := file.read(_HASHED_AT_ONCE):
            digest.update(data)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    """Removes the directory `path`, or a link in its place, of which the target stays."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _unreadable_named(source: TextSource) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from None
