//! A binary of 200 MB with 400,000 functions.

use std::process::Command;
use std::time::Duration;

use crate::harness::{alone, poll, run, session, start};
use remora::profile::kernel::Targets;
use remora::profile::session::Options;

#[test]
fn two_hundred_megabytes() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let assembly = directory.path().join("large.s");
    // Functions with a frame each, and a loop in the last one.
    std::fs::write(
        &assembly,
        ".text\n.rept 400000\n.cfi_startproc\nsub $24,%rsp\n.cfi_adjust_cfa_offset 24\n\
         .skip 480,0x90\nadd $24,%rsp\n.cfi_adjust_cfa_offset -24\nret\n.cfi_endproc\n.endr\n\
         .globl busy\n.type busy,@function\nbusy:\n.cfi_startproc\nsub $24,%rsp\n\
         .cfi_adjust_cfa_offset 24\n1: jmp 1b\n.cfi_endproc\n.size busy,.-busy\n\
         .globl main\n.type main,@function\nmain:\n.cfi_startproc\nsub $40,%rsp\n\
         .cfi_adjust_cfa_offset 40\ncall busy\n.cfi_endproc\n.size main,.-main\n\
         .section .note.GNU-stack,\"\",@progbits\n",
    )
    .unwrap();
    let program = directory.path().join("large");
    run(Command::new("gcc").arg(&assembly).arg("-o").arg(&program));
    let size = std::fs::metadata(&program).unwrap().len();
    assert!(size > 200_000_000, "{size}");
    let running = start(&mut Command::new(&program));
    let Some(mut session) = session(Options {
        targets: Targets {
            pids: vec![running.pid()],
            ..Targets::default()
        },
        ..Options::default()
    }) else {
        return;
    };
    poll(&mut session, Duration::from_secs(3));
    let prepared = session.prepared().iter().max_by_key(|p| p.rows).unwrap();
    eprintln!(
        "{size} bytes: {} rows in {} bytes, {:?}",
        prepared.rows, prepared.bytes, prepared.took
    );
    // Two rows for each function, as each begins as the one before it ended.
    assert!(prepared.rows > 800_000 && prepared.bytes <= prepared.rows as u64 * 8);
    let profile = session.finish().unwrap();
    let process = profile
        .processes
        .iter()
        .find(|p| p.unwinding.total() > 0)
        .unwrap();
    assert!(
        process.unwinding.success().unwrap() > 0.9,
        "{:?}",
        process.unwinding
    );
}
