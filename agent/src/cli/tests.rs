use super::*;
use crate::config::query::QueryPolicy;
use crate::output::Format;
use std::time::Duration;

fn read(args: &str) -> Result<Invocation, Stop> {
    read_in(args, &[])
}

fn read_in(args: &str, env: &[(String, String)]) -> Result<Invocation, Stop> {
    let args = ["remora"].into_iter().chain(args.split_whitespace());
    Cli::read(args, env)
}

fn trace(args: &str) -> trace::Trace {
    match read(args) {
        Ok(Invocation::Trace(trace)) => trace,
        other => panic!("{args}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        "",
        "tracee",
        "top",
        "profile -F 0",
        "profile --duration 0s",
        "profile --pid 4194304",
        "profile --all --comm x",
        "profile --pid 1 -- true",
        "profile --container web",
        "profile -o pdf",
        "profile --by colour",
        "profile --diff /nonexistent",
        "profile -c 1",
        "trace --colour",
        "trace extra",
        "trace -o yaml",
        "trace -c 0",
        "trace -c many",
        "trace --duration 5",
        "trace --duration 0s",
        "trace --status 4x",
        "trace --status",
        "trace --protocol http/3",
        "trace --grpc-status 17",
        "trace --not",
        "trace --status 200 --not",
        "trace --not --not --status 200",
        "trace --not -c 1",
        "trace --not=x --status 200",
        "trace --pid 4194304",
        "trace --pid x",
        "trace --path api",
        "trace --status 9xx",
        "trace --port 0",
        "trace --port 80,",
        "trace --port 80-443",
        "trace --not --path api",
        "trace --grpc-status 99",
        "trace --protocol http/1.1 --grpc-status OK",
        "trace --status 404 --not --status 404,500",
        "trace --duration 1s --min-duration 2s",
        "replay a --path api",
        "profile --container abc",
        "profile --comm x,",
        "trace --container web",
        "replay",
        "replay a b",
        "replay a -w b",
        "run --filter",
        "demo --duration 2m",
        "demo --replay -w x",
        "demo-service shop",
        "schema spans",
        "completions tcsh",
        "doctor -o yaml",
        "version 1",
    ] {
        match read(args) {
            Err(Stop::Clap(error)) => assert_eq!(error.exit_code(), 2, "{args}: {error}"),
            Err(Stop::Failure(failure)) => assert_eq!(failure.exit, Exit::Usage, "{args}"),
            Ok(invocation) => panic!("{args}: {invocation:?}"),
        }
    }
}

#[test]
fn errors_name_the_flag_and_show_the_usage() {
    let Err(Stop::Clap(error)) = read("trace --protocol http/3") else {
        panic!()
    };
    let text = error.to_string();
    assert!(
        text.contains("invalid value 'http/3' for '--protocol'"),
        "{text}"
    );
    assert!(text.contains("http/1.0, http/1.1, http/2"), "{text}");
    assert!(text.contains("Usage: remora trace"), "{text}");
}

#[test]
fn every_command_has_help_with_examples() {
    let mut command = Cli::command();
    command.build();
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| !sub.is_hide_set())
    {
        let help = sub.render_long_help().to_string();
        assert!(help.contains("Usage:"), "{help}");
        // Examples are not folded, so they have to fit.
        let examples = sub.get_after_help().map(ToString::to_string);
        for line in examples.iter().flat_map(|text| text.lines()) {
            let example = line.starts_with("  ");
            assert!(!example || line.chars().count() <= 80, "{line}");
        }
        let name = sub.get_name();
        assert!(
            name == "version" || help.contains(&format!("remora {name}")),
            "{help}"
        );
    }
    for args in ["--help", "-h", "trace --help", "--version"] {
        let Err(Stop::Clap(error)) = read(args) else {
            panic!()
        };
        assert_eq!(error.exit_code(), 0, "{args}");
    }
}

#[test]
fn trace_flags_mean_what_they_say() {
    let all = trace("trace");
    assert!(all.filter.is_empty() && all.command.is_empty());
    assert_eq!(
        (all.output.format, all.output.count, all.duration),
        (Format::Table, None, None)
    );
    assert_eq!(all.output.query, QueryPolicy::Hide);

    let some = trace("trace -o json -c 5 --duration 1.5s -w f.rec --show-query --red -- curl -o x");
    assert_eq!(some.output.format, Format::Json);
    assert_eq!(some.output.count, Some(5));
    assert_eq!(some.duration, Some(Duration::from_millis(1500)));
    assert_eq!(some.record.as_deref(), Some(std::path::Path::new("f.rec")));
    assert_eq!(some.output.query, QueryPolicy::Show);
    assert!(some.output.red);
    assert_eq!(some.command, ["curl", "-o", "x"]);
}

#[test]
fn not_negates_the_next_filter_only() {
    use crate::deciding::filter::{Filter, Property};
    let expected = |conditions: &[(Property, &str, bool)]| {
        let mut filter = Filter::default();
        for (property, value, negated) in conditions {
            filter.add(*property, value, *negated).unwrap();
        }
        filter
    };
    for (args, conditions) in [
        (
            "trace --status 200 --not --status 404 --status 500",
            vec![
                (Property::Status, "200", false),
                (Property::Status, "404", true),
                (Property::Status, "500", false),
            ],
        ),
        (
            "trace --not --path /health --method GET --not --side=client",
            vec![
                (Property::Path, "/health", true),
                (Property::Method, "GET", false),
                (Property::Side, "client", true),
            ],
        ),
        (
            "trace -p 1 --status 404,5xx --not --port 80,443",
            vec![
                (Property::Pid, "1", false),
                (Property::Status, "404", false),
                (Property::Status, "5xx", false),
                (Property::Port, "80", true),
                (Property::Port, "443", true),
            ],
        ),
        (
            "trace --not -c 7 --method GET --status 2xx",
            vec![
                (Property::Method, "GET", true),
                (Property::Status, "2xx", false),
            ],
        ),
    ] {
        assert_eq!(trace(args).filter, expected(&conditions), "{args}");
    }
}

#[test]
fn settings_reach_the_commands() {
    let env = [
        ("REMORA_QUERY_ALLOW".to_owned(), "page".to_owned()),
        ("REMORA_RING_BYTES".to_owned(), "1m".to_owned()),
    ];
    let Ok(Invocation::Trace(trace)) = read_in("trace --ring-bytes 2m", &env) else {
        panic!()
    };
    assert_eq!(trace.config.ring_bytes, 2 << 20);
    assert_eq!(trace.output.query, QueryPolicy::Names(vec!["page".into()]));
    let Err(Stop::Failure(failure)) = read_in("run --ring-bytes 3", &env) else {
        panic!()
    };
    assert_eq!(failure.exit.code(), 64);
    assert!(failure.message.contains("--ring-bytes"), "{failure}");
}

#[test]
fn texts_to_print() {
    for (args, part) in [
        ("schema", "oneOf"),
        ("schema request", "duration_ns"),
        ("completions bash", "_remora()"),
        ("completions zsh", "#compdef remora"),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        match read(args) {
            Ok(Invocation::Print(text)) => {
                assert!(text.contains(part), "{args}: {text}");
                assert!(
                    !text.contains("demo-service") || args.contains("completions"),
                    "{args}"
                );
            }
            other => panic!("{args}: {other:?}"),
        }
    }
}

#[test]
fn run_takes_where_to_listen_and_a_file_to_export_to() {
    let run = |args: &str, env: &[(String, String)]| match read_in(args, env) {
        Ok(Invocation::Run(run)) => (run.config.listen, run.config.export_file),
        other => panic!("{args}: {other:?}"),
    };
    assert_eq!(run("run", &[]), (None, None));
    let env = [
        ("REMORA_LISTEN".to_owned(), "127.0.0.1:1".to_owned()),
        ("REMORA_EXPORT_FILE".to_owned(), "/a".to_owned()),
    ];
    let local = |port| Some(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(run("run", &env), (local(1), Some("/a".into())));
    assert_eq!(
        run("run --listen 127.0.0.1:2 --export-file /b", &env),
        (local(2), Some("/b".into()))
    );
    assert!(read("run --listen 9464").is_err());
}

#[test]
fn doctor_asks_where_run_would_send_spans() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("remora.yaml");
    std::fs::write(&file, "otel_exporter_otlp_endpoint: http://of.file:4000\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let doctor = |args: &str, env: &[(&str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let env: Vec<_> = env.iter().map(own).collect();
        match read_in(args, &env) {
            Ok(Invocation::Doctor(doctor)) => doctor,
            other => panic!("{args}: {other:?}"),
        }
    };
    let endpoint = |args: &str, env: &[(&str, &str)]| {
        let found = doctor(args, env).endpoint?;
        Some((found.address, found.origin))
    };
    let found = |address: &str, origin: &str| Some((address.to_owned(), origin.to_owned()));
    let key = format!("{file}: otel_exporter_otlp_endpoint");
    assert_eq!(endpoint("doctor", &[]), found("localhost:4318", "default"));
    let flag = format!("doctor --config {file}");
    assert_eq!(endpoint(&flag, &[]), found("of.file:4000", &key));
    assert_eq!(
        endpoint("doctor", &[("REMORA_CONFIG", &file)]),
        found("of.file:4000", &key)
    );
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://of.env");
    assert_eq!(
        endpoint(&flag, &[variable]),
        found("of.env:443", variable.0)
    );
    let traces = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://traces/v1/traces",
    );
    assert_eq!(
        endpoint(&flag, &[variable, traces]),
        found("traces:80", traces.0)
    );
    assert_eq!(endpoint("doctor", &[("REMORA_EXPORT_FILE", "/a")]), None);
    assert_eq!(
        endpoint("doctor", &[("OTEL_TRACES_EXPORTER", "none")]),
        None
    );
    let gone = doctor("doctor --config /nowhere/remora.yaml", &[]);
    assert_eq!((gone.endpoint, gone.mistakes.len()), (None, 1));
}
