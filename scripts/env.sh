#!/bin/sh
# Builds .envs/NAME: the packages of envs/NAME/requirements.lock, over those of .venv. Usage: sh scripts/env.sh NAME
# An environment of its own, because some simulators pin other versions of what .venv holds; theirs are found first.
set -eu
cd "$(dirname "$0")/.."

name=${1:?usage: sh scripts/env.sh NAME}
lock=envs/$name/requirements.lock
if ! [ -f "$lock" ]; then
  echo "env: no $lock; there are: $(ls envs)" >&2
  exit 1
fi
env=.envs/$name
stamp=$env/.recap-env
want=$(cat "$lock" requirements.lock | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  exit 0
fi

[ -x "$env/bin/python" ] || .uv/bin/uv venv --quiet --python .venv/bin/python "$env"
.uv/bin/uv pip sync --quiet --python "$env/bin/python" "$lock"
"$env/bin/python" - "$PWD" <<'PYTHON'
import sys, sysconfig
from pathlib import Path

root = Path(sys.argv[1])
base = next((root / ".venv" / "lib").glob("python3*/site-packages"))
lines = [root, root / "plugins" / "lerobot_policy_recap", base]
(Path(sysconfig.get_path("purelib")) / "recap.pth").write_text("".join(f"{line}\n" for line in lines))
PYTHON
cat > "$env/bin/recap" <<RECAP
#!/bin/sh
exec "$PWD/$env/bin/python" -c 'from cli.main import main; main()' "\$@"
RECAP
chmod +x "$env/bin/recap"
printf '%s' "$want" > "$stamp"
echo "env: $env/bin/recap finds the packages of envs/$name first"
