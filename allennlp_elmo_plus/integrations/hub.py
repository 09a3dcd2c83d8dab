"""Publish a biLM on the Hugging Face Hub, from where `hf://USER/NAME` loads it.

The folder that is uploaded holds bilm-tf's three files, the weights as safetensors, and a model card. A biLM that bilm-tf's files
cannot hold, such as one of GRU cells, is uploaded as the model.tar.gz of this package.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Optional, Union

from torch import nn

from allennlp_elmo_plus.errors import InputError, one_line_message, truncated_repr
from allennlp_elmo_plus.formats.archive import write_archive
from allennlp_elmo_plus.formats.export import EXPORTED_NAMES, check_exportable, export_model, without_untrained_softmax
from allennlp_elmo_plus.formats.model_files import ARCHIVE_NAME, ModelSource, PathLike, is_url
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.integrations.model_card import CardFacts, model_card
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.json_file import read_json_mapping

CARD_NAME = "README.md"
SAFETENSORS_NAME = "model.safetensors"


def push_to_hub(
    model: PathLike,
    repo_id: str,
    *,
    language: Union[str, Sequence[str]] = (),
    license: Optional[str] = None,
    tags: Sequence[str] = (),
    private: bool = False,
    vocab_file: Optional[PathLike] = None,
    token: Optional[str] = None,
) -> str:
    """Upload the biLM `model` to the repository `repo_id` of the Hugging Face Hub, which is created if it is missing.

    A README.md that the repository has is kept; the other files are replaced in one commit.

    Args:
        model: the biLM, a path or a URL of any form that `read_model` takes.
        repo_id: the repository, USER/NAME.
        language: the language of the biLM, or several, as ISO 639 codes, such as "ko".
        license: the license, by its identifier on the Hub, such as "apache-2.0".
        tags: tags besides those of every biLM.
        private: whether a new repository is private.
        vocab_file: the vocabulary, where `model` has none; see `ModelSource`.
        token: an access token; the default is that of `hf auth login` or of the environment variable HF_TOKEN.

    Returns:
        The address of the repository.

    Raises:
        InputError: the biLM or an argument cannot be used, a package is missing, or the Hub refuses the upload.
    """
    pretrained = _load(model, repo_id, vocab_file)
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        # Before the files are written, which takes longer: the Hub may refuse the user.
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        kept = [CARD_NAME] if api.file_exists(repo_id, CARD_NAME) else None
        with tempfile.TemporaryDirectory(prefix="bilm-hub-") as directory:
            _write(Path(directory), pretrained, model, repo_id, language, license, tags)
            api.upload_folder(
                repo_id=repo_id,
                folder_path=directory,
                commit_message="Upload an ELMo biLM",
                ignore_patterns=kept,
                # Of the two forms of a biLM, `hf://` would read that of an earlier upload.
                delete_patterns=[ARCHIVE_NAME, *EXPORTED_NAMES],
            )
    except InputError:
        raise
    except Exception as error:  # The clients of HTTP have errors of their own.
        is_unauthorized = getattr(getattr(error, "response", None), "status_code", None) == 401
        hint = "; log in with `hf auth login`, or set HF_TOKEN" if is_unauthorized else ""
        raise InputError(f"{repo_id}: cannot be uploaded: {one_line_message(error)}{hint}") from None
    return str(url)


def write_repository(
    model: PathLike,
    repo_id: str,
    directory: PathLike,
    *,
    language: Union[str, Sequence[str]] = (),
    license: Optional[str] = None,
    tags: Sequence[str] = (),
    vocab_file: Optional[PathLike] = None,
) -> list[Path]:
    """Write the files that `push_to_hub` uploads into `directory`, each atomically.

    A README.md in `directory` is kept. The arguments and the errors are those of `push_to_hub`; nothing is uploaded.

    Returns:
        The paths of the written files.

    Raises:
        InputError: `directory` holds files of a biLM and no model.safetensors, so that an earlier call did not write them.
    """
    if not Path(directory, SAFETENSORS_NAME).exists():
        for path in (Path(directory, name) for name in (ARCHIVE_NAME, *EXPORTED_NAMES)):
            if path.exists():
                raise InputError(f"{path} would be replaced: write to another directory")
    pretrained = _load(model, repo_id, vocab_file)
    return _write(Path(directory), pretrained, model, repo_id, language, license, tags)


def _load(model: PathLike, repo_id: str, vocab_file: Optional[PathLike]) -> PretrainedModel:
    """Return the biLM to publish. The packages and `repo_id` are checked first, as that takes no time.

    Raises:
        InputError: a package is missing, `repo_id` is not USER/NAME, or the biLM cannot be used.
    """
    try:
        import safetensors  # noqa: F401
        from huggingface_hub.utils import HFValidationError, validate_repo_id
    except ImportError as error:
        raise InputError(
            f"the Hugging Face Hub needs the package {error.name}, which is not installed: "
            "pip install 'allennlp_elmo_plus[hub]'"
        ) from None
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"`repo_id`: {one_line_message(error)}") from None
    if "/" not in repo_id:
        raise InputError(f"`repo_id` must be USER/NAME, got {truncated_repr(repo_id)}")
    return load_language_model(ModelSource(model, vocab_file=vocab_file))


def _write(
    directory: Path,
    pretrained: PretrainedModel,
    source: PathLike,
    repo_id: str,
    language: Union[str, Sequence[str]],
    license: Optional[str],
    tags: Sequence[str],
) -> list[Path]:
    model = without_untrained_softmax(pretrained.model)
    files = [*_write_model(directory, pretrained, model), directory / SAFETENSORS_NAME]
    _write_safetensors(files[-1], model)
    card = directory / CARD_NAME
    if card.exists():
        return files
    has_words = hasattr(model, "softmax") or pretrained.options.char_cnn is None
    facts = CardFacts(
        repo_id,
        pretrained.options,
        len(pretrained.vocabulary) if has_words else None,
        sum(parameter.numel() for parameter in model.parameters()),
        _perplexity(source),
        [file.name for file in files],
        (language,) if isinstance(language, str) else language,
        license,
        tags,
    )
    with atomic_path(card) as temporary:
        temporary.write_text(model_card(facts), encoding="utf-8")
    return [card, *files]


def _write_model(directory: Path, pretrained: PretrainedModel, model: nn.Module) -> list[Path]:
    """Return the paths of the files that `hf://` loads, which are written: an archive where bilm-tf's files cannot hold the biLM."""
    try:
        check_exportable(pretrained.options)
    except InputError:
        directory.mkdir(parents=True, exist_ok=True)
        write_archive(directory / ARCHIVE_NAME, pretrained, lambda num_bytes: nullcontext(lambda size: None))
        files = [directory / ARCHIVE_NAME]
    else:
        files = list(export_model(model, pretrained.options, pretrained.vocabulary, directory))
    # An earlier biLM in the other form would be loaded in place of this one.
    for name in {ARCHIVE_NAME, *EXPORTED_NAMES} - {file.name for file in files}:
        (directory / name).unlink(missing_ok=True)
    return files


def _write_safetensors(path: Path, model: nn.Module) -> None:
    from safetensors.torch import save_file

    # Each parameter once: a shared softmax is the word embedding.
    weights = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def _perplexity(source: PathLike) -> Optional[float]:
    """Return the perplexity in the metrics.json that training wrote beside the model, or None."""
    path = Path(source)
    metrics = (path if path.is_dir() else path.parent) / "metrics.json"
    if is_url(source) or not metrics.is_file():
        return None
    value = read_json_mapping(metrics).get("best_validation_perplexity")
    return value if isinstance(value, (int, float)) else None
