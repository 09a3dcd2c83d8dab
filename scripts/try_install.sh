#!/usr/bin/env bash
# From an empty environment to a trained model, in another folder:  scripts/try_install.sh [FORM] [PYTHON]
#   wheel        (the default) build the wheel, install it with the extra `allennlp`
#   repository   install from the repository, with the extra `allennlp`
#   newest       install the wheel with the newest release of everything that AllenNLP imports, whatever the extra's upper bounds are
#   without      install the wheel alone: the commands that need no AllenNLP
# uv installs; the settings of uv and pip decide which registry is used. The temporary folder needs about 6 GB and is removed at the end.
set -euo pipefail
form=${1:-wheel}
case $form in wheel | repository | newest | without) ;; *) echo "FORM must be wheel, repository, newest or without, got $form" >&2; exit 2 ;; esac
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH
SECONDS=0
"${2:-python3}" -m venv environment
bin=$folder/environment/bin
"$bin/python" -m pip install -q "$(grep '^uv==' "$repository/requirements.txt")"
# Run a command whose output is shown only if the command fails.
quiet() { "$@" > log.txt 2>&1 || { tail -n 20 log.txt >&2; exit 1; }; }
install() { "$bin/uv" pip install -q -p "$bin/python" "$@"; }

# A copy, since a build writes into its folder.
mkdir copy
cp -r "$repository/setup.py" "$repository/pyproject.toml" "$repository/README.md" "$repository/LICENSE" \
    "$repository/allennlp_elmo_plus" "$repository/training_config" copy
if [ "$form" = repository ]; then
    install "./copy[allennlp]"
else
    "$bin/python" -m pip wheel -q --no-deps -w . ./copy
    wheel=$(echo ./*.whl)
    case $form in
        wheel) install "$wheel[allennlp]" ;;
        # The names of the extra's libraries, without their bounds.
        newest) install "$wheel" $("$bin/python" -c '
import re, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
(name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
print(*re.findall(r"Requires-Dist: ([\w-]+).*extra == .allennlp", wheel.read(name).decode()))' "$wheel") ;;
        without) install "$wheel" ;;
    esac
fi
rm -r copy
[ "$form" = without ] || install --no-deps allennlp==2.10.1
echo "installed after $SECONDS s: $(du -sh environment | cut -f1)"

cat "$repository"/docs/*.md > train.txt
head -n 200 train.txt > heldout.txt
"$bin/elmo-plus" config bilm > mine.jsonnet
quiet "$bin/elmo-plus" vocab train.txt --output vocab.txt
echo "a config and a vocabulary after $SECONDS s"
if [ "$form" != without ]; then
    quiet "$bin/elmo-plus" train mine.jsonnet -s out -o '{"train_data_path": "train.txt", "validation_data_path": "heldout.txt",
        "trainer.num_epochs": 1}'
    echo "trained after $SECONDS s"
    quiet "$bin/elmo-plus" export out/model.tar.gz exported
fi
# The program `allennlp` itself, which needs the extra's upper bounds.
case $form in
    wheel | repository) quiet "$bin/allennlp" evaluate out/model.tar.gz heldout.txt --include-package allennlp_elmo_plus ;;
esac
echo "$form, $("$bin/python" --version): all passed after $SECONDS s"
