//! A distribution of the target as it is kept on the host: whole, or the likeliest tokens alone.
//!
//! Of p the likeliest tokens are kept that have `top` of its probability together, m >= top, divided by m. What is learned
//! then is p' with TV(p, p') = 1 - m <= 1 - top: half of what was dropped and half of what the others gained. Numbers
//! are halves, which changes each by 2^-11 of it at most, or by 2^-25 where it is below 2^-14, and what they add up to is
//! divided out again, so that of n tokens TV is at most 1 - m + 2^-10 + n 2^-25. A gradient of forward KL, q - p, changes by 2 TV in the sum of its absolute values, and
//! Σ min(p, q) by TV at most.

use half::f16;

/// What compression dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropped {
    /// Distributions that were compressed, the bytes that they take, and those that they would take whole.
    pub rows: usize,
    pub bytes: u64,
    pub whole_bytes: u64,
    /// Probability that was dropped: the mean, and the most of a row.
    pub mean: f64,
    pub most: f64,
    /// Total variation between what there was and what is kept, measured: likewise.
    pub tv_mean: f64,
    pub tv_most: f64,
}

impl Dropped {
    fn note(&mut self, row: &Row, vocab: usize, dropped: f64, tv: f64) {
        let before = self.rows as f64;
        let mean = |mean: f64, value: f64| (mean * before + value) / (before + 1.0);
        self.mean = mean(self.mean, dropped);
        self.tv_mean = mean(self.tv_mean, tv);
        self.most = self.most.max(dropped);
        self.tv_most = self.tv_most.max(tv);
        self.rows += 1;
        self.bytes += row.bytes() as u64;
        self.whole_bytes += 4 * vocab as u64;
    }
}

/// Tokens in the order of their ids; two bytes each where they fit.
#[derive(Clone, Debug, PartialEq)]
enum Ids {
    Short(Vec<u16>),
    Long(Vec<u32>),
}

/// A distribution over the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Whole(Vec<f32>),
    Top(Top),
    /// Whole, on the device: a row of the trainer's table.
    Kept(u32),
}

/// The likeliest tokens, and their probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    ids: Ids,
    probs: Vec<f16>,
}

impl Row {
    /// `p` with the likeliest tokens that have `top` of it together; `None` where it is no distribution. What is dropped
    /// is added to `dropped`.
    pub fn of(p: &[f32], top: Option<f32>, dropped: &mut Dropped) -> Option<Self> {
        if !sound(p) {
            return None;
        }
        let Some(top) = top else {
            return Some(Self::Whole(p.to_vec()));
        };
        let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
        let (mut ids, kept) = likeliest(p, f64::from(top) * sum);
        ids.sort_unstable();
        let probs: Vec<f16> = (ids.iter())
            .map(|&id| f16::from_f64(f64::from(p[id as usize]) / kept))
            .collect();
        let short: Option<Vec<u16>> = ids.iter().map(|&id| u16::try_from(id).ok()).collect();
        let ids = short.map_or(Ids::Long(ids), Ids::Short);
        let row = Self::Top(Top { ids, probs });
        let mut back = Vec::with_capacity(p.len());
        row.write(p.len(), &mut back);
        let tv: f64 = (p.iter().zip(&back))
            .map(|(&p, &k)| (f64::from(p) / sum - f64::from(k)).abs() / 2.0)
            .sum();
        dropped.note(&row, p.len(), 1.0 - kept / sum, tv);
        Some(row)
    }

    /// The row of the trainer's table that it is in.
    pub fn slot(&self) -> Option<u32> {
        match self {
            Self::Kept(slot) => Some(*slot),
            _ => None,
        }
    }

    /// Bytes that it takes on the host.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Whole(p) => 4 * p.len(),
            Self::Kept(_) => 0,
            Self::Top(top) => {
                let ids = match &top.ids {
                    Ids::Short(ids) => 2 * ids.len(),
                    Ids::Long(ids) => 4 * ids.len(),
                };
                ids + 2 * top.probs.len()
            }
        }
    }

    /// Appends its `vocab` probabilities to `to`, where they are on the host.
    pub fn write(&self, vocab: usize, to: &mut Vec<f32>) {
        let top = match self {
            Self::Whole(p) => return to.extend(p),
            Self::Kept(_) => return,
            Self::Top(top) => top,
        };
        let begin = to.len();
        to.resize(begin + vocab, 0.0);
        let sum: f64 = top.probs.iter().map(|p| p.to_f64()).sum();
        let mut put = |id: usize, p: f16| {
            if let Some(to) = to.get_mut(begin + id) {
                *to = (p.to_f64() / sum) as f32;
            }
        };
        match &top.ids {
            Ids::Short(ids) => (ids.iter().zip(&top.probs)).for_each(|(&id, &p)| put(id.into(), p)),
            Ids::Long(ids) => {
                (ids.iter().zip(&top.probs)).for_each(|(&id, &p)| put(id as usize, p));
            }
        }
    }
}

/// Whether `p` is a distribution.
fn sound(p: &[f32]) -> bool {
    let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
    p.iter().all(|p| (0.0..=1.001).contains(p)) && (sum - 1.0).abs() < 1e-2
}

/// The fewest of the likeliest tokens that have `mass` together, one at least, and what they have.
fn likeliest(p: &[f32], mass: f64) -> (Vec<u32>, f64) {
    let mut order: Vec<u32> = (0..p.len() as u32).collect();
    let descending = |a: &u32, b: &u32| p[*b as usize].total_cmp(&p[*a as usize]);
    let (mut sorted, mut sum, mut count) = (0, 0.0, 0);
    // Few are wanted as a rule: sorted by ever larger pieces.
    while count < order.len() {
        if count == sorted {
            sorted = (4 * sorted).max(64).min(order.len());
            if sorted < order.len() {
                order[count..].select_nth_unstable_by(sorted - count - 1, descending);
            }
            order[count..sorted].sort_unstable_by(descending);
        }
        sum += f64::from(p[order[count] as usize]);
        count += 1;
        if sum >= mass {
            break;
        }
    }
    order.truncate(count);
    (order, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A distribution with a long tail, its tokens in disorder.
    fn tail(vocab: usize) -> Vec<f32> {
        let weight = |i: usize| 1.0 / ((i * 7919 % vocab) as f64 + 1.0).powf(1.5);
        let sum: f64 = (0..vocab).map(weight).sum();
        (0..vocab).map(|i| (weight(i) / sum) as f32).collect()
    }

    #[test]
    fn what_is_dropped_is_within_its_bound_and_told() {
        for (vocab, top) in [
            (5, 0.9),
            (1000, 0.5),
            (1000, 0.95),
            (70_000, 0.98),
            (300, 1.0),
        ] {
            let p = tail(vocab);
            let mut dropped = Dropped::default();
            let row = Row::of(&p, Some(top), &mut dropped);
            let Some(row) = row else {
                unreachable!("it is a distribution");
            };
            let mut back = vec![9.0];
            row.write(vocab, &mut back);
            let back = &back[1..];
            let tv: f64 = (p.iter().zip(back))
                .map(|(&a, &b)| f64::from((a - b).abs()) / 2.0)
                .sum();
            let sum: f64 = back.iter().map(|&p| f64::from(p)).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!((tv - dropped.tv_mean).abs() < 1e-5, "{tv} {dropped:?}");
            assert!(dropped.mean <= 1.0 - f64::from(top) + 1e-6, "{dropped:?}");
            assert!(tv <= dropped.mean + f64::powi(2.0, -10), "{tv} {dropped:?}");
            // The fewest that will do: without the least of them, too little is left.
            let kept = back.iter().filter(|p| **p > 0.0).count();
            let mut sorted = p.clone();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let least: f64 = sorted[..kept - 1].iter().map(|&p| f64::from(p)).sum();
            assert!(least < f64::from(top), "{kept} of {vocab} for {top}");
            let each = if vocab > 65_536 { 6 } else { 4 };
            assert_eq!(
                (row.bytes(), dropped.bytes),
                (kept * each, (kept * each) as u64)
            );
            assert_eq!(dropped.whole_bytes, 4 * vocab as u64);
        }
        let mut all = Dropped::default();
        for top in [0.5, 0.9] {
            assert!(Row::of(&tail(100), Some(top), &mut all).is_some());
        }
        assert!(all.rows == 2 && all.most > all.mean && all.tv_most > all.tv_mean);
    }

    #[test]
    fn what_is_no_distribution_is_none() {
        for p in [vec![f32::NAN, 1.0], vec![0.4, 0.4], vec![-0.5, 1.5], vec![]] {
            for top in [None, Some(0.9)] {
                let mut dropped = Dropped::default();
                assert_eq!(Row::of(&p, top, &mut dropped), None);
                assert_eq!(dropped, Dropped::default());
            }
        }
        let whole = Row::of(&[0.25, 0.75], None, &mut Dropped::default());
        assert_eq!(whole, Some(Row::Whole(vec![0.25, 0.75])));
    }
}
