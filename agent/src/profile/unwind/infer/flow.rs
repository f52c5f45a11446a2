//! Following the stack pointer through a function.

use std::ops::Range;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::{Gap, States};

/// Most instructions of one function: the largest of C libraries have a few thousand.
const MAX_INSTRUCTIONS: usize = 1 << 15;
/// Largest frame that is believed, bytes.
const MAX_DEPTH: i32 = 16 << 20;

/// What is known before an instruction. Distances are from the canonical frame address
/// (above the return address) down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// To the stack pointer.
    pub(super) depth: Option<i32>,
    /// To the frame pointer, where it is one.
    pub(super) frame: Option<i32>,
    /// To the caller's frame pointer.
    pub(super) saved: Option<i32>,
    /// The frame pointer is no longer the caller's, which was not saved.
    lost: bool,
    /// There is no caller.
    pub(super) root: bool,
}

impl State {
    /// At the first instruction of a function.
    pub(super) const fn called() -> Self {
        Self {
            depth: Some(8),
            frame: None,
            saved: None,
            lost: false,
            root: false,
        }
    }

    /// At the first instruction of a program.
    pub(super) const fn root() -> Self {
        Self {
            root: true,
            ..Self::called()
        }
    }
}

/// Follows the function in `range`. `named` says that something calls it by this address;
/// one of which that is not known must return, to be believed.
pub(super) fn function(
    gap: &Gap,
    range: Range<u64>,
    begin: State,
    named: bool,
    known: &dyn Fn(u64) -> bool,
) -> Option<States> {
    let walk = |roots| {
        let mut walk = Walk {
            gap,
            range: range.clone(),
            known,
            roots,
            states: States::new(),
            jump: None,
            returned: false,
            rootless: false,
            factory: InstructionInfoFactory::new(),
        };
        walk.follow(range.start, begin).then_some(walk)
    };
    let mut walked = walk(!begin.root)?;
    if walked.rootless && !begin.root {
        // What looked like the outermost frame returns: it only cleared a register.
        walked = walk(false)?;
    }
    // Code that is only jumped to and jumps on has no frame of its own: interpreters' parts.
    if !walked.returned && !(named && walked.jump.is_none()) && !begin.root {
        return None;
    }
    walked.tables();
    Some(walked.states)
}

/// Where to look for a function after one that was not understood: behind the next
/// instruction that nothing follows.
pub(super) fn behind_end(gap: &Gap, mut at: u64, limit: u64) -> u64 {
    while at < limit {
        let Some(instruction) = gap.decode(at) else {
            return at + 1;
        };
        at = instruction.next_ip();
        if matches!(
            instruction.flow_control(),
            FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch
        ) {
            break;
        }
    }
    super::padding(gap, at.min(limit), limit)
}

/// Whether an instruction only fills room.
pub(super) fn is_padding(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Ud2 | Mnemonic::Hlt
    ) || (instruction.mnemonic() == Mnemonic::Xchg
        && instruction.op0_register() == instruction.op1_register())
}

struct Walk<'a> {
    gap: &'a Gap,
    range: Range<u64>,
    known: &'a dyn Fn(u64) -> bool,
    /// Whether clearing an unsaved frame pointer makes the outermost frame.
    roots: bool,
    states: States,
    /// The state at an indirect jump: that of the places it may lead to.
    jump: Option<State>,
    /// A path ends with the return address on top of the stack.
    returned: bool,
    /// A path returns from what looked like the outermost frame.
    rootless: bool,
    factory: InstructionInfoFactory,
}

/// What an instruction leads to.
enum Next {
    /// The one behind it.
    On,
    /// The one behind it, if what it calls returns.
    OnIfReturned,
    /// Nothing within the function.
    Nothing,
    /// Another place, and perhaps the one behind it too.
    Branch { target: u64, on: bool },
}

impl Walk<'_> {
    /// Follows all paths from an address; `false` if they are not consistent.
    fn follow(&mut self, begin: u64, state: State) -> bool {
        // Behind a call that never returns there may be anything: what is there gives way.
        let mut doubtful = Vec::new();
        if !self.region(begin, state, &mut doubtful) {
            return false;
        }
        while let Some((at, state)) = doubtful.pop() {
            let others = doubtful.len();
            if !self.region(at, state, &mut doubtful) {
                doubtful.truncate(others);
            }
        }
        true
    }

    /// Follows the paths from an address up to calls, and notes where those return to.
    /// `false` if they are not consistent; nothing is kept of them then.
    fn region(&mut self, begin: u64, state: State, returns: &mut Vec<(u64, State)>) -> bool {
        let mut added = Vec::new();
        let mut paths = vec![(begin, state)];
        while let Some((at, state)) = paths.pop() {
            if let Some((known, _)) = self.states.get(&at)
                && merge(*known, state)
            {
                continue;
            }
            let consistent = !self.states.contains_key(&at)
                && self.states.len() < MAX_INSTRUCTIONS
                && self.visit(at, state, &mut paths, returns).is_some();
            if !consistent {
                for address in added {
                    self.states.remove(&address);
                }
                return false;
            }
            added.push(at);
        }
        true
    }

    /// Follows one instruction.
    fn visit(
        &mut self,
        at: u64,
        state: State,
        paths: &mut Vec<(u64, State)>,
        returns: &mut Vec<(u64, State)>,
    ) -> Option<()> {
        let instruction = self.gap.decode(at)?;
        let (next, after) = self.step(&instruction, state)?;
        let behind = instruction.next_ip();
        // Behind the last byte of a function another one begins.
        let inside = behind != self.range.end;
        match next {
            Next::Nothing => {}
            Next::On if inside => paths.push((behind, after)),
            Next::OnIfReturned if inside => returns.push((behind, after)),
            Next::On | Next::OnIfReturned => {}
            Next::Branch { target, on } => {
                paths.push((target, after));
                if on && inside {
                    paths.push((behind, after));
                }
            }
        }
        let len = u8::try_from(instruction.len()).unwrap_or(1);
        self.states.insert(at, (state, len));
        Some(())
    }

    /// The state behind an instruction; `None` if it cannot be.
    fn step(&mut self, instruction: &Instruction, state: State) -> Option<(Next, State)> {
        let next = match instruction.flow_control() {
            FlowControl::Next => Next::On,
            FlowControl::Return => {
                self.rootless |= state.root;
                self.returned |= state.depth == Some(8);
                return (state.root || (state.depth == Some(8) && kept(&state)))
                    .then_some((Next::Nothing, state));
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                // A call for its return address, which is popped at once.
                if instruction.near_branch_target() == instruction.next_ip() {
                    Next::On
                } else {
                    return Some((Next::OnIfReturned, state));
                }
            }
            FlowControl::IndirectBranch => {
                self.rootless |= state.root;
                self.jump = self.jump.or(Some(state));
                return Some((Next::Nothing, state));
            }
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                return self.branch(instruction, state).map(|next| (next, state));
            }
            _ if instruction.mnemonic() == Mnemonic::Syscall => Next::On,
            _ => return Some((Next::Nothing, state)),
        };
        let after = self.effect(instruction, state);
        after
            .depth
            .is_none_or(|depth| (0..=MAX_DEPTH).contains(&depth) || state.root)
            .then_some((next, after))
    }

    fn branch(&mut self, instruction: &Instruction, state: State) -> Option<Next> {
        let target = instruction.near_branch_target();
        let on = instruction.flow_control() == FlowControl::ConditionalBranch;
        if self.range.contains(&target) {
            return Some(Next::Branch { target, on });
        }
        let balanced = state.depth == Some(8) && kept(&state);
        // Another function takes over, which returns in place of this one.
        if balanced && ((self.known)(target) || !self.gap.range().contains(&target)) {
            self.returned = true;
            self.rootless |= state.root;
            return Some(if on { Next::On } else { Next::Nothing });
        }
        // A part of this one that lies elsewhere: the unlikely paths.
        (self.gap.range().contains(&target) && !(self.known)(target))
            .then_some(Next::Branch { target, on })
    }

    /// What an instruction does to stack and frame pointer.
    fn effect(&mut self, instruction: &Instruction, mut state: State) -> State {
        let first = instruction.op0_register();
        let to_register = instruction.op0_kind() == OpKind::Register;
        let immediate = || i32::try_from(instruction.immediate(1).cast_signed()).ok();
        let shift = || i32::try_from(instruction.memory_displacement64().cast_signed()).ok();
        let plain = instruction.memory_index() == Register::None;
        let base = instruction.memory_base();
        match instruction.mnemonic() {
            Mnemonic::Push | Mnemonic::Pop => {
                let pop = instruction.mnemonic() == Mnemonic::Pop;
                let frame_pointer = to_register && first == Register::RBP;
                if pop && frame_pointer {
                    let at = state.depth;
                    restore(&mut state, at);
                }
                let down = -instruction.stack_pointer_increment();
                state.depth = state.depth.map(|depth| depth + down);
                if !pop && frame_pointer && state.saved.is_none() && !state.lost {
                    state.saved = state.depth;
                }
                if pop && to_register && first == Register::RSP {
                    state.depth = None;
                }
            }
            Mnemonic::Sub | Mnemonic::Add if first == Register::RSP && to_register => {
                let sign = if instruction.mnemonic() == Mnemonic::Sub {
                    1
                } else {
                    -1
                };
                let by = (instruction.op1_kind() != OpKind::Register)
                    .then(immediate)
                    .flatten();
                state.depth = state.depth.zip(by).map(|(depth, by)| depth + sign * by);
            }
            Mnemonic::Lea if first == Register::RSP => {
                state.depth = match base {
                    Register::RSP if plain => state.depth.zip(shift()).map(|(d, by)| d - by),
                    Register::RBP if plain => state.frame.zip(shift()).map(|(f, by)| f - by),
                    _ => None,
                };
            }
            Mnemonic::Mov if to_register && first == Register::RSP => {
                state.depth = (instruction.op1_register() == Register::RBP)
                    .then_some(state.frame)
                    .flatten();
            }
            Mnemonic::Mov if to_register && first == Register::RBP => {
                if instruction.op1_register() == Register::RSP
                    && instruction.op1_kind() == OpKind::Register
                {
                    let at = state.depth;
                    frame(&mut state, at);
                } else if instruction.op1_kind() == OpKind::Memory && base == Register::RSP && plain
                {
                    let from = state.depth.zip(shift()).map(|(depth, by)| depth - by);
                    restore(&mut state, from);
                } else {
                    clobber(&mut state);
                }
            }
            Mnemonic::Lea if first == Register::RBP && base == Register::RSP && plain => {
                let at = state.depth.zip(shift()).map(|(depth, by)| depth - by);
                frame(&mut state, at);
            }
            Mnemonic::Mov
                if instruction.op1_register() == Register::RBP
                    && base == Register::RSP
                    && plain
                    && state.saved.is_none()
                    && !state.lost =>
            {
                state.saved = state.depth.zip(shift()).map(|(depth, by)| depth - by);
            }
            Mnemonic::Leave => {
                state.depth = state.frame;
                let at = state.depth;
                restore(&mut state, at);
                state.depth = state.depth.map(|depth| depth - 8);
            }
            Mnemonic::Xor
                if self.roots
                    && first.full_register() == Register::RBP
                    && instruction.op1_register() == first
                    && state.saved.is_none()
                    && !state.lost =>
            {
                // System V ABI, AMD64, section 3.4.1: the outermost frame has none.
                state.root = true;
            }
            _ => other(&mut self.factory, instruction, &mut state),
        }
        state
    }
}

/// Any other instruction: what it writes is not known any more.
fn other(factory: &mut InstructionInfoFactory, instruction: &Instruction, state: &mut State) {
    for used in factory.info(instruction).used_registers() {
        use iced_x86::OpAccess as Access;
        let writes = matches!(
            used.access(),
            Access::Write | Access::ReadWrite | Access::CondWrite | Access::ReadCondWrite
        );
        if !writes {
            continue;
        }
        match used.register().full_register() {
            Register::RBP => clobber(state),
            Register::RSP => {
                let by = instruction.stack_pointer_increment();
                let stack = instruction.is_stack_instruction() && by != 0;
                state.depth = state.depth.filter(|_| stack).map(|depth| depth - by);
            }
            _ => {}
        }
    }
}

/// The frame pointer becomes one.
fn frame(state: &mut State, at: Option<i32>) {
    clobber(state);
    state.frame = at;
}

/// The frame pointer gets some value.
fn clobber(state: &mut State) {
    state.frame = None;
    state.lost |= state.saved.is_none();
}

/// The frame pointer is loaded from `at`: the caller's, if that was saved there.
fn restore(state: &mut State, at: Option<i32>) {
    state.frame = None;
    if state.saved.is_some() && state.saved == at {
        state.saved = None;
    } else {
        clobber(state);
    }
}

/// Whether the caller's frame pointer is in its register again.
fn kept(state: &State) -> bool {
    !state.lost && state.saved.is_none() && state.frame.is_none()
}

/// Whether two states at one place are one: they may differ in what is not used.
fn merge(a: State, b: State) -> bool {
    a.depth == b.depth && a.root == b.root
}

impl Walk<'_> {
    /// The places that tables of jumps lead to: code of the function that no path reached,
    /// in the state of the jump. Each is believed only if it is consistent.
    fn tables(&mut self) {
        let Some(state) = self.jump else {
            return;
        };
        let mut at = self.range.start;
        while at < self.range.end {
            if let Some((_, len)) = self.states.get(&at) {
                at += u64::from(*len);
                continue;
            }
            let Some(instruction) = self.gap.decode(at) else {
                break;
            };
            if is_padding(&instruction) {
                at = instruction.next_ip();
                continue;
            }
            if !self.follow(at, state) {
                at = behind_end(self.gap, at, self.range.end);
            }
        }
    }
}
