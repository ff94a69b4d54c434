enable f16;
enable subgroups;
alias elem = f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<elem>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    y[id.x] = vec4<elem>(subgroupAdd(vec4<f32>(x[id.x])));
}
