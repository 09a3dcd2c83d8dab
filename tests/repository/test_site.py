"""The site of the documentation, built as `make docs` builds it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_without_a_warning(tmp_path):
    # Its environment is not that of the tests.
    mkdocs = shutil.which("mkdocs", path=os.pathsep.join([str(ROOT / ".venv-docs" / "bin"), os.environ["PATH"]]))
    if mkdocs is None:
        pytest.skip("MkDocs is not installed: `make docs` installs it")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [mkdocs, "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stderr
    api = (tmp_path / "api.html").read_text("utf-8")
    assert "embed_sentence" in api and "n_negative_samples_batch" in api
    assert (tmp_path / "notebooks" / "quick_start.ipynb").is_file()
    # A reader needs no network: fonts, scripts and styles are files of the site.
    assert (
        re.findall(
            r"<(?:script|img|link rel=\"stylesheet\")[^>]*https?://", (tmp_path / "index.html").read_text("utf-8")
        )
        == []
    )


def test_pictures_are_left_out_with_one_line_where_there_is_no_browser_or_no_run(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    bash = shutil.which("bash")
    command = [str(bash), str(ROOT / "docs" / "screenshots.sh"), "runs/none", "text.txt", str(tmp_path / "pictures")]

    def output() -> str:
        ended = subprocess.run(command, cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    assert output() == "no pictures of report and explore: Chromium is not installed\n"
    (tools / "chromium").touch(0o755)
    line = "no pictures of report and explore: runs/none/model.tar.gz is missing; `make train` writes it\n"
    assert output() == line and not (tmp_path / "pictures").exists()
