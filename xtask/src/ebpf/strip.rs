//! Makes the kernel object small: BTF stays, everything that no loader reads goes.

use anyhow::Result;
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Removes DWARF, which BTF was made from, and the relocations of BTF, which only a
/// linker applies: in a linked object the offsets are final.
///
/// # Errors
/// The bytes are not an ELF object.
pub(crate) fn debug_info(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if [&b".debug_"[..], b".rel.debug_", b".rel.BTF"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            section.delete = true;
        }
    }
    // LLVM keeps the names of sections and symbols in one table; the writer wants two.
    if !builder
        .sections
        .iter()
        .any(|section| section.name.as_slice() == b".shstrtab")
    {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}
