//! The name that somebody meant who wrote another.

/// The known name closest to a mistyped one, if one is close: few letters differ.
#[must_use]
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// As [`did_you_mean`], for names of words with `_` between them: one that is not close by
/// its letters is close if most of its words are among those that were typed.
#[must_use]
pub fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    did_you_mean(typed, known.clone()).or_else(|| {
        known
            .into_iter()
            .map(|name| (shared(typed, name), name))
            .filter(|(shared, _)| *shared > 0)
            .max_by_key(|(shared, name)| (*shared, usize::MAX - distance(typed, name)))
            .map(|(_, name)| name)
    })
}

/// Words of `typed` that `name` has as well. A word counts as long as it is, so that
/// `bytes` or `max` alone does not stand against the word that tells what is meant; one that
/// begins another (`dir`, `directory`) is the same.
fn shared(typed: &str, name: &str) -> usize {
    let same =
        |a: &str, b: &str| a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a));
    typed
        .split('_')
        .filter(|word| name.split('_').any(|other| same(word, other)))
        .map(str::len)
        .sum()
}

/// Edits (insert, delete, replace) that turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_close_only() {
        let known = ["ring_bytes", "include", "exclude"];
        assert_eq!(did_you_mean("ring_byte", known), Some("ring_bytes"));
        assert_eq!(did_you_mean("inlcude", known), Some("include"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn words_tell_what_letters_do_not() {
        let known = [
            "spool_dir",
            "spool_bytes",
            "spool_sync",
            "ring_bytes",
            "sampling_spans_per_second",
            "sampling_max_spans_per_second",
            "memory_limit",
        ];
        for (typed, meant) in [
            ("spool_directory", Some("spool_dir")),
            ("spool_max_bytes", Some("spool_bytes")),
            ("spans_per_second", Some("sampling_spans_per_second")),
            ("memory", Some("memory_limit")),
            ("ring_buffer_size", Some("ring_bytes")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
