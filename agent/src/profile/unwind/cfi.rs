//! Rows from DWARF call frame information: `.eh_frame` (System V ABI, AMD64, section
//! 4.2.4) and `.debug_frame` (DWARF 5, section 6.4).

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, EndianSlice, LittleEndian, Operation,
    Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, X86_64,
};
use remora_common::profile::{Rule, cfa, rbp};

use super::{Rows, Rules};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// A section and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Address of its first byte.
    pub address: u64,
}

/// What is needed besides the section.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Address of `.text`, for encodings relative to it.
    pub text: u64,
    /// Address of `.got`, likewise.
    pub got: u64,
    /// Lowest address of the binary: rows are relative to it.
    pub base: u64,
    /// First address behind its code.
    pub end: u64,
}

/// Functions that were read and those that were not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Read {
    /// Functions with rows.
    pub functions: u64,
    /// Functions whose information is malformed.
    pub malformed: u64,
}

/// Adds the rows of `.eh_frame`.
pub fn eh_frame(section: Section<'_>, layout: Layout, rules: &mut Rules, rows: &mut Rows) -> Read {
    let frames = EhFrame::new(section.bytes, LittleEndian);
    let bases = BaseAddresses::default()
        .set_eh_frame(section.address)
        .set_text(layout.text)
        .set_got(layout.got);
    read(&frames, &bases, layout, rules, rows)
}

/// Adds the rows of `.debug_frame`.
pub fn debug_frame(bytes: &[u8], layout: Layout, rules: &mut Rules, rows: &mut Rows) -> Read {
    let mut frames = DebugFrame::new(bytes, LittleEndian);
    frames.set_address_size(8);
    read(&frames, &BaseAddresses::default(), layout, rules, rows)
}

fn read<'a, S>(
    section: &S,
    bases: &BaseAddresses,
    layout: Layout,
    rules: &mut Rules,
    rows: &mut Rows,
) -> Read
where
    S: UnwindSection<Bytes<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    let mut done = Read::default();
    let mut context = UnwindContext::new();
    let mut entries = section.entries(bases);
    // The common information of the last function: neighbours share it.
    let mut last = None;
    loop {
        let partial = match entries.next() {
            Ok(Some(CieOrFde::Fde(partial))) => partial,
            Ok(Some(CieOrFde::Cie(_))) => continue,
            Ok(None) => return done,
            Err(_) => {
                done.malformed += 1;
                return done;
            }
        };
        let at = partial.cie_offset();
        let fde = partial.parse(|section, bases, offset| match &last {
            Some((known, cie)) if *known == at => Ok(gimli::CommonInformationEntry::clone(cie)),
            _ => section.cie_from_offset(bases, offset),
        });
        let Ok(fde) = fde else {
            done.malformed += 1;
            continue;
        };
        last = Some((at, fde.cie().clone()));
        let (begin, end) = (fde.initial_address(), fde.end_address());
        // Functions that the linker left out begin at 0.
        if begin < layout.base || begin == 0 || end <= begin || end > layout.end {
            continue;
        }
        let signal = fde.is_signal_trampoline();
        let relative = |address: u64| u32::try_from(address - layout.base).ok();
        let Ok(mut unwinding) = fde.rows(section, bases, &mut context) else {
            done.malformed += 1;
            continue;
        };
        let mut whole = true;
        loop {
            match unwinding.next_row() {
                Ok(Some(row)) => {
                    let rule = rule(row, signal, section, fde.cie().encoding());
                    let Some(address) = relative(row.start_address()) else {
                        break;
                    };
                    if !rows.push(address, rules.number(rule)) {
                        return done;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        if let Some(end) = relative(end)
            && !rows.end(end)
        {
            return done;
        }
        done.functions += 1;
        done.malformed += u64::from(!whole);
    }
}

/// The rule of a row.
fn rule<'a, S>(
    row: &UnwindTableRow<usize>,
    signal: bool,
    section: &S,
    encoding: gimli::Encoding,
) -> Rule
where
    S: UnwindSection<Bytes<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    match row.register(X86_64::RA) {
        Some(RegisterRule::Undefined) => return Rule::plain(cfa::ROOT),
        None | Some(RegisterRule::Offset(-8)) => {}
        // The C library's signal trampoline says by expressions what every Linux has.
        Some(_) if signal => return Rule::plain(cfa::SIGNAL),
        Some(_) => return Rule::plain(cfa::UNSUPPORTED),
    }
    let mut out = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => at_register(*register, *offset),
        CfaRule::Expression(expression) => canonical(expression, section, encoding),
    };
    if out.cfa == cfa::UNSUPPORTED {
        return out;
    }
    let saved = match row.register(X86_64::RBP) {
        Some(RegisterRule::Offset(offset)) => Some((rbp::CFA, offset)),
        Some(RegisterRule::Expression(expression)) => {
            match base_and_offset(&expression, section, encoding) {
                Some((X86_64::RBP, offset)) => Some((rbp::RBP, offset)),
                Some((X86_64::RSP, offset)) => Some((rbp::RSP, offset)),
                _ => return Rule::plain(cfa::UNSUPPORTED),
            }
        }
        // Undefined: whatever is in there is not used by callers that say they need it.
        _ => None,
    };
    if let Some((kind, offset)) = saved {
        let Ok(offset) = i32::try_from(offset) else {
            return Rule::plain(cfa::UNSUPPORTED);
        };
        out.rbp = kind;
        out.rbp_offset = offset;
    }
    out
}

fn at_register(register: Register, offset: i64) -> Rule {
    let Ok(offset) = i32::try_from(offset) else {
        return Rule::plain(cfa::UNSUPPORTED);
    };
    let (kind, number) = match register {
        X86_64::RSP => (cfa::RSP, 0),
        X86_64::RBP => (cfa::RBP, 0),
        Register(number @ 0..16) => (cfa::REGISTER, number as u8),
        _ => return Rule::plain(cfa::UNSUPPORTED),
    };
    Rule {
        register: number,
        offset,
        ..Rule::plain(kind)
    }
}

/// The canonical frame address by an expression: a word in the frame (realigned stacks,
/// hand-written assembly), or that of a stub of the procedure linkage table.
fn canonical<'a, S>(
    expression: &UnwindExpression<usize>,
    section: &S,
    encoding: gimli::Encoding,
) -> Rule
where
    S: UnwindSection<Bytes<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    let unsupported = Rule::plain(cfa::UNSUPPORTED);
    let Some(operations) = operations(expression, section, encoding) else {
        return unsupported;
    };
    let offsets = |kind, offset, add| match (i32::try_from(offset), i32::try_from(add)) {
        (Ok(offset), Ok(add)) => Rule {
            offset,
            add,
            ..Rule::plain(kind)
        },
        _ => unsupported,
    };
    use Operation as Op;
    match operations.as_slice() {
        // ((rip & 15) >= n) << 3 + rsp + 8
        [
            Op::RegisterOffset {
                register: X86_64::RSP,
                offset: 8,
                ..
            },
            Op::RegisterOffset {
                register: X86_64::RA,
                offset: 0,
                ..
            },
            Op::UnsignedConstant { value: 15 },
            Op::And,
            Op::UnsignedConstant { value: pushed },
            Op::Ge,
            Op::UnsignedConstant { value: 3 },
            Op::Shl,
            Op::Plus,
        ] => offsets(cfa::PLT, i64::try_from(*pushed).unwrap_or(i64::MAX), 0),
        [
            Op::RegisterOffset {
                register, offset, ..
            },
        ] => at_register(*register, *offset),
        [
            Op::RegisterOffset {
                register, offset, ..
            },
            Op::Deref { size: 8, .. },
            rest @ ..,
        ] => {
            let add = match rest {
                [] => 0,
                [Op::PlusConstant { value }] => i64::try_from(*value).unwrap_or(i64::MAX),
                _ => return unsupported,
            };
            match *register {
                X86_64::RSP => offsets(cfa::RSP_DEREF, *offset, add),
                X86_64::RBP => offsets(cfa::RBP_DEREF, *offset, add),
                _ => unsupported,
            }
        }
        _ => unsupported,
    }
}

/// An expression that is a register and an offset.
fn base_and_offset<'a, S>(
    expression: &UnwindExpression<usize>,
    section: &S,
    encoding: gimli::Encoding,
) -> Option<(Register, i64)>
where
    S: UnwindSection<Bytes<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    match operations(expression, section, encoding)?.as_slice() {
        [
            Operation::RegisterOffset {
                register, offset, ..
            },
        ] => Some((*register, *offset)),
        _ => None,
    }
}

/// Most operations of an expression that is looked at.
const MAX_OPERATIONS: usize = 16;

fn operations<'a, S>(
    expression: &UnwindExpression<usize>,
    section: &S,
    encoding: gimli::Encoding,
) -> Option<Vec<Operation<Bytes<'a>>>>
where
    S: UnwindSection<Bytes<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    let expression = expression.get(section).ok()?;
    let mut operations = expression.operations(encoding);
    let mut out = Vec::new();
    while let Some(operation) = operations.next().ok()? {
        if out.len() == MAX_OPERATIONS {
            return None;
        }
        out.push(operation);
    }
    Some(out)
}
