// expect: must only be called from subgroup uniform control flow
enable subgroups;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    if y[i] > 1.0 {
        y[i] = subgroupAdd(y[i]);
    }
}
