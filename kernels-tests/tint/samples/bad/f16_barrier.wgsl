// expect: must only be called from uniform control flow
enable f16;
@group(0) @binding(0) var<storage, read_write> y: array<f16>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    if y[i] > 1.0h {
        workgroupBarrier();
    }
}
