#!/usr/bin/env bash
#
# Make a conda environment for mouse-facelift with the torch release that this machine's NVIDIA driver can run.
#
#     bash setup_local_rtx3060.sh facelift_rtx3060
#     conda activate facelift_rtx3060
#
# --dry-run prints every command and changes nothing. --cpu leaves the GPU alone.
# The environment can be made again or completed: running the script twice is harmless.

set -euo pipefail

readonly PYTHON_VERSION=3.11
readonly CPU_TORCH=2.13.0 # same as constraints.txt

# Default wheels of torch: "CUDA that the wheel is built with" "torch release", newest first. A driver that reports
# CUDA X.Y runs wheels built with X.Y or older. Read from the releases' own dependency lists.
readonly TORCH_TABLE="
13.0 2.13.0
12.8 2.10.0
12.6 2.7.1
12.4 2.6.0
"
readonly OLDEST_CUDA=12.4
readonly OLDEST_DRIVER=550 # first driver branch that reports CUDA 12.4

usage() {
    echo "usage: bash setup_local_rtx3060.sh ENV_NAME [--dry-run] [--cpu]"
    echo
    echo "  ENV_NAME   conda environment to make or to complete"
    echo "  --dry-run  print every command, change nothing"
    echo "  --cpu      do not ask for a GPU"
}

say() { printf '%s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Print a command as it could be typed, then run it unless this is a dry run.
step() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    if [[ "${dry_run}" == no ]]; then
        "$@"
    fi
}

# at_least A B: is version A (major.minor) B or newer?
at_least() {
    [[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" == "$2" ]]
}

find_conda() {
    local name
    for name in mamba conda micromamba; do
        if command -v "${name}" >/dev/null; then
            say "${name}"
            return
        fi
    done
    if [[ "${dry_run}" == yes ]]; then
        printf 'note: none of mamba, conda, micromamba is on PATH; commands are shown as for conda\n' >&2
        say conda
        return
    fi
    fail "none of mamba, conda, micromamba is on PATH; install Miniforge, open a new shell, and run this again" \
        "(or use no conda at all: make environment)"
}

# CUDA version that the driver supports, empty without a GPU.
driver_cuda() {
    local answer version
    if [[ "${want_gpu}" == no ]] || ! command -v nvidia-smi >/dev/null; then
        return
    fi
    answer="$(nvidia-smi 2>&1)" || fail "nvidia-smi is there but says: ${answer%%$'\n'*}." \
        "Repair the driver (often a reboot after an update), or go on without the GPU: --cpu"
    version="$(sed -n 's/.*CUDA[A-Za-z ]*Version: *\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' <<<"${answer}" | head -n 1)"
    [[ -n "${version}" ]] || fail "nvidia-smi does not name a CUDA version; update the driver to ${OLDEST_DRIVER}" \
        "or newer, or go on without the GPU: --cpu"
    say "${version}"
}

# Toolkit that gsplat's kernels are compiled with: 12.4, the one this project was set up with, else the default one.
find_toolkit() {
    local root="${MOUSE_FACELIFT_CUDA_ROOT:-/usr/local}" folder
    for folder in "${root}/cuda-12.4" "${root}/cuda"; do
        if [[ -x "${folder}/bin/nvcc" ]]; then
            say "${folder}"
            return
        fi
    done
}

toolkit_version() {
    "$1/bin/nvcc" --version | sed -n 's/.*release \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p'
}

# choose_torch DRIVER_CUDA TOOLKIT_CUDA: newest release for the driver, of the toolkit's CUDA major version if there
# is a toolkit: torch compiles extensions such as gsplat only with its own major version.
choose_torch() {
    local driver="$1" toolkit="$2" cuda release
    while read -r cuda release; do
        [[ -n "${cuda}" ]] || continue
        [[ -z "${toolkit}" || "${cuda%%.*}" == "${toolkit%%.*}" ]] || continue
        if at_least "${driver}" "${cuda}"; then
            say "${release}"
            return
        fi
    done <<<"${TORCH_TABLE}"
}

has_environment() {
    "${conda}" env list 2>/dev/null | awk '{ print $1 }' | grep -qxF "${env_name}"
}

# Run a command inside the environment. conda holds output back unless told otherwise; the others do not.
in_environment() {
    if [[ "${conda}" == conda ]]; then
        step conda run --no-capture-output -n "${env_name}" "$@"
    else
        step "${conda}" run -n "${env_name}" "$@"
    fi
}

# Variables for every later `conda activate`, in the one place that all three tools read.
write_variables() {
    # shellcheck disable=SC2016  # expanded by the inner bash, inside the environment; conda run takes one line only
    in_environment bash -c 'mkdir -p "${CONDA_PREFIX}/etc/conda/activate.d"' bash
    # shellcheck disable=SC2016
    in_environment bash -c 'printf "export %s\n" "$@" > "${CONDA_PREFIX}/etc/conda/activate.d/mouse_facelift.sh"' bash "$@"
}

install_packages() {
    local release="$1" extras="$2" constraints
    constraints="${TMPDIR:-/tmp}/mouse-facelift-constraints-${env_name}.txt"
    step cp constraints.txt "${constraints}"
    step sed -i "s/^torch==.*/torch==${release}/" "${constraints}"
    in_environment python -m pip install --constraint "${constraints}" --editable ".[${extras}]"
}

dry_run=no
want_gpu=yes
env_name=""
for argument in "$@"; do
    case "${argument}" in
    --dry-run) dry_run=yes ;;
    --cpu) want_gpu=no ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*) fail "unknown option ${argument}; see --help" ;;
    *)
        [[ -z "${env_name}" ]] || fail "one environment name is expected, got '${env_name}' and '${argument}'"
        env_name="${argument}"
        ;;
    esac
done
if [[ -z "${env_name}" ]]; then
    usage >&2
    exit 2
fi
[[ "${env_name}" =~ ^[A-Za-z0-9._-]+$ ]] || fail "'${env_name}' is no name for an environment: letters, digits and . _ -"

cd "$(dirname "${BASH_SOURCE[0]}")"
conda="$(find_conda)"
cuda="$(driver_cuda)"
variables=("PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:128")
extras="dev"

if [[ -z "${cuda}" ]]; then
    say "No GPU: installing torch ${CPU_TORCH}; everything runs on the CPU."
    release="${CPU_TORCH}"
else
    at_least "${cuda}" "${OLDEST_CUDA}" || fail "the driver supports CUDA ${cuda}; torch needs ${OLDEST_CUDA}." \
        "Install driver ${OLDEST_DRIVER} or newer (Ubuntu: sudo apt-get install nvidia-driver-${OLDEST_DRIVER})," \
        "reboot, and run this again; or go on without the GPU: --cpu"
    toolkit="$(find_toolkit)"
    toolkit_cuda=""
    if [[ -n "${toolkit}" ]]; then
        toolkit_cuda="$(toolkit_version "${toolkit}")"
    fi
    release="$(choose_torch "${cuda}" "${toolkit_cuda}")"
    if [[ -n "${toolkit}" && -n "${release}" ]]; then
        say "Driver for CUDA ${cuda}, toolkit ${toolkit_cuda} in ${toolkit}: torch ${release}, gsplat compiled at first use."
        variables+=("CUDA_HOME=${toolkit}")
        extras="dev,cuda"
    else
        release="$(choose_torch "${cuda}" "")"
        say "Driver for CUDA ${cuda}: torch ${release}. No CUDA toolkit that fits (nvcc in /usr/local/cuda-12.4): gsplat is"
        say "left out, networks run on the GPU and splats are drawn on the CPU. Install the toolkit and run this again."
    fi
fi

if has_environment; then
    say "Environment ${env_name} exists: completing it."
else
    step "${conda}" create -y -n "${env_name}" --override-channels -c conda-forge "python=${PYTHON_VERSION}" pip
fi
install_packages "${release}" "${extras}"
write_variables "${variables[@]}"
in_environment python scripts/doctor.py
say "Done. Next: conda activate ${env_name}"
