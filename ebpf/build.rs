//! Says which processor the programs are built for: the one that builds them, or
//! `CARGO_CFG_BPF_TARGET_ARCH`, which the dependencies obey as well.

fn main() {
    println!("cargo:rerun-if-env-changed=CARGO_CFG_BPF_TARGET_ARCH");
    let arch = std::env::var("CARGO_CFG_BPF_TARGET_ARCH")
        .unwrap_or_else(|_| std::env::consts::ARCH.to_owned());
    println!("cargo:rustc-check-cfg=cfg(bpf_target_arch, values(\"x86_64\", \"aarch64\"))");
    println!("cargo:rustc-cfg=bpf_target_arch=\"{arch}\"");
}
