"""The repository's files of requirements, version and plugins, and the package on a machine without AllenNLP."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import allennlp_elmo_plus

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "allennlp_elmo_plus"
# `--include-package` leaves out modules whose names begin with an underscore: they may need libraries that are missing.
MODULES_WITHOUT_ALLENNLP = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if not path.stem.startswith("_") and PACKAGE / "plugin" not in path.parents
)

# With None in `sys.modules`, `import allennlp` fails as if AllenNLP were not installed.
WITHOUT_ALLENNLP = "import sys; sys.modules['allennlp'] = None\n"


def tracked_files():
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in result.stdout.split("\0") if name]
    if result.returncode != 0 or not names:
        pytest.skip("not a git checkout: there is no list of tracked files")
    return [path for path in (ROOT / name for name in names) if path.is_file()]


def run_python(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True)


def without_allennlp(code, *options):
    return run_python(WITHOUT_ALLENNLP + code, *options)


def test_no_file_has_the_address_of_a_registry_or_a_path_of_one_machine():
    # The strings are in pieces, so that this file does not contain them.
    forbidden = re.compile(
        "|".join(["index" + "-url", "find" + "-links", "/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/"])
    )
    registry = re.compile("https?" + r"://[^\s\"']*/(?:simple|packages|registry)(?:/|\b)")
    matches = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        matches += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for match in (*forbidden.finditer(text), *registry.finditer(text))
        ]
    assert matches == []


def test_requirements_are_exact_versions():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    exact = re.compile(
        r"[a-z0-9][a-z0-9-]*==[\w.!]+(?: ; (?:python_full_version|sys_platform|platform_machine) [^#@/]+)?"
    )
    assert [line for line in lines if not exact.fullmatch(line)] == []
    assert lines == sorted(lines)
    assert {"allennlp==2.10.1", "torch==2.11.0", "torchvision==0.26.0"} <= set(lines)


def names_of_the_extra():
    setup = (ROOT / "setup.py").read_text("utf-8")
    names = re.findall(
        r'"([\w-]+)(?:[<>=][\w.<>=,]*)?",', setup[setup.index("ALLENNLP_NEEDS = [") : setup.index("]\n\nsetup(")]
    )
    assert len(names) > 10
    return names


def test_requirements_pin_every_library_that_setup_names():
    pinned = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()}
    assert {name.lower().replace("_", "-") for name in names_of_the_extra()} <= pinned


def test_setup_and_package_have_the_same_version():
    command = [sys.executable, "setup.py", "--quiet", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip().splitlines()[-1] == allennlp_elmo_plus.__version__


def test_the_plugins_file_names_the_plugin():
    assert (ROOT / ".allennlp_plugins").read_text("utf-8") == "allennlp_elmo_plus.plugin\n"


def test_importing_the_package_imports_no_large_library():
    heavy = "print(sorted({'torch', 'numpy', 'allennlp'} & set(__import__('sys').modules)))"
    result = run_python(f"import allennlp_elmo_plus; {heavy}")
    assert result.stdout.strip() == "[]" and result.stderr == ""


def test_without_allennlp_the_package_is_imported_without_output():
    result = without_allennlp("import allennlp_elmo_plus, examples.stdlib_corpus")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_without_allennlp_the_plugin_raises_one_line_about_the_installation():
    result = without_allennlp("import allennlp_elmo_plus.plugin")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"ImportError: {allennlp_elmo_plus.HOW_TO_GET_ALLENNLP}"
    assert "During handling" not in result.stderr


@pytest.mark.slow
def test_no_module_needs_what_windows_lacks():
    modules = ("fcntl", "resource", "pwd", "grp", "termios", "posix")
    names = ("SIGUSR1", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM", "SIGCHLD")
    # Other libraries may need these on Unix, so they are imported before.
    code = "import signal, sys, torch, numba, h5py, filelock, tqdm, tensorboardX, multiprocessing.pool, distributed\n"
    code += f"sys.modules.update(dict.fromkeys({modules}))\n"
    code += f"for name in {names}:\n    delattr(signal, name)\n"
    code += "import os\nfor name in ('O_NOFOLLOW', 'sched_getaffinity', 'sysconf', 'mkfifo', 'getuid', 'fork'):\n    delattr(os, name)\n"
    imports = "\n".join(f"import {name}" for name in MODULES_WITHOUT_ALLENNLP)
    result = run_python(code + imports, "-W", "ignore")
    assert result.returncode == 0, result.stderr


def test_every_library_of_the_extra_is_imported_by_allennlp():
    """`torchvision` and others take space on disk: the extra has none that AllenNLP does not import."""
    spec = find_spec("allennlp")
    if spec is None or spec.origin is None:
        pytest.skip("AllenNLP is not installed")
    sources = "\n".join(path.read_text("utf-8") for path in Path(spec.origin).parent.rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", sources, re.MULTILINE))
    modules = {"jsonnet": "_jsonnet", "scikit-learn": "sklearn"}
    names = [modules.get(name, name.replace("-", "_")) for name in names_of_the_extra()]
    assert [name for name in names if name not in imported] == []


@pytest.mark.slow
def test_every_module_outside_of_the_plugin_works_without_allennlp():
    assert len(MODULES_WITHOUT_ALLENNLP) > 100
    imports = "; ".join(f"import {name}" for name in MODULES_WITHOUT_ALLENNLP)
    # Optional libraries are missing too.
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in ("triton", "numba", "distributed"))
    result = without_allennlp(missing + imports, "-W", "ignore")
    assert result.returncode == 0, result.stderr
