//! Compiled kernels, one for each label, compiled in parallel and kept.

use super::Inner;
use crate::error::{Error, Result};
use crate::shader::{Access, Composed, Dispatch, ParamsIn, Target, compose};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub buffers: wgpu::BindGroupLayout,
    pub uniform: Option<wgpu::BindGroupLayout>,
}

pub(crate) struct Pipelines {
    checked: bool,
    made: Mutex<HashMap<String, Arc<Pipeline>>>,
}

impl Pipelines {
    pub fn new(checked: bool) -> Self {
        Self {
            checked,
            made: Mutex::default(),
        }
    }
}

impl Inner {
    /// Pipelines for all of `dispatches`, in their order.
    ///
    /// # Errors
    /// [`Error::Shader`] for the first that does not compile, with the file and line it came from.
    pub fn pipelines<'a>(
        &self,
        dispatches: impl Iterator<Item = &'a Dispatch>,
    ) -> Result<Vec<Arc<Pipeline>>> {
        let wanted: Vec<(String, &Dispatch)> = dispatches.map(|d| (d.label(), d)).collect();
        let mut missing: Vec<&(String, &Dispatch)> = Vec::new();
        {
            let made = self
                .pipelines
                .made
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for w in &wanted {
                if !made.contains_key(&w.0) && !missing.iter().any(|m| m.0 == w.0) {
                    missing.push(w);
                }
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<()> {
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some((label, dispatch)) = missing.get(at) else {
                    return Ok(());
                };
                let compiled = Arc::new(self.compile(label, dispatch)?);
                let mut made = self
                    .pipelines
                    .made
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                made.insert(label.clone(), compiled);
            }
        };
        if missing.len() < 2 || threads < 2 {
            work()?;
        } else {
            std::thread::scope(|s| {
                let workers: Vec<_> = (0..threads.min(missing.len()))
                    .map(|_| s.spawn(work))
                    .collect();
                (workers.into_iter())
                    .map(|w| {
                        w.join().unwrap_or_else(|_| {
                            Err(Error::Shader("a shader compiler panicked".into()))
                        })
                    })
                    .collect::<Result<Vec<()>>>()
            })?;
        }
        let made = self
            .pipelines
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (wanted.iter())
            .map(|(label, _)| {
                made.get(label)
                    .cloned()
                    .ok_or_else(|| Error::Shader(format!("{label} was not compiled")))
            })
            .collect()
    }

    fn compile(&self, label: &str, d: &Dispatch) -> Result<Pipeline> {
        let params = if self.caps.immediates {
            ParamsIn::Immediates
        } else {
            ParamsIn::Uniform
        };
        let composed = compose(d.kernel, &d.variant, Target::Native(params))?;
        self.scoped(label, || self.pipeline(label, d, &composed, params))
            .map_err(|e| located(e, d, &composed))
    }

    fn pipeline(
        &self,
        label: &str,
        d: &Dispatch,
        composed: &Composed,
        params: ParamsIn,
    ) -> Pipeline {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(composed.text.as_str().into()),
        };
        let module = if self.pipelines.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: without checks a shader that indexes out of bounds or loops for ever is undefined
            // behaviour. Only shaders of this crate come here, with sizes that the planner computed, and the
            // tests run each of them checked and unchecked with equal results, guards behind every output,
            // and under GPU-assisted validation.
            unsafe {
                self.device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            }
        };
        let entries: Vec<_> = (d.kernel.binds.iter().enumerate())
            .map(|(i, b)| {
                entry(
                    i as u32,
                    wgpu::BufferBindingType::Storage {
                        read_only: b.access == Access::Read,
                    },
                    false,
                )
            })
            .collect();
        let layout = |entries: &[wgpu::BindGroupLayoutEntry]| {
            self.device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some(label),
                    entries,
                })
        };
        let buffers = layout(&entries);
        let has_params = !d.kernel.params.is_empty();
        let uniform = (has_params && params == ParamsIn::Uniform)
            .then(|| layout(&[entry(0, wgpu::BufferBindingType::Uniform, true)]));
        let immediate_size = if has_params && params == ParamsIn::Immediates {
            d.params.len() as u32
        } else {
            0
        };
        let groups: Vec<_> = std::iter::once(Some(&buffers))
            .chain(uniform.as_ref().map(Some))
            .collect();
        let pipeline_layout = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: &groups,
                immediate_size,
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Kernels write workgroup memory before they read it; the checked build keeps the zeros.
                    zero_initialize_workgroup_memory: self.pipelines.checked,
                },
                cache: None,
            });
        Pipeline {
            pipeline,
            buffers,
            uniform,
        }
    }
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, dynamic: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: dynamic,
            min_binding_size: None,
        },
        count: None,
    }
}

/// A compiler's message with the composed text's line turned into the file's.
fn located(error: Error, d: &Dispatch, composed: &Composed) -> Error {
    let Error::Device(message) = error else {
        return error;
    };
    let line = (message.split("wgsl:").nth(1))
        .and_then(|rest| rest.split(':').next())
        .and_then(|n| n.trim().parse().ok());
    match line {
        Some(line) => Error::Shader(format!("{}: {message}", composed.origin(line))),
        None => Error::Shader(format!("shaders/{}: {message}", d.kernel.path)),
    }
}
