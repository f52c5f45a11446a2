//! Names and mappings for the places that samples were taken at.

use super::{CodeRange, Collector, Frame};
use crate::profile::model::{
    Builder, Full, Function, Kind, Line, LocationId, Mapping, MappingId, StringId,
};
use crate::profile::symbols::{Source, Symbol, Symbols};

impl Collector {
    /// A location for every frame, `None` where there was no room.
    pub(super) fn locations(
        &self,
        builder: &mut Builder,
        symbols: &mut dyn Symbols,
    ) -> Vec<Option<LocationId>> {
        let mut out = vec![None; self.frames.len()];
        // In the order of their sources, so that each is opened once.
        let mut sorted: Vec<(Frame, usize)> = self.frames.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        for group in sorted.chunk_by(|(a, _), (b, _)| source(a) == source(b)) {
            let addresses: Vec<u64> = group
                .iter()
                .map(|(frame, _)| symbol_address(frame))
                .collect();
            let mut named: Vec<Vec<Symbol>> = vec![Vec::new(); group.len()];
            if let Some((kind, index)) = group.first().and_then(|(frame, _)| source(frame)) {
                let source = match kind {
                    SourceKind::Kernel => Some(Source::Kernel),
                    SourceKind::Binary => Some(Source::Binary(index)),
                    SourceKind::Jit => self
                        .seen
                        .get(index as usize)
                        .map(|seen| Source::Jit(seen.info.tgid)),
                };
                if let Some(source) = source {
                    symbols.resolve(source, &addresses, &mut |at, symbol| {
                        if let Some(lines) = named.get_mut(at) {
                            lines.push(symbol);
                        }
                    });
                }
            }
            for ((frame, index), symbols) in group.iter().zip(&named) {
                out[*index] = self.location(builder, frame, symbols).ok();
            }
        }
        out
    }

    fn location(
        &self,
        builder: &mut Builder,
        frame: &Frame,
        symbols: &[Symbol],
    ) -> Result<LocationId, Full> {
        let mut lines = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let name = builder.string(&symbol.name)?;
            let system_name = if symbol.system_name.is_empty() || symbol.system_name == symbol.name
            {
                StringId::NONE
            } else {
                builder.string(&symbol.system_name)?
            };
            let file = builder.string(&symbol.file)?;
            let function = builder.function(Function {
                name,
                system_name,
                file,
                line: symbol.start,
            })?;
            lines.push(Line {
                function,
                line: symbol.line,
                column: symbol.column,
            });
        }
        let (kind, mapping, address) = match *frame {
            Frame::Kernel(address) => (
                Kind::Kernel,
                Some(named_mapping(builder, "[kernel]", 1 << 63)?),
                address,
            ),
            Frame::Binary { binary, address } => {
                let mapping = self.binary_mapping(builder, binary, address)?;
                (Kind::Native, mapping, address)
            }
            Frame::Jit { address, .. } => (
                Kind::Jit,
                Some(named_mapping(builder, "[jit]", 0)?),
                address,
            ),
            Frame::Unknown { address } => (Kind::Unknown, None, address),
        };
        builder.location(kind, mapping, address, &lines)
    }

    /// The mapping of a binary in its own addresses, so that it is one for all processes.
    fn binary_mapping(
        &self,
        builder: &mut Builder,
        binary: u32,
        address: u64,
    ) -> Result<Option<MappingId>, Full> {
        let Some(info) = self.binaries.get(binary as usize) else {
            return Ok(None);
        };
        let holds =
            |c: &&CodeRange| (c.address..c.address.saturating_add(c.size)).contains(&address);
        let Some(code) = info.code.iter().find(holds).or(info.code.first()) else {
            return Ok(None);
        };
        let mapping = Mapping {
            file: builder.string(&info.path)?,
            build_id: builder.string(&info.build_id)?,
            start: code.address,
            end: code.address.saturating_add(code.size),
            offset: code.offset,
        };
        builder.mapping(mapping).map(Some)
    }
}

fn named_mapping(builder: &mut Builder, name: &str, start: u64) -> Result<MappingId, Full> {
    let file = builder.string(name)?;
    builder.mapping(Mapping {
        file,
        build_id: StringId::NONE,
        start,
        end: if start == 0 { 1 << 63 } else { u64::MAX },
        offset: 0,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    Kernel,
    Binary,
    Jit,
}

fn source(frame: &Frame) -> Option<(SourceKind, u32)> {
    match *frame {
        Frame::Kernel(_) => Some((SourceKind::Kernel, 0)),
        Frame::Binary { binary, .. } => Some((SourceKind::Binary, binary)),
        Frame::Jit { process, .. } => Some((SourceKind::Jit, process)),
        Frame::Unknown { .. } => None,
    }
}

fn symbol_address(frame: &Frame) -> u64 {
    match *frame {
        Frame::Kernel(address)
        | Frame::Binary { address, .. }
        | Frame::Jit { address, .. }
        | Frame::Unknown { address } => address,
    }
}
