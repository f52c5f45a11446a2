use super::collapse::Collapsed;
use super::diff::Compared;
use super::*;
use crate::output::screen::Screen;
use crate::profile::model::{Event, Unwinding};
use crate::sample_profile::profile;
use std::sync::Arc;

fn folded_by(by: Option<By>) -> String {
    let mut out = Vec::new();
    folded::write(&mut out, &Collapsed::new(&profile(false), by)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn folded_stacks_are_root_first_and_add_up() {
    assert_eq!(
        folded_by(None),
        "node;LazyCompile:*render \"a:b\" <x>&y_[j] 7\n\
         node;[stack cut: no_rows];LazyCompile:*render \"a:b\" <x>&y_[j];[unknown] 1\n\
         shop;main;[shop] 10\n\
         shop;main;serve;ksys_write_[k] 5\n\
         shop;main;serve;price;sum 60\n\
         shop;main;serve;std::vector<int, std::allocator<int> >::push_back(int&&) 15\n"
    );
}

#[test]
fn stacks_are_grouped_by_what_is_asked_for() {
    let route = folded_by(Some(By::Route));
    assert!(
        route.contains("GET /dear;shop;main;serve;price;sum 60\n"),
        "{route}"
    );
    assert!(
        route.contains("[no request];shop;main;[shop] 10\n"),
        "{route}"
    );
    let service = folded_by(Some(By::Service));
    assert!(
        service.contains("webshop;shop;main;serve;price;sum 60\n"),
        "{service}"
    );
    let thread = folded_by(Some(By::Thread));
    assert!(thread.contains("shop;pool/43;main;[shop] 10\n"), "{thread}");
    assert!(thread.contains("node;node/42;LazyCompile"), "{thread}");
}

#[test]
fn the_table_shows_routes_and_functions() {
    let mut out = Vec::new();
    table::write(&mut out, &profile(false), Some(By::Route), &Screen::file()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("SHARE") && lines[0].ends_with("ROUTE"),
        "{text}"
    );
    assert_eq!(lines[1], " 61.22%      60   606ms  GET /dear");
    assert_eq!(lines[2], " 20.41%      20   202ms  GET /cheap");
    assert_eq!(lines[3], " 18.37%      18   181ms  [no request]");
    let sum = lines.iter().find(|line| line.contains("  sum ")).unwrap();
    assert!(sum.starts_with(" 61.22%  61.22%   606ms  sum"), "{sum}");
    let main = lines.iter().find(|line| line.contains("  main ")).unwrap();
    assert!(main.starts_with("  0.00%  91.84%      0  main") || main.contains("91.84%"));
    // What a traced program calls its functions does not reach the terminal as it is.
    assert!(!text.contains('\x1b'));
}

#[test]
fn the_summary_accounts_for_every_sample_and_every_process() {
    let lines = summary::lines(&profile(false), &Screen::file());
    assert_eq!(
        lines,
        [
            "100 samples = 98 in the profile + 2 lost (ring_full 2; in the kernel on CPU 1: 2)",
            "80 of them in requests, 18 outside of any that is known",
            "stacks that reach their root, by process:",
            "  100.0%  90 of 90, 0 lost  shop (41)",
            "   87.5%  7 of 8, 2 lost  node (42): no_rows 1",
        ]
    );
}

#[test]
fn losses_are_named_by_cpu_and_process_also_without_samples() {
    let mut profile = profile(false);
    profile.processes[0].unwinding = Unwinding::default();
    profile.processes[0].lost = 30;
    let nameless = Arc::make_mut(&mut profile.processes[0].info);
    nameless.comm = String::new();
    // 40 CPUs lost 2 samples each, CPU 7 lost 50.
    profile.ledger.lost = [130, 0, 0, 1];
    profile.ledger.seen = 98 + 131;
    profile.ledger.lost_per_cpu = vec![2; 41];
    profile.ledger.lost_per_cpu[7] = 50;
    let lines = summary::lines(&profile, &Screen::file());
    let cpus: Vec<String> = (0..16)
        .map(|cpu| format!("CPU {cpu}: {}", if cpu == 7 { 50 } else { 2 }))
        .collect();
    assert_eq!(
        lines[0],
        format!(
            "229 samples = 98 in the profile + 131 lost (ring_full 130, profile_full 1; \
             in the kernel on {}, 25 more CPUs: 50)",
            cpus.join(", ")
        )
    );
    assert_eq!(
        lines[3..],
        [
            "   87.5%  7 of 8, 2 lost  node (42): no_rows 1",
            "       -  0 of 0, 30 lost  process 41",
            "  99 lost of processes that are not known",
        ]
    );
    assert_eq!(
        summary::losers(&profile).unwrap(),
        "process 41: 30, node (42): 2"
    );
    // None of it is hidden behind the last process that is named.
    for tgid in 100..120 {
        let mut more = profile.processes[1].clone();
        Arc::make_mut(&mut more.info).tgid = tgid;
        profile.processes.push(more);
    }
    let lines = summary::lines(&profile, &Screen::file());
    assert_eq!(
        lines[13..15],
        [
            "   87.5%  77 of 88, 52 lost  12 more processes",
            "  59 lost of processes that are not known"
        ]
    );
    let mut out = Vec::new();
    json::write(&mut out, &profile, None).unwrap();
    let text = String::from_utf8(out).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(summary["lost_per_cpu"][7], 50);
    assert_eq!(summary["processes"][0]["comm"], serde_json::Value::Null);
    assert_eq!(summary["processes"][0]["lost"], 30);
}

#[test]
fn samples_of_cycles_are_shown_as_cycles_and_never_as_time() {
    let mut profile = profile(true);
    profile.event = Event::Cycles { period: 30_000_000 };
    profile.period_ns = 0;
    let mut out = Vec::new();
    table::write(&mut out, &profile, Some(By::Route), &Screen::file()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("CYCLES"), "{text}");
    assert_eq!(lines[1], " 61.22%      60   1.80G  GET /dear");
    let sum = lines.iter().find(|line| line.contains("  sum ")).unwrap();
    assert!(sum.starts_with(" 61.22%  61.22%   1.80G  sum"), "{sum}");

    let pprof = pprof::encode(&profile, None);
    let string = |index: i64| &*pprof.string_table[usize::try_from(index).unwrap()];
    let kind = |kind: &pprof::proto::ValueType| (string(kind.r#type), string(kind.unit));
    assert_eq!(kind(&pprof.sample_type[1]), ("cycles", "count"));
    assert_eq!(kind(&pprof.period_type.unwrap()), ("cycles", "count"));
    assert_eq!(string(pprof.default_sample_type), "cycles");
    assert_eq!(pprof.period, 30_000_000);
    assert_eq!(pprof.sample[0].value, [60, 1_800_000_000]);

    let mut out = Vec::new();
    json::write(&mut out, &profile, None).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    let head: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(
        (&head["event"], &head["period_cycles"]),
        (&"cycles".into(), &30_000_000.into())
    );
    assert!(head["period_ns"].is_null());
    let stack: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(stack["cycles"], 1_800_000_000);
    assert!(stack["cpu_ns"].is_null());

    let mut out = Vec::new();
    firefox::write(&mut out, &profile, None).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let deltas = &parsed["threads"][0]["samples"]["threadCPUDelta"];
    let spent = deltas.as_array().unwrap().iter();
    assert!(
        spent.clone().count() > 0 && spent.clone().all(|delta| *delta == 0),
        "{deltas}"
    );
}

#[test]
fn every_format_that_can_be_read_compares_equal_with_itself() {
    let profile = profile(false);
    for by in [None, Some(By::Route), Some(By::Service), Some(By::Thread)] {
        let new = Collapsed::new(&profile, by);
        let mut files = [Vec::new(), Vec::new(), Vec::new()];
        folded::write(&mut files[0], &new).unwrap();
        json::write(&mut files[1], &profile, by).unwrap();
        pprof::write(&mut files[2], &profile, by).unwrap();
        for (format, file) in files.iter().enumerate() {
            let old = read::parse(file, by).unwrap();
            assert_eq!(old.total(), 98, "format {format}");
            let compared = Compared::between(&old, &new);
            for change in compared.changes() {
                // Separators within names do not survive the folded format.
                if !change.name.text.contains("LazyCompile") {
                    assert_eq!(change.own[0], change.own[1], "{format} {change:?}");
                    assert_eq!(change.total[0], change.total[1], "{format} {change:?}");
                }
            }
            if format > 0 {
                let equal = compared.stacks().all(|(_, [old, new])| old == new);
                assert!(equal, "format {format} by {by:?}");
            }
        }
    }
}

#[test]
fn a_comparison_scales_and_sorts_by_what_changed() {
    let old = read::parse(b"a;main;f 10\na;main;g 10\n", None).unwrap();
    let new = read::parse(b"a;main;f 50\na;main;g 150\n", None).unwrap();
    let compared = Compared::between(&old, &new);
    let changes = compared.changes();
    assert_eq!((&*changes[0].name.text, changes[0].own), ("f", [0.5, 0.25]));
    assert_eq!((&*changes[1].name.text, changes[1].own), ("g", [0.5, 0.75]));
    assert_eq!(changes[2].total, [1.0, 1.0]);
    assert_eq!(changes.len(), 3, "the process is no function");
    let mut out = Vec::new();
    folded::write_diff(&mut out, &compared).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "a;main;f 100 50\na;main;g 100 150\n"
    );
    let mut out = Vec::new();
    table::write_diff(&mut out, &compared, &Screen::file()).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("-25.00%  50.00%  25.00% -25.00%  f\n"),
        "{text}"
    );
}

#[test]
fn files_that_are_no_profiles_are_refused() {
    for (bytes, what) in [
        (&b""[..], "no samples"),
        (b"hello world\n", "line 1"),
        (b"a;b 1\nbroken\n", "line 2"),
        (b"{\"kind\":7}\n", "line 1"),
        (b"{\"kind\":\"request\"}\n", "no samples"),
        (b"\x1f\x8bgarbage", "cannot be read"),
        (b"\xff\xfe", "neither text nor gzip"),
    ] {
        let error = read::parse(bytes, None).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn json_lines_are_valid_by_their_schema() {
    let schema = crate::output::schema::by_name("profile").unwrap();
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let profile = profile(false);
    let mut out = Vec::new();
    json::write(&mut out, &profile, Some(By::Route)).unwrap();
    json::write(&mut out, &profile, None).unwrap();
    let new = Collapsed::new(&profile, None);
    json::write_diff(&mut out, &profile, &Compared::between(&new, &new), None).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for line in String::from_utf8(out).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        validator.validate(&line).unwrap();
        kinds.insert(line["kind"].as_str().unwrap().to_owned());
        for key in line.as_object().unwrap().keys() {
            let mut changed = line.clone();
            changed.as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&changed), "without {key}: {changed}");
        }
        let mut changed = line.clone();
        changed["further"] = serde_json::Value::Null;
        assert!(!validator.is_valid(&changed), "{changed}");
    }
    assert_eq!(kinds.len(), 4);
}
