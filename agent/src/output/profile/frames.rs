//! What a frame is called, and what stands at the root of a stack.

use super::By;
use crate::profile::model::{Kind, Line, Location, Profile, Sample};
use std::borrow::Cow;

/// The group of samples that no request is known for.
pub const NO_REQUEST: &str = "[no request]";

/// One frame of a stack: a function at a location, or the location itself.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where.
    pub location: &'a Location,
    /// Which function, if it is known.
    pub line: Option<&'a Line>,
    /// Whether it was inlined into the frame before it (seen from the root).
    pub inlined: bool,
}

/// The frames of a location, root first.
pub fn of_location(location: &Location) -> impl Iterator<Item = Frame<'_>> {
    let last = location.lines.len().saturating_sub(1);
    let lines = location.lines.iter().enumerate().rev();
    let unknown = location.lines.is_empty().then_some(Frame {
        location,
        line: None,
        inlined: false,
    });
    lines
        .map(move |(index, line)| Frame {
            location,
            line: Some(line),
            inlined: index < last,
        })
        .chain(unknown)
}

/// The frames of a sample, root first, without those of [`roots`].
pub fn of_sample<'a>(
    profile: &'a Profile,
    sample: &Sample,
) -> impl Iterator<Item = Frame<'a>> + use<'a> {
    let frames = profile.stack(sample).frames.iter().rev();
    frames.flat_map(|id| of_location(&profile.locations[id.index()]))
}

impl<'a> Frame<'a> {
    /// Name of the function, or of what is known instead of it, in brackets.
    #[must_use]
    pub fn name(&self, profile: &'a Profile) -> Cow<'a, str> {
        let function = self
            .line
            .map(|line| profile.functions[line.function.index()]);
        let name = function.map_or("", |function| profile.string(function.name));
        if !name.is_empty() {
            return Cow::Borrowed(name);
        }
        let module = self.module(profile);
        match self.location.kind {
            _ if module.starts_with('[') => Cow::Borrowed(module),
            _ if !module.is_empty() => Cow::Owned(format!("[{module}]")),
            kind => Cow::Owned(format!("[{}]", kind.name())),
        }
    }

    /// Last part of the path of the mapped file; empty if not known.
    #[must_use]
    pub fn module(&self, profile: &'a Profile) -> &'a str {
        let mapping = self.location.mapping;
        let path = mapping.map_or("", |id| profile.string(profile.mappings[id.index()].file));
        path.trim_end_matches(" (deleted)")
            .rsplit('/')
            .next()
            .unwrap_or("")
    }
}

/// What stands at the root of a sample's stack: its group, its process, and why the
/// stack was cut. None of them is a function.
#[must_use]
pub fn roots(profile: &Profile, sample: &Sample, by: Option<By>) -> Vec<String> {
    let mut roots = Vec::with_capacity(3);
    match by {
        None => roots.push(process(profile, sample)),
        Some(By::Thread) => roots.extend([process(profile, sample), thread(profile, sample)]),
        Some(by) => roots.extend([group(profile, sample, by), process(profile, sample)]),
    }
    if let Some(stop) = profile.stack(sample).stop {
        roots.push(format!("[stack cut: {}]", stop.name()));
    }
    roots
}

/// The group of a sample.
#[must_use]
pub fn group(profile: &Profile, sample: &Sample, by: By) -> String {
    match by {
        By::Route => route(profile, sample).unwrap_or_else(|| NO_REQUEST.to_owned()),
        By::Service => {
            let service = &profile.process(sample).info.service;
            if service.is_empty() {
                process(profile, sample)
            } else {
                service.clone()
            }
        }
        By::Thread => format!("{} {}", process(profile, sample), thread(profile, sample)),
    }
}

/// Method and route of the request a sample was taken in.
#[must_use]
pub fn route(profile: &Profile, sample: &Sample) -> Option<String> {
    let method = profile.string(sample.key.method);
    let route = profile.string(sample.key.route);
    match (method, route) {
        ("", "") => sample.key.link.map(|_| "[unknown route]".to_owned()),
        ("", route) => Some(route.to_owned()),
        (method, "") => Some(method.to_owned()),
        (method, route) => Some(format!("{method} {route}")),
    }
}

/// Name of the process of a sample.
fn process(profile: &Profile, sample: &Sample) -> String {
    let info = &profile.process(sample).info;
    if info.comm.is_empty() {
        format!("[process {}]", info.tgid)
    } else {
        info.comm.clone()
    }
}

/// Name and id of the thread of a sample.
fn thread(profile: &Profile, sample: &Sample) -> String {
    let thread = profile.thread(sample);
    let name = match profile.string(thread.name) {
        "" => &profile.process(sample).info.comm,
        name => name,
    };
    format!("{name}/{}", thread.tid)
}

/// How a kind of code is marked behind a name, as `flamegraph.pl` understands it.
#[must_use]
pub fn mark(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Kernel) => "_[k]",
        Some(Kind::Jit) => "_[j]",
        _ => "",
    }
}
