// A loop bounded by a uniform parameter may hold a barrier.
struct Params { steps: u32 }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    for (var step = 0u; step < params.steps; step++) {
        tile[i] = y[i];
        workgroupBarrier();
        y[i] = tile[63u - i];
        workgroupBarrier();
    }
}
