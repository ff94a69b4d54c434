//! Writes every kernel × variant as a browser would be given it: `dump-shaders DIR`. Cooperative matrices are left
//! out, as no browser has them.

use cascadia::kernels::KERNELS;
use cascadia::shader::{Target, compose};
use kernels_tests::harness::on_matrix_units;
use std::collections::HashSet;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: dump-shaders DIR")?);
    std::fs::create_dir_all(&folder)?;
    let mut seen = HashSet::new();
    for kernel in KERNELS {
        for case in (kernel.cases)() {
            let label = case.dispatch.label();
            if on_matrix_units(&case) || !seen.insert(label.clone()) {
                continue;
            }
            let text = compose(kernel.spec, case.variant(), Target::Web)?.text;
            let stem = kernel.spec.stem().replace('/', "_");
            std::fs::write(
                folder.join(format!("{stem}_{}.wgsl", seen.len())),
                format!("// {label}\n{text}"),
            )?;
        }
    }
    println!("{} shaders", seen.len());
    Ok(())
}
