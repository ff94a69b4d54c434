//! Checks gradients of graphs against finite differences in f64: a graph's outputs and gradients on every adapter, and
//! the same function written once more for the host.

use crate::numpy::RandomState;
use crate::references::relative_l2;
use cascadia::device::{Device, Executable, Store};
use cascadia::graph::{Graph, Value, Weight};
use cascadia::plan::{Options, Plan};
use cascadia::tensor::{DType, Tensor};
use std::sync::Arc;

/// A function of some values, for devices and for the host.
pub struct Case<'a> {
    pub name: &'a str,
    pub shapes: &'a [&'a [usize]],
    /// u32 states that the function reads, by name.
    pub words: &'a [(&'a str, &'a [u32])],
    pub device: &'a dyn for<'g> Fn(&[Value<'g>]) -> Value<'g>,
    pub host: &'a dyn Fn(&[Vec<f64>]) -> Vec<f64>,
}

fn drawn(shape: &[usize], seed: u32) -> Vec<f32> {
    let mut random = RandomState::new(seed);
    (0..shape.iter().product())
        .map(|_| random.standard_normal() as f32)
        .collect()
}

/// A device's output of the case, and the gradients of Σ weights · output by each input.
fn on_device(device: &Device, case: &Case, inputs: &[Vec<f32>], weights: &[f32]) -> Vec<Tensor> {
    let g = Graph::new();
    let values: Vec<Value> = (case.shapes.iter().enumerate())
        .map(|(i, shape)| g.input(&format!("x{i}"), shape))
        .collect();
    let y = (case.device)(&values);
    let weights = weights.to_vec();
    let seed = Weight::made("seed", &y.shape(), Vec::new(), move |_| weights.clone());
    g.output("y", y);
    for (i, grad) in (g.grad_from(&[(y, g.weight(&seed))], &values))
        .iter()
        .enumerate()
    {
        g.output(
            format_args!("dx{i}"),
            *grad
                * g.weight(&Weight::made(
                    format!("one {i}"),
                    &vec![1; grad.shape().len()],
                    Vec::new(),
                    |_| vec![1.0],
                )),
        );
    }
    let graph = g.finish().unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let plan = Plan::new(&graph, device.caps(), &Options::new(DType::F32));
    let plan = plan.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let store = Store::new(device);
    let run = || -> cascadia::Result<Vec<Tensor>> {
        for (name, values) in case.words {
            store.make(name, DType::U32, values.len())?;
            store.write(name, 0, values)?;
        }
        let run = Executable::load_in(&store, Arc::new(plan), &|_| unreachable!("no weights"))?;
        let tensors = (case.shapes.iter().zip(inputs))
            .map(|(s, v)| Tensor::from_f32(s, v))
            .collect::<cascadia::Result<Vec<_>>>()?;
        run.poison();
        run.run(&tensors)
    };
    run().unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// Checks the outputs and the gradients of `case` on every adapter.
pub fn check(case: &Case) {
    let inputs: Vec<Vec<f32>> = (case.shapes.iter().enumerate())
        .map(|(i, s)| drawn(s, 100 + i as u32))
        .collect();
    let exact: Vec<Vec<f64>> = (inputs.iter())
        .map(|v| v.iter().map(|&v| f64::from(v)).collect())
        .collect();
    let y = (case.host)(&exact);
    let weights = drawn(&[y.len()], 7);
    let total = |x: &[Vec<f64>]| -> f64 {
        let y = (case.host)(x);
        y.iter().zip(&weights).map(|(y, &w)| y * f64::from(w)).sum()
    };
    let step = 1e-5;
    let truth: Vec<Vec<f64>> = (0..inputs.len())
        .map(|i| {
            (0..inputs[i].len())
                .map(|j| {
                    let moved = |by: f64| {
                        let mut x = exact.clone();
                        x[i][j] += by;
                        total(&x)
                    };
                    (moved(step) - moved(-step)) / (2.0 * step)
                })
                .collect()
        })
        .collect();
    for device in crate::distill::devices() {
        let out = on_device(&device, case, &inputs, &weights);
        for (k, (found, truth)) in out
            .iter()
            .zip(std::iter::once(&y).chain(&truth))
            .enumerate()
        {
            let found: Vec<f64> = found.to_f32().into_iter().map(f64::from).collect();
            assert_eq!(found.len(), truth.len(), "{}", case.name);
            let error = relative_l2(&found, truth);
            assert!(
                error < 2e-5,
                "{} on {}: output {k} is off by {error:.1e}",
                case.name,
                device.name()
            );
        }
    }
}
