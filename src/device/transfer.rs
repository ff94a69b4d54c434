//! What goes to a plan's inputs and comes from its outputs.

use super::Executable;
use super::memory::Pieces;
use crate::error::{Error, Result};
use crate::plan::{Buffer, Port};
use crate::tensor::{DType, Layout, Tensor};
use std::sync::PoisonError;

impl Executable {
    /// Copies `inputs` to the device, converted to the plan's element type.
    pub fn upload(&self, inputs: &[Tensor]) -> Result<()> {
        self.device.check()?;
        if inputs.len() != self.plan.inputs.len() {
            return Err(Error::Usage(format!(
                "{} inputs were given, the model takes {}",
                inputs.len(),
                self.plan.inputs.len()
            )));
        }
        for ((port, buffer), tensor) in self.plan.inputs.iter().zip(&self.inputs).zip(inputs) {
            if tensor.shape() != port.layout.shape {
                return Err(Error::Usage(format!(
                    "input `{}` is {:?}, the model takes {:?}",
                    port.name,
                    tensor.shape(),
                    port.layout.shape
                )));
            }
            self.upload_input(port, buffer, tensor.dtype(), &[tensor.bytes()])?;
        }
        Ok(())
    }

    /// Copies the only input to the device from `pieces` of `dtype`, one after the other: together, the input's elements.
    ///
    /// # Errors
    /// [`Error::Usage`] where the plan has another number of inputs, or they are not so many elements.
    pub(crate) fn upload_pieces(&self, dtype: DType, pieces: &[&[u8]]) -> Result<()> {
        self.device.check()?;
        match (self.plan.inputs.as_slice(), self.inputs.as_slice()) {
            ([port], [buffer]) => self.upload_input(port, buffer, dtype, pieces),
            _ => Err(Error::Usage(format!(
                "one input was given, the model takes {}",
                self.plan.inputs.len()
            ))),
        }
    }

    fn upload_input(
        &self,
        port: &Port,
        buffer: &wgpu::Buffer,
        dtype: DType,
        pieces: &[&[u8]],
    ) -> Result<()> {
        let bytes: usize = pieces.iter().map(|p| p.len()).sum();
        if bytes != port.layout.len() * dtype.bytes() {
            return Err(Error::Usage(format!(
                "input `{}` is {bytes} bytes of {dtype}, the model takes {:?}",
                port.name, port.layout.shape
            )));
        }
        let wanted = self.plan.buffers[port.buffer].dtype;
        let given = Pieces {
            dtype,
            bytes: pieces,
        };
        if given.becomes(wanted) {
            self.device.upload_as(buffer, given, wanted);
        } else {
            let whole = Tensor::new(dtype, &port.layout.shape, pieces.concat())?;
            self.device.upload(buffer, 0, whole.cast(wanted)?.bytes());
        }
        Ok(())
    }

    /// The outputs of the last run submitted with outputs, as f32 in the plan's shapes. It waits for that run alone.
    pub fn download(&self) -> Result<Vec<Tensor>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.clone();
        (self.plan.outputs.iter().zip(&self.readback))
            .map(|(port, buffer)| {
                let b = &self.plan.buffers[port.buffer];
                let bytes = (self.device).read_after(buffer, b.bytes(), last.clone())?;
                gather(b, port, bytes)
            })
            .collect()
    }
}

/// The view of `port` in the bytes of its buffer, as f32 or u32.
fn gather(buffer: &Buffer, port: &Port, bytes: Vec<u8>) -> Result<Tensor> {
    let layout: &Layout = &port.layout;
    let whole = layout.is_contiguous() && layout.offset == 0 && layout.len() == buffer.len;
    if whole && matches!(buffer.dtype, DType::F32 | DType::U32) {
        return Tensor::new(buffer.dtype, &layout.shape, bytes);
    }
    let flat = Tensor::new(buffer.dtype, &[buffer.len], bytes)?;
    if buffer.dtype == DType::U32 {
        let values = flat.to_u32();
        let picked: Vec<u32> = layout.indices().map(|i| values[i]).collect();
        return Tensor::from_u32(&layout.shape, &picked);
    }
    let values = flat.to_f32();
    if layout.is_contiguous() && layout.offset == 0 {
        return Tensor::from_f32(&layout.shape, &values[..layout.len()]);
    }
    let picked: Vec<f32> = layout.indices().map(|i| values[i]).collect();
    Tensor::from_f32(&layout.shape, &picked)
}
