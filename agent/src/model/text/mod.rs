//! Text for people: durations, times, sizes, and hostile strings made safe.

pub mod cell;
pub mod duration;
pub mod escape;
pub mod hex;
pub mod nearest;
mod pad;
pub mod size;
pub mod time;
pub mod zone;
