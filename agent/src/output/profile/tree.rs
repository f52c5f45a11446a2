//! Stacks merged from the root on: a call tree.

use super::collapse::Name;
use super::diff::Compared;
use rustc_hash::FxHashMap;

/// A frame with everything above it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: u32,
    /// Samples of it and of what it called: before and now.
    pub(super) total: [f64; 2],
    /// Sorted by name.
    pub(super) children: Vec<usize>,
}

/// Frames below [`Tree::roots`].
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
    /// Samples in all, before and now.
    pub(super) total: [f64; 2],
}

impl Tree {
    pub(super) fn new(compared: &Compared) -> Self {
        let mut tree = Self::default();
        let mut known: FxHashMap<(usize, u32), usize> = FxHashMap::default();
        for (stack, counts) in compared.stacks() {
            add(&mut tree.total, counts);
            let mut parent = usize::MAX;
            for &name in stack {
                let index = *known.entry((parent, name)).or_insert_with(|| {
                    let index = tree.nodes.len();
                    tree.nodes.push(Node {
                        name,
                        total: [0.0; 2],
                        children: Vec::new(),
                    });
                    match tree.nodes.get_mut(parent) {
                        Some(node) => node.children.push(index),
                        None => tree.roots.push(index),
                    }
                    index
                });
                add(&mut tree.nodes[index].total, counts);
                parent = index;
            }
        }
        tree.sort(compared);
        tree
    }

    fn sort(&mut self, compared: &Compared) {
        let text = |nodes: &[Node], index: &usize| -> Option<Name> {
            compared.text(nodes[*index].name).cloned()
        };
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_cached_key(|index| text(&self.nodes, index));
        self.roots = roots;
        for index in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[index].children);
            children.sort_by_cached_key(|index| text(&self.nodes, index));
            self.nodes[index].children = children;
        }
    }
}

fn add(sum: &mut [f64; 2], counts: [f64; 2]) {
    sum[0] += counts[0];
    sum[1] += counts[1];
}
