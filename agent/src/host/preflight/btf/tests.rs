use std::time::Instant;

use proptest::prelude::*;
use remora_common::offsets::OPTIONAL;

use super::format::kind;
use super::*;

/// Writes BTF the way an encoder does.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    layout: Vec<u8>,
    count: u32,
}

impl Builder {
    fn string(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn raw(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn ty(&mut self, name: &str, kind: u8, size_or_type: u32) -> u32 {
        self.raw(name, u32::from(kind) << 24, size_or_type, &[])
    }

    fn int(&mut self, size: u32, first: u32, bits: u32) -> u32 {
        let info = u32::from(kind::INT) << 24;
        self.raw("int", info, size, &[first << 16 | bits])
    }

    /// Members are (name, type, offset in bits or the encoding of the kind flag).
    fn composite(
        &mut self,
        name: &str,
        kind: u8,
        kind_flag: bool,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let mut rest = Vec::new();
        for (name, ty, offset) in members {
            rest.extend([self.string(name), *ty, *offset]);
        }
        let info = u32::from(kind_flag) << 31 | u32::from(kind) << 24 | members.len() as u32;
        self.raw(name, info, size, &rest)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let layout = self.layout.len() as u32;
        for word in [32, 0, types, types, strings, types + strings, layout] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out.extend_from_slice(&self.layout);
        out
    }
}

/// A structure with one of everything.
fn sample() -> Builder {
    let mut b = Builder::default();
    let int = b.int(4, 0, 32);
    let pointer = b.ty("", kind::PTR, int);
    let inner = b.composite(
        "inner",
        kind::STRUCT,
        false,
        8,
        &[("x", int, 0), ("y", int, 32)],
    );
    let alias = b.ty("inner_t", kind::TYPEDEF, inner);
    let qualified = b.ty("", kind::CONST, alias);
    let deep = b.composite("", kind::STRUCT, false, 8, &[("a", int, 0), ("b", int, 32)]);
    let union = b.composite(
        "",
        kind::UNION,
        false,
        8,
        &[("", deep, 0), ("c", pointer, 0)],
    );
    let array = b.raw("", u32::from(kind::ARRAY) << 24, 0, &[int, int, 4]);
    // A declaration of the same name, and another structure of it, come first.
    b.ty("outer", kind::FWD, 0);
    b.composite("outer", kind::STRUCT, false, 4, &[("other", int, 0)]);
    let members = [
        ("first", int, 0),
        ("embedded", qualified, 64),
        ("", union, 128),
        ("flags", int, 3 << 24 | 197),
        ("byte", int, 8 << 24 | 200),
        ("array", array, 256),
        ("function", u32::MAX, 384),
    ];
    b.composite("outer", kind::STRUCT, true, 64, &members);
    b
}

fn plain(byte_offset: u32, size: u32) -> Member {
    Member {
        byte_offset,
        size: Some(size),
        bitfield: None,
    }
}

#[test]
fn members_are_found_through_typedefs_unions_and_anonymous_structures() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let at = |path| btf.member_offset("outer", path).unwrap();
    assert_eq!(at("first"), plain(0, 4));
    assert_eq!(at("embedded"), plain(8, 8));
    assert_eq!(at("embedded.y"), plain(12, 4));
    assert_eq!(at("a"), plain(16, 4));
    assert_eq!(at("b"), plain(20, 4));
    assert_eq!(at("c"), plain(16, 8));
    assert_eq!(at("array"), plain(32, 16));
    // Another structure of the same name holds this one.
    assert_eq!(at("other"), plain(0, 4));
    assert_eq!(at("function").size, None);
}

#[test]
fn bitfields_are_told_from_whole_bytes() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let flags = btf.member_offset("outer", "flags").unwrap();
    assert_eq!(flags.byte_offset, 24);
    let bitfield = Bitfield {
        first_bit: 5,
        bits: 3,
    };
    assert_eq!(flags.bitfield, Some(bitfield));
    assert_eq!(btf.member_offset("outer", "byte"), Ok(plain(25, 1)));

    // The older encoding: the width is in the integer type.
    let mut b = Builder::default();
    let three = b.int(4, 5, 3);
    let int = b.int(4, 0, 32);
    b.composite(
        "s",
        kind::STRUCT,
        false,
        8,
        &[("f", three, 0), ("g", int, 32)],
    );
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(
        btf.member_offset("s", "f").unwrap().bitfield,
        Some(bitfield)
    );
    assert_eq!(btf.member_offset("s", "g"), Ok(plain(4, 4)));
}

#[test]
fn what_is_absent_has_a_reason() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let no_member = |structure: &str, member: &str| {
        Err(BtfError::NoMember {
            structure: structure.into(),
            member: member.into(),
        })
    };
    for path in [
        "nothing",
        "first.x",
        "embedded.z",
        "",
        "embedded.",
        ".x",
        "c.x",
        "flags.x",
    ] {
        assert_eq!(btf.member_offset("outer", path), no_member("outer", path));
    }
    let no_struct = Err(BtfError::NoStruct("absent".into()));
    assert_eq!(btf.member_offset("absent", "x"), no_struct);
    let (offsets, missing) = offsets(&btf);
    assert_eq!(offsets, Offsets::ZERO);
    assert_eq!(missing.len(), Offsets::MEMBERS.len());
}

#[test]
fn foreign_bytes_are_refused_with_the_reason() {
    let good = sample().bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0x7f), BtfError::BadMagic(0xeb7f));
    assert_eq!(with(2, 9), BtfError::Version(9));
    assert!(matches!(with(4, 8), BtfError::Truncated { .. }));
    let mut big = good.clone();
    big.swap(0, 1);
    assert_eq!(Btf::parse(&big).unwrap_err(), BtfError::BigEndian);
    assert!(matches!(Btf::parse(&[]), Err(BtfError::Truncated { .. })));
}

#[test]
fn kinds_of_the_future_need_a_layout_section() {
    let mut b = Builder::default();
    b.raw("new", 20 << 24 | 2, 0, &[7, 8, 9]);
    let int = b.int(4, 0, 32);
    b.composite(
        "s",
        kind::STRUCT,
        false,
        8,
        &[("a", int, 0), ("b", int, 32)],
    );
    let unknown = BtfError::UnknownKind { id: 1, kind: 20 };
    assert_eq!(Btf::parse(&b.bytes()).unwrap_err(), unknown);
    b.layout = vec![0; 21 * 4];
    b.layout[80] = 4;
    b.layout[81] = 4;
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.member_offset("s", "b"), Ok(plain(4, 4)));
}

#[test]
fn types_without_end_are_an_error() {
    // A typedef of itself, and a structure that holds itself without a name.
    let mut b = Builder::default();
    let alias = b.ty("t", kind::TYPEDEF, 1);
    b.composite("s", kind::STRUCT, false, 8, &[("f", alias, 0)]);
    b.composite("r", kind::STRUCT, false, 8, &[("", 3, 0), ("", 3, 0)]);
    b.raw("", u32::from(kind::ARRAY) << 24, 0, &[4, 4, 1]);
    b.composite("q", kind::STRUCT, false, 8, &[("f", 4, 0)]);
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    for (name, path) in [("s", "f"), ("r", "x"), ("q", "f")] {
        assert_eq!(
            btf.member_offset(name, path),
            Err(BtfError::Endless),
            "{name}.{path}"
        );
    }
}

#[test]
fn anonymous_structures_in_anonymous_structures_do_not_multiply() {
    // 20 levels of 64 members would be 64^20 visits.
    let mut b = Builder::default();
    let mut inner = b.composite("", kind::UNION, false, 4, &[("", u32::MAX, 0)]);
    for _ in 0..20 {
        inner = b.composite("", kind::UNION, false, 4, &[("", inner, 0); 64]);
    }
    b.composite("s", kind::STRUCT, false, 4, &[("", inner, 0)]);
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.member_offset("s", "x"), Err(BtfError::Endless));
}

/// The kernel that runs the tests. Where it has no BTF the agent cannot run either,
/// and there is nothing to compare.
#[test]
fn the_running_kernel_has_every_member() {
    let Ok(bytes) = std::fs::read(KERNEL) else {
        eprintln!("{KERNEL} is not there: nothing to compare");
        return;
    };
    let start = Instant::now();
    let btf = Btf::parse(&bytes).unwrap();
    let (offsets, mut missing) = offsets(&btf);
    missing.retain(|m| !OPTIONAL.contains(&(m.structure, m.member)));
    eprintln!("{} types in {:?}: {offsets:#?}", btf.len(), start.elapsed());
    assert_eq!(missing, []);
    assert_eq!(
        btf.member_offset("task_struct", "comm").unwrap().size,
        Some(16)
    );
    assert_eq!(
        btf.member_offset("sock", "__sk_common.skc_daddr")
            .unwrap()
            .size,
        Some(4)
    );
    assert_eq!(
        btf.member_offset("sock", "__sk_common.skc_v6_daddr")
            .unwrap()
            .size,
        Some(16)
    );
}

/// Everything a caller can do with hostile bytes.
fn use_all(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = offsets(&btf);
        for path in ["a", "embedded.y", "flags", "array", "x"] {
            let _ = btf.member_offset("outer", path);
        }
    }
}

#[test]
fn every_truncation_is_survived() {
    let bytes = sample().bytes();
    for len in 0..bytes.len() {
        use_all(&bytes[..len]);
        assert!(Btf::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        use_all(&bytes);
        // Behind a valid header, so that more than the magic is tried.
        let mut b = Builder::default();
        b.string("outer");
        b.types = bytes;
        use_all(&b.bytes());
    }

    #[test]
    fn any_change_to_good_bytes_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = sample().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        use_all(&bytes);
    }
}
