//! Says which kernel object is built in: the committed one, or the one that
//! `REMORA_BPF_OBJECT` names, with which `cargo xtask test` tests what it has rebuilt.

fn main() {
    println!("cargo:rerun-if-env-changed=REMORA_BPF_OBJECT");
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/remora.bpf.o");
    let object = std::env::var("REMORA_BPF_OBJECT").unwrap_or_else(|_| committed.to_owned());
    println!("cargo:rerun-if-changed={object}");
    // Not `REMORA_…`: `cargo run` hands this on to the agent, which refuses settings it does
    // not know.
    println!("cargo:rustc-env=KERNEL_OBJECT={object}");
}
