//! A small profile with everything that profiles can hold.

#![allow(
    dead_code,
    reason = "each user of this module needs another part of it"
)]
#![allow(clippy::expect_used, reason = "a few samples fit into any profile")]

use remora::model::exchange::ProcessInfo;
use remora::profile::model::{
    Builder, Event, Full, Function, FunctionId, Kind, Limits, Line, Link, LocationId, Loss,
    Mapping, MappingId, Profile, SampleKey, Stop, StringId, ThreadId,
};
use std::sync::Arc;

/// 2026-01-02T03:04:05Z.
pub(crate) const START: u64 = 1_767_323_045_000_000_000;
/// 99 samples a second.
pub(crate) const PERIOD: u64 = 10_101_010;
/// The span that samples of `GET /dear` carry.
pub(crate) const LINK: Link = Link {
    trace_id: [0x4b; 16],
    span_id: [0xf0; 8],
};

/// A process.
pub(crate) fn process(tgid: u32, comm: &str, service: &str) -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        id: 0,
        tgid,
        comm: comm.to_owned(),
        executable: Some(format!("/usr/bin/{comm}")),
        service: service.to_owned(),
        service_namespace: None,
        resource: Vec::new(),
        container_id: Some("c0ffee".repeat(10) + "abcd"),
        pod_uid: None,
    })
}

struct Filling {
    builder: Builder,
    binary: MappingId,
    kernel: MappingId,
}

impl Filling {
    fn function(&mut self, name: &str) -> Result<FunctionId, Full> {
        let name = self.builder.string(name)?;
        let file = self.builder.string("src/shop.c")?;
        self.builder.function(Function {
            name,
            system_name: StringId::NONE,
            file,
            line: 10,
        })
    }

    fn native(&mut self, address: u64, names: &[&str]) -> Result<LocationId, Full> {
        let mut lines = Vec::new();
        for name in names {
            lines.push(Line {
                function: self.function(name)?,
                line: 12,
                column: 0,
            });
        }
        let binary = Some(self.binary);
        self.builder
            .location(Kind::Native, binary, 0x40_1000 + address, &lines)
    }

    fn other(&mut self, kind: Kind, address: u64, name: &str) -> Result<LocationId, Full> {
        let name = self.builder.string(name)?;
        let function = self.builder.function(Function {
            name,
            system_name: StringId::NONE,
            file: StringId::NONE,
            line: 0,
        })?;
        let line = Line {
            function,
            line: 0,
            column: 0,
        };
        let mapping = (kind == Kind::Kernel).then_some(self.kernel);
        self.builder.location(kind, mapping, address, &[line])
    }

    fn add(&mut self, key: SampleKey, count: u64, from: u64) -> Result<(), Full> {
        (0..count).try_for_each(|n| self.builder.sample(key, START + (from + n) * PERIOD))
    }
}

/// Two processes: `shop` serves `GET /dear` (60 samples) and `GET /cheap` (20), and does
/// other work (10), `node` runs what its runtime made (8, one of them cut). Two samples
/// were lost.
pub(crate) fn profile(times: bool) -> Profile {
    build(times).expect("a few samples fit")
}

fn build(times: bool) -> Result<Profile, Full> {
    let mut builder = Builder::new(Limits {
        times,
        ..Limits::default()
    });
    let file = builder.string("/usr/bin/shop")?;
    let build_id = builder.string("8f1c0ffee0ddba11")?;
    let kernel_file = builder.string("[kernel]")?;
    let binary = builder.mapping(Mapping {
        file,
        build_id,
        start: 0x40_1000,
        end: 0x48_0000,
        offset: 0x1000,
    })?;
    let kernel = builder.mapping(Mapping {
        file: kernel_file,
        build_id: StringId::NONE,
        start: 0xffff_ffff_8100_0000,
        end: 0xffff_ffff_8200_0000,
        offset: 0,
    })?;
    let mut fill = Filling {
        builder,
        binary,
        kernel,
    };
    let main = fill.native(0x10, &["main"])?;
    let serve = fill.native(0x100, &["serve"])?;
    // `sum` was inlined into `price`.
    let price = fill.native(0x200, &["sum", "price"])?;
    let cheap = fill.native(
        0x300,
        &["std::vector<int, std::allocator<int> >::push_back(int&&)"],
    )?;
    let bare = fill.native(0x400, &[])?;
    let write = fill.other(Kind::Kernel, 0xffff_ffff_8123_4567, "ksys_write")?;
    let jit = fill.other(
        Kind::Jit,
        0x7f00_0000_1000,
        "LazyCompile:*render \"a;b\" <x>&y",
    )?;
    let unknown = fill
        .builder
        .location(Kind::Unknown, None, 0x7f00_dead_0000, &[])?;

    let shop = fill.builder.process(&process(41, "shop", "webshop"), 7)?;
    let node = fill.builder.process(&process(42, "node", "render"), 8)?;
    let pool = fill.builder.thread(shop, 43, "pool")?;
    let lone = fill.builder.thread(node, 42, "")?;
    let key = |fill: &mut Filling, frames: &[LocationId], stop, thread: ThreadId| {
        let stack = fill.builder.stack(frames, stop)?;
        Ok::<_, Full>(SampleKey::untagged(stack, thread))
    };
    let get = fill.builder.string("GET")?;
    let dear = fill.builder.string("/dear")?;
    let small = fill.builder.string("/cheap")?;

    let at = key(&mut fill, &[price, serve, main], None, pool)?;
    fill.add(at.serving(get, dear, Some(LINK)), 60, 0)?;
    let at = key(&mut fill, &[cheap, serve, main], None, pool)?;
    fill.add(at.serving(get, small, None), 15, 60)?;
    let at = key(&mut fill, &[write, serve, main], None, pool)?;
    fill.add(at.serving(get, small, None), 5, 75)?;
    let at = key(&mut fill, &[bare, main], None, pool)?;
    fill.add(at, 10, 80)?;
    let at = key(&mut fill, &[jit], None, lone)?;
    fill.add(at, 7, 90)?;
    let at = key(&mut fill, &[unknown, jit], Some(Stop::NoRows), lone)?;
    fill.add(at, 1, 97)?;
    fill.builder.lose(Loss::RingFull, Some(node), 2);
    fill.builder.lost_per_cpu(vec![0, 2]);
    Ok(fill
        .builder
        .finish(Event::CpuClock, START, 100 * PERIOD, PERIOD))
}
