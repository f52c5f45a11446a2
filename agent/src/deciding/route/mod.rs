//! Routes: which requests are of one kind.
//!
//! A route is what the user says it is ([`pattern`]), else what was learned of the paths of
//! the service ([`tree`]); for gRPC it is the method. Every request gets a number that
//! stands for service, side and route, and is never given to another one: metrics and
//! sampling tell requests apart by it.
//!
//! Memory is bounded whatever clients send: [`MAX_SERVICES`] services and sides, together
//! [`MAX_NODES`] nodes of about 150 bytes (10 MiB), a limit of routes for each. What
//! does not fit is one route, [`OTHER`], and counted.

pub mod pattern;
pub mod segment;
pub mod tree;

#[cfg(test)]
mod tests;

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use crate::model::exchange::{Exchange, ProcessInfo, Side};
use pattern::{Pattern, Patterns};
use tree::{Tree, Unrouted};

/// The route of requests for which there is no room.
pub const OTHER: &str = "/{other}";
/// `rpc.method` of calls for which there is no room (semantic conventions).
pub const OTHER_METHOD: &str = "_OTHER";
/// Routes of a service and side, unless the settings say otherwise.
pub const DEFAULT_ROUTES: usize = 256;
/// Services, each side counted.
pub const MAX_SERVICES: usize = 512;
/// Nodes of all trees.
pub const MAX_NODES: usize = 64 << 10;
/// A service that was silent for so long makes room for a new one, ns.
const IDLE_NS: u64 = 600_000_000_000;
/// Processes remembered.
const MAX_PROCESSES: usize = 8192;
/// `grpc-status` of a call to a method that does not exist.
const UNIMPLEMENTED: u32 = 12;

/// The route of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routed<'a> {
    /// Stands for service, side and route, and for nothing else ever.
    pub id: u32,
    /// The pattern, or gRPC method; `None` if the request has no route.
    pub text: Option<&'a str>,
}

/// What became of requests, and how much is known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Requests without a route: unknown paths that were answered with an error.
    pub unknown: u64,
    /// Requests that went to [`OTHER`].
    pub other: u64,
    /// Services and sides.
    pub services: usize,
    /// Routes and methods.
    pub routes: usize,
    /// Nodes.
    pub nodes: usize,
    /// Positions at which words became variables.
    pub folds: u64,
}

/// Finds routes.
#[derive(Debug)]
pub struct Router {
    patterns: Vec<Pattern>,
    max_routes: usize,
    services: Vec<Service>,
    /// Service of a process and side.
    processes: FxHashMap<(u32, Side), u32>,
    last: Option<(u32, Side, u32)>,
    ids: u32,
    nodes: usize,
    unknown: u64,
    other: u64,
}

#[derive(Debug)]
struct Service {
    name: Box<str>,
    side: Side,
    patterns: Patterns,
    tree: Tree,
    /// Methods of gRPC, and routes that come with the exchange.
    named: FxHashMap<u64, tree::Route>,
    unknown_id: u32,
    other_id: u32,
    used_ns: u64,
}

impl Router {
    /// A router that has seen nothing.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>, max_routes: usize) -> Self {
        Self {
            patterns,
            max_routes,
            services: Vec::new(),
            processes: FxHashMap::default(),
            last: None,
            ids: 0,
            nodes: 0,
            unknown: 0,
            other: 0,
        }
    }

    /// Takes other patterns and limits from now on. What was learned stays.
    pub fn configure(&mut self, patterns: Vec<Pattern>, max_routes: usize) {
        self.patterns = patterns;
        self.max_routes = max_routes;
        for service in &mut self.services {
            service.patterns = Patterns::of(&service.name, &self.patterns, &mut self.ids);
            service.tree.set_max_routes(max_routes);
        }
    }

    /// The route of a request.
    #[inline]
    pub fn route<'a>(&'a mut self, exchange: &Exchange<'a>) -> Routed<'a> {
        let at = self.service(exchange);
        let service = &mut self.services[at as usize];
        service.used_ns = exchange.start_unix_ns;
        if let Some(rpc) = &exchange.rpc {
            let learn = rpc.status != Some(UNIMPLEMENTED);
            return match service.named(rpc.method, learn, self.max_routes, &mut self.ids) {
                Some(id) => Routed {
                    id,
                    text: Some(rpc.method),
                },
                None => {
                    self.other += 1;
                    Routed {
                        id: service.other_id,
                        text: Some(OTHER_METHOD),
                    }
                }
            };
        }
        if let Some(route) = exchange.route {
            let named = service.named(route, true, self.max_routes, &mut self.ids);
            self.other += u64::from(named.is_none());
            return match named {
                Some(id) => Routed {
                    id,
                    text: Some(route),
                },
                None => Routed {
                    id: service.other_id,
                    text: Some(OTHER),
                },
            };
        }
        let Some(path) = exchange.path.filter(|path| path.starts_with('/')) else {
            self.unknown += 1;
            return Routed {
                id: service.unknown_id,
                text: None,
            };
        };
        if let Some((id, text)) = service.patterns.find(path) {
            return Routed {
                id,
                text: Some(text),
            };
        }
        let learn = teaches(exchange.status);
        let before = service.tree.len();
        let full = learn && self.nodes >= MAX_NODES;
        let found = service.tree.route(path, learn && !full, &mut self.ids);
        self.nodes = self.nodes + service.tree.len() - before;
        match found.map(|found| service.tree.get(found)) {
            Ok(Some(route)) => Routed {
                id: route.id,
                text: Some(&route.text),
            },
            Err(Unrouted::Unknown) if !full => {
                self.unknown += 1;
                Routed {
                    id: service.unknown_id,
                    text: None,
                }
            }
            Ok(None) | Err(_) => {
                self.other += 1;
                Routed {
                    id: service.other_id,
                    text: Some(OTHER),
                }
            }
        }
    }

    /// What became of requests so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let routes = |service: &Service| service.tree.routes() + service.named.len();
        Counts {
            unknown: self.unknown,
            other: self.other,
            services: self.services.len(),
            routes: self.services.iter().map(routes).sum(),
            nodes: self.nodes,
            folds: self
                .services
                .iter()
                .map(|service| service.tree.folds())
                .sum(),
        }
    }

    #[inline]
    fn service(&mut self, exchange: &Exchange<'_>) -> u32 {
        let (process, side) = (exchange.process.id, exchange.side);
        match self.last {
            Some((last, its, at)) if last == process && its == side => at,
            _ => {
                let at = match self.processes.get(&(process, side)) {
                    Some(at) => *at,
                    None => self.add_process(exchange.process, side, exchange.start_unix_ns),
                };
                self.last = Some((process, side, at));
                at
            }
        }
    }

    #[cold]
    fn add_process(&mut self, process: &ProcessInfo, side: Side, now_ns: u64) -> u32 {
        let name = process.service.as_str();
        let known = (self.services.iter())
            .position(|service| *service.name == *name && service.side == side);
        let at = known.unwrap_or_else(|| self.add_service(name, side, now_ns)) as u32;
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        self.processes.insert((process.id, side), at);
        at
    }

    /// Adds a service. When there are too many it takes the place of the one that was
    /// silent for longest, or shares the last place with others.
    fn add_service(&mut self, name: &str, side: Side, now_ns: u64) -> usize {
        let full = self.services.len() >= MAX_SERVICES;
        let silent = (self.services.iter().enumerate())
            .filter(|(_, service)| now_ns.saturating_sub(service.used_ns) > IDLE_NS)
            .min_by_key(|(_, service)| service.used_ns)
            .map(|(at, _)| at);
        let service = Service {
            name: name.into(),
            side,
            patterns: Patterns::of(name, &self.patterns, &mut self.ids),
            tree: Tree::new(self.max_routes),
            named: FxHashMap::default(),
            unknown_id: self.ids,
            other_id: self.ids.wrapping_add(1),
            used_ns: now_ns,
        };
        self.ids = self.ids.wrapping_add(2);
        match silent.filter(|_| full) {
            None if full => self.services.len() - 1,
            None => {
                self.nodes += service.tree.len();
                self.services.push(service);
                self.services.len() - 1
            }
            Some(at) => {
                self.nodes = self.nodes + service.tree.len() - self.services[at].tree.len();
                self.services[at] = service;
                self.processes.clear();
                self.last = None;
                at
            }
        }
    }
}

impl Service {
    /// Number of a name that needs no folding; `None` if there is no room for it, or it is
    /// not to be learned.
    fn named(&mut self, name: &str, learn: bool, limit: usize, ids: &mut u32) -> Option<u32> {
        let mut hasher = FxHasher::default();
        hasher.write(name.as_bytes());
        let mut key = hasher.finish();
        while let Some(route) = self.named.get(&key) {
            if *route.text == *name {
                return Some(route.id);
            }
            key = key.wrapping_add(1);
        }
        if !learn || self.named.len() >= limit || name.len() > pattern::MAX_LENGTH {
            return None;
        }
        let id = *ids;
        *ids = ids.wrapping_add(1);
        let text = name.into();
        self.named.insert(key, tree::Route { id, text });
        Some(id)
    }
}

/// Whether a response says that the path means something to the service. Scanners ask for
/// paths that nobody has, and must not teach them.
fn teaches(status: Option<u16>) -> bool {
    status.is_some_and(|status| !matches!(status, 400 | 404 | 410 | 414))
}
