//! Picture files to batches of a network's inputs, on all cores, a batch ahead of who takes them.

use crate::error::{Error, Result};
use crate::io::preprocess::{Picture, Preprocess};
use crate::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// What [`feed`] hands over; numbers count the paths from 0.
#[derive(Debug)]
pub enum Fed {
    /// As many inputs as asked for, fewer at the end.
    Batch(Vec<(usize, Tensor)>),
    /// A file that is no picture.
    Bad(usize, Error),
}

/// Reads, decodes and preprocesses the pictures at `paths`, in order, and hands them to `take` in batches of
/// `batch`. A file that cannot be read takes no place in a batch.
///
/// # Errors
/// What `take` returns, which ends it.
pub fn feed(
    paths: &[PathBuf],
    preprocess: &Preprocess,
    batch: usize,
    mut take: impl FnMut(Fed) -> Result<()>,
) -> Result<()> {
    let batch = batch.max(1);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(1);
        scope.spawn(move || {
            let mut good = Vec::with_capacity(batch.min(paths.len()));
            let mut done = 0;
            for chunk in paths.chunks(batch.clamp(threads, 16 * threads)) {
                for (i, read) in read_all(chunk, preprocess, threads) {
                    let fed = match read {
                        Err(e) => Fed::Bad(done + i, e),
                        Ok(view) => {
                            good.push((done + i, view));
                            if good.len() < batch {
                                continue;
                            }
                            Fed::Batch(std::mem::take(&mut good))
                        }
                    };
                    // The receiver is gone where `take` has failed.
                    if send.send(fed).is_err() {
                        return;
                    }
                }
                done += chunk.len();
            }
            if !good.is_empty() {
                let _ = send.send(Fed::Batch(good));
            }
        });
        for fed in receive {
            take(fed)?;
        }
        Ok(())
    })
}

/// Every picture of `paths`, in order.
fn read_all(
    paths: &[PathBuf],
    preprocess: &Preprocess,
    threads: usize,
) -> Vec<(usize, Result<Tensor>)> {
    let one = |path: &Path| preprocess.apply(&Picture::open(path)?);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut mine = Vec::new();
        while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < paths.len())
        {
            mine.push((i, one(&paths[i])));
        }
        mine
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(paths.len()))
            .map(|_| scope.spawn(work))
            .collect();
        (workers.into_iter())
            .flat_map(|w| {
                w.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Vec<_>>()
    });
    all.sort_by_key(|(i, _)| *i);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(names: &[&str], batch: usize) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/images");
        let paths: Vec<PathBuf> = names.iter().map(|n| folder.join(n)).collect();
        let mut seen = Vec::new();
        feed(&paths, &Preprocess::imagenet((16, 16)), batch, |fed| {
            seen.push(match fed {
                Fed::Batch(views) => format!("{:?}", views.iter().map(|v| v.0).collect::<Vec<_>>()),
                Fed::Bad(i, _) => format!("bad {i}"),
            });
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn batches_are_full_though_files_are_bad() {
        let names = [
            "one.png",
            "none",
            "rgb.png",
            "cases.json",
            "grey.png",
            "one.png",
            "rgb.png",
        ];
        let found = fed(&names, 2);
        assert_eq!(found, ["bad 1", "[0, 2]", "bad 3", "[4, 5]", "[6]"]);
        assert_eq!(fed(&names, 100), ["bad 1", "bad 3", "[0, 2, 4, 5, 6]"]);
        assert!(fed(&[], 1).is_empty());
    }

    #[test]
    fn a_taker_that_fails_ends_it() {
        let paths = vec![PathBuf::from("none"); 100];
        let mut taken = 0;
        let end = feed(&paths, &Preprocess::imagenet((16, 16)), 1, |_| {
            taken += 1;
            Err(Error::Usage("enough".into()))
        });
        assert_eq!(end.unwrap_err().to_string(), "enough");
        assert_eq!(taken, 1);
    }
}
