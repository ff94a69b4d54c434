// lanes: what a binding holds, and how an invocation sees it. Four neighbours of the last dimension, which is
// contiguous; sizes, strides and offsets are multiples of 4, and Params count items.
alias item = vec4<elem>;
alias itemf = vec4<f32>;
const LANES = 4u;
