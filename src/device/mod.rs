//! The only module that names `wgpu`: adapters, what they offer, pipelines, memory, running a plan.

mod adapters;
mod constants;
mod executable;
mod memory;
mod part;
mod pipeline;
mod store;
mod stream;
mod timing;
mod transfer;

pub use adapters::{AdapterReport, adapters, adapters_as};
pub use constants::Read;
pub use executable::Executable;
pub use part::Parts;
pub use store::Store;
pub use stream::Stream;
pub use timing::Timings;

use crate::error::{Error, Result};
use crate::shader::Caps;
use pipeline::Pipelines;
use std::sync::{Arc, Mutex};

/// How a device is opened. The default takes the fastest adapter with all that it offers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A part of the adapter's name, in any case; the fastest one where `None`.
    pub adapter: Option<String>,
    /// Compile shaders with every runtime check, as browsers do.
    pub checked: bool,
    /// Leave out what the adapter offers, to see what a poorer one would do.
    pub without: Without,
    /// Lower the adapter's limits to at most these.
    pub limits: LimitCaps,
    /// Bytes kept free after every slot, filled with a pattern that [`Executable::guards`] checks.
    pub guard_bytes: u64,
}

/// Features left out though an adapter offers them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Without {
    pub f16: bool,
    pub subgroups: bool,
    pub coop: bool,
    pub immediates: bool,
    pub timestamps: bool,
    /// That it is a processor, whose lanes hand values on: kernels for workgroups run there, too.
    pub lanes: bool,
}

/// Limits no higher than these, where given.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitCaps {
    pub binding_bytes: Option<u64>,
    pub workgroup_bytes: Option<u32>,
    pub invocations: Option<u32>,
    pub groups: Option<u32>,
}

/// An opened adapter. Cheap to clone; all clones are one device.
#[derive(Clone)]
pub struct Device {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub name: String,
    pub backend: String,
    pub caps: Caps,
    pub timestamps: Timestamps,
    pub guard_bytes: u64,
    pub pipelines: Pipelines,
    faults: Arc<Mutex<Faults>>,
}

/// What went wrong outside any call, as wgpu reports it by callback.
#[derive(Default)]
struct Faults {
    lost: Option<String>,
    error: Option<String>,
}

/// How finely the device can time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    None,
    /// At the begin and the end of a pass.
    Passes,
    /// Between dispatches, too.
    Dispatches,
}

impl Timestamps {
    fn of(features: wgpu::Features) -> Self {
        if features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            Timestamps::Dispatches
        } else if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            Timestamps::Passes
        } else {
            Timestamps::None
        }
    }
}

impl Device {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no adapter, none of that name, or it refuses.
    pub fn open(options: &Options) -> Result<Self> {
        pollster::block_on(Self::open_async(options))
    }

    /// As [`Device::open`], for callers that may not block.
    pub async fn open_async(options: &Options) -> Result<Self> {
        let adapter = adapters::choose(options.adapter.as_deref()).await?;
        let info = adapter.get_info();
        let (features, limits) = adapters::wanted(&adapter, options);
        let caps = adapters::caps(&adapter, features, &limits, options);
        let experimental_features = if caps.coop.is_some() {
            // SAFETY: cooperative matrices are experimental in wgpu: a shader that misuses them may misbehave.
            // Only this crate's own shaders use them, and the tests run each against its reference.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("cascadia"),
                required_features: features,
                required_limits: limits,
                experimental_features,
                memory_hints: wgpu::MemoryHints::Performance,
                trace: wgpu::Trace::Off,
            })
            .await
            .map_err(|e| Error::Device(format!("adapter `{}` refused: {e}", info.name)))?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let on_lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            if let Ok(mut f) = on_lost.lock() {
                f.lost
                    .get_or_insert_with(|| format!("{reason:?}: {message}"));
            }
        });
        let on_error = faults.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            if let Ok(mut f) = on_error.lock() {
                f.error.get_or_insert_with(|| e.to_string());
            }
        }));
        let timestamps = Timestamps::of(features);
        Ok(Self {
            inner: Arc::new(Inner {
                device,
                queue,
                name: info.name,
                backend: info.backend.to_string(),
                caps,
                timestamps,
                guard_bytes: options.guard_bytes,
                pipelines: Pipelines::new(options.checked),
                faults,
            }),
        })
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Vulkan, Metal, Dx12 or WebGPU.
    pub fn backend(&self) -> &str {
        &self.inner.backend
    }

    /// What it offers to kernels.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    pub fn timestamps(&self) -> Timestamps {
        self.inner.timestamps
    }

    /// Destroys the device, as a driver's reset would: every later use returns [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.inner.device.destroy();
        self.inner
            .faults()
            .lost
            .get_or_insert_with(|| "destroyed".into());
    }
}

impl Inner {
    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was reported by callback since the last check.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] for good once the device is lost; [`Error::Device`] once for each other fault.
    pub fn check(&self) -> Result<()> {
        let mut faults = self.faults();
        if let Some(why) = &faults.lost {
            return Err(Error::DeviceLost(why.clone()));
        }
        match faults.error.take() {
            Some(e) => Err(Error::Device(format!("adapter `{}`: {e}", self.name))),
            None => Ok(()),
        }
    }

    /// Runs `f` and turns what wgpu refuses in it into an error that starts with `what`.
    pub fn scoped<T>(&self, what: &str, f: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let out = f();
        let invalid = pollster::block_on(validation.pop());
        let full = pollster::block_on(memory.pop());
        self.check()?;
        match full.or(invalid) {
            None => Ok(out),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::Device(format!(
                "{what}: adapter `{}` is out of memory; use a smaller batch or --dtype f16",
                self.name
            ))),
            Some(e) => Err(Error::Device(format!("{what}: {e}"))),
        }
    }

    /// Waits until all that was submitted has run.
    pub fn wait(&self) -> Result<()> {
        self.polled(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until `submission` has run; what was submitted later need not have.
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.polled(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        })
    }

    fn polled(&self, until: wgpu::PollType) -> Result<()> {
        let polled = self.device.poll(until);
        self.check()?;
        polled
            .map(|_| ())
            .map_err(|e| Error::Device(format!("adapter `{}`: {e}", self.name)))
    }
}
