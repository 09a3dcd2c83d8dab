"""Convert an HDF5 file to .npz, the format of `numpy.load`."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from allennlp_elmo_plus.storage.atomic_files import atomic_path

# A zip has 16 bits for the length of a name, which ends in `.npy`.
MAX_NAME_BYTES = (1 << 16) - 1 - len(".npy")


def write_npz(source: Path, path: Path, on_array: Callable[[int], object] = lambda _: None) -> None:
    """Write the datasets of the HDF5 file `source` to the .npz `path`, atomically and uncompressed.

    One dataset is in memory at a time. Text becomes an array of strings.

    Args:
        source: The HDF5 file, without groups.
        path: The file to write.
        on_array: Called with 1 after each array of numbers.
    """
    with (
        h5py.File(str(source), "r") as file,
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, dataset in file.items():
            is_text = dataset.dtype.kind != "f"
            array = np.asarray(dataset.asstr()[...], dtype=str) if is_text else dataset[...]
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
            if not is_text:
                on_array(1)
