//! Samples and their percentiles.

use std::time::Duration;

/// Measured values in order of measurement.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time. It is stored in milliseconds.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e3);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The percentile for a share, such as 0.99, by nearest rank. 0 without samples.
    pub fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a small table"
        )]
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub fn best(&self) -> f64 {
        self.at(0.0)
    }

    /// Subtracts a value from all samples.
    #[must_use]
    pub fn minus(&self, less: f64) -> Self {
        Self(self.0.iter().map(|value| value - less).collect())
    }
}
