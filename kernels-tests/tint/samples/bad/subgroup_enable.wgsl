// expect: subgroups
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    y[i] = subgroupAdd(y[i]);
}
