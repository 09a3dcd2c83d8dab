"""What the commands that take a pretrained biLM ask for it."""

import argparse

import torch

from allennlp_elmo_plus.errors import InputError


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--model` or `--options-file` with `--weight-file`, `--vocab-file` and `--cuda-device` to `parser`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model",
        type=str,
        help="the biLM: a model.tar.gz of pretraining, a directory or a zip with options.json and one HDF5 file, a directory "
        "of bilm-tf's training, or one of ELMoForManyLangs; a path or a URL, hf://USER/REPOSITORY too",
    )
    source.add_argument("--options-file", type=str, help="the biLM's options.json; a path or a URL")
    parser.add_argument("--weight-file", type=str, help="the weights.hdf5 that goes with --options-file")
    parser.add_argument(
        "--vocab-file", type=str, help="the biLM's vocabulary, where the archive or the directory does not hold it"
    )
    parser.add_argument("--cuda-device", type=int, default=-1, help="the GPU to compute on, -1 for none")


def check_model_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Leaves with status 2 where arguments do not go together."""
    if (args.options_file is None) != (args.weight_file is None):
        parser.error("--options-file and --weight-file go together")
    if args.cuda_device < -1:
        parser.error(f"--cuda-device must be -1 or the number of a GPU, got {args.cuda_device}")


def device_of(cuda_device: int) -> torch.device:
    """Raises InputError where there is no such GPU."""
    if cuda_device < 0:
        return torch.device("cpu")
    if cuda_device >= torch.cuda.device_count():
        raise InputError(f"--cuda-device {cuda_device}: PyTorch finds {torch.cuda.device_count()} GPUs here")
    return torch.device("cuda", cuda_device)
