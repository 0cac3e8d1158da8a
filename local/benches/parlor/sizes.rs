//! Size of the binaries.

use std::{fs, path::Path};

use crate::{
    Result,
    release::Binaries,
    report::{Figure, Section},
};

pub fn measure() -> Result<Section> {
    let binaries = Binaries::build()?;
    let hello = mib(&binaries.hello())?;
    let figures = binaries.functions().map(|(name, path)| {
        let target = if name == "console" { 14.0 } else { 12.0 };
        Ok(Figure::new(name, mib(&path)?, "MiB")
            .target(target)
            .floor(hello))
    });
    Ok(Section {
        title: "Size",
        conditions: "Stripped `release` binaries. The floor is a minimal `lambda_http` function."
            .into(),
        figures: figures.collect::<Result<_>>()?,
        notes: Vec::new(),
    })
}

fn mib(path: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = fs::metadata(path)?.len() as f64;
    Ok(bytes / 1024.0 / 1024.0)
}
