"""Changes to one dataset of an HDF5 file. Pass them to `small_encoders.edit`."""

from collections.abc import Callable
from typing import Any

import h5py

Change = Callable[[h5py.File], None]


def delete(name: str) -> Change:
    return lambda file: file.__delitem__(name)


def replace(name: str, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def link(name: str, target: h5py.SoftLink | h5py.ExternalLink) -> Change:
    """Return a change that moves the object `name` to "moved" and puts a link to `target` in its place."""

    def change(file: h5py.File) -> None:
        file.move(name, "moved")
        file[name] = target

    return change


def store(name: str, **settings: Any) -> Change:
    """
    Return a change that creates the dataset `name` again with `settings` of h5py. Its values stay, unless `data` or `shape` is among
    the settings; with a `shape`, nothing is stored.
    """

    def change(file: h5py.File) -> None:
        default = {"dtype": "f4"} if "shape" in settings else {"data": file[name][...]}
        del file[name]
        file.create_dataset(name, **{**default, **settings})

    return change


def virtual(name: str, dtype: Any = "f4") -> Change:
    """Return a change that makes the dataset `name` a virtual one, whose values are in another file."""

    def change(file: h5py.File) -> None:
        shape = file[name].shape
        del file[name]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("/etc/other.hdf5", name, shape)
        file.create_virtual_dataset(name, layout)

    return change


def external(name: str) -> Change:
    """Return a change that moves the values of the dataset `name` to external storage, the file /etc/passwd."""

    def change(file: h5py.File) -> None:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    return change
