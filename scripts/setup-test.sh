#!/bin/sh
# Installs what the tests need beside the Rust toolchain; says each thing it installs, and
# nothing when all is there. May be run again at any time.
#   Mesa lavapipe and the Vulkan loader       one software GPU, with f16 and subgroups
#   chromium-common (not the browser)         SwiftShader, a poorer software GPU, and a recent
#                                             Khronos validation layer
#   node, npm and the npm package `webgpu`    Tint, Chrome's shader compiler
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
fail() {
    printf 'setup-test: %s\n' "$*" >&2
    exit 1
}

command -v cargo >/dev/null 2>&1 || fail "no cargo on the PATH; install Rust from https://rustup.rs"
need_linker
for part in fmt clippy; do
    cargo "$part" --version >/dev/null 2>&1 ||
        fail "cargo $part is missing: rustup component add rustfmt clippy"
done

packages=
[ -n "$(find_lavapipe_icd)" ] || packages="$packages mesa-vulkan-drivers"
if ! ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' &&
    ! /sbin/ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
    packages="$packages libvulkan1"
fi
if [ -z "$(find_swiftshader_icd)" ] || [ -z "$(find_validation_layer)" ]; then
    # Ubuntu's chromium packages are empty and install a snap, which apt cannot do in a container.
    if [ -f /etc/os-release ] && grep -q '^ID=ubuntu' /etc/os-release; then
        fail "SwiftShader or a Vulkan validation layer is missing, and Ubuntu has no chromium
package that carries them (its own is a snap). Unpack Debian's
(https://packages.debian.org/bookworm/chromium-common: dpkg-deb -x chromium-common_*.deb DIR) and set
  CASCADIA_SWIFTSHADER_ICD=DIR/usr/lib/chromium/vk_swiftshader_icd.json
  CASCADIA_VK_LAYER=DIR/usr/lib/chromium/libVkLayer_khronos_validation.so
or run the tests in a debian:12 container."
    fi
    packages="$packages chromium-common"
fi
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
[ "${node_major:-0}" -ge 18 ] || packages="$packages nodejs"
command -v npm >/dev/null 2>&1 || packages="$packages npm"

# shellcheck disable=SC2086  # one word for each package
[ -z "$packages" ] || install_packages "setup-test: missing for the tests" $packages

[ -n "$(find_lavapipe_icd)" ] || fail "no lavapipe ICD file found; set CASCADIA_LAVAPIPE_ICD to its path"
[ -n "$(find_swiftshader_icd)" ] || fail "no SwiftShader ICD file found; set CASCADIA_SWIFTSHADER_ICD to its path"
[ -n "$(find_validation_layer)" ] || fail "no Vulkan validation layer found; set CASCADIA_VK_LAYER to its path"
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
[ "${node_major:-0}" -ge 18 ] || fail "node 18 or newer is needed, found $(node --version 2>/dev/null || echo none)"

# npm leaves a copy of the lock behind: the same versions mean that nothing is to be done.
tint=kernels-tests/tint
versions() { grep -E '"(node_modules/[^"]*|version|integrity)":' "$1" 2>/dev/null; }
if [ ! -f "$tint/node_modules/.package-lock.json" ] ||
    [ "$(versions "$tint/package-lock.json")" != "$(versions "$tint/node_modules/.package-lock.json")" ]; then
    echo "setup-test: installing the npm package webgpu (Dawn for node)"
    # The package's own install script serves macOS only.
    npm_log=$(cd "$tint" && npm ci --ignore-scripts 2>&1) || {
        printf '%s\n' "$npm_log" | tail -n 15 >&2
        fail "npm ci failed in $tint"
    }
fi
