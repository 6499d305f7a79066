#!/usr/bin/env bash
# package.sh: build the wheel and the sdist into dist/, install each into an environment of its own and run what it has.
set -euo pipefail
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
rm -rf dist
.venv/bin/uv build --quiet --python .venv/bin/python

for file in dist/*.whl dist/*.tar.gz; do
  environment=$place/$(basename "$file")
  ${PYTHON:-python3} -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet "$file"
  # From elsewhere, so that it is not the working tree that answers.
  (cd "$place" && "$environment/bin/vidctl" --version && "$environment/bin/vidctl" --help >/dev/null)
  echo "$file: installed and run"
done
