//! What a linear layer of a language model computes, whichever kernel computes it: `matmul/skinny` for up to 16
//! rows, `matmul/wide` for more. Both read one packed weight ([`pack`]).

use super::pack;
use crate::shader::{Arg, Array, Caps, Case, Cost, Real, Variant, noise};
use crate::tensor::DType;
use crate::tensor::quant::Format;

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    /// They are stored.
    Plain,
    /// `r` is added.
    Add,
    Relu,
    /// Features 2i and 2i + 1 are a gate and what it lets through, one column of y: silu(gate) · up.
    Silu,
    /// The same with gelu's approximation by tanh.
    Gelu,
}

impl Epilogue {
    pub(in crate::kernels) const fn name(self) -> &'static str {
        match self {
            Epilogue::Plain => "plain",
            Epilogue::Add => "add",
            Epilogue::Relu => "relu",
            Epilogue::Silu => "silu",
            Epilogue::Gelu => "gelu",
        }
    }

    /// Whether two features make one column of y.
    pub const fn gated(self) -> bool {
        matches!(self, Epilogue::Silu | Epilogue::Gelu)
    }
}

/// A product `y[m, first + n] = epilogue(f[m] · Σ_k x[m, k] g[k] w[n, k] + bias[first + n])`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Rows.
    pub m: usize,
    /// Output features of this weight.
    pub n: usize,
    /// Depth, a multiple of 4.
    pub k: usize,
    pub format: Format,
    /// The epsilon of an RMS norm of x before the product (`matmul/skinny` only): g is its gain, and
    /// f[m] = scale / sqrt(mean(x[m]²) + eps). Without, g = 1 and f = scale.
    pub norm: Option<f32>,
    pub bias: bool,
    pub epilogue: Epilogue,
    pub scale: f32,
    /// Where this weight's features stand among the layer's, a multiple of 16: a weight that is split into several
    /// bindings is as many dispatches into one y.
    pub first: usize,
    /// Columns of y, and of r: for a gated layer, half of its features.
    pub stride: usize,
}

/// What it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// f32 [m, K].
    pub x: Arg,
    /// Packed [n, K].
    pub w: Arg,
    /// Packed, for formats that have them.
    pub scales: Option<Arg>,
    /// f32: the gain [K] where there is a norm, then the bias of the whole layer where there is one, then zeros up
    /// to a multiple of 4.
    pub aux: Option<Arg>,
    /// f32 [m, stride], for [`Epilogue::Add`].
    pub r: Option<Arg>,
    /// f32 [m, stride].
    pub y: Arg,
}

/// Whether a product with such a weight runs on matrix units: its sums then are those of f16 values.
pub fn on_matrix_units(format: Format, caps: &Caps) -> bool {
    format != Format::F32
        && caps.matrix_units(DType::F16)
        && caps.max_workgroup_bytes >= 23 << 10
        && caps.max_invocations >= 256
}

impl Linear {
    /// Its columns of y.
    pub const fn columns(&self) -> usize {
        if self.epilogue.gated() {
            self.n / 2
        } else {
            self.n
        }
    }

    /// The constants that its kernels share.
    pub(in crate::kernels) fn variant(&self, caps: &Caps) -> Variant {
        variant(self.format, on_matrix_units(self.format, caps))
            .set("NORM", self.norm.is_some())
            .set("BIAS", self.bias)
            .choose("linear_store", self.epilogue.name())
    }

    pub(in crate::kernels) fn cost(&self) -> Cost {
        let (m, n, k) = (self.m as u64, self.n as u64, self.k as u64);
        let y = m * self.columns() as u64;
        let aux = u64::from(self.norm.is_some()) * k + u64::from(self.bias) * n;
        let r = u64::from(self.epilogue == Epilogue::Add) * y;
        Cost {
            read_bytes: pack::bytes(self.format, [self.n, self.k]) + 4 * (m * k + aux + r),
            write_bytes: 4 * y,
            macs: m * n * k,
        }
    }
}

/// The choices by which a kernel reads a weight of `format`.
pub(in crate::kernels) fn variant(format: Format, coop: bool) -> Variant {
    let (elem, weight, bits) = match (format, coop) {
        (Format::F32, _) => (DType::F32, "f32", 32u32),
        (Format::F16, false) => (DType::F32, "f16", 16),
        (Format::Q8_0, false) => (DType::F32, "q8_0", 8),
        (Format::Q4_0, false) => (DType::F32, "q4_0", 4),
        (Format::F16, true) => (DType::F16, "coop_f16", 16),
        (Format::Q8_0, true) => (DType::F16, "coop_q8_0", 8),
        (Format::Q4_0, true) => (DType::F16, "coop_q4_0", 4),
    };
    Variant::new(elem)
        .choose("weight", weight)
        .set("BITS", bits)
}

/// The format of a case's weight.
pub(in crate::kernels) fn format_of(case: &Case) -> Format {
    match case.variant().u32("BITS") {
        4 => Format::Q4_0,
        8 => Format::Q8_0,
        16 => Format::F16,
        _ => Format::F32,
    }
}

/// Contents of the bindings `w` and `scales` for a case.
pub(in crate::kernels) fn packed(format: Format, shape: [usize; 2]) -> [Array; 2] {
    let by = 1.0 / (shape[1] as f32).sqrt();
    let values: Vec<f32> = (noise(2, shape[0] * shape[1]).iter())
        .map(|v| v * by)
        .collect();
    let packing = pack::Packing::of(format);
    let scales = packing.scales.map_or(vec![0; 16], |s| s(&values, shape));
    let words = |bytes: &[u8]| Array::U32(bytemuck::pod_collect_to_vec(bytes));
    [words(&(packing.w)(&values, shape)), words(&scales)]
}

/// One row of the product before its bias: f · Σ_k x[k] g[k] w[n, k], x as the kernel multiplies it.
pub(in crate::kernels) fn row_of<R: Real>(
    case: &Case,
    x: &[R],
    gain: Option<(&[R], f32)>,
    scale: f32,
    features: usize,
) -> Vec<R> {
    let (format, k) = (format_of(case), x.len());
    let mut factor = R::of(f64::from(scale));
    let mut rows: Vec<R> = x.to_vec();
    if let Some((gain, eps)) = gain {
        let mean = x.iter().map(|&v| v * v).sum::<R>() / R::of(k as f64);
        factor = factor / R::of((mean + R::of(f64::from(eps))).f64().sqrt());
        rows = x.iter().zip(gain).map(|(&v, &g)| v * g).collect();
    }
    let rows: Vec<R> = rows.into_iter().map(|v| v.stored(case.elem())).collect();
    (0..features)
        .map(|n| {
            let w = |k: usize| {
                let v = pack::value(format, case.whole(1), case.whole(2), x.len(), [n, k]);
                R::of(f64::from(v)).stored(case.elem())
            };
            factor * (0..k).map(|k| rows[k] * w(k)).sum::<R>()
        })
        .collect()
}

/// The reference of the kernels of linear layers, whose bindings and params are skinny's.
pub(super) fn reference<R: Real>(case: &Case, a: &[Vec<R>]) -> Vec<Vec<R>> {
    let p: super::skinny::Params = case.params();
    let u = |v: u32| v as usize;
    let v = case.variant();
    let mut y = vec![R::of(f64::NAN); u(p.m * p.stride)];
    let gain_len = if v.bool("NORM") { u(p.k) } else { 0 };
    for m in 0..u(p.m) {
        let gain = v.bool("NORM").then(|| (&a[3][..u(p.k)], p.eps));
        let x = &a[0][m * u(p.k)..][..u(p.k)];
        let mut sums = row_of(case, x, gain, p.scale, u(p.n));
        if v.bool("BIAS") {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum += a[3][gain_len + u(p.first) + n];
            }
        }
        let row = m * u(p.stride);
        for n in 0..u(p.n) {
            let (at, sum) = (row + u(p.first) + n, sums[n]);
            let half = row + (u(p.first) + n) / 2;
            let up = sums[(n + 1).min(u(p.n) - 1)];
            match v.choice("linear_store") {
                "add" => y[at] = a[4][at] + sum,
                "relu" => y[at] = sum.relu(),
                "silu" if n % 2 == 0 => y[half] = sum * sum.sigmoid() * up,
                "gelu" if n % 2 == 0 => {
                    let cube = R::of(0.044_715) * sum * sum * sum;
                    let u = R::of(2.0 * (2.0 / std::f64::consts::PI).sqrt()) * (sum + cube);
                    y[half] = sum * u.sigmoid() * up;
                }
                "silu" | "gelu" => {}
                _ => y[at] = sum,
            }
        }
    }
    vec![y]
}

/// The case of `l` that `dispatch` makes.
pub(super) fn case(
    l: &Linear,
    dispatch: impl Fn(&Linear, Operands) -> crate::shader::Dispatch,
) -> Case {
    let at = Operands {
        x: Arg(0),
        w: Arg(1),
        scales: Some(Arg(2)),
        aux: Some(Arg(3)),
        r: Some(Arg(4)),
        y: Arg(5),
    };
    let aux = l.norm.map_or(0, |_| l.k) + if l.bias { l.first + l.n } else { 0 };
    let r = if l.epilogue == Epilogue::Add {
        l.m * l.stride
    } else {
        4
    };
    let [w, scales] = packed(l.format, [l.n, l.k]);
    Case {
        name: format!("{}x{}x{} {}", l.m, l.n, l.k, l.format),
        dispatch: dispatch(l, at),
        arrays: vec![
            Array::F32(noise(1, l.m * l.k)),
            w,
            scales,
            Array::F32(noise(3, aux.next_multiple_of(4).max(4))),
            Array::F32(noise(4, r)),
            Array::OutAs(DType::F32, l.m * l.stride),
        ],
    }
}

/// Caps of a processor with subgroups of `lanes`, for cases.
pub(in crate::kernels) fn with_lanes(caps: &Caps, lanes: u32) -> Caps {
    Caps {
        subgroups: true,
        subgroup_min: lanes,
        subgroup_max: lanes,
        software: true,
        ..caps.clone()
    }
}

/// Caps with matrix units, for cases.
pub(in crate::kernels) fn with_matrix_units(caps: &Caps) -> Caps {
    use crate::shader::CoopMatrix;
    Caps {
        f16: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        coop: Some(CoopMatrix {
            m: 16,
            n: 16,
            k: 16,
        }),
        max_workgroup_bytes: 32 << 10,
        ..caps.clone()
    }
}
