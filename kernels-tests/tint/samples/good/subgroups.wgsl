enable subgroups;
struct Params { n: u32 }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let in_range = id.x < params.n;
    let sum = subgroupAdd(select(0.0, x[id.x], in_range));
    if in_range { y[id.x] = sum; }
}
