"""`config.json` is written whole or not at all.

`allennlp train --recover` writes it anew, in place, before anything of a plugin is constructed. A full disk or a kill at that
moment would leave an empty one, which no later recovery gets past; so this replaces the method that writes it.
"""

from typing import Any

from allennlp.common import Params

from allennlp_elmo_plus.storage.atomic_files import atomic_path

_write = Params.to_file


def _write_whole(self: Params, params_file: str, *arguments: Any, **options: Any) -> None:
    with atomic_path(params_file) as temporary:
        _write(self, str(temporary), *arguments, **options)


Params.to_file = _write_whole
