//! What the agent must have seen in the test machine, to the unit.

use super::qemu::Run;
use serde_json::Value;
use std::collections::BTreeMap;

/// A group of requests that `init.sh` makes: paths `prefix1` to `prefixN`.
struct Group {
    prefix: &'static str,
    count: u32,
    method: &'static str,
    network: &'static str,
    request_body: u64,
    response_body: u64,
    server: &'static str,
    client: &'static str,
}

const NGINX_GET: Group = Group {
    prefix: "",
    count: 0,
    method: "GET",
    network: "tcp",
    request_body: 0,
    response_body: 17,
    server: "nginx",
    client: "curl",
};

const GROUPS: [Group; 6] = [
    Group {
        prefix: "/smoke/tcp4/",
        count: 20,
        ..NGINX_GET
    },
    Group {
        prefix: "/smoke/tcp6/",
        count: 20,
        ..NGINX_GET
    },
    Group {
        prefix: "/smoke/unix/",
        count: 20,
        network: "unix",
        ..NGINX_GET
    },
    Group {
        prefix: "/smoke/close/",
        count: 5,
        ..NGINX_GET
    },
    Group {
        prefix: "/smoke/post/",
        count: 5,
        method: "POST",
        request_body: 5,
        ..NGINX_GET
    },
    Group {
        prefix: "/smoke/file-",
        count: 10,
        response_body: 25,
        server: "httpd",
        client: "wget",
        ..NGINX_GET
    },
];

/// Requests made in the machine.
pub(crate) fn requests() -> u32 {
    GROUPS.iter().map(|group| group.count).sum()
}

/// Mistakes of the machine itself: its own clients' view of the requests.
pub(crate) fn machine_problems(run: &Run) -> Vec<String> {
    let lines = run.section("requests");
    let mut problems: Vec<String> = lines
        .iter()
        .filter(|line| !(line.starts_with("200 17 ") || line.starts_with("200 25 ")))
        .map(|line| format!("a client in the machine said: {line}"))
        .collect();
    let made = lines.len() - problems.len();
    if made != requests() as usize {
        problems.push(format!("{made} of {} requests were answered", requests()));
    }
    problems.extend(run.value("problem").map(str::to_owned));
    problems
}

/// Least share of stacks that reach their root, percent, of those taken when libraries
/// were known and their unwind rows there: the emulated machine takes seconds for that.
const WHOLE_STACKS: u64 = 80;

/// What is wrong with the profile of a busy `curl`: too few samples, lost ones, or stacks
/// that end early.
pub(crate) fn profile_problems(run: &Run) -> Vec<String> {
    let problem = |what: String| vec![format!("profile: {what}")];
    if run.value("profile-exit") != Some("0") {
        return problem(run.section("profile-stderr").join(" "));
    }
    let summary = run
        .section("profile")
        .into_iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["kind"] == "profile_summary");
    let Some(summary) = summary else {
        return problem("no summary".to_owned());
    };
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (seen, emitted) = (number(&summary["seen"]), number(&summary["emitted"]));
    let processes = summary["processes"].as_array();
    let processes: Vec<&Value> = processes.into_iter().flatten().collect();
    let sum = |of: &dyn Fn(&Value) -> u64| processes.iter().map(|process| of(process)).sum::<u64>();
    let complete = sum(&|process| number(&process["complete"]));
    let early = sum(&|process| {
        let stopped = &process["stopped"];
        number(&stopped["not_ready"]) + number(&stopped["no_mapping"])
    });
    crate::process::say(&format!(
        "  profile: {complete} of {emitted} stacks reach their root, {early} came early"
    ));
    let ready = emitted.saturating_sub(early);
    if ready < 20 || seen != emitted || complete * 100 < ready * WHOLE_STACKS {
        return problem(summary.to_string());
    }
    Vec::new()
}

/// Compares the trace with the requests made. Empty if every request is there once
/// per side with every value right, and the ledger adds up.
pub(crate) fn trace_problems(run: &Run) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    let mut summary = None;
    for line in run.section("trace") {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value["kind"] == "summary" => summary = Some(value),
            Ok(value) => {
                let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
                let path = text("path");
                if path.starts_with("/smoke") {
                    seen.entry((path, text("side"))).or_default().push(value);
                }
            }
            Err(error) => problems.push(format!("not JSON ({error}): {line}")),
        }
    }
    for group in &GROUPS {
        for number in 1..=group.count {
            let path = format!("{}{number}", group.prefix);
            for side in ["server", "client"] {
                let lines = seen
                    .remove(&(path.clone(), side.to_owned()))
                    .unwrap_or_default();
                match lines.as_slice() {
                    [line] => check(group, side, line, &mut problems),
                    _ => problems.push(format!("{} lines for {side} {path}", lines.len())),
                }
            }
        }
    }
    problems.extend(
        seen.keys()
            .map(|key| format!("made up: {} {}", key.1, key.0)),
    );
    match summary {
        Some(summary) => check_ledger(&summary, &mut problems),
        None => problems.push("no summary line".to_owned()),
    }
    if run.value("trace-exit") != Some("0") {
        problems.push(format!("trace ended with {:?}", run.value("trace-exit")));
    }
    problems
}

fn check(group: &Group, side: &str, line: &Value, problems: &mut Vec<String>) {
    let comm = if side == "server" {
        group.server
    } else {
        group.client
    };
    let expected = [
        ("method", Value::from(group.method)),
        ("status", Value::from(200)),
        ("network", Value::from(group.network)),
        ("request_body_bytes", Value::from(group.request_body)),
        ("response_body_bytes", Value::from(group.response_body)),
        ("comm", Value::from(comm)),
        ("error", Value::Null),
        ("incomplete", Value::Array(Vec::new())),
    ];
    for (key, value) in expected {
        if line[key] != value {
            problems.push(format!(
                "{side} {}: {key} is {}, not {value}",
                line["path"], line[key]
            ));
        }
    }
    if line["duration_ns"].as_u64().is_none_or(|ns| ns == 0) {
        problems.push(format!(
            "{side} {}: duration {}",
            line["path"], line["duration_ns"]
        ));
    }
}

fn check_ledger(summary: &Value, problems: &mut Vec<String>) {
    let number = |key: &str| summary[key].as_u64();
    let lost = summary["lost"]
        .as_object()
        .map(|lost| lost.values().filter_map(Value::as_u64).sum());
    match (number("seen"), number("emitted"), number("filtered"), lost) {
        (Some(seen), Some(emitted), Some(filtered), Some(0u64)) if seen == emitted + filtered => {}
        _ => problems.push(format!(
            "the ledger does not add up, or requests were lost: {summary}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The results of a machine that traced everything, one `without` left out.
    fn results(without: Option<(&str, &str)>) -> Run {
        let mut text = String::from("@@ trace\n");
        let mut emitted = 0;
        for group in &GROUPS {
            for number in 1..=group.count {
                for (side, comm) in [("server", group.server), ("client", group.client)] {
                    let path = format!("{}{number}", group.prefix);
                    if without == Some((side, &path)) {
                        continue;
                    }
                    let line = serde_json::json!({
                        "kind": "request", "side": side, "path": path, "method": group.method,
                        "status": 200, "network": group.network, "comm": comm, "error": null,
                        "request_body_bytes": group.request_body, "incomplete": [],
                        "response_body_bytes": group.response_body, "duration_ns": 1,
                    });
                    text += &format!("{line}\n");
                    emitted += 1;
                }
            }
        }
        let lost = serde_json::json!({"ring_full": 0, "conn_evicted": 0, "decode": 0});
        let summary = serde_json::json!({
            "kind": "summary", "seen": emitted, "emitted": emitted, "filtered": 0, "lost": lost,
        });
        text += &format!("{summary}\n@@ trace-exit 0\n@@ end\n");
        Run {
            text,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_complete_trace_has_no_problems() {
        assert_eq!(trace_problems(&results(None)), Vec::<String>::new());
    }

    #[test]
    fn a_missing_request_and_a_wrong_value_are_named() {
        let missing = results(Some(("client", "/smoke/unix/7")));
        assert_eq!(
            trace_problems(&missing),
            ["0 lines for client /smoke/unix/7"]
        );
        let mut wrong = results(None);
        wrong.text = wrong.text.replacen("\"status\":200", "\"status\":201", 1);
        assert_eq!(trace_problems(&wrong).len(), 1);
    }
}
