//! Text for people: durations, times, sizes, and hostile strings made safe.

pub mod duration;
pub mod escape;
pub mod size;
pub mod time;
