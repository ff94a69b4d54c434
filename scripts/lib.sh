# Sourced by the other scripts: where this machine's Vulkan drivers and layers are, and how
# to install what is missing. Each find_ function prints one path, or nothing.

first_file() {
    for candidate in "$@"; do
        if [ -f "$candidate" ]; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 0
}

# Mesa's software driver. Distributions put the architecture into the name, or do not.
find_lavapipe_icd() {
    first_file ${CASCADIA_LAVAPIPE_ICD:+"$CASCADIA_LAVAPIPE_ICD"} \
        /usr/share/vulkan/icd.d/lvp_icd."$(uname -m)".json \
        /usr/share/vulkan/icd.d/lvp_icd.json \
        /usr/share/vulkan/icd.d/lvp_icd.*.json \
        /usr/local/share/vulkan/icd.d/lvp_icd*.json
}

# Google's software driver: every Chromium carries it (Debian's chromium-common, Chrome's, the snap).
find_swiftshader_icd() {
    first_file ${CASCADIA_SWIFTSHADER_ICD:+"$CASCADIA_SWIFTSHADER_ICD"} \
        /usr/lib/chromium/vk_swiftshader_icd.json \
        /usr/lib/chromium-browser/vk_swiftshader_icd.json \
        /opt/google/chrome/vk_swiftshader_icd.json \
        /snap/chromium/current/usr/lib/chromium-browser/vk_swiftshader_icd.json
}

# The Khronos validation layer. Debian's chromium-common carries a recent one; the distribution's own
# comes last, because many are too old to find races (scripts/test.sh probes what it finds).
find_validation_layer() {
    first_file ${CASCADIA_VK_LAYER:+"$CASCADIA_VK_LAYER"} \
        /usr/lib/chromium/libVkLayer_khronos_validation.so \
        /usr/lib/chromium-browser/libVkLayer_khronos_validation.so \
        /usr/lib/"$(uname -m)"-linux-gnu/libVkLayer_khronos_validation.so
}

# Installs packages with apt-get, as root or through sudo; else says what to run, and fails.
#   install_packages WHY PACKAGE…
install_packages() {
    why=$1
    shift
    if ! command -v apt-get >/dev/null 2>&1; then
        printf '%s; this is not Debian or Ubuntu, so install the counterparts of: %s\n' "$why" "$*" >&2
        return 1
    fi
    # Without a terminal nobody could answer sudo's question for a password.
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        printf '%s; as root, run: apt-get install --no-install-recommends %s\n' "$why" "$*" >&2
        return 1
    fi
    printf '%s: installing %s with %s\n' "$why" "$*" "${as_root:+sudo }apt-get"
    apt_log=$(mktemp) || return 1
    if $as_root apt-get update >"$apt_log" 2>&1 &&
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "$@" >>"$apt_log" 2>&1; then
        rm -f "$apt_log"
        return 0
    fi
    tail -n 15 "$apt_log" >&2
    rm -f "$apt_log"
    printf 'apt-get failed; run it by hand: %s\n' \
        "${as_root:+sudo }apt-get install --no-install-recommends $*" >&2
    return 1
}

# A C compiler is Rust's linker; rustup does not bring one.
need_linker() {
    command -v cc >/dev/null 2>&1 && return 0
    install_packages "no C compiler, which Rust links with" gcc libc6-dev
}
