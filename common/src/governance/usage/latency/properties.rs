//! Property tests: estimated percentiles against exact ones, by nearest rank.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::properties::cases;

/// Latencies up to 300 s. Short ones are as frequent as long ones.
fn latencies() -> impl Strategy<Value = Vec<i64>> {
    let one = prop_oneof![0..20_i64, 0..1_000_i64, 0..20_000_i64, 0..=300_000_i64];
    vec(one, 1..200)
}

fn counted(latencies: &[i64]) -> Latency {
    let mut buckets = vec![0; BOUNDS.len() + 1];
    for ms in latencies {
        buckets[BOUNDS.partition_point(|bound| bound <= ms)] += 1;
    }
    Latency::new(buckets, latencies.iter().copied().max().unwrap_or(0))
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_percentile_is_wrong_by_at_most_a_tenth_and_never_above_the_slowest_call(
        mut latencies in latencies(),
        percent in 1..=100_u8,
    ) {
        let estimated = counted(&latencies).percentile(percent).unwrap();
        latencies.sort_unstable();
        let rank = (latencies.len() * usize::from(percent)).div_ceil(100);
        let exact = latencies[rank - 1];
        prop_assert!((estimated - exact).abs() * 10 <= exact, "{estimated} for {exact}");
        prop_assert!(Some(&estimated) <= latencies.last());
    }

    #[test]
    fn the_sum_of_two_days_is_that_of_all_calls(one in latencies(), other in latencies()) {
        let mut sum = counted(&one);
        sum.add(&counted(&other));
        prop_assert_eq!(sum, counted(&[one, other].concat()));
    }
}

#[test]
fn each_latency_up_to_300_s_is_within_a_tenth_of_its_estimate() {
    for ms in 0..=300_000 {
        // The slower second call keeps the maximum out of the estimate.
        let estimated = counted(&[ms, 1_000_000]).percentile(50).unwrap();
        assert!((estimated - ms).abs() * 10 <= ms, "{estimated} for {ms}");
    }
}
