#!/bin/sh
# The demo, from a fresh machine with a Rust toolchain: builds, sees to a GPU driver (Mesa's
# software one where there is none), classifies real pictures with the model in the repository.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v cargo >/dev/null 2>&1 || {
    echo "demo: no cargo on the PATH; install Rust from https://rustup.rs" >&2
    exit 1
}
need_linker
# Mesa complains on every start without it.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi
cascadia() { cargo run --release --quiet -- "$@"; }

echo "demo: building (a few minutes the first time)"
cargo build --release --bin cascadia

if ! cascadia devices >/dev/null 2>&1; then
    install_packages "no GPU adapter found" mesa-vulkan-drivers libvulkan1
    cascadia devices >/dev/null || {
        echo "demo: still no adapter after installing Mesa's Vulkan driver" >&2
        exit 1
    }
fi

echo
echo "demo: scans of handwritten digits, and what the model reads"
cascadia classify assets/digits/samples
echo
echo "demo: EfficientViT-M0 at batch 1 on this adapter, the end of \`cascadia plan m0 --batch 1\`"
plan=$(cascadia plan m0 --batch 1)
printf '%s\n' "$plan" | tail -n 12
