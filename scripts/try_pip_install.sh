#!/usr/bin/env bash
# Test the two pip commands of the README in an empty environment:  scripts/try_pip_install.sh [PYTHON]
# pip's own configuration decides which registry is used. The temporary directory needs about 6 GB and is removed at the end.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${1:-python3}" -m venv "$environment"
cd "$environment"
export PIP_DISABLE_PIP_VERSION_CHECK=1
bin/python -m pip install -q "$repository[allennlp]"
bin/python -m pip install -q --no-deps allennlp==2.10.1
bin/python -W error::UserWarning:allennlp_elmo_plus -c 'import allennlp_elmo_plus.plugin'
echo allennlp_elmo_plus.plugin > .allennlp_plugins
bin/allennlp elmo-export --help > /dev/null
echo "$(bin/python --version): installed, imported, and allennlp knows elmo-export"
