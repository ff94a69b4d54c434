//! What a picture shows: `cargo run --release --example classify`.

use cascadia::device::{self, Device};
use cascadia::engine::Classifier;
use cascadia::io::{Checkpoint, preprocess::Picture};
use cascadia::{plan, tensor::DType};
use std::{path::Path, sync::Arc};

fn main() -> cascadia::Result<()> {
    let device = Device::open(&device::Options::default())?;
    let dtype = match device.caps().f16 {
        true => DType::F16,
        false => DType::F32,
    };
    let weights = Arc::new(Checkpoint::open(Path::new("efficientvit_m5.safetensors"))?);
    let options = plan::Options::new(dtype);
    let mut model = Classifier::new(&device, weights, None, &options)?;
    let picture = Picture::open(Path::new("cat.jpg"))?;
    for p in &model.classify(&[picture], 5)?[0] {
        println!("{:5.1} %  {}", 100.0 * p.probability, p.label);
    }
    Ok(())
}
