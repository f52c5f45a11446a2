// Known stacks in Rust: a closure behind a trait object.
use std::cell::Cell;
use std::hint::black_box;

fn spin(mut x: u64, rounds: u64) -> u64 {
    for _ in 0..rounds {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    x
}

// Each pass takes another time: passes of one length fall into step with the sampling clock,
// and the samples then show a part of the pass instead of its shares.
fn rounds(pass: &Cell<u64>) -> u64 {
    pass.set(pass.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    500 + (pass.get() >> 33) % 1000
}

#[inline(never)]
fn hot(x: u64, rounds: u64) -> u64 {
    black_box(spin(black_box(x), 70 * rounds))
}

#[inline(never)]
fn cold(x: u64, rounds: u64) -> u64 {
    black_box(spin(black_box(x), 30 * rounds))
}

#[inline(never)]
fn chain(depth: u32, leaf: &dyn Fn(u64) -> u64) -> u64 {
    let result = if depth == 0 { leaf(7) } else { chain(depth - 1, leaf) };
    black_box(result) + 1
}

fn main() {
    let room = vec![1u64; 100];
    let pass = Cell::new(1);
    let leaf = move |x: u64| {
        let now = rounds(&pass);
        hot(x, now).wrapping_add(cold(x, now)).wrapping_add(room[3]) >> 8
    };
    loop {
        black_box(chain(20, &leaf));
    }
}
