//! Container id and pod UID from the path of a cgroup.
//!
//! Runtimes put the id, 64 hex digits, into the last part of the path that is theirs,
//! with a prefix and suffix of their own: `docker-ID.scope`, `cri-containerd-ID.scope`,
//! `crio-ID.scope`, `libpod-ID.scope`, or the bare id. Kubelet puts `pod` and the UID into a
//! part above it, or, where one side counts in systemd's slices and the other does not, the
//! runtime writes both into one: `kubepods-burstable-podUID.slice:cri-containerd:ID`.

/// What a cgroup path tells.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Container {
    /// 64 lower-case hex digits.
    pub(super) id: Option<String>,
    /// With dashes, or 32 hex digits for static pods.
    pub(super) pod_uid: Option<String>,
}

/// Reads `/proc/PID/cgroup` (cgroups(7)). Of several hierarchies the first that tells counts.
pub(super) fn from_cgroup(text: &str) -> Container {
    let mut found = Container::default();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        // The innermost container is meant, and it may have cgroups of its own below.
        for part in path.rsplit('/') {
            if found.id.is_none() {
                found.id = container_id(part);
            }
            if found.pod_uid.is_none() {
                found.pod_uid = part.rsplit(':').find_map(pod_uid);
            }
        }
        if found.id.is_some() {
            break;
        }
    }
    found
}

fn container_id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    // The monitor of a container runs beside it, not in it.
    if prefix.ends_with("conmon") || id.len() != 64 || !is_hex(id) {
        return None;
    }
    Some(id.to_owned())
}

fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (_, uid) = name.rsplit_once("pod")?;
    let uid = uid.replace('_', "-");
    let dashed = uid.len() == 36
        && uid.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && uid.split('-').all(is_hex);
    (dashed || (uid.len() == 32 && is_hex(&uid))).then_some(uid)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4c5e6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80";
    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn ids_are_found_in_the_paths_of_all_runtimes() {
        let flat = UID.replace('-', "_");
        let hash = "00112233445566778899aabbccddeeff";
        let pod =
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{flat}.slice");
        let (id, uid, none) = (Some(ID), Some(UID), None);
        let cases: &[(String, Option<&str>, Option<&str>)] = &[
            (format!("0::/system.slice/docker-{ID}.scope"), id, none),
            (
                format!("12:pids:/docker/{ID}\n11:cpu:/docker/{ID}"),
                id,
                none,
            ),
            (
                format!("0::/docker/{ID}/system.slice/nginx.service"),
                id,
                none,
            ),
            (format!("0::{pod}/cri-containerd-{ID}.scope"), id, uid),
            (format!("0::{pod}/crio-{ID}.scope"), id, uid),
            (format!("0::{pod}/crio-conmon-{ID}.scope"), none, uid),
            (
                format!("4:memory:/kubepods/besteffort/pod{UID}/{ID}"),
                id,
                uid,
            ),
            (format!("0::/kubepods/pod{hash}/{ID}"), id, Some(hash)),
            (
                format!(
                    "0::/system.slice/containerd.service/kubepods-pod{flat}.slice:cri-containerd:{ID}"
                ),
                id,
                uid,
            ),
            (
                format!("0::/kubelet/kubepods-burstable-pod{flat}.slice:cri-containerd:{ID}/init"),
                id,
                uid,
            ),
            (
                format!("9:pids:/x/kubepods-pod{UID}.slice:crio-conmon:{ID}"),
                none,
                uid,
            ),
            (
                format!("0::/a/kubepods-pod{hash}.slice:crio:{ID}"),
                id,
                Some(hash),
            ),
            (format!("0::/podman_pod{UID}x:cri:{ID}"), id, none),
            (
                format!("0::/machine.slice/libpod-{ID}.scope/container"),
                id,
                none,
            ),
            (
                format!("0::/machine.slice/libpod-conmon-{ID}.scope"),
                none,
                none,
            ),
            (
                format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
                ),
                id,
                none,
            ),
            (format!("0::/system.slice/nerdctl-{ID}.scope"), id, none),
            (format!("0::/../../{ID}"), id, none),
            ("0::/system.slice/nginx.service".into(), none, none),
            ("0::/".into(), none, none),
            ("".into(), none, none),
            ("0::/kubepods.slice/podX".into(), none, none),
            (format!("0::/docker/{}", ID.to_uppercase()), none, none),
            (format!("0::/docker/{}", &ID[1..]), none, none),
        ];
        for (text, id, uid) in cases {
            let found = from_cgroup(text);
            assert_eq!(
                (found.id.as_deref(), found.pod_uid.as_deref()),
                (*id, *uid),
                "{text}"
            );
        }
    }

    #[test]
    fn the_innermost_container_counts() {
        let inner = ID.replace('3', "4");
        let found = from_cgroup(&format!("0::/docker/{ID}/docker/{inner}"));
        assert_eq!(found.id, Some(inner));
    }
}
