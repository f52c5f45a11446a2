//! Samples with the same names on their stacks are one.

use super::{By, frames};
use crate::profile::model::{Kind, Profile};
use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

/// What is written on a frame.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name {
    /// The words.
    pub text: Box<str>,
    /// What code it is; `None` for groups, processes and cut stacks.
    pub kind: Option<Kind>,
}

/// Stacks by name.
#[derive(Clone, Default, Debug)]
pub struct Collapsed {
    names: IndexSet<Name, FxBuildHasher>,
    stacks: IndexMap<Box<[u32]>, u64, FxBuildHasher>,
}

impl Collapsed {
    /// The stacks of a profile, with roots according to `by`.
    #[must_use]
    pub fn new(profile: &Profile, by: Option<By>) -> Self {
        let mut all = Self::default();
        let mut stack = Vec::new();
        for sample in &profile.samples {
            stack.clear();
            for root in frames::roots(profile, sample, by) {
                stack.push(all.name(&root, None));
            }
            for frame in frames::of_sample(profile, sample) {
                stack.push(all.name(&frame.name(profile), Some(frame.location.kind)));
            }
            all.add(&stack, sample.count);
        }
        all
    }

    /// The number of a name.
    pub fn name(&mut self, text: &str, kind: Option<Kind>) -> u32 {
        let (index, _) = self.names.insert_full(Name {
            text: text.into(),
            kind,
        });
        // There are fewer names than bytes in a profile, whose size is bounded.
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Adds samples of a stack, root first.
    pub fn add(&mut self, stack: &[u32], count: u64) {
        match self.stacks.get_mut(stack) {
            Some(sum) => *sum = sum.saturating_add(count),
            None => {
                self.stacks.insert(stack.into(), count);
            }
        }
    }

    /// A name by its number.
    #[must_use]
    pub fn text(&self, id: u32) -> Option<&Name> {
        self.names.get_index(id as usize)
    }

    /// Stacks with their samples.
    pub fn stacks(&self) -> impl Iterator<Item = (&[u32], u64)> {
        self.stacks.iter().map(|(stack, count)| (&**stack, *count))
    }

    /// Samples in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stacks
            .values()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}
