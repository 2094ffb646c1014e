//! Statistics over interleaved pairs of runs.
//!
//! The unit is the pair: both runs of it met the same minute of the machine. The ratio of a figure is the geometric
//! mean of the pairs' ratios; its interval is a percentile bootstrap over pairs.

use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;
/// Pairs below which no interval is told.
pub const LEAST_PAIRS: usize = 5;

/// One figure compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which figure.
    pub figure: String,
    /// Unit of `a` and `b`.
    pub unit: String,
    /// Of each pair, a's; absent where it could not be told.
    pub a: Vec<Option<f64>>,
    /// Of each pair, b's.
    pub b: Vec<Option<f64>>,
    /// Median over a's runs.
    pub a_median: Option<f64>,
    /// Median over b's runs.
    pub b_median: Option<f64>,
    /// a over b: geometric mean over the pairs that have both.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio; absent below five pairs.
    pub interval: Option<(f64, f64)>,
}

/// Median; absent without values.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

/// Compares a figure over pairs. `seed` makes the interval repeatable.
pub fn row(figure: &str, unit: &str, pairs: &[(Option<f64>, Option<f64>)], seed: u64) -> Row {
    let logs: Vec<f64> = pairs
        .iter()
        .filter_map(|(a, b)| Some((a.filter(|v| *v > 0.0)? / b.filter(|v| *v > 0.0)?).ln()))
        .collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let interval = (logs.len() >= LEAST_PAIRS).then(|| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                (0..logs.len())
                    .map(|_| logs[rng.usize(0..logs.len())])
                    .sum::<f64>()
                    / logs.len() as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        (
            means[RESAMPLES * 25 / 1000].exp(),
            means[RESAMPLES * 975 / 1000].exp(),
        )
    });
    Row {
        figure: figure.to_owned(),
        unit: unit.to_owned(),
        a: pairs.iter().map(|p| p.0).collect(),
        b: pairs.iter().map(|p| p.1).collect(),
        a_median: median(pairs.iter().filter_map(|p| p.0)),
        b_median: median(pairs.iter().filter_map(|p| p.1)),
        ratio: (!logs.is_empty()).then(|| mean(&logs).exp()),
        interval,
    }
}

/// In which order a pair runs: shuffled by the seed, so that neither is always first.
pub fn order(round: usize, seed: u64) -> bool {
    fastrand::Rng::with_seed(seed ^ (round as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).bool()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_pairs_and_its_interval_holds_the_truth() {
        // A machine that drifts: both get slower together, a is twice as fast throughout, with noise.
        let mut rng = fastrand::Rng::with_seed(3);
        let pairs: Vec<_> = (0..20)
            .map(|i| {
                let drift = 1.0 + f64::from(i);
                (
                    Some(drift * (0.9 + 0.2 * rng.f64())),
                    Some(2.0 * drift * (0.9 + 0.2 * rng.f64())),
                )
            })
            .collect();
        let row = row("p99", "ms", &pairs, 1);
        let (low, high) = row.interval.expect("enough pairs");
        let ratio = row.ratio.expect("a ratio");
        assert!((0.47..0.53).contains(&ratio), "{ratio}");
        assert!(
            low < ratio && ratio < high && low > 0.45 && high < 0.55,
            "{low} {high}"
        );
        assert_eq!(row, super::row("p99", "ms", &pairs, 1), "a seed repeats it");
    }

    #[test]
    fn equal_systems_have_one_in_their_interval() {
        // Each pair once in either order: the ratios balance exactly.
        let pairs: Vec<_> = [(1.0, 1.3), (2.0, 1.9), (1.2, 1.7), (1.5, 1.6)]
            .into_iter()
            .flat_map(|(a, b)| [(Some(a), Some(b)), (Some(b), Some(a))])
            .collect();
        let (low, high) = row("x", "", &pairs, 1).interval.expect("enough pairs");
        assert!(low < 1.0 && 1.0 < high, "{low} {high}");
    }

    #[test]
    fn few_pairs_have_no_interval_and_missing_values_no_ratio() {
        let some = row("x", "", &[(Some(1.0), Some(2.0)), (Some(1.0), None)], 1);
        assert_eq!(
            (some.ratio, some.interval, some.b_median),
            (Some(0.5), None, Some(2.0))
        );
        assert_eq!(row("x", "", &[(None, None)], 1).ratio, None);
        assert_eq!(median([3.0, 1.0, 2.0, 10.0].into_iter()), Some(2.5));
        let firsts = (0..100).filter(|r| order(*r, 5)).count();
        assert!((30..70).contains(&firsts), "{firsts}");
    }
}
