#!/bin/sh
# Runs a command under the Khronos validation layer with GPU-assisted validation:
# shaders are instrumented, so that out-of-bounds accesses of buffers and races in
# workgroup memory are reported although the modules that ship are unchecked.
#
#   scripts/gpu-av.sh COMMAND [ARGUMENT…]
#
# Exit status: the command's own when it is not 0; 1 when the layer reported an
# error; 2 when the layer is absent or was not loaded (a silent run proves nothing).
#
#   CASCADIA_VK_LAYER   libVkLayer_khronos_validation.so to use; else Chromium's is
#                       taken, because distributions' own layers are often too old
#   CASCADIA_NO_ROBUSTNESS_LAYER  a built libgpuav_layer.so (kernels-tests/gpuav-layer), to
#                       save asking cargo for it
#   CASCADIA_GPUAV_LOG  where to leave the layer's messages (default: not kept)
set -u
say() { printf 'gpu-av: %s\n' "$*" >&2; }

[ $# -gt 0 ] || { say "usage: scripts/gpu-av.sh COMMAND [ARGUMENT…]"; exit 2; }
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
layer=$(find_validation_layer)
[ -n "$layer" ] || {
    say "no libVkLayer_khronos_validation.so found; run scripts/setup-test.sh, or set CASCADIA_VK_LAYER to its path"
    exit 2
}

# Devices offer robust buffer access, and wgpu enables it; out-of-bounds accesses are then
# defined, and not reported. A small layer of our own hides it.
ours=${CASCADIA_NO_ROBUSTNESS_LAYER:-}
[ -n "$ours" ] || ours=$(cd "$(dirname "$0")/.." &&
    cargo build --quiet -p gpuav-layer --message-format json |
    sed -n 's/.*"\([^"]*libgpuav_layer\.so\)".*/\1/p' | tail -n 1)
[ -f "$ours" ] || { say "cannot build the crate gpuav-layer"; exit 2; }

tmp=$(mktemp -d) || exit 2
reader=
trap '[ -z "$reader" ] || kill "$reader" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

cat > "$tmp/VkLayer_khronos_validation.json" <<JSON
{
  "file_format_version": "1.2.0",
  "layer": {
    "name": "VK_LAYER_KHRONOS_validation",
    "type": "GLOBAL",
    "library_path": "$layer",
    "api_version": "1.4.341",
    "implementation_version": "1",
    "description": "Khronos validation layer",
    "instance_extensions": [
      { "name": "VK_EXT_debug_report", "spec_version": "9" },
      { "name": "VK_EXT_debug_utils", "spec_version": "1" },
      { "name": "VK_EXT_validation_features", "spec_version": "2" },
      { "name": "VK_EXT_layer_settings", "spec_version": "2" }
    ],
    "device_extensions": []
  }
}
JSON

cat > "$tmp/VkLayer_cascadia_no_robustness.json" <<JSON
{
  "file_format_version": "1.2.0",
  "layer": {
    "name": "VK_LAYER_CASCADIA_no_robustness",
    "type": "GLOBAL",
    "library_path": "$ours",
    "api_version": "1.3.0",
    "implementation_version": "1",
    "description": "Hides robust buffer access"
  }
}
JSON

# The layer truncates its log when an instance is made; into a pipe, every instance
# and every process of the command adds its messages.
mkfifo "$tmp/pipe" || exit 2
cat "$tmp/pipe" > "$tmp/messages" &
reader=$!
exec 3> "$tmp/pipe"

# 10684: naga decorates workgroup memory with a layout that newer SPIR-V forbids;
# harmless, and not an error of a shader of ours.
cat > "$tmp/vk_layer_settings.txt" <<SETTINGS
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.log_filename = $tmp/pipe
khronos_validation.report_flags = error,warn,info
khronos_validation.message_id_filter = VUID-StandaloneSpirv-None-10684
khronos_validation.enable_message_limit = true
khronos_validation.duplicate_message_limit = 200
khronos_validation.validate_core = true
khronos_validation.gpuav_enable = true
khronos_validation.gpuav_shader_instrumentation = true
khronos_validation.gpuav_descriptor_checks = true
khronos_validation.gpuav_shared_memory_data_race = true
khronos_validation.gpuav_safe_mode = true
SETTINGS

VK_LAYER_PATH="$tmp" VK_ADD_LAYER_PATH="$tmp" \
    VK_INSTANCE_LAYERS=VK_LAYER_CASCADIA_no_robustness:VK_LAYER_KHRONOS_validation \
    WGPU_DEBUG=1 VK_LAYER_SETTINGS_PATH="$tmp" "$@" 3>&-
status=$?

exec 3>&-
wait "$reader" 2>/dev/null
reader=
[ -z "${CASCADIA_GPUAV_LOG:-}" ] || cp "$tmp/messages" "$CASCADIA_GPUAV_LOG"

errors=$(grep -c '^Validation Error' "$tmp/messages")
if [ "$errors" -gt 0 ]; then
    grep -A 12 '^Validation Error' "$tmp/messages" | head -n 60 >&2
    say "$errors error messages from the validation layer; where (shader:line:column):"
    sed -n 's/.*error occurred at \(.*\)/\1/p' "$tmp/messages" | sort | uniq -c >&2
fi
[ "$status" -eq 0 ] || { say "the command failed with status $status"; exit "$status"; }
[ "$errors" -eq 0 ] || exit 1
[ -s "$tmp/messages" ] || {
    say "the validation layer was not loaded, so nothing was checked (no Vulkan instance made, or no Vulkan loader: libvulkan1)"
    exit 2
}
say "clean (layer $layer)"
