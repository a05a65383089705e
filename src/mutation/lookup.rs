//! Values by a text, for pods with hundreds of requests and thousands of whatever else they have.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// So many are searched one by one, which costs less than to sort them. Nearly every pod has fewer
/// of everything.
pub(super) const FEW: usize = 64;

/// A sorted vector. Shorter texts come first, because nearly always the lengths tell two apart.
pub(super) struct Lookup<K, T>(Vec<(K, T)>);

impl<K: Borrow<str>, T> Lookup<K, T> {
    /// Of several values for a text, it has any.
    pub(super) fn new(mut entries: Vec<(K, T)>) -> Self {
        entries.sort_unstable_by(|(a, _), (b, _)| order(a.borrow(), b.borrow()));
        entries.dedup_by(|(a, _), (b, _)| K::borrow(a) == K::borrow(b));
        Self(entries)
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    fn find(&self, text: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(key, _)| order(key.borrow(), text))
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.find(text).is_ok()
    }

    pub(super) fn get(&self, text: &str) -> Option<&T> {
        self.0.get(self.find(text).ok()?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut T> {
        let index = self.find(text).ok()?;
        self.0.get_mut(index).map(|(_, value)| value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut T)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Adds a value for a text that has none; `false` where it has one.
    pub(super) fn insert(&mut self, text: K, value: T) -> bool {
        let place = self.find(text.borrow());
        if let Err(place) = place {
            self.0.insert(place, (text, value));
        }
        place.is_err()
    }
}

fn order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_value_that_was_added_first() {
        let mut lookup = Lookup::new(vec![("b", 1), ("aa", 2), ("", 3), ("b", 1), ("a", 4)]);
        assert_eq!(
            ["", "a", "b", "aa", "c", "ab"].map(|text| lookup.get(text).copied()),
            [Some(3), Some(4), Some(1), Some(2), None, None]
        );
        assert!(
            lookup.insert("ab", 5)
                && !lookup.insert("ab", 6)
                && lookup.contains("ab")
                && !lookup.contains("abc")
        );
        assert_eq!((lookup.get("ab").copied(), lookup.get_mut("aa").copied()), (Some(5), Some(2)));
    }
}
