//! What a matrix product computes, whichever kernel computes it: where its rows come from, what follows it.

use super::{gemm, gemm_coop, gemm_few, gemm_small};
use crate::shader::{
    Arg, Array, Caps, Case, Category, Cost, Dispatch, KernelSpec, Variant, fold_grid, noise,
};
use crate::tensor::DType;

/// Where the rows of A come from, by the file of `lib/load_a.*` that reads them. Maps are [H, W].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// x itself, rows of `stride` elements from `offset` on (both multiples of 4).
    Rows { stride: usize, offset: usize },
    /// Patches of a convolution over x [batch, H, W, channels].
    Im2col {
        map: [usize; 2],
        out: [usize; 2],
        channels: usize,
        side: usize,
        stride: usize,
        pad: usize,
    },
    /// A 3×3 depthwise convolution of x, weights and bias in `aux` [9 + 1, K].
    Depthwise { map: [usize; 2] },
    /// x times its image's gate in `aux` [batch, K]; an image has `positions` rows.
    Gated { positions: usize },
    /// The sum of `positions` rows of x, divided by `over`.
    Mean { positions: usize, over: usize },
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Load::Rows { .. } => "rows",
            Load::Im2col { .. } => "im2col",
            Load::Depthwise { .. } => "depthwise",
            Load::Gated { .. } => "gated",
            Load::Mean { .. } => "mean",
        }
    }
}

/// What is added to the product, by the file of `lib/load_r.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    None,
    /// `r` [m, N].
    Rows,
    /// The sum of so many parts of `r` [parts, m, N]; only where [`sums_parts`] says so.
    Parts(usize),
    /// A 3×3 depthwise convolution of `r` [batch, H, W, N], weights and bias in `aux` [9 + 1, N].
    Depthwise {
        map: [usize; 2],
    },
}

/// A product `y[m, n] = activation(A · w + bias) + residual`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub m: usize,
    /// Columns of w as it is laid out, a multiple of 4.
    pub n: usize,
    /// A multiple of 4.
    pub k: usize,
    pub load: Load,
    pub residual: Residual,
    /// "none", "relu" or "sigmoid".
    pub activation: &'static str,
}

/// What a product is bound to; `aux` and `r` where its loaders read them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub x: Arg,
    pub aux: Option<Arg>,
    pub w: Arg,
    pub bias: Arg,
    pub r: Option<Arg>,
    pub y: Arg,
}

/// The product by the kernel that suits its size on this adapter.
pub fn product(p: &Product, elem: DType, at: Operands, caps: &Caps) -> Dispatch {
    let tiles = p.m.div_ceil(64) * p.n.div_ceil(64);
    let few = tiles < 2 * caps.parallel as usize;
    if few && gemm_few::fits(p, elem, caps) {
        gemm_few::dispatch(p, elem, at, caps)
    } else if few && caps.max_workgroup_bytes >= gemm_small::BYTES {
        gemm_small::dispatch(p, elem, at, caps)
    } else if gemm_coop::fits(elem, caps) && p.k.is_multiple_of(16) {
        gemm_coop::dispatch(p, elem, at, caps)
    } else {
        gemm::dispatch(p, elem, at, caps)
    }
}

/// Whether the kernel that [`product`] takes can sum a residual's parts.
pub fn sums_parts(p: &Product, elem: DType, caps: &Caps) -> bool {
    let tiles = p.m.div_ceil(64) * p.n.div_ceil(64);
    tiles < 2 * caps.parallel as usize && gemm_few::fits(p, elem, caps)
}

impl Product {
    /// The constants that all its kernels share.
    pub(super) fn variant(&self, elem: DType) -> Variant {
        let residual = match self.residual {
            Residual::None => "none",
            Residual::Rows => "rows",
            Residual::Parts(_) => "parts",
            Residual::Depthwise { .. } => "depthwise",
        };
        let v = Variant::new(elem)
            .choose("load_a", self.load.name())
            .choose("load_r", residual)
            .choose("activation", self.activation)
            .set("N", self.n)
            .set("K", self.k);
        let map = |v: Variant, [h, w]: [usize; 2]| v.set("IN_H", h).set("IN_W", w);
        let v = match self.load {
            Load::Rows { stride, .. } => v.set("X_STRIDE", stride),
            Load::Im2col {
                map: m,
                out,
                channels,
                side,
                stride,
                pad,
            } => map(v, m)
                .set("IN_C", channels)
                .set("OUT_H", out[0])
                .set("OUT_W", out[1])
                .set("SIDE", side)
                .set("STRIDE", stride)
                .set("PAD", pad),
            Load::Depthwise { map: m } => map(v, m),
            Load::Gated { positions } => v.set("OUT_H", 1u32).set("OUT_W", positions),
            Load::Mean { positions, .. } => v.set("IN_H", 1u32).set("IN_W", positions),
        };
        match (self.residual, self.load) {
            (Residual::Depthwise { map: m }, Load::Rows { .. }) => map(v, m),
            _ => v,
        }
    }

    fn offset(&self) -> u32 {
        match self.load {
            Load::Rows { offset, .. } => offset as u32,
            _ => 0,
        }
    }

    fn scale(&self) -> f32 {
        match self.load {
            Load::Mean { over, .. } => 1.0 / over as f32,
            _ => 1.0,
        }
    }

    /// Elements of x that are read, each once.
    fn x_len(&self) -> usize {
        match self.load {
            Load::Rows { .. } | Load::Depthwise { .. } | Load::Gated { .. } => self.m * self.k,
            Load::Im2col {
                map, out, channels, ..
            } => self.m / (out[0] * out[1]) * map[0] * map[1] * channels,
            Load::Mean { positions, .. } => self.m * positions * self.k,
        }
    }

    fn aux_len(&self) -> usize {
        match (self.load, self.residual) {
            (Load::Depthwise { .. }, _) => 10 * self.k,
            (Load::Gated { positions }, _) => self.m.div_ceil(positions) * self.k,
            (_, Residual::Depthwise { .. }) => 10 * self.n,
            _ => 0,
        }
    }

    fn r_len(&self) -> usize {
        match self.residual {
            Residual::None => 0,
            Residual::Parts(parts) => parts * self.m * self.n,
            _ => self.m * self.n,
        }
    }

    /// One dispatch of `groups` workgroups of a product kernel: all of them declare the same params and bindings.
    pub(super) fn dispatch(
        &self,
        kernel: &'static KernelSpec,
        variant: Variant,
        at: Operands,
        groups: usize,
        elem: DType,
        caps: &Caps,
    ) -> Dispatch {
        let params = gemm::Params {
            m: self.m as u32,
            x_offset: self.offset(),
            scale: self.scale(),
        };
        let binds = gemm::Binds {
            x: at.x,
            aux: at.aux.unwrap_or(at.w),
            w: at.w,
            bias: at.bias,
            r: at.r.unwrap_or(at.w),
            y: at.y,
        };
        Dispatch {
            kernel,
            variant,
            params: bytemuck::bytes_of(&params).to_vec(),
            args: binds.args(),
            grid: fold_grid(groups as u64, caps),
            category: self.category(),
            cost: self.cost(elem),
        }
    }

    fn category(&self) -> Category {
        match self.load {
            Load::Im2col { .. } => Category::Convolution,
            _ => Category::Matmul,
        }
    }

    fn cost(&self, elem: DType) -> Cost {
        let bytes = |n: usize| (n * elem.bytes()) as u64;
        let (m, n, k) = (self.m as u64, self.n as u64, self.k as u64);
        let nine = |cond: bool, width: u64| if cond { 9 * m * width } else { 0 };
        Cost {
            read_bytes: bytes(self.x_len() + self.aux_len() + self.r_len() + (self.k + 1) * self.n),
            write_bytes: bytes(self.m * self.n),
            macs: m * n * k
                + nine(matches!(self.load, Load::Depthwise { .. }), k)
                + nine(matches!(self.residual, Residual::Depthwise { .. }), n),
        }
    }

    /// Cases of every loader, residual and activation, for the kernel that `dispatch` makes.
    pub(super) fn cases(dispatch: fn(&Product, DType, Operands, &Caps) -> Dispatch) -> Vec<Case> {
        let im2col = Load::Im2col {
            map: [5, 7],
            out: [3, 4],
            channels: 8,
            side: 3,
            stride: 2,
            pad: 1,
        };
        let products = [
            (
                67,
                40,
                36,
                Load::Rows {
                    stride: 44,
                    offset: 4,
                },
                Residual::None,
                "none",
            ),
            (
                1,
                16,
                64,
                Load::Rows {
                    stride: 64,
                    offset: 0,
                },
                Residual::Rows,
                "sigmoid",
            ),
            (
                130,
                132,
                96,
                Load::Rows {
                    stride: 96,
                    offset: 0,
                },
                Residual::Rows,
                "relu",
            ),
            (24, 20, 72, im2col, Residual::None, "relu"),
            (
                24,
                24,
                144,
                Load::Im2col {
                    map: [5, 7],
                    out: [3, 4],
                    channels: 16,
                    side: 3,
                    stride: 2,
                    pad: 1,
                },
                Residual::None,
                "relu",
            ),
            (
                36,
                64,
                32,
                Load::Depthwise { map: [3, 4] },
                Residual::None,
                "relu",
            ),
            (
                36,
                16,
                32,
                Load::Rows {
                    stride: 32,
                    offset: 0,
                },
                Residual::Depthwise { map: [4, 3] },
                "none",
            ),
            (
                36,
                24,
                16,
                Load::Gated { positions: 9 },
                Residual::None,
                "none",
            ),
            (
                5,
                12,
                48,
                Load::Mean {
                    positions: 16,
                    over: 16,
                },
                Residual::None,
                "none",
            ),
        ];
        let mut cases = Vec::new();
        for elem in [DType::F32, DType::F16] {
            for (m, n, k, load, residual, activation) in products {
                let p = Product {
                    m,
                    n,
                    k,
                    load,
                    residual,
                    activation,
                };
                cases.push(p.case(elem, dispatch));
            }
        }
        cases
    }

    pub(super) fn case(
        &self,
        elem: DType,
        dispatch: fn(&Product, DType, Operands, &Caps) -> Dispatch,
    ) -> Case {
        let at = Operands {
            x: Arg(0),
            aux: Some(Arg(1)),
            w: Arg(2),
            bias: Arg(3),
            r: Some(Arg(4)),
            y: Arg(5),
        };
        // One row of tiles at most, so that the grid is folded where there is more than one.
        let caps = Caps {
            max_groups: 3,
            ..Caps::default()
        };
        let x_len = match self.load {
            Load::Rows { stride, offset } => offset + self.m * stride,
            _ => self.x_len(),
        };
        let scaled = |seed, n: usize, by: f32| -> Array {
            Array::Elem(noise(seed, n.max(4)).into_iter().map(|v| v * by).collect())
        };
        Case {
            name: format!("{}x{}x{}", self.m, self.n, self.k),
            dispatch: dispatch(self, elem, at, &caps),
            arrays: vec![
                scaled(1, x_len, 1.0),
                scaled(2, self.aux_len(), 0.3),
                scaled(3, self.k * self.n, 1.0 / (self.k as f32).sqrt()),
                scaled(4, self.n, 1.0),
                scaled(5, self.r_len(), 1.0),
                Array::Out(self.m * self.n),
            ],
        }
    }
}
