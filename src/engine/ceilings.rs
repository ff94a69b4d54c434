//! What an adapter does at most, as measured: what benches compare kernels with.

use super::profile::median;
use crate::device::{Device, Executable};
use crate::error::{Error, Result};
use crate::kernels::elementwise::{copy, multiply_add};
use crate::kernels::matmul::{Load, Operands, Product, Residual, product};
use crate::plan::Plan;
use crate::shader::{Arg, Array, Case, Dispatch};
use crate::tensor::{DType, Layout};
use std::sync::Arc;

/// Rates of an adapter.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second that a copy of a large array reads and writes.
    pub copy: f64,
    /// Multiply-adds a second in f32, without matrix units.
    pub arithmetic: f64,
    /// Multiply-adds a second of a large product on matrix units, f16 into f32, where there are any.
    pub matrix_units: Option<f64>,
}

/// Runs of which each is the median.
const RUNS: usize = 5;

impl Ceilings {
    /// Measures `device`, in about a second, a few on a software adapter.
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter has no timestamps.
    pub fn measure(device: &Device) -> Result<Self> {
        let caps = device.caps();
        // A software adapter: smaller, and still beyond its caches.
        let small = caps.parallel < 16;
        let bytes = (if small { 64 } else { 256 } << 20).min(caps.max_binding_bytes as usize);
        let n = bytes / 4;
        let whole = Layout::contiguous(&[1, 1, 1, n]);
        let [x, y] = [Arg(0), Arg(1)];
        let copied = copy::dispatch(DType::F32, &whole, &whole, copy::Binds { x, y }, caps);
        let (n_adds, rounds) = if small {
            (1 << 14, 256)
        } else {
            (1 << 20, 2048)
        };
        let binds = multiply_add::Binds { x, y };
        let added = multiply_add::dispatch(n_adds, rounds, binds, caps);
        let wide = match caps.matrix_units(DType::F16) {
            true => Some(large_product(device)?),
            false => None,
        };
        let f32s = |n: usize| Array::F32(vec![0.5; n]);
        let out = |n: usize| Array::OutAs(DType::F32, n);
        let moved = copied.cost.read_bytes + copied.cost.write_bytes;
        let macs = added.cost.macs;
        let copy = moved as f64 / seconds(device, copied, vec![f32s(n), out(n)])?;
        let n = n_adds as usize;
        let arithmetic = macs as f64 / seconds(device, added, vec![f32s(n), out(n)])?;
        Ok(Self {
            copy,
            arithmetic,
            matrix_units: wide,
        })
    }
}

/// Multiply-adds a second of a square product, the largest of three sizes.
fn large_product(device: &Device) -> Result<f64> {
    let mut most: f64 = 0.0;
    for side in [2048, 4096] {
        let p = Product {
            m: side,
            n: side,
            k: side,
            load: Load::Rows {
                stride: side,
                offset: 0,
            },
            residual: Residual::None,
            activation: "none",
        };
        let at = Operands {
            x: Arg(0),
            aux: None,
            w: Arg(1),
            bias: Arg(2),
            r: None,
            y: Arg(3),
        };
        let d = product(&p, DType::F16, at, device.caps());
        let macs = d.cost.macs;
        let square = || Array::Elem(vec![0.5; side * side]);
        let mut arrays = vec![square(), square(), Array::Elem(vec![0.0; side])];
        arrays.push(Array::Out(side * side));
        most = most.max(macs as f64 / seconds(device, d, arrays)?);
    }
    Ok(most)
}

/// GPU time of `dispatch`, whose args are `arrays` in their order.
fn seconds(device: &Device, mut dispatch: Dispatch, arrays: Vec<Array>) -> Result<f64> {
    // A case has an array for each binding.
    let arrays = (dispatch.args.iter())
        .map(|arg| arrays[arg.0].clone())
        .collect();
    dispatch.args = (0..dispatch.args.len()).map(Arg).collect();
    let case = Case {
        name: "ceiling".into(),
        dispatch,
        arrays,
    };
    let plan = Arc::new(Plan::of_case(&case));
    let exe = Executable::load(device, plan, &|_| Ok(Vec::new()))?;
    let inputs: Vec<_> = (case.arrays.iter()).filter_map(Array::contents).collect();
    exe.upload(&inputs)?;
    exe.time(2)?;
    let ms = median(&mut exe.time(RUNS)?).filter(|ms| *ms > 0.0);
    ms.map(|ms| ms * 1e-3)
        .ok_or_else(|| Error::Device(format!("adapter `{}` gives no times", device.name())))
}
