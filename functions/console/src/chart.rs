//! Bars as SVG, drawn on the server: they need no script.

use std::fmt::Write as _;

/// A bar of a chart.
pub(crate) struct Bar {
    /// From 0 to 100.
    pub x: f64,
    /// From 0 to 40, from the top.
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// Label and value, shown when the pointer is on it.
    pub title: String,
}

/// The width and the height of a chart in its own units.
const WIDTH: f64 = 100.0;
const HEIGHT: f64 = 40.0;

/// Bars of equal width, the largest value as high as the chart.
pub(crate) fn bars(values: &[(String, i64)]) -> Vec<Bar> {
    let most = values
        .iter()
        .map(|(_, value)| *value)
        .max()
        .unwrap_or(0)
        .max(1);
    #[expect(clippy::cast_precision_loss, reason = "for the eye only")]
    let share = |value: i64| value as f64 / most as f64;
    #[expect(clippy::cast_precision_loss, reason = "a few dozen bars")]
    let step = WIDTH / values.len().max(1) as f64;
    let mut x = 0.0;
    values
        .iter()
        .map(|(label, value)| {
            let height = share(*value) * HEIGHT;
            let bar = Bar {
                x: x + step * 0.1,
                y: HEIGHT - height,
                width: step * 0.8,
                height,
                title: format!("{label}: {}", crate::format::number(*value)),
            };
            x += step;
            bar
        })
        .collect()
}

/// A bar per value as one path, in units of a column: the chart is as wide as there are values, and
/// [`SPARK_HEIGHT`] high. It has no titles, because a page has dozens of them.
pub(crate) fn spark(values: &[i64]) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let mut path = String::new();
    for (at, value) in values.iter().enumerate() {
        if *value > 0 {
            // At least 1, so that a single alert is visible beside a thousand.
            let height = (value * SPARK_HEIGHT / most).max(1);
            let _ = write!(path, "M{at} {SPARK_HEIGHT}v-{height}h1v{height}z");
        }
    }
    path
}

/// The height of [`spark`].
pub(crate) const SPARK_HEIGHT: i64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spark_has_a_bar_for_each_value_above_0() {
        assert_eq!(spark(&[0, 0]), "");
        assert_eq!(spark(&[1000, 0, 1]), "M0 20v-20h1v20zM2 20v-1h1v1z");
    }
}
