//! Which columns of a table fit, and how wide they are.

/// Columns between two cells.
pub(super) const GAP: usize = 2;

/// The columns of a table that are shown. A width of `None` is a column left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Columns<const N: usize> {
    pub(super) widths: [Option<usize>; N],
}

impl<const N: usize> Columns<N> {
    /// Fits columns of the `least` widths into `room`: leaves out those of `spare`, in this
    /// order, until the others have room, then hands out what is free to those of `growing`,
    /// a share of it each and up to a width, and the rest to `rest`. Where even that is too
    /// much, `rest` gets what there is.
    pub(super) fn fit(
        room: usize,
        least: [usize; N],
        spare: &[usize],
        growing: &[(usize, usize)],
        rest: usize,
    ) -> Self {
        let mut widths = least.map(Some);
        for &column in spare {
            if total(&widths) <= room {
                break;
            }
            widths[column] = None;
        }
        let share = room.saturating_sub(total(&widths)) / (growing.len() + 1);
        for &(column, most) in growing {
            if let Some(width) = &mut widths[column] {
                *width = (*width + share).min(most).max(*width);
            }
        }
        let others = total(&widths) - widths[rest].unwrap_or(0);
        widths[rest] = Some(room.saturating_sub(others).max(1));
        Self { widths }
    }
}

/// Columns that cells and the gaps between them take.
fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    let (count, sum) = shown.fold((0usize, 0), |(count, sum), width| (count + 1, sum + width));
    sum + GAP * count.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_room_and_the_least_important_go_first() {
        let fit = |room| Columns::fit(room, [6, 4, 8], &[0, 1], &[(1, 10)], 2).widths;
        assert_eq!(fit(22), [Some(6), Some(4), Some(8)]);
        assert_eq!(fit(32), [Some(6), Some(9), Some(13)]);
        assert_eq!(fit(100), [Some(6), Some(10), Some(80)]);
        assert_eq!(fit(21), [None, Some(7), Some(12)]);
        assert_eq!(fit(13), [None, None, Some(13)]);
        assert_eq!(fit(3), [None, None, Some(3)]);
        assert_eq!(fit(0), [None, None, Some(1)]);
    }
}
