//! Which connections are followed: not the agent's own, and what the rules say.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid};
use remora_common::config::{config_flags, verdict};
use remora_common::record::family;

use crate::kernel::read;
use crate::maps::{OWN_ADDRESSES, RULES_CGROUP, RULES_PID, RULES_PORT, config, offset};

/// Key of [`OWN_ADDRESSES`]: a remote address and port, as the other end sees it.
pub type AddressKey = [u8; 20];

/// An address and port of `sk` as a key: the local ones, or the remote ones.
#[inline(always)]
pub fn address_key(sk: u64, of: u16, local: bool) -> AddressKey {
    let mut key: AddressKey = [0; 20];
    let port: u16 = if local {
        read(sk, offset!(sk_num)).unwrap_or(0)
    } else {
        u16::from_be(read(sk, offset!(sk_dport)).unwrap_or(0))
    };
    let [low, high] = port.to_le_bytes();
    key[16] = low;
    key[17] = high;
    if of == family::INET {
        let at = if local {
            offset!(sk_rcv_saddr)
        } else {
            offset!(sk_daddr)
        };
        let address: [u8; 4] = read(sk, at).unwrap_or([0; 4]);
        // IPv4-mapped, so that both kinds of socket give the same key.
        key[10] = 0xff;
        key[11] = 0xff;
        key[12] = address[0];
        key[13] = address[1];
        key[14] = address[2];
        key[15] = address[3];
    } else {
        let at = if local {
            offset!(sk_v6_rcv_saddr)
        } else {
            offset!(sk_v6_daddr)
        };
        let address: [u8; 16] = read(sk, at).unwrap_or([0; 16]);
        let mut i = 0;
        while i < 16 {
            key[i] = address[i];
            i += 1;
        }
    }
    key
}

/// Whether a connection seen for the first time is to be followed.
#[inline(always)]
pub fn wanted(sk: u64, of: u16) -> bool {
    if of != family::UNIX && OWN_ADDRESSES.get_ptr(address_key(sk, of, false)).is_some() {
        return false;
    }
    let flags = config!(flags) & config_flags::RULES;
    if flags == 0 {
        return true;
    }
    if flags & config_flags::TASK_RULES != 0 {
        let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        let rule = RULES_PID.get_ptr(tgid);
        if !allowed(rule, flags & config_flags::TASK_DEFAULT_EXCLUDE != 0) {
            return false;
        }
    }
    if flags & config_flags::CGROUP_RULES != 0 {
        // SAFETY: the helper has no conditions.
        let rule = RULES_CGROUP.get_ptr(unsafe { bpf_get_current_cgroup_id() });
        if !allowed(rule, flags & config_flags::CGROUP_DEFAULT_EXCLUDE != 0) {
            return false;
        }
    }
    if flags & config_flags::PORT_RULES != 0 && of != family::UNIX {
        let local: u16 = read(sk, offset!(sk_num)).unwrap_or(0);
        let remote = u16::from_be(read(sk, offset!(sk_dport)).unwrap_or(0));
        let mut rule = RULES_PORT.get_ptr(local as u32);
        if rule.is_none() {
            rule = RULES_PORT.get_ptr(remote as u32);
        }
        return allowed(rule, flags & config_flags::PORT_DEFAULT_EXCLUDE != 0);
    }
    true
}

#[inline(always)]
fn allowed(rule: Option<*const u8>, default_exclude: bool) -> bool {
    match rule {
        // SAFETY: a valid map value.
        Some(rule) => unsafe { *rule & !verdict::KEPT == verdict::INCLUDE },
        None => !default_exclude,
    }
}
