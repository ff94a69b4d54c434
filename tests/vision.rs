//! Tensors in, tensors out: however the images come; and timing on an adapter that cannot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::device::{Device, LimitCaps, Options, Timestamps, adapters};
use cascadia::engine::profile::Profile;
use cascadia::engine::{Vision, embedded};
use cascadia::error::Error;
use cascadia::models::efficientvit::{Outputs, inspect};
use cascadia::plan;
use cascadia::shader::noise;
use cascadia::tensor::{DType, Tensor};

const SIDE: usize = 32;

fn vision(options: &Options) -> Vision {
    let device = Device::open(options).unwrap();
    let checkpoint = embedded().unwrap();
    let mut config = inspect(&checkpoint).unwrap();
    config.size = [SIDE, SIDE];
    let dtype = match device.caps().f16 {
        true => DType::F16,
        false => DType::F32,
    };
    Vision::new(&device, &config, checkpoint, &plan::Options::new(dtype)).unwrap()
}

fn images(n: usize) -> Vec<Tensor> {
    (0..n)
        .map(|i| Tensor::from_f32(&[3, SIDE, SIDE], &noise(i as u32, 3 * SIDE * SIDE)).unwrap())
        .collect()
}

fn stacked(images: &[Tensor]) -> Tensor {
    let values: Vec<f32> = images.iter().flat_map(Tensor::to_f32).collect();
    Tensor::from_f32(&[images.len(), 3, SIDE, SIDE], &values).unwrap()
}

const ALL: Outputs = Outputs {
    logits: true,
    stages: true,
    attention: false,
};

#[test]
fn images_in_one_tensor_and_each_for_itself_are_the_same() {
    for adapter in adapters() {
        let options = Options {
            adapter: Some(adapter.name.clone()),
            ..Options::default()
        };
        let mut model = vision(&options);
        let images = images(3);
        let x = stacked(&images);
        let apart = model.run_images(&images, ALL).unwrap();
        assert_eq!(model.run(&x, ALL).unwrap(), apart, "{}", adapter.name);
        // Stored as the plan has it already, or to be widened.
        let half = x.cast(DType::F16).unwrap();
        let found = model.run(&half, ALL).unwrap();
        if model.dtype() == DType::F16 {
            assert_eq!(found, apart);
        }
        assert_eq!(
            found,
            model.run(&half.cast(DType::F32).unwrap(), ALL).unwrap()
        );
        // In parts, by a limit that one image is just below.
        let plan = model.load(1, ALL).unwrap();
        let most = plan.plan().buffers.iter().map(plan::Buffer::bytes).max();
        let limits = LimitCaps {
            binding_bytes: Some(most.unwrap().max(1 << 16)),
            ..LimitCaps::default()
        };
        let mut parted = vision(&Options { limits, ..options });
        let found = parted.run(&x, ALL).unwrap();
        for ((name, y), (_, whole)) in found.iter().zip(&apart) {
            assert_eq!(y.shape(), whole.shape(), "{name}");
            let worst = (y.to_f32().iter().zip(whole.to_f32()))
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst < 0.05, "{}, {name}: {worst}", adapter.name);
        }
    }
}

#[test]
fn images_of_another_kind_are_refused() {
    let mut model = vision(&Options::default());
    let wrong = Tensor::from_f32(&[3, SIDE, SIDE + 1], &noise(1, 3 * SIDE * (SIDE + 1))).unwrap();
    let half = images(1)[0].cast(DType::F16).unwrap();
    for images in [vec![], vec![wrong], vec![half]] {
        let refused = model.run_images(&images, ALL);
        assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
    }
}

#[test]
fn an_adapter_without_timestamps_is_timed_on_the_host() {
    for adapter in adapters() {
        let mut options = Options {
            adapter: Some(adapter.name),
            ..Options::default()
        };
        options.without.timestamps = true;
        let mut model = vision(&options);
        assert_eq!(model.device().timestamps(), Timestamps::None);
        let exe = model.load(1, Outputs::logits()).unwrap();
        let refused = exe.time(1).unwrap_err().to_string();
        assert!(refused.contains("no timestamps"), "{refused}");
        let x = stacked(&images(1));
        let profile = Profile::measure(&exe, Timestamps::None, &[x], 1).unwrap();
        assert!(profile.wall_ms > 0.0 && profile.total_ms.is_none());
        assert!(profile.dispatches.iter().all(|d| d.gpu_ms.is_none()));
        assert!(profile.shares().iter().all(|s| s.gpu_ms.is_none()));
    }
}
