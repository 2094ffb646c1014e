//! Sets of CPUs in the kernel's two notations: lists (`0-3,8`) and masks (`ff,00000003`).

use std::collections::BTreeSet;
use std::fmt;

/// CPUs by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus(BTreeSet<usize>);

/// Most CPUs a kernel can be built for (`CONFIG_NR_CPUS` on x86), with room; bounds what a hostile list can name.
const MOST: usize = 1 << 16;

impl Cpus {
    /// From numbers.
    pub fn of(cpus: impl IntoIterator<Item = usize>) -> Self {
        Cpus(cpus.into_iter().collect())
    }

    /// From `0-3,8`; the empty text is the empty set.
    pub fn from_list(text: &str) -> Option<Self> {
        let mut all = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last >= MOST {
                return None;
            }
            all.extend(first..=last);
        }
        Some(Cpus(all))
    }

    /// From `ff,00000003`: words of 32 bits in hexadecimal, the highest first.
    pub fn from_mask(text: &str) -> Option<Self> {
        let mut all = BTreeSet::new();
        for (word, text) in text.trim().rsplit(',').enumerate() {
            if (word + 1) * 32 > MOST {
                return None;
            }
            let bits = u32::from_str_radix(text, 16).ok()?;
            all.extend(
                (0..32)
                    .filter(|bit| bits & (1 << bit) != 0)
                    .map(|bit| word * 32 + bit),
            );
        }
        Some(Cpus(all))
    }

    /// As the kernel takes masks.
    pub fn mask(&self) -> String {
        let words = self.0.last().map_or(1, |last| last / 32 + 1);
        let word = |word: usize| {
            (0..32)
                .filter(|bit| self.0.contains(&(word * 32 + bit)))
                .fold(0u32, |bits, bit| bits | 1 << bit)
        };
        let mut text = format!("{:x}", word(words - 1));
        for index in (0..words - 1).rev() {
            text.push_str(&format!(",{:08x}", word(index)));
        }
        text
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// Those in both.
    pub fn and(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.intersection(&other.0).copied().collect())
    }

    /// Whether all of these are in `other`.
    pub fn is_within(&self, other: &Cpus) -> bool {
        self.0.is_subset(&other.0)
    }
}

/// As a list.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut first = true;
        while let Some(from) = rest.next() {
            let mut to = from;
            while rest.next_if_eq(&(to + 1)).is_some() {
                to += 1;
            }
            write!(f, "{}{from}", if first { "" } else { "," })?;
            if to > from {
                write!(f, "-{to}")?;
            }
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_mean_the_same() {
        for (list, mask) in [
            ("0", "1"),
            ("0-3", "f"),
            ("1,3,5-6", "6a"),
            ("0-31", "ffffffff"),
            ("32", "1,00000000"),
            ("0,63-65", "3,80000000,00000001"),
        ] {
            let cpus = Cpus::from_list(list).unwrap();
            assert_eq!(cpus.mask(), mask, "{list}");
            assert_eq!(Cpus::from_mask(mask).unwrap(), cpus, "{mask}");
            assert_eq!(cpus.to_string(), list);
        }
        assert_eq!(Cpus::from_mask("00000000,00000003").unwrap().to_string(), "0-1");
        assert_eq!(Cpus::from_list("\n").unwrap().len(), 0);
        assert_eq!(Cpus::default().mask(), "0");
    }

    #[test]
    fn wrong_and_huge_sets_are_refused() {
        for text in ["x", "3-1", "0-", "0-99999999999", "4294967295"] {
            assert_eq!(Cpus::from_list(text), None, "{text}");
        }
        assert_eq!(Cpus::from_mask("xyz"), None);
        assert_eq!(Cpus::from_mask(&["0"; 5000].join(",")), None);
    }
}
