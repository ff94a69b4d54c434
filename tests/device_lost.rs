//! The device goes away: an error that the caller recovers from by reopening.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::device::{Device, Options, adapters};
use cascadia::engine::{Classifier, embedded};
use cascadia::error::Error;
use cascadia::models::efficientvit::Outputs;
use cascadia::plan;
use cascadia::tensor::{DType, Tensor};

const SIDE: usize = 32;

fn open(adapter: &str) -> Device {
    let adapter = Some(adapter.to_string());
    Device::open(&Options {
        adapter,
        ..Options::default()
    })
    .unwrap()
}

fn classifier(device: &Device) -> Classifier {
    let options = plan::Options::new(DType::F32);
    Classifier::new(device, embedded().unwrap(), Some([SIDE, SIDE]), &options).unwrap()
}

fn view() -> Tensor {
    let values: Vec<f32> = (0..3 * SIDE * SIDE)
        .map(|i| (i % 19) as f32 / 9.0 - 1.0)
        .collect();
    Tensor::from_f32(&[3, SIDE, SIDE], &values).unwrap()
}

#[test]
fn a_lost_device_is_an_error_and_reopening_recovers() {
    for adapter in adapters() {
        let device = open(&adapter.name);
        let mut model = classifier(&device);
        let before = model.classify_views(&[view()], 3).unwrap();
        device.destroy();
        for _ in 0..2 {
            match model.classify_views(&[view()], 3) {
                Err(Error::DeviceLost(why)) => assert!(!why.is_empty()),
                other => panic!("{}: {other:?}", adapter.name),
            }
        }
        // A plan that was not loaded yet, too.
        let lost = model.vision.load(2, Outputs::logits()).err();
        assert!(matches!(lost, Some(Error::DeviceLost(_))), "{lost:?}");
        model.vision.reopen(&open(&adapter.name));
        let after = model.classify_views(&[view()], 3).unwrap();
        assert_eq!(before, after, "{}", adapter.name);
    }
}

#[test]
fn a_device_lost_while_a_plan_runs_is_an_error() {
    for adapter in adapters() {
        let device = open(&adapter.name);
        let mut model = classifier(&device);
        model.warm(1).unwrap();
        let end = std::thread::scope(|scope| {
            let runner = scope.spawn(|| {
                loop {
                    if let Err(e) = model.classify_views(&[view()], 1) {
                        return e;
                    }
                }
            });
            std::thread::sleep(std::time::Duration::from_millis(150));
            device.destroy();
            runner.join().unwrap()
        });
        assert!(
            matches!(end, Error::DeviceLost(_)),
            "{}: {end}",
            adapter.name
        );
    }
}
