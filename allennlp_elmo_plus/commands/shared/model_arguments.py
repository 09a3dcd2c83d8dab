"""The arguments of commands that use a pretrained biLM."""

import argparse

import torch

from allennlp_elmo_plus.commands.shared.command_line import UsageError, integer_from

MODEL_HELP = (
    "the biLM: a model.tar.gz of pretraining, a directory or a zip with options.json and one HDF5 file, or a directory of "
    "bilm-tf's training; a path or a URL (https://, hf://USER/REPOSITORY)"
)


def add_model_arguments(parser: argparse.ArgumentParser, model_help: str = MODEL_HELP) -> None:
    """Add the options that name a biLM, and `--cuda-device`, to `parser`; `model_help` is the help of `--model`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help=model_help)
    source.add_argument("--options-file", metavar="FILE", help="the options.json of the biLM; a path or a URL")
    parser.add_argument("--weight-file", metavar="FILE", help="the weights.hdf5 that belongs to --options-file")
    add_vocab_file_argument(parser)
    add_device_argument(parser)


def add_vocab_file_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--vocab-file` to `parser`."""
    parser.add_argument(
        "--vocab-file", metavar="FILE", help="the vocabulary of the biLM, if the archive or the directory has none"
    )


def check_model_arguments(args: argparse.Namespace) -> None:
    """Check that `--options-file` and `--weight-file` are given together.

    Raises:
        UsageError: One of them is missing.
    """
    if (args.options_file is None) != (args.weight_file is None):
        raise UsageError("--options-file and --weight-file must be given together")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--cuda-device` to `parser`; its value is a `torch.device`."""
    parser.add_argument(
        "--cuda-device", metavar="NUMBER", type=_device, default="-1", help="the number of a GPU, or -1 for the CPU"
    )


def _device(text: str) -> torch.device:
    number, num_gpus = integer_from(-1)(text), torch.cuda.device_count()
    if number >= num_gpus:
        raise argparse.ArgumentTypeError(f"must be -1, or below {num_gpus}, the number of GPUs here, got {number}")
    return torch.device("cpu") if number < 0 else torch.device("cuda", number)
