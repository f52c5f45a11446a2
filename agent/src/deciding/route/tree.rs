//! What is known of the paths of one service: a tree of their segments.
//!
//! A node has a child for every word seen after it, and one for everything that is
//! variable. A position at which too many new words turn up is folded: its words become
//! one variable, with all that is below them. Folds are never undone, so a route once
//! folded stays as it is.

mod fold;

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use super::segment;

/// Segments of a route; what is beyond is one variable rest.
pub const MAX_DEPTH: usize = 12;
/// Nodes of a tree.
pub const MAX_NODES: usize = 2048;
/// How a variable segment is written.
pub const VARIABLE: &str = "{id}";
/// How the rest of a path that is too deep is written.
const REST: &str = "*";

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

/// A route of the tree.
#[derive(Debug)]
pub struct Route {
    /// Its number, never given to another one.
    pub id: u32,
    /// Its pattern, such as `/users/{id}`.
    pub text: Box<str>,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    /// The word; `None` for the variable child.
    word: Option<Box<str>>,
    variable: u32,
    /// Requests that came through.
    count: u64,
    /// Those that went on to a word, the number of these, and of those seen once.
    onward: u64,
    words: u32,
    singles: u32,
    folded: bool,
    route: Option<Route>,
}

/// The paths of one service.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    index: FxHashMap<u64, u32>,
    routes: usize,
    max_routes: usize,
    folds: u64,
    /// Requests to let pass before making room is tried again.
    patience: u32,
}

/// Where a route is in its tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found(u32);

/// Why a path has no route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unrouted {
    /// The path is not known, and its response says nothing about it.
    Unknown,
    /// There is no room.
    Full,
}

impl Tree {
    /// A tree without paths and room for `max_routes`.
    #[must_use]
    pub fn new(max_routes: usize) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            index: FxHashMap::default(),
            routes: 0,
            max_routes,
            folds: 0,
            patience: 0,
        };
        tree.nodes.push(Node::new(NONE, None));
        tree
    }

    /// Finds the route of a path, for [`Self::get`]. `learn` says whether the path is known
    /// to mean something to the service; `ids` is where numbers of new routes come from.
    ///
    /// # Errors
    /// If there is none.
    #[inline]
    pub fn route(&mut self, path: &str, learn: bool, ids: &mut u32) -> Result<Found, Unrouted> {
        let node = self.walk(path, learn)?;
        if self.nodes[node as usize].route.is_none() {
            self.name(node, learn, ids)?;
        }
        Ok(Found(node))
    }

    /// A route that was found by the last call of [`Self::route`].
    #[inline]
    #[must_use]
    pub fn get(&self, found: Found) -> Option<&Route> {
        self.nodes.get(found.0 as usize)?.route.as_ref()
    }

    /// Changes the limit. Routes that are there stay.
    pub fn set_max_routes(&mut self, max_routes: usize) {
        self.max_routes = max_routes;
    }

    /// Positions folded so far.
    #[must_use]
    pub const fn folds(&self) -> u64 {
        self.folds
    }

    /// Nodes in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Whether no path was learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// Number of routes.
    #[must_use]
    pub const fn routes(&self) -> usize {
        self.routes
    }

    #[inline]
    fn walk(&mut self, path: &str, learn: bool) -> Result<u32, Unrouted> {
        let mut at = ROOT;
        let mut depth = 0;
        let mut left = Some(path);
        while let Some(path) = left {
            let (segment, behind) = segment::cut(path, b'/');
            left = behind;
            // Matrix parameters (RFC 3986, section 3.3) are no part of a route.
            let (segment, _) = segment::cut(segment, b';');
            if segment.is_empty() {
                continue;
            }
            depth += 1;
            let rest = depth > MAX_DEPTH;
            let segment = if rest { REST } else { segment };
            at = self.step(at, segment, learn)?;
            if rest {
                break;
            }
        }
        Ok(at)
    }

    #[inline]
    fn step(&mut self, at: u32, segment: &str, learn: bool) -> Result<u32, Unrouted> {
        // No value is ever a word of the tree, so what is found there need not be looked at.
        if let Some(child) = self.find(at, segment) {
            if learn {
                let count = &mut self.nodes[child as usize].count;
                *count += 1;
                let second = *count == 2;
                let node = &mut self.nodes[at as usize];
                node.onward += 1;
                node.singles -= u32::from(second);
            }
            return Ok(child);
        }
        if segment::is_value(segment) || self.nodes[at as usize].folded {
            return self.variable(at, learn);
        }
        if !learn {
            return Err(Unrouted::Unknown);
        }
        self.add_word(at, segment)
    }

    #[inline]
    fn variable(&mut self, at: u32, learn: bool) -> Result<u32, Unrouted> {
        let mut child = self.nodes[at as usize].variable;
        if child == NONE {
            if !learn {
                return Err(Unrouted::Unknown);
            }
            child = self.add(Node::new(at, None))?;
            // Making room may have folded this very position.
            match self.nodes[at as usize].variable {
                NONE => self.nodes[at as usize].variable = child,
                folded => {
                    self.release(child);
                    child = folded;
                }
            }
        }
        self.nodes[child as usize].count += u64::from(learn);
        Ok(child)
    }

    #[inline]
    fn find(&self, parent: u32, word: &str) -> Option<u32> {
        let mut key = key(parent, word);
        loop {
            let found = *self.index.get(&key)?;
            let node = &self.nodes[found as usize];
            if node.parent == parent && node.word.as_deref() == Some(word) {
                return Some(found);
            }
            key = key.wrapping_add(1);
        }
    }

    #[cold]
    fn add_word(&mut self, at: u32, word: &str) -> Result<u32, Unrouted> {
        let mut node = Node::new(at, Some(word.into()));
        node.count = 1;
        let child = self.add(node)?;
        // Making room may have folded this very position.
        if self.nodes[at as usize].folded {
            self.release(child);
            return self.variable(at, true);
        }
        self.index_insert(child);
        let parent = &mut self.nodes[at as usize];
        parent.onward += 1;
        parent.words += 1;
        parent.singles += 1;
        if let Some(stays) = parent.fold_due() {
            self.fold(at, stays);
            return match self.find(at, word) {
                Some(child) => Ok(child),
                None => self.variable(at, true),
            };
        }
        Ok(child)
    }

    fn add(&mut self, node: Node) -> Result<u32, Unrouted> {
        if self.len() >= MAX_NODES && !self.make_room(node.parent) {
            return Err(Unrouted::Full);
        }
        if let Some(slot) = self.free.pop() {
            self.nodes[slot as usize] = node;
            return Ok(slot);
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as u32)
    }

    /// Gives a node its route.
    #[cold]
    fn name(&mut self, node: u32, learn: bool, ids: &mut u32) -> Result<(), Unrouted> {
        if !learn {
            return Err(Unrouted::Unknown);
        }
        if self.routes >= self.max_routes {
            // Whether or not this helps, this request is one that found no room: the
            // node it has reached may be gone.
            self.make_room(ROOT);
            return Err(Unrouted::Full);
        }
        let text = self.text(node);
        self.nodes[node as usize].route = Some(Route { id: *ids, text });
        *ids = ids.wrapping_add(1);
        self.routes += 1;
        Ok(())
    }

    fn text(&self, mut node: u32) -> Box<str> {
        let mut words = Vec::with_capacity(MAX_DEPTH + 1);
        while node != ROOT {
            let own = &self.nodes[node as usize];
            words.push(own.word.as_deref().unwrap_or(VARIABLE));
            node = own.parent;
        }
        if words.is_empty() {
            return "/".into();
        }
        words
            .iter()
            .rev()
            .flat_map(|word| ["/", word])
            .collect::<String>()
            .into()
    }
}

/// Nodes and their index.
impl Tree {
    fn release(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        self.routes -= usize::from(node.route.take().is_some());
        node.parent = NONE;
        node.word = None;
        node.variable = NONE;
        node.words = 0;
        self.free.push(at);
    }

    fn index_insert(&mut self, child: u32) {
        let node = &self.nodes[child as usize];
        let mut key = key(node.parent, node.word.as_deref().unwrap_or_default());
        while self.index.contains_key(&key) {
            key = key.wrapping_add(1);
        }
        self.index.insert(key, child);
    }

    /// Takes a node out, and puts those back that had to make way for it.
    fn index_remove(&mut self, child: u32) {
        let node = &self.nodes[child as usize];
        let mut at = key(node.parent, node.word.as_deref().unwrap_or_default());
        while let Some(found) = self.index.get(&at) {
            if *found == child {
                break;
            }
            at = at.wrapping_add(1);
        }
        self.index.remove(&at);
        at = at.wrapping_add(1);
        while let Some(moved) = self.index.remove(&at) {
            self.index_insert(moved);
            at = at.wrapping_add(1);
        }
    }
}

impl Node {
    fn new(parent: u32, word: Option<Box<str>>) -> Self {
        Self {
            parent,
            word,
            variable: NONE,
            count: 0,
            onward: 0,
            words: 0,
            singles: 0,
            folded: false,
            route: None,
        }
    }
}

fn key(parent: u32, word: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(word.as_bytes());
    hasher.finish()
}
