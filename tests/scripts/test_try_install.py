"""`scripts/try_install.sh`: a whole installation takes minutes, so it is run by hand before a release."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "try_install.sh"


def test_an_unknown_form_is_refused() -> None:
    ended = subprocess.run(["bash", str(SCRIPT), "whel"], capture_output=True, text=True)
    line = "FORM must be wheel, repository, newest or without, got whel\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", line)
