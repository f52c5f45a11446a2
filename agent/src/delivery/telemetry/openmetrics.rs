//! OpenMetrics 1.0 for scrapers that ask for it.
//!
//! The families are those of the text format 0.0.4. OpenMetrics names a counter without the
//! `_total` of its sample, knows units, and ends with a mark, so that a cut answer is told.

use std::fmt::Write as _;

/// What the answer is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text format 0.0.4 in the words of OpenMetrics: metadata is rewritten, samples stay.
pub(super) fn from_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut help = None;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# HELP ") {
            help = words.split_once(' ');
        } else if let Some(words) = line.strip_prefix("# TYPE ") {
            let (name, kind) = words.split_once(' ').unwrap_or((words, "unknown"));
            let family = match kind {
                "counter" => name.strip_suffix("_total").unwrap_or(name),
                _ => name,
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "# TYPE {family} {kind}");
            let units = ["seconds", "bytes", "ratio"];
            if let Some(unit) = units.iter().find(|unit| has_unit(family, unit)) {
                let _ = writeln!(out, "# UNIT {family} {unit}");
            }
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(out, "# HELP {family} {}", help.replace('"', "\\\""));
            }
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push_str("# EOF\n");
    out
}

fn has_unit(family: &str, unit: &str) -> bool {
    family
        .strip_suffix(unit)
        .is_some_and(|rest| rest.ends_with('_'))
}

/// Whether a request's `Accept` (RFC 9110, section 12.5.1) prefers OpenMetrics 1.0 to the text
/// format, which is the answer to who does not say, or has no preference.
pub(super) fn is_preferred(accept: &str) -> bool {
    let (mut open, mut text, mut any) = (0, None, 0);
    for range in accept.split(',') {
        let mut words = range.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1000, None);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = thousandths(value),
                "version" => version = Some(value.to_owned()),
                _ => {}
            }
        }
        match kind.as_str() {
            // A scraper that knows the draft, 0.0.1, reads 1.0.0 as well.
            "application/openmetrics-text"
                if matches!(version.as_deref(), None | Some("1.0.0" | "0.0.1")) =>
            {
                open = open.max(quality);
            }
            "text/plain" if matches!(version.as_deref(), None | Some("0.0.4")) => {
                text = text.max(Some(quality));
            }
            "text/*" | "*/*" => any = any.max(quality),
            _ => {}
        }
    }
    open > 0 && open >= text.unwrap_or(any)
}

/// A quality of 0 to 1, in thousandths; 0 for what is none.
fn thousandths(value: &str) -> u32 {
    let quality = value.parse::<f64>().unwrap_or(0.0).clamp(0.0, 1.0);
    (quality * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_in_the_words_of_openmetrics() {
        let text = "# HELP a_seconds_total CPU \"time\".\n# TYPE a_seconds_total counter\n\
                    a_seconds_total 1.5\n# HELP b_bytes Size.\n# TYPE b_bytes gauge\n\
                    b_bytes{x=\"# TYPE y\"} 2\n# HELP c What.\n# TYPE c gauge\nc 1\n";
        assert_eq!(
            from_text(text),
            "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
             # HELP a_seconds CPU \\\"time\\\".\na_seconds_total 1.5\n\
             # TYPE b_bytes gauge\n# UNIT b_bytes bytes\n# HELP b_bytes Size.\n\
             b_bytes{x=\"# TYPE y\"} 2\n# TYPE c gauge\n# HELP c What.\nc 1\n# EOF\n"
        );
    }

    #[test]
    fn who_asks_gets_it() {
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text;version=\"1.0.0\";charset=utf-8",
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "*/*;q=0.1, APPLICATION/OpenMetrics-Text;q=0.2",
        ] {
            assert!(is_preferred(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=nonsense",
            "application/openmetrics-textual",
        ] {
            assert!(!is_preferred(accept), "{accept}");
        }
    }
}
