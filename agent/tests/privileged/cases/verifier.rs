//! The verifier's account of the programs.

use remora::capture::{Capture, CaptureConfig, verified_by_log};

use crate::harness::require_privilege;

/// The log of the verifier says what the kernel says of loaded programs, where it does:
/// from 5.16 on.
#[test]
fn verified_instructions_are_in_the_log() {
    // No descriptor can be opened in this process meanwhile.
    require_privilege!(alone);
    let config = CaptureConfig::default();
    let told: Vec<(String, Option<u32>)> = Capture::load(&config)
        .unwrap()
        .programs()
        .unwrap()
        .into_iter()
        .map(|program| (program.name, program.verified))
        .collect();
    if told.iter().any(|(_, count)| count.is_none()) {
        return;
    }
    let logged: Vec<(String, Option<u32>)> = verified_by_log(&config)
        .unwrap()
        .into_iter()
        .map(|(name, count)| (name.to_owned(), Some(count)))
        .collect();
    assert_eq!(logged, told);
}
