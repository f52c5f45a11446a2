//! The structures of real kernels, cut out of their BTF (tests/data/btf/README.md),
//! with the offsets that pahole prints for the whole files.

use std::io::Read;

use remora_common::offsets::OPTIONAL;

use super::*;

const KERNELS: [(&str, &[u8]); 5] = [
    ("5.10", include_bytes!("../../../../tests/data/btf/5.10.gz")),
    ("6.1", include_bytes!("../../../../tests/data/btf/6.1.gz")),
    ("6.12", include_bytes!("../../../../tests/data/btf/6.12.gz")),
    ("6.18", include_bytes!("../../../../tests/data/btf/6.18.gz")),
    ("7.2", include_bytes!("../../../../tests/data/btf/7.2.gz")),
];

/// Stands for a member that a kernel does not have.
const NONE: u32 = u32::MAX;

/// One column per kernel above.
const PAHOLE: [(&str, [u32; KERNELS.len()]); Offsets::MEMBERS.len()] = [
    ("task_struct.files", [2808, 3048, 3048, 1824, 3416]),
    ("task_struct.tgid", [2236, 2420, 2436, 1268, 2812]),
    ("task_struct.pid", [2232, 2416, 2432, 1264, 2808]),
    ("task_struct.comm", [2736, 2976, 2976, 1752, 3344]),
    ("files_struct.fdt", [32, 32, 32, 32, 32]),
    ("fdtable.max_fds", [0, 0, 0, 0, 0]),
    ("fdtable.fd", [8, 8, 8, 8, 8]),
    ("file.f_inode", [32, 32, 40, 32, 32]),
    ("file.f_op", [40, 40, 16, 8, 8]),
    ("file.private_data", [200, 200, 32, 24, 24]),
    ("file.f_flags", [64, 64, 48, 40, 40]),
    ("file.f_count", [56, 56, 0, NONE, NONE]),
    ("file.f_ref", [NONE, NONE, NONE, 176, 168]),
    ("inode.i_mode", [0, 0, 0, 0, 0]),
    ("inode.i_ino", [64, 64, 64, 64, 64]),
    ("socket.type", [4, 4, 4, 4, 4]),
    ("socket.sk", [24, 24, 24, 24, 24]),
    ("sock.__sk_common.skc_family", [16, 16, 16, 16, 16]),
    ("sock.__sk_common.skc_daddr", [0, 0, 0, 0, 0]),
    ("sock.__sk_common.skc_rcv_saddr", [4, 4, 4, 4, 4]),
    ("sock.__sk_common.skc_num", [14, 14, 14, 14, 14]),
    ("sock.__sk_common.skc_dport", [12, 12, 12, 12, 12]),
    ("sock.__sk_common.skc_v6_daddr", [56, 56, 56, 56, 56]),
    ("sock.__sk_common.skc_v6_rcv_saddr", [72, 72, 72, 72, 72]),
    ("sock.__sk_common.skc_net.net", [48, 48, 48, 48, 48]),
    ("sock.sk_err", [568, 544, 284, 284, 284]),
    ("sock.sk_shutdown", [626, 610, 571, 575, 591]),
    ("sock.sk_protocol", [540, 516, 574, 532, 540]),
    ("net.ns.inum", [136, 144, 136, 176, 280]),
    ("unix_sock.addr", [760, 776, 776, 784, 800]),
    ("unix_sock.peer", [848, 864, 864, 872, 872]),
    ("unix_address.len", [4, 4, 4, 4, 4]),
    ("unix_address.name", [12, 8, 8, 8, 8]),
    ("linux_binprm.filename", [96, 96, 96, 96, 112]),
];

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut out)
        .unwrap();
    out
}

#[test]
fn five_kernels_have_every_member_where_pahole_says() {
    for (column, (kernel, bytes)) in KERNELS.into_iter().enumerate() {
        let bytes = unpack(bytes);
        let btf = Btf::parse(&bytes).unwrap();
        let (mut expected, mut absent) = (Offsets::ZERO, Vec::new());
        for (index, (structure, member)) in Offsets::MEMBERS.iter().enumerate() {
            let (name, offsets) = PAHOLE[index];
            assert_eq!(name, format!("{structure}.{member}"));
            match offsets[column] {
                NONE => absent.push((*structure, *member)),
                offset => expected.set(index, offset),
            }
        }
        let (offsets, missing) = offsets(&btf);
        let missing: Vec<_> = missing.iter().map(|m| (m.structure, m.member)).collect();
        assert_eq!(missing, absent, "{kernel}");
        assert!(
            absent.iter().all(|member| OPTIONAL.contains(member)),
            "{kernel}"
        );
        assert_eq!(offsets, expected, "{kernel}");
    }
}

#[test]
fn real_bitfields_are_seen() {
    for (kernel, bytes) in KERNELS {
        let bytes = unpack(bytes);
        let btf = Btf::parse(&bytes).unwrap();
        let member = btf
            .member_offset("task_struct", "no_cgroup_migration")
            .unwrap();
        assert_eq!(member.bitfield.unwrap().bits, 1, "{kernel}");
    }
}

#[test]
fn truncated_kernels_are_survived() {
    let bytes = unpack(KERNELS[4].1);
    for len in (0..bytes.len()).step_by(97) {
        assert!(Btf::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
}
