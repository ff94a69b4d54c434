//! EfficientViT on a device: tensors in, tensors out, in batches of any size.

use crate::device::{Device, Executable, Store};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::models::efficientvit::{Config, EfficientViT, Outputs, fits, reader};
use crate::plan::{Options, Plan};
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A model with its weights on a device. A plan is made for each batch size that is asked for, and kept.
pub struct Vision {
    device: Device,
    /// Weights, shared by the plans of all batch sizes.
    store: Store,
    config: Config,
    options: Options,
    checkpoint: Arc<Checkpoint>,
    loaded: HashMap<(usize, Outputs), Arc<Executable>>,
    /// The largest batch that the device takes at once, once it is known.
    most: usize,
}

impl Vision {
    /// The model that `config` describes with the weights of `checkpoint`.
    ///
    /// # Errors
    /// Where the two do not fit each other, or the adapter cannot run the model.
    pub fn new(
        device: &Device,
        config: &Config,
        checkpoint: Arc<Checkpoint>,
        options: &Options,
    ) -> Result<Self> {
        let graph = EfficientViT::new(config)?.graph(1, Outputs::logits())?;
        fits(&checkpoint, &graph)?;
        Ok(Self {
            device: device.clone(),
            store: Store::new(device),
            config: config.clone(),
            options: options.clone(),
            checkpoint,
            loaded: HashMap::new(),
            most: usize::MAX,
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its weights are from.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// The element type that it runs in.
    pub fn dtype(&self) -> DType {
        self.options.dtype
    }

    /// Goes on with another device, as after [`Error::DeviceLost`]. Weights are loaded again when needed.
    pub fn reopen(&mut self, device: &Device) {
        self.device = device.clone();
        self.store = Store::new(device);
        self.loaded.clear();
        self.most = usize::MAX;
    }

    /// The plan for `batch` images, loaded.
    ///
    /// # Errors
    /// [`Error::Plan`] where the device does not take as many at once.
    pub fn load(&mut self, batch: usize, outputs: Outputs) -> Result<Arc<Executable>> {
        if let Some(exe) = self.loaded.get(&(batch, outputs)) {
            return Ok(exe.clone());
        }
        let graph = EfficientViT::new(&self.config)?.graph(batch, outputs)?;
        let plan = Arc::new(Plan::new(&graph, self.device.caps(), &self.options)?);
        let exe = Executable::load_in(&self.store, plan, &reader(&self.checkpoint)).map_err(
            |e| match e {
                Error::Weights(what) => Error::file(self.checkpoint.path(), what),
                e => e,
            },
        )?;
        let exe = Arc::new(exe);
        self.loaded.insert((batch, outputs), exe.clone());
        Ok(exe)
    }

    /// Runs `x`, f32 [batch, 3, height, width], in as few runs as the device's limits allow; returns the
    /// outputs by name.
    ///
    /// # Errors
    /// [`Error::Usage`] where `x` has another shape or an empty batch; what loading and running return.
    pub fn run(&mut self, x: &Tensor, outputs: Outputs) -> Result<Vec<(String, Tensor)>> {
        let [h, w] = self.config.size;
        let batch = match *x.shape() {
            [batch, 3, xh, xw] if batch > 0 && [xh, xw] == [h, w] => batch,
            _ => {
                return Err(Error::Usage(format!(
                    "the input is {:?}; the model takes [batch, 3, {h}, {w}] with a batch of at least 1",
                    x.shape()
                )));
            }
        };
        let each = x.bytes().len() / batch;
        let images: Vec<&[u8]> = x.bytes().chunks(each).collect();
        self.run_pieces(x.dtype(), &images, outputs)
    }

    /// As [`Vision::run`], on images [3, height, width] of f32 that lie each for itself.
    ///
    /// # Errors
    /// As [`Vision::run`].
    pub fn run_images(
        &mut self,
        images: &[Tensor],
        outputs: Outputs,
    ) -> Result<Vec<(String, Tensor)>> {
        let [h, w] = self.config.size;
        for image in images {
            if image.shape() != [3, h, w] || image.dtype() != DType::F32 {
                return Err(Error::Usage(format!(
                    "an image is {image:?}; the model takes f32 [3, {h}, {w}]"
                )));
            }
        }
        if images.is_empty() {
            return Err(Error::Usage("a batch has at least 1 image".into()));
        }
        let images: Vec<&[u8]> = images.iter().map(Tensor::bytes).collect();
        self.run_pieces(DType::F32, &images, outputs)
    }

    fn run_pieces(
        &mut self,
        dtype: DType,
        images: &[&[u8]],
        outputs: Outputs,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut parts: Vec<Vec<Tensor>> = Vec::new();
        let mut names = Vec::new();
        let mut left = images;
        while !left.is_empty() {
            let (exe, now) = self.load_at_most(left.len(), outputs)?;
            let (first, rest) = left.split_at(now);
            exe.upload_pieces(dtype, first)?;
            exe.submit(true)?;
            parts.push(exe.download()?);
            names = exe.plan().outputs.iter().map(|p| p.name.clone()).collect();
            left = rest;
        }
        if parts.len() == 1 {
            return Ok(names.into_iter().zip(parts.remove(0)).collect());
        }
        (names.into_iter().enumerate())
            .map(|(i, name)| Ok((name, stack(parts.iter().map(|p| &p[i]))?)))
            .collect()
    }

    /// Loads the plans that [`Vision::run`] takes for `batch` images.
    ///
    /// # Errors
    /// What loading returns.
    pub fn warm(&mut self, batch: usize, outputs: Outputs) -> Result<()> {
        let mut left = batch;
        while left > 0 {
            left -= self.load_at_most(left, outputs)?.1;
        }
        Ok(())
    }

    /// The plan for `batch` images, or for as many as the device takes at once.
    fn load_at_most(&mut self, batch: usize, outputs: Outputs) -> Result<(Arc<Executable>, usize)> {
        let batch = batch.min(self.most);
        let (exe, now) = at_most(batch, |n| self.load(n, outputs))?;
        if now < batch {
            self.most = now;
        }
        Ok((exe, now))
    }
}

/// What `make` makes of `batch` images, or of as many as it takes at once, and how many those are: [`Vision::run`] takes
/// a batch in parts of so many.
///
/// # Errors
/// What `make` returns of a single image, or anything but [`Error::Plan`] of more.
pub fn at_most<T>(batch: usize, mut make: impl FnMut(usize) -> Result<T>) -> Result<(T, usize)> {
    let mut now = batch;
    loop {
        match make(now) {
            Ok(made) => return Ok((made, now)),
            Err(Error::Plan(_)) if now > 1 => now = now.div_ceil(2),
            Err(e) => return Err(e),
        }
    }
}

/// Tensors that differ in their first dimension only, one after the other.
fn stack<'a>(parts: impl Iterator<Item = &'a Tensor>) -> Result<Tensor> {
    let mut shape: Vec<usize> = Vec::new();
    let mut values = Vec::new();
    for part in parts {
        match shape.first_mut() {
            Some(first) => *first += part.shape()[0],
            None => shape = part.shape().to_vec(),
        }
        values.extend(part.to_f32());
    }
    Tensor::from_f32(&shape, &values)
}
