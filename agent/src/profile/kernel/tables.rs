//! Tables of unwind rows in the kernel, one map each, exactly as large as needed, and the
//! rules they refer to.

#![allow(unsafe_code, reason = "shares memory with the kernel")]

use std::io;
use std::os::fd::AsFd;

use aya::maps::MapData;
use remora_common::profile::{BLOCK_ROWS, Block, Rule, TABLES};

use super::sys::{self, Shared};

/// The array of tables.
pub struct Tables {
    outer: MapData,
    rules: Shared<Rule>,
    /// Rules written.
    written: usize,
    free: Vec<u32>,
    next: u32,
    bytes: u64,
    limit: u64,
}

/// A table in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its index.
    pub index: u32,
    /// Kernel memory it takes.
    pub bytes: u64,
}

/// Most kernel memory of all tables together, bytes.
const LIMIT: u64 = 256 << 20;

impl Tables {
    pub(super) fn new(outer: MapData, rules: Shared<Rule>) -> Self {
        Self {
            outer,
            rules,
            written: 0,
            free: Vec::new(),
            next: 0,
            bytes: 0,
            limit: LIMIT,
        }
    }

    /// Kernel memory of all tables, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the rules that are new. Before tables that refer to them.
    pub fn write_rules(&mut self, rules: &[Rule]) {
        if let Some(new) = rules.get(self.written..)
            && self.rules.write(self.written, new)
        {
            self.written = rules.len();
        }
    }

    /// Puts a table into the kernel: one map made, filled through its memory, and
    /// entered, whatever the number of rows.
    ///
    /// # Errors
    /// No room, or those of the system calls.
    pub fn publish(&mut self, blocks: &[Block]) -> io::Result<Published> {
        let bytes = (size_of_val(blocks) as u64).next_multiple_of(4096);
        if self.bytes + bytes > self.limit {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.next < TABLES => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(io::ErrorKind::QuotaExceeded.into()),
        };
        let result = self.fill(index, blocks);
        match result {
            Ok(()) => {
                self.bytes += bytes;
                Ok(Published { index, bytes })
            }
            Err(error) => {
                self.free.push(index);
                Err(error)
            }
        }
    }

    fn fill(&mut self, index: u32, blocks: &[Block]) -> io::Result<()> {
        let entries = u32::try_from(blocks.len()).map_err(io::Error::other)?;
        let map = sys::inner_array(size_of::<Block>() as u32, entries)?;
        let mut memory: Shared<Words> = Shared::map(map.as_fd(), blocks.len())?;
        for (at, block) in blocks.iter().enumerate() {
            memory.write(at, &[Words(*block)]);
        }
        drop(memory);
        sys::set_inner(self.outer.fd().as_fd(), index, map.as_fd())
    }

    /// Takes a table out again. No mapping may refer to it any more.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn remove(&mut self, table: Published) -> io::Result<()> {
        sys::clear_inner(self.outer.fd().as_fd(), table.index)?;
        self.free.push(table.index);
        self.bytes -= table.bytes;
        Ok(())
    }
}

/// A block, as a value of a map.
#[derive(Clone, Copy)]
#[repr(C)]
struct Words([u32; BLOCK_ROWS]);

// SAFETY: an array of integers: no padding, no invalid value.
unsafe impl remora_common::pod::Pod for Words {}
