// Valid, but beyond what a browser grants without being asked: noted, not a fault.
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<f32, 12288>;
@compute @workgroup_size(1024)
fn main(@builtin(local_invocation_index) i: u32) {
    tile[i] = y[i];
    workgroupBarrier();
    y[i] = tile[1023u - i];
}
