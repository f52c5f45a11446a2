//! Flame graphs in a browser: zoomed, searched, by mouse, keyboard and address.

use std::path::Path;
use std::process::Command;

use remora::output::profile::collapse::Collapsed;
use remora::output::profile::diff::Compared;
use remora::output::profile::svg;
use serde_json::Value;

use crate::{output, profile, skipped};

/// A flame graph that operates itself: the file as it is written, and a script more.
fn graph(folder: &Path) -> String {
    let compared = Compared::alone(&Collapsed::new(&profile::profile(false), None));
    let title = svg::Title {
        title: "CPU profile",
        subtitle: "98 samples",
    };
    let mut bytes = Vec::new();
    svg::write(&mut bytes, &compared, &title).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (picture, _) = text.rsplit_once("</svg>").unwrap();
    let driver = include_str!("flame.js");
    let path = folder.join("flame.svg");
    let file = format!("{picture}<script><![CDATA[\n{driver}]]></script></svg>");
    std::fs::write(&path, file).unwrap();
    format!("file://{}", path.display())
}

/// What the script saw; `None` without a browser.
fn opened(address: &str) -> Option<Value> {
    if Command::new("chromium").arg("--version").output().is_err() {
        skipped("chromium is not installed");
        return None;
    }
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("timeout");
    browser
        .args(["60", "chromium", "--headless", "--no-sandbox"])
        .args(["--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-sync"])
        .args(["--disable-component-update", "--window-size=1280,900"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", address]);
    let page = output(&mut browser);
    let (_, result) = page
        .split_once("<desc id=\"result\">")
        .unwrap_or_else(|| panic!("the script did not end: {page}"));
    let encoded = result.split('<').next().unwrap();
    Some(serde_json::from_str(&decoded(encoded)).unwrap())
}

/// Percent-encoding, undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn shown(step: &Value, name: &str) -> bool {
    step["frames"][name]["shown"].as_bool().unwrap()
}

fn width(step: &Value, name: &str) -> i64 {
    step["frames"][name]["width"].as_i64().unwrap()
}

#[test]
fn a_browser_zooms_and_searches() {
    let folder = tempfile::tempdir().unwrap();
    let Some(seen) = opened(&graph(folder.path())) else {
        return;
    };
    // 98 samples over 1,180 units: 80 in `serve`, 8 in `node`.
    let step = &seen["opened"];
    assert_eq!((width(step, "all"), width(step, "serve")), (1180, 963));
    assert_eq!((width(step, "node"), width(step, "price")), (96, 722));
    assert!(!step["reset"].as_bool().unwrap() && step["matched"] == "");
    let colour = &step["frames"]["price"]["colour"];

    let details = seen["hovered"]["details"].as_str().unwrap();
    assert!(details.starts_with("serve (80 samples, 81.6"), "{details}");

    let step = &seen["zoomed"];
    assert!(shown(step, "all") && shown(step, "main") && !shown(step, "node"));
    assert_eq!((width(step, "serve"), width(step, "main")), (1180, 1180));
    assert_eq!(width(step, "price"), 885, "60 of 80");
    assert!(step["reset"].as_bool().unwrap());

    // Of what is zoomed into. The browser's own search does not open.
    let step = &seen["searched"];
    assert_eq!(seen["prevented"], true);
    assert_eq!(step["matched"], "Matched: 75.0 %");
    assert_ne!(&step["frames"]["price"]["colour"], colour);
    assert_eq!(seen["cleared"]["matched"], "");
    assert_eq!(&seen["cleared"]["frames"]["price"]["colour"], colour);
    // What is no regular expression is looked for as it is.
    // 15 of 80 are half way between two roundings.
    let matched = seen["not_a_pattern"]["matched"].as_str().unwrap();
    assert!(
        matches!(matched, "Matched: 18.7 %" | "Matched: 18.8 %"),
        "{matched}"
    );
    assert_eq!(seen["asked"], 2);

    let step = &seen["escaped"];
    assert_eq!((width(step, "serve"), &step["matched"]), (963, &"".into()));
    assert!(shown(step, "node"));
    // By the keyboard.
    assert_eq!(width(&seen["entered"], "node"), 1180);
    assert!(!shown(&seen["entered"], "serve"));
    assert_eq!(width(&seen["reset"], "serve"), 963);
}

#[test]
fn an_address_shows_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let address = graph(folder.path());
    // The first frame is the root of all; its first child comes next.
    let Some(seen) = opened(&format!("{address}?zoom=1&search=render")) else {
        return;
    };
    let step = &seen["opened"];
    assert_eq!(width(step, "node"), 1180);
    assert_eq!(step["matched"], "Matched: 100.0 %");
    // One that makes no sense is not followed.
    let seen = opened(&format!("{address}?zoom=99999&search=")).unwrap();
    assert_eq!(width(&seen["opened"], "serve"), 963);
}
