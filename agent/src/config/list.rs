//! Values of settings: one, or a list.

use super::raw::Given;

/// The items of a list: as they are from a file, separated by commas from elsewhere.
pub(super) fn items(given: &Given) -> Vec<&str> {
    let comma = |text| -> Vec<&str> { str::split(text, ',').collect() };
    let parts: Vec<&str> = if given.list {
        given.values.iter().map(String::as_str).collect()
    } else {
        given
            .values
            .iter()
            .flat_map(|text| comma(text.as_str()))
            .collect()
    };
    parts
        .into_iter()
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// The only value.
pub(super) fn one(given: &Given) -> Result<&str, String> {
    match given.values.as_slice() {
        [value] if !given.list => Ok(value),
        _ => Err("it takes one value, not a list".to_owned()),
    }
}
