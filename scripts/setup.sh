#!/bin/sh
# Builds .venv from requirements.lock. Needs Python 3.12 and nothing else; installs no system package.
# Does no work when .venv already matches the lock and pyproject.toml.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.recap-setup
want=$(cat requirements.lock pyproject.toml | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  exit 0
fi

find_python() {
  # shellcheck disable=SC2044 -- version folders hold no spaces
  for candidate in "${RECAP_PYTHON:-}" python3.12 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python3.12 python3 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  echo "setup: no Python 3.12 found (looked for python3.12, pyenv, python3)." >&2
  echo "setup: install it, or name it: RECAP_PYTHON=/path/to/python3.12 make setup" >&2
  return 1
}

python=$(find_python)
export UV_PYTHON_DOWNLOADS=never
if ! [ -x .uv/bin/uv ]; then
  echo "setup: fetching uv"
  "$python" -m venv .uv
  .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
fi
echo "setup: installing the locked environment (about 6 GB on disk; a few minutes the first time)"
[ -x .venv/bin/python ] || .uv/bin/uv venv --quiet --python "$python" .venv
.uv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock
.uv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable . --editable plugins/lerobot_policy_recap
printf '%s' "$want" > "$stamp"
echo "setup: done"
