//! A plan on a device: its memory, its bind groups, and running it. Nothing is created while it runs.

use super::constants::{Range, Read};
use super::store::{State, Store};
use super::{Device, Inner, pipeline::Pipeline};
use crate::error::{Error, Result};
use crate::plan::{Plan, Role};
use crate::shader::Dispatch;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a guard after a slot is filled with.
const GUARD: u8 = 0xA5;
/// Dispatches of a long plan that are submitted at once: the device is at work while the others are written.
const FIRST: usize = 12;

/// A plan loaded on a device.
pub struct Executable {
    pub(super) device: Arc<Inner>,
    pub(super) plan: Arc<Plan>,
    pub(super) steps: Vec<Ready>,
    pub(super) inputs: Vec<wgpu::Buffer>,
    states: HashMap<usize, State>,
    slots: Vec<wgpu::Buffer>,
    pub(super) readback: Vec<wgpu::Buffer>,
    /// The last run.
    pub(super) last: Mutex<Option<wgpu::SubmissionIndex>>,
}

/// A dispatch ready to be recorded.
pub(super) struct Ready {
    pipeline: Arc<Pipeline>,
    binds: wgpu::BindGroup,
    params: Vec<u8>,
    uniform: Option<(wgpu::BindGroup, u32)>,
    grid: [u32; 3],
}

impl Ready {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.binds, &[]);
        match &self.uniform {
            Some((group, offset)) => pass.set_bind_group(1, group, &[*offset]),
            None if !self.params.is_empty() => pass.set_immediates(0, &self.params),
            None => {}
        }
        pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
    }
}

impl Executable {
    /// Loads `plan`: compiles its kernels, makes its memory, fills its constants from `read`, which returns a
    /// checkpoint's tensor in row-major order.
    ///
    /// # Errors
    /// What `read` returns; [`Error::Plan`] where the plan is not for such a device; [`Error::Device`] where
    /// memory is short.
    pub fn load(device: &Device, plan: Arc<Plan>, read: &Read<'_>) -> Result<Self> {
        Self::load_in(&Store::new(device), plan, read)
    }

    /// As [`Executable::load`], with constants and states shared with the other plans of `store`.
    ///
    /// # Errors
    /// As [`Executable::load`]; [`Error::Plan`] where a state has another size there.
    pub fn load_in(store: &Store, plan: Arc<Plan>, read: &Read<'_>) -> Result<Self> {
        let d = &store.device;
        d.check()?;
        fits(&plan, d)?;
        let pipelines = d.pipelines(plan.steps.iter().map(|s| &s.dispatch))?;
        use wgpu::BufferUsages as U;
        let slots = (plan.slots.iter().enumerate())
            .map(|(i, &bytes)| {
                let usage = U::STORAGE | U::COPY_SRC | U::COPY_DST;
                d.buffer(
                    &format!("slot {i}"),
                    bytes.next_multiple_of(4) + d.guard_bytes,
                    usage,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut inputs, mut states) = (Vec::new(), HashMap::new());
        let mut ranges = vec![None; plan.buffers.len()];
        for (i, b) in plan.buffers.iter().enumerate() {
            let range = |buffer: &wgpu::Buffer| Range {
                buffer: buffer.clone(),
                offset: 0,
                bytes: b.bytes().next_multiple_of(4),
            };
            match &b.role {
                Role::State(name) => {
                    let state = store.state(name, b.dtype, b.len)?;
                    ranges[i] = Some(range(&state.buffer));
                    states.insert(i, state);
                }
                Role::Input => {
                    let made = d.buffer("input", b.bytes(), U::STORAGE | U::COPY_DST)?;
                    ranges[i] = Some(range(&made));
                }
                Role::Slot(s) => ranges[i] = Some(range(&slots[*s])),
                Role::Constant(..) => {}
            }
        }
        let mut constants = (store.constants.lock()).unwrap_or_else(PoisonError::into_inner);
        constants.load(d, &plan, read, &mut ranges)?;
        drop(constants);
        for port in &plan.inputs {
            if let Some(r) = &ranges[port.buffer] {
                inputs.push(r.buffer.clone());
            }
        }
        let steps = ready(d, &plan, &pipelines, &ranges)?;
        let readback = (plan.outputs.iter())
            .map(|p| {
                d.buffer(
                    "readback",
                    plan.buffers[p.buffer].bytes(),
                    U::COPY_DST | U::MAP_READ,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        d.wait()?;
        Ok(Self {
            device: d.clone(),
            plan,
            steps,
            inputs,
            states,
            slots,
            readback,
            last: Mutex::default(),
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the plan on `inputs`, in the plan's order and shapes; returns its outputs, floats as f32.
    ///
    /// # Errors
    /// [`Error::Usage`] where an input is missing or misshapen, [`Error::DeviceLost`] where the device went.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.upload(inputs)?;
        self.submit(true)?;
        self.download()
    }

    /// Submits one run, and the copy of its outputs for [`Executable::download`] where `outputs`.
    pub fn submit(&self, outputs: bool) -> Result<()> {
        self.device.check()?;
        let early = if self.steps.len() >= 2 * FIRST {
            FIRST
        } else {
            0
        };
        let (first, rest) = self.steps.split_at(early);
        if !first.is_empty() {
            self.device.queue.submit([self.written(first).finish()]);
        }
        let mut encoder = self.written(rest);
        if outputs {
            self.copy_outputs(&mut encoder);
        }
        let submission = self.device.queue.submit([encoder.finish()]);
        self.submitted(&submission);
        self.device.check()
    }

    /// Copies the outputs to where [`Executable::download`] reads them.
    pub(super) fn copy_outputs(&self, encoder: &mut wgpu::CommandEncoder) {
        for (port, to) in self.plan.outputs.iter().zip(&self.readback) {
            let b = &self.plan.buffers[port.buffer];
            let of = match b.role {
                Role::Slot(s) => &self.slots[s],
                _ => match self.states.get(&port.buffer) {
                    Some(state) => &state.buffer,
                    None => continue,
                },
            };
            encoder.copy_buffer_to_buffer(of, 0, to, 0, b.bytes().next_multiple_of(4));
        }
    }

    /// Takes note of a run, for [`Executable::download`] to wait for.
    pub(super) fn submitted(&self, submission: &wgpu::SubmissionIndex) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(submission.clone());
    }

    /// A pass of `steps`.
    fn written(&self, steps: &[Ready]) -> wgpu::CommandEncoder {
        let mut encoder = (self.device.device).create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            steps.iter().for_each(|step| step.record(&mut pass));
        }
        encoder
    }

    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for step in &self.steps {
            step.record(pass);
        }
    }

    /// Waits until every run submitted has ended.
    pub fn wait(&self) -> Result<()> {
        self.device.wait()
    }

    /// Fills every slot with NaN and every guard with its pattern, so that what a run does not write shows.
    pub fn poison(&self) {
        for (slot, &bytes) in self.slots.iter().zip(&self.plan.slots) {
            let bytes = bytes.next_multiple_of(4);
            self.device.upload(slot, 0, &vec![0xFF; bytes as usize]);
            self.device
                .upload(slot, bytes, &vec![GUARD; self.device.guard_bytes as usize]);
        }
    }

    /// Whether the guard after every slot still holds its pattern.
    pub fn guards(&self) -> Result<bool> {
        let guard = self.device.guard_bytes;
        if guard == 0 {
            return Ok(true);
        }
        use wgpu::BufferUsages as U;
        let copy = self
            .device
            .buffer("guard", guard, U::COPY_DST | U::MAP_READ)?;
        for (slot, &bytes) in self.slots.iter().zip(&self.plan.slots) {
            let mut encoder = self
                .device
                .device
                .create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(slot, bytes.next_multiple_of(4), &copy, 0, guard);
            self.device.queue.submit([encoder.finish()]);
            if self.device.read(&copy, guard)?.iter().any(|&b| b != GUARD) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A plan made for another adapter could ask for more than this one has.
fn fits(plan: &Plan, d: &Inner) -> Result<()> {
    if plan.dtype == DType::F16 && !d.caps.f16 {
        return Err(Error::Plan(format!(
            "adapter `{}` has no f16; use --dtype f32",
            d.name
        )));
    }
    match plan
        .buffers
        .iter()
        .find(|b| b.bytes() > d.caps.max_binding_bytes)
    {
        Some(b) => {
            let who = format!("adapter `{}`", d.name);
            let most = d.caps.max_binding_bytes;
            Err(Error::Plan(plan.beyond(b, most, &who)))
        }
        None => Ok(()),
    }
}

/// Bind groups and params of every step.
fn ready(
    d: &Inner,
    plan: &Plan,
    pipelines: &[Arc<Pipeline>],
    ranges: &[Option<Range>],
) -> Result<Vec<Ready>> {
    let stride = 256u32;
    let params: Vec<u8> = (plan.steps.iter())
        .flat_map(|s| {
            let mut p = s.dispatch.params.clone();
            p.resize(stride as usize, 0);
            p
        })
        .collect();
    let uniform = if d.caps.immediates || params.is_empty() {
        None
    } else {
        use wgpu::BufferUsages as U;
        let buffer = d.buffer("params", params.len() as u64, U::UNIFORM | U::COPY_DST)?;
        d.upload(&buffer, 0, &params);
        Some(buffer)
    };
    let group = |layout: &wgpu::BindGroupLayout, entries: &[wgpu::BindGroupEntry<'_>]| {
        d.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout,
            entries,
        })
    };
    let one = |(i, step): (usize, &crate::plan::Step)| {
        let dispatch: &Dispatch = &step.dispatch;
        let pipeline = pipelines[i].clone();
        let entries = (dispatch.args.iter().enumerate())
            .map(|(binding, arg)| {
                let r = ranges[arg.0].as_ref().ok_or_else(|| {
                    Error::Plan(format!(
                        "{}: binding {binding} has no memory",
                        dispatch.label()
                    ))
                })?;
                Ok(wgpu::BindGroupEntry {
                    binding: binding as u32,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &r.buffer,
                        offset: r.offset,
                        size: std::num::NonZeroU64::new(r.bytes),
                    }),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let binds = group(&pipeline.buffers, &entries);
        let uniform = (uniform.as_ref().zip(pipeline.uniform.as_ref())).map(|(buffer, layout)| {
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(dispatch.params.len().next_multiple_of(16) as u64),
            });
            let entries = [wgpu::BindGroupEntry {
                binding: 0,
                resource,
            }];
            (group(layout, &entries), i as u32 * stride)
        });
        Ok(Ready {
            binds,
            uniform,
            params: dispatch.params.clone(),
            grid: dispatch.grid,
            pipeline,
        })
    };
    d.scoped("binding buffers", || {
        plan.steps
            .iter()
            .enumerate()
            .map(one)
            .collect::<Result<Vec<_>>>()
    })?
}
