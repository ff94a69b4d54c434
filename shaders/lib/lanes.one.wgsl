// lanes: what a binding holds, and how an invocation sees it. One element, for any shape and strides.
alias item = elem;
alias itemf = f32;
const LANES = 1u;
