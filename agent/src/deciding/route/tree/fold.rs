//! Folding: words that are too many and too new become one variable.

use super::{MAX_DEPTH, MAX_NODES, NONE, Node, Tree};

/// A position is folded when it has at least so many words, and the share of words seen
/// once among all that were seen, in percent, is at least so high: by Good and Turing, the
/// chance that the next one is new. Routes of a program run out of news; names of data do
/// not. At the last step every position is folded.
const FOLDS: [(u32, u64); 3] = [(32, 75), (64, 30), (160, 0)];

/// Words that stay when few new ones come: those at least this many times as frequent as
/// the average of their position.
const STAYS: u64 = 2;
/// Words that stay when many new ones come: those with this share of all, one in N.
const STAYS_SHARE: u64 = 5;

/// Requests between two attempts to make room: each looks at all nodes.
const PATIENCE: u32 = 1024;

impl Tree {
    /// Folds the position with the most words, unless that was tried lately. `keep` is a
    /// node that is in use. Returns whether there is room now.
    pub(super) fn make_room(&mut self, keep: u32) -> bool {
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.patience = PATIENCE;
        // Whatever is above the node in use must stay where it is.
        let mut line = Vec::with_capacity(MAX_DEPTH + 2);
        let mut at = keep;
        while at != NONE {
            line.push(at);
            at = self.nodes[at as usize].parent;
        }
        let widest = (0..self.nodes.len() as u32)
            .filter(|at| *at == keep || !line.contains(at))
            .max_by_key(|at| self.nodes[*at as usize].words);
        match widest {
            Some(at) if self.nodes[at as usize].words >= 8 => {
                let node = &self.nodes[at as usize];
                let stays = node.onward / u64::from(node.words.max(1)) * STAYS;
                self.fold(at, stays);
                self.len() < MAX_NODES
            }
            _ => false,
        }
    }

    /// Makes the words after `at` one variable, but for those that came more than `stays`
    /// times.
    pub(super) fn fold(&mut self, at: u32, stays: u64) {
        self.folds += 1;
        self.nodes[at as usize].folded = true;
        let children = self.children(at);
        let (stay, go): (Vec<u32>, Vec<u32>) = children
            .into_iter()
            .partition(|child| self.nodes[*child as usize].count > stays);
        let mut into = self.nodes[at as usize].variable;
        for child in go {
            self.index_remove(child);
            if into == NONE {
                // The first one becomes the variable: nothing has to be added.
                self.nodes[child as usize].word = None;
                self.nodes[at as usize].variable = child;
                into = child;
            } else {
                self.merge(child, into);
            }
        }
        let singles = stay
            .iter()
            .filter(|child| self.nodes[**child as usize].count == 1)
            .count();
        let node = &mut self.nodes[at as usize];
        node.words = stay.len() as u32;
        node.singles = singles as u32;
        if into != NONE {
            self.forget_routes(into);
        }
    }

    /// Moves all that is below `from` to `into`, and frees `from`, which is not in the index.
    fn merge(&mut self, from: u32, into: u32) {
        let count = self.nodes[from as usize].count;
        let variable = self.nodes[from as usize].variable;
        self.nodes[into as usize].count += count;
        for child in self.children(from) {
            self.index_remove(child);
            let same = self.nodes[child as usize].word.clone();
            match same.as_deref().and_then(|word| self.find(into, word)) {
                Some(twin) => self.merge(child, twin),
                None if self.nodes[into as usize].folded => {
                    let target = self.nodes[into as usize].variable;
                    if target == NONE {
                        self.nodes[child as usize].word = None;
                        self.nodes[child as usize].parent = into;
                        self.nodes[into as usize].variable = child;
                    } else {
                        self.merge(child, target);
                    }
                }
                None => {
                    self.nodes[child as usize].parent = into;
                    self.index_insert(child);
                }
            }
        }
        if variable != NONE {
            match self.nodes[into as usize].variable {
                NONE => {
                    self.nodes[variable as usize].parent = into;
                    self.nodes[into as usize].variable = variable;
                }
                target => self.merge(variable, target),
            }
        }
        self.release(from);
        self.recount(into);
        // The words of many may be too many for one.
        if let Some(stays) = self.nodes[into as usize].fold_due() {
            self.fold(into, stays);
        }
    }

    fn recount(&mut self, at: u32) {
        let (mut onward, mut words, mut singles) = (0, 0, 0);
        for child in self.children(at) {
            let count = self.nodes[child as usize].count;
            onward += count;
            words += 1;
            singles += u32::from(count == 1);
        }
        let node = &mut self.nodes[at as usize];
        (node.onward, node.words, node.singles) = (onward, words, singles);
    }

    /// The texts of routes below have changed.
    fn forget_routes(&mut self, at: u32) {
        let mut left = vec![at];
        while let Some(at) = left.pop() {
            let node = &mut self.nodes[at as usize];
            self.routes -= usize::from(node.route.take().is_some());
            let variable = node.variable;
            left.extend(self.children(at));
            if variable != NONE {
                left.push(variable);
            }
        }
    }

    /// Words after a node. Looks at all nodes: folds are rare.
    fn children(&self, at: u32) -> Vec<u32> {
        (0..self.nodes.len() as u32)
            .filter(|child| {
                let node = &self.nodes[*child as usize];
                node.parent == at && node.word.is_some()
            })
            .collect()
    }
}

impl Node {
    /// Whether its words are too many and too new, and how often one must have come to stay.
    pub(super) fn fold_due(&self) -> Option<u64> {
        if self.folded {
            return None;
        }
        let novelty = u64::from(self.singles) * 100;
        let due = FOLDS
            .iter()
            .find(|(words, percent)| self.words >= *words && novelty >= percent * self.onward)?;
        Some(if due.1 == 0 {
            self.onward / u64::from(self.words) * STAYS
        } else {
            self.onward / STAYS_SHARE
        })
    }
}
