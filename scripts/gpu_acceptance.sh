#!/usr/bin/env bash
#
# Try everything that needs a CUDA GPU, and write what was found to one JSON file.
#
#     bash scripts/gpu_acceptance.sh --json gpu_acceptance.json
#     bash scripts/gpu_acceptance.sh --wheels DIR --json gpu_acceptance.json
#     bash scripts/gpu_acceptance.sh --device cpu --quick --json gpu_acceptance.json
#
# Needs this source tree and a Python with the packages of pyproject.toml; nothing is fetched from a network. With
# --wheels, the wheels in DIR are installed first, into a throw-away environment on top of that Python. PYTHON names
# the Python, python3 if unset. All other options go to scripts/gpu_acceptance.py, whose --help explains them.

set -euo pipefail

readonly NEEDED="torch numpy numba pydantic yaml rich einops jaxtyping PIL cv2 pytorch_msssim"

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
wheels=""
options=()
while (($#)); do
    case $1 in
    --wheels)
        (($# > 1)) || fail "--wheels needs a directory"
        wheels=$2
        shift 2
        ;;
    *)
        options+=("$1")
        shift
        ;;
    esac
done
command -v "$python" >/dev/null || fail "there is no $python; name another one: PYTHON=/path/to/python3"

if [[ -n $wheels ]]; then
    compgen -G "$wheels/*.whl" >/dev/null || fail "--wheels $wheels: no .whl file in it"
    environment=$(mktemp -d)
    trap 'rm -rf "$environment"' EXIT
    "$python" -m venv --system-site-packages "$environment"
    # An environment made inside another one sees only the outermost Python, so the path is handed on.
    outer=$("$python" -c 'import site; print(":".join(site.getsitepackages()))')
    python=$environment/bin/python
    PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$outer
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --find-links "$wheels" "$wheels"/*.whl
    PYTHONPATH=$("$python" -c 'import site; print(site.getsitepackages()[0])'):$PYTHONPATH
fi

missing=""
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
for module in $NEEDED; do
    "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$module') is None)" || missing+=" $module"
done
[[ -z $missing ]] || fail "$python lacks:$missing. Install them (pyproject.toml), or give their wheels: --wheels DIR"

"$python" "$root/scripts/gpu_acceptance.py" ${options[@]+"${options[@]}"}
