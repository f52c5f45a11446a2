//! Two profiles side by side.
//!
//! Profiles of different length and load have different numbers of samples. What can
//! be compared is which share of the CPU time a function has: the old samples are
//! scaled to as many as the new ones.

use super::collapse::{Collapsed, Name};
use indexmap::{IndexMap, IndexSet};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

/// Stacks with their samples in two profiles: old (scaled) and new.
#[derive(Debug, Default)]
pub struct Compared {
    names: IndexSet<Name, FxBuildHasher>,
    functions: FxHashMap<Box<str>, u32>,
    stacks: IndexMap<Box<[u32]>, [f64; 2], FxBuildHasher>,
    /// Samples of the old profile, unscaled; `None` if there is only one profile.
    old: Option<u64>,
    new: u64,
}

/// A function in two profiles, as shares of all samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Change<'a> {
    /// The function.
    pub name: &'a Name,
    /// Share in which it ran itself: before and now, 0 to 1.
    pub own: [f64; 2],
    /// Share in which it was on the stack.
    pub total: [f64; 2],
}

impl Compared {
    /// One profile alone.
    #[must_use]
    pub fn alone(new: &Collapsed) -> Self {
        let mut compared = Self {
            new: new.total(),
            ..Self::default()
        };
        compared.add(new, 1, 1.0);
        compared
    }

    /// An old and a new profile.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn between(old: &Collapsed, new: &Collapsed) -> Self {
        let mut compared = Self {
            old: Some(old.total()),
            new: new.total(),
            ..Self::default()
        };
        let scale = new.total().max(1) as f64 / old.total().max(1) as f64;
        // The new one first: it knows what code a function is, which an old file may not.
        compared.add(new, 1, 1.0);
        compared.add(old, 0, scale);
        compared
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer samples than 2^53")]
    fn add(&mut self, stacks: &Collapsed, side: usize, scale: f64) {
        let mut own = Vec::new();
        for (stack, count) in stacks.stacks() {
            own.clear();
            for name in stack.iter().filter_map(|id| stacks.text(*id)) {
                own.push(self.name(name));
            }
            if !self.stacks.contains_key(&*own) {
                self.stacks.insert(own.as_slice().into(), [0.0; 2]);
            }
            if let Some(counts) = self.stacks.get_mut(&*own) {
                counts[side] += count as f64 * scale;
            }
        }
    }

    /// The number of a name: functions are the same if they are called the same.
    fn name(&mut self, name: &Name) -> u32 {
        let Some(_) = name.kind else {
            return number(self.names.insert_full(name.clone()).0);
        };
        if let Some(id) = self.functions.get(&name.text) {
            return *id;
        }
        let id = number(self.names.insert_full(name.clone()).0);
        self.functions.insert(name.text.clone(), id);
        id
    }

    /// Samples of the old profile, as it counted them.
    #[must_use]
    pub fn old(&self) -> Option<u64> {
        self.old
    }

    /// Samples of the new profile.
    #[must_use]
    pub fn new_total(&self) -> u64 {
        self.new
    }

    /// A name by its number.
    #[must_use]
    pub fn text(&self, id: u32) -> Option<&Name> {
        self.names.get_index(id as usize)
    }

    /// Stacks, root first, with their samples.
    pub fn stacks(&self) -> impl Iterator<Item = (&[u32], [f64; 2])> {
        self.stacks
            .iter()
            .map(|(stack, counts)| (&**stack, *counts))
    }

    /// Functions, the one whose own share changed most first. Roots are not functions.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shares for people")]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut own: FxHashMap<u32, [f64; 2]> = FxHashMap::default();
        let mut total: FxHashMap<u32, [f64; 2]> = FxHashMap::default();
        let mut seen = FxHashSet::default();
        let all = self.new.max(1) as f64;
        for (stack, counts) in self.stacks() {
            let share = counts.map(|count| count / all);
            seen.clear();
            for &name in stack {
                if seen.insert(name) {
                    let sum = total.entry(name).or_default();
                    *sum = [sum[0] + share[0], sum[1] + share[1]];
                }
            }
            if let Some(leaf) = stack.last() {
                let sum = own.entry(*leaf).or_default();
                *sum = [sum[0] + share[0], sum[1] + share[1]];
            }
        }
        let named = total.into_iter().filter_map(|(id, total)| {
            let name = self.text(id).filter(|name| name.kind.is_some())?;
            let own = own.get(&id).copied().unwrap_or_default();
            Some(Change { name, own, total })
        });
        let mut changes: Vec<_> = named.collect();
        let size = |[before, now]: [f64; 2]| (now - before).abs();
        changes.sort_by(|a, b| {
            let own = size(b.own).total_cmp(&size(a.own));
            let total = size(b.total).total_cmp(&size(a.total));
            own.then(total).then_with(|| a.name.cmp(b.name))
        });
        changes
    }
}

/// Names are fewer than bytes in a profile, whose size is bounded.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
