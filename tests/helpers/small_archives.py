"""Archives of a small biLM as pretraining writes them, and functions that make hostile archives and files of weights."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_encoders import BASE

WORDS = ["<S>", "</S>", "<UNK>", "the", "hen", "나비"]


def small_model(options: Mapping[str, Any] = BASE, num_words: int = len(WORDS)) -> LanguageModel:
    torch.manual_seed(5)
    return build_language_model(BiLMOptions.from_dict(options, inference=False), num_words)


def saved(state: Mapping[str, Any]) -> bytes:
    """Return the file that `torch.save` writes for the weights `state` of a language model."""
    file = io.BytesIO()
    torch.save({f"language_model.{name}": value for name, value in state.items()}, file)
    return file.getvalue()


def archived_files(options: Mapping[str, Any] = BASE, model_type: str = "bilm") -> dict[str, bytes]:
    """Return the names and contents of an archive's files, in AllenNLP's order."""
    config = {"dataset_reader": {"type": "bilm"}, "model": {"type": model_type, "exact_chunk_size": 8, **options}}
    return {
        "config.json": json.dumps(config).encode(),
        "weights.th": saved(small_model(options).state_dict()),
        "vocabulary/.lock": b"",
        "vocabulary/non_padded_namespaces.txt": b"*tags\n*labels\n",
        "vocabulary/tokens.txt": "".join(f"{word}\n" for word in WORDS).encode(),
        "meta.json": b'{"version": "2.10.1"}',
    }


def member(name: str, content: bytes = b"", **header: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a tar member with these fields in its header."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in header.items():
        setattr(info, key, value)
    return info, content


def write_archive(path: Path, files: Mapping[str, bytes], more: tuple[tuple[tarfile.TarInfo, bytes], ...] = ()) -> Path:
    """Write a tar.gz with a directory, `files` and the members `more`; the headers of `more` may be wrong. Return its path."""
    with gzip.open(path, "wb", compresslevel=1) as target:
        members = [member("vocabulary", type=tarfile.DIRTYPE), *(member(*item) for item in files.items()), *more]
        for info, content in members:
            target.write(info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512))
        target.write(b"\0" * 1024)
    return path


def repacked(content: bytes, change: Mapping[str, bytes | None], **settings: Any) -> bytes:
    """Return the zip file `content` with records replaced, added or, for None, removed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w", **settings) as after:
        folder = before.namelist()[0].split("/")[0]
        records: dict[str, bytes | None] = {name: before.read(name) for name in before.namelist()}
        records.update({f"{folder}/{name}": record for name, record in change.items()})
        for name, record in records.items():
            if record is not None:
                after.writestr(name, record)
    return file.getvalue()


def calling(function: Any, *arguments: Any) -> bytes:
    """Return a file of weights whose pickle calls `function`."""

    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return function, arguments

    pickled = pickle.dumps({"language_model.x": Call()}, protocol=2)
    return repacked(saved({}), {"data.pkl": pickled})
