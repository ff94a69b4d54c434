#!/bin/sh
# Every check of the project, each suite timed; all run even when one fails.
#   scripts/test.sh [SUITE…]      the suites: format clippy tests tint gpu-av licences
#
# VK_DRIVER_FILES and CASCADIA_REQUIRE_ADAPTERS may be set to test other adapters.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh

all="format clippy tests tint gpu-av licences"
suites=${*:-$all}
for suite in $suites; do
    case " $all " in
    *" $suite "*) ;;
    *)
        echo "test: no suite \`$suite\`; there are: $all" >&2
        exit 2
        ;;
    esac
done

started=$(date +%s)
scripts/setup-test.sh || exit 1

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
# Mesa complains on every instance without it.
[ -n "${XDG_RUNTIME_DIR:-}" ] || { mkdir -m 700 "$scratch/runtime" && export XDG_RUNTIME_DIR="$scratch/runtime"; }

# Both software drivers in one process. Loaders before 1.3.207 know only the second name.
if [ -z "${VK_DRIVER_FILES:-}" ]; then
    VK_DRIVER_FILES=$(find_lavapipe_icd):$(find_swiftshader_icd)
    export CASCADIA_REQUIRE_ADAPTERS="${CASCADIA_REQUIRE_ADAPTERS:-llvmpipe,SwiftShader}"
fi
export VK_DRIVER_FILES
export VK_ICD_FILENAMES="$VK_DRIVER_FILES"

format() { cargo fmt --all -- --check; }

clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

tests() { cargo test --workspace --locked --no-fail-fast; }

tint() (
    # Dawn warns of drivers that it does not take.
    VK_DRIVER_FILES=$(find_swiftshader_icd)
    VK_ICD_FILENAMES=$VK_DRIVER_FILES
    node kernels-tests/tint/check.mjs --self-test &&
        cargo run --quiet --locked -p kernels-tests --bin dump-shaders -- "$scratch/shaders" &&
        node kernels-tests/tint/check.mjs "$scratch/shaders"
)

# gpuav_finds FAULT STATUS: the detector must give this status for the known shader.
gpuav_finds() {
    scripts/gpu-av.sh cargo run --quiet --locked -p gpuav-layer --example gpuav-probe -- "$1" \
        >"$scratch/probe" 2>&1
    found=$?
    [ "$found" -eq "$2" ] && return 0
    tail -n 20 "$scratch/probe"
    echo "gpu-av: the known shader \`$1\` gave status $found, expected $2: the detector does not work here"
    return 1
}

gpu_av() {
    cargo build --quiet --locked -p gpuav-layer --examples &&
        gpuav_finds right 0 && gpuav_finds race 1 && gpuav_finds bounds 1 &&
        cargo build --quiet --locked -p kernels-tests --bin run-cases &&
        # One adapter: the layer looks at the shader, and the slower one takes ten minutes more.
        scripts/gpu-av.sh cargo run --quiet --locked -p kernels-tests --bin run-cases -- llvmpipe
}

licences() {
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --locked check licenses bans sources
    else
        node scripts/licences.mjs
    fi
}

failed=
for suite in $suites; do
    printf '\n== %s ==\n' "$suite"
    before=$(date +%s)
    if "$(echo "$suite" | tr - _)"; then
        result=ok
    else
        result=FAILED
        failed="$failed $suite"
    fi
    printf '%-10s %-6s %5d s\n' "$suite" "$result" $(($(date +%s) - before)) >>"$scratch/summary"
done

printf '\n== summary ==\n'
cat "$scratch/summary"
printf '%-10s %-6s %5d s\n' total "" $(($(date +%s) - started))
[ -z "$failed" ] || { echo "test: failed:$failed" >&2; exit 1; }
