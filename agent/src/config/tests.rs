use super::*;
use crate::config::failure;
use crate::config::spool::SpoolSettings;
use crate::model::exit::Exit;
use std::io::Write as _;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn defaults() {
    let config = Config::load(None, &[], &env(&[("PATH", "/bin"), ("REMORA_LOG", "")])).unwrap();
    assert_eq!(config.capture_head_bytes, 1024);
    assert_eq!(config.ring_bytes, 16 << 20);
    assert_eq!(config.max_connections, 16_384);
    assert_eq!(config.rules, Rules::default());
    assert_eq!(config.query, QueryPolicy::Hide);
    assert_eq!(config.log, "info");
}

/// What is packaged must be what this version reads.
#[test]
fn packaged_files_are_the_defaults() {
    let defaults = Config::load(None, &[], &[]).unwrap();
    for name in ["systemd/remora.yaml", "kubernetes/remora.yaml"] {
        let file = format!("{}/../deploy/{name}", env!("CARGO_MANIFEST_DIR"));
        let config = Config::load(Some(Path::new(&file)), &[], &[]).unwrap();
        let spool = SpoolSettings::new("/var/lib/remora/spool".into());
        let packaged = Config {
            spool: Some(spool),
            ..defaults.clone()
        };
        assert_eq!(config, packaged, "{name}");
        // The examples in comments hold, too.
        let text = std::fs::read_to_string(&file).unwrap();
        let examples: String = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .map(|line| format!("{}\n", line.unwrap_or_default()))
            .collect();
        let examples = self::file(&examples);
        Config::load(Some(examples.path()), &[], &[]).unwrap();
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = file("capture_head_bytes: 2048\nring_bytes: 1m\nmax_connections: 128\n");
    let env = env(&[
        ("REMORA_CAPTURE_HEAD_BYTES", "4096"),
        ("REMORA_RING_BYTES", "2m"),
    ]);
    let flags = [("capture_head_bytes", "8192".to_owned())];
    let config = Config::load(Some(file.path()), &flags, &env).unwrap();
    assert_eq!(config.capture_head_bytes, 8192);
    assert_eq!(config.ring_bytes, 2 << 20);
    assert_eq!(config.max_connections, 128);
    assert_eq!(config.log, "info");
}

#[test]
fn the_memory_limit_is_shared_out() {
    let memory = |value: &str| Config::load(None, &[], &env(&[("REMORA_MEMORY_LIMIT", value)]));
    let default = Config::load(None, &[], &[]).unwrap().memory;
    assert_eq!(default, memory("128MiB").unwrap().memory);
    assert_eq!(memory("256MiB").unwrap().memory.queue, 2 * default.queue);
    for wrong in ["1MiB", "much"] {
        let mistakes = memory(wrong).unwrap_err();
        assert!(
            mistakes[0].to_string().starts_with("REMORA_MEMORY_LIMIT: "),
            "{mistakes:?}"
        );
    }
}

#[test]
fn the_file_may_be_named_by_the_environment_and_the_flag_wins() {
    let one = file("log: debug");
    let two = file("log: warn");
    let env = env(&[("REMORA_CONFIG", one.path().to_str().unwrap())]);
    assert_eq!(Config::load(None, &[], &env).unwrap().log, "debug");
    assert_eq!(
        Config::load(Some(two.path()), &[], &env).unwrap().log,
        "warn"
    );
}

#[test]
fn lists_look_the_same_from_file_and_environment() {
    let file = file(
        "include:\n  - pid: 7\n  - executable: nginx\n  - port=8080\n\
         exclude:\n  cgroup: /system.slice/my,unit.service\n\
         query_allow: [page, limit]\nservice_names: {nginx: edge, python3: shop}\n",
    );
    let from_file = Config::load(Some(file.path()), &[], &[]).unwrap();
    let from_env = Config::load(
        None,
        &[],
        &env(&[
            ("REMORA_INCLUDE", "pid=7, executable=nginx,port=8080"),
            ("REMORA_QUERY_ALLOW", "page,limit"),
            ("REMORA_SERVICE_NAMES", "nginx=edge,python3=shop"),
        ]),
    )
    .unwrap();
    assert_eq!(
        from_file.rules.include,
        [
            Rule::Pid(7),
            Rule::Executable("nginx".into()),
            Rule::Port(8080)
        ]
    );
    assert_eq!(
        from_file.rules.exclude,
        [Rule::Cgroup("/system.slice/my,unit.service".into())]
    );
    assert_eq!(from_file.rules.include, from_env.rules.include);
    assert_eq!(
        from_file.query,
        QueryPolicy::Names(vec!["page".into(), "limit".into()])
    );
    assert_eq!(from_file.query, from_env.query);
    assert_eq!(from_file.service_names, from_env.service_names);
    let all = Config::load(None, &[], &env(&[("REMORA_QUERY_ALLOW", "*")])).unwrap();
    assert_eq!(all.query, QueryPolicy::Show);
}

#[test]
fn standard_variables_come_from_environment_then_file() {
    let file = file("otel_service_name: from-file\notel_bsp_max_queue_size: 4096\n");
    let env = env(&[("OTEL_SERVICE_NAME", "from-env")]);
    let (_, otel) = Config::load_with_otel(Some(file.path()), &[], &env).unwrap();
    assert_eq!(otel.service_name.as_deref(), Some("from-env"));
    assert_eq!(otel.batch.queue_spans, 4096);
    let raw = Raw::collect(Some(file.path()), &[], &env, &mut Vec::new());
    assert_eq!(raw.otel("OTEL_EXPORTER_OTLP_ENDPOINT"), None);
}

#[test]
fn mistakes_in_standard_variables_are_among_all_others() {
    let file = file("otel_bsp_max_queue_size: many\nring_bytes: 5\n");
    let env = env(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "morse")]);
    let mistakes = Config::load_with_otel(Some(file.path()), &[], &env).unwrap_err();
    let text = failure(&mistakes).to_string();
    for part in [
        ": otel_bsp_max_queue_size: many: ",
        "ring_bytes: 5 is",
        "OTEL_EXPORTER_OTLP_PROTOCOL: morse: ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // Without exporting, they are nobody's business.
    Config::load(None, &[], &env).unwrap();
}

#[test]
fn kubernetes_service_links_are_not_ours() {
    let links = env(&[
        ("REMORA_PORT", "tcp://10.0.0.1:4318"),
        ("REMORA_PORT_4318_TCP_ADDR", "10.0.0.1"),
        ("REMORA_SERVICE_HOST", "10.0.0.1"),
        ("REMORA_SERVICE_PORT_OTLP", "4318"),
    ]);
    Config::load(None, &[], &links).unwrap();
}

#[test]
fn all_mistakes_at_once() {
    let file = file(
        "capture_head_byte: 1024\nring_bytes: 1000000\nmax_connections: [1, 2]\n\
         include:\n  - pid: nginx\n  - user: root\n  - executable: /bin/sh\n  - [[1]]\nsampling_spans_per_second: many\n",
    );
    let env = env(&[
        ("REMORA_EXCLUDE", "port=0,nginx"),
        ("REMORA_LOG", "wran"),
        ("REMORA_COLOUR", "yes"),
        ("REMORA_SERVICE_NAMES", "=x"),
    ]);
    let flags = [("capture_head_bytes", "90000".to_owned())];
    let mistakes = Config::load(Some(file.path()), &flags, &env).unwrap_err();
    let text = failure(&mistakes).to_string();
    for part in [
        "capture_head_byte: unknown setting; did you mean capture_head_bytes?",
        "ring_bytes: 1000000 is not a power of two; the next is 1048576",
        "max_connections: it takes one value, not a list",
        "include: it takes a value, a list of values",
        "sampling_spans_per_second: 'many' is not a number",
        "REMORA_EXCLUDE: '0' is not a port",
        "REMORA_EXCLUDE: 'nginx' is not a rule",
        "REMORA_LOG: 'wran' is not a level; did you mean warn?",
        "REMORA_COLOUR: unknown setting; there are REMORA_CAPTURE_HEAD_BYTES",
        "REMORA_SERVICE_NAMES: '=x' is not of the form",
        "--capture-head-bytes: 90000 is out of range, it goes from 256 to 16384",
        "there are 11 mistakes",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(failure(&mistakes).exit, Exit::Config);
}

#[test]
fn a_file_that_is_no_configuration() {
    for (text, part) in [
        ("- a\n- b\n", "not a list of keys"),
        ("a: [", "did not find"),
        ("1: 2\n", "a key is not a text"),
    ] {
        let file = file(text);
        let mistakes = Config::load(Some(file.path()), &[], &[]).unwrap_err();
        assert!(mistakes[0].problem.contains(part), "{mistakes:?}");
    }
    let missing = Config::load(Some(Path::new("/nonexistent/remora.yaml")), &[], &[]).unwrap_err();
    assert!(
        missing[0]
            .to_string()
            .starts_with("/nonexistent/remora.yaml: it cannot be read")
    );
    Config::load(Some(file("# nothing\n").path()), &[], &[]).unwrap();
}

#[test]
fn profiles_are_off_until_they_are_switched_on() {
    use crate::config::profiling::Profiling;
    use std::time::Duration;
    let load = |pairs: &[(&str, &str)]| Config::load(None, &[], &env(pairs));
    assert_eq!(
        load(&[("REMORA_PROFILE_HZ", "49")]).unwrap().profiling,
        None
    );
    let on = load(&[("REMORA_PROFILE", "true")]).unwrap().profiling;
    assert_eq!(on, Some(Profiling::default()));
    assert_eq!(on.unwrap().frequency, 19);
    let all = [
        ("REMORA_PROFILE", "on"),
        ("REMORA_PROFILE_HZ", "49"),
        ("REMORA_PROFILE_INTERVAL", "90s"),
    ];
    let expected = Profiling {
        frequency: 49,
        interval: Duration::from_secs(90),
    };
    assert_eq!(load(&all).unwrap().profiling, Some(expected));
    let wrong = [
        ("REMORA_PROFILE", "perhaps"),
        ("REMORA_PROFILE_HZ", "0"),
        ("REMORA_PROFILE_INTERVAL", "1ms"),
    ];
    assert_eq!(load(&wrong).unwrap_err().len(), 3);
}

#[test]
fn files_of_credentials_are_read_at_once() {
    let (headers, token) = (file("x-key=s3cret"), file("s3cret\n"));
    let set = |headers: &Path, token: &Path| {
        Config::load_with_otel(
            None,
            &[],
            &env(&[
                ("REMORA_OTLP_HEADERS_FILE", headers.to_str().unwrap()),
                ("REMORA_OTLP_BEARER_TOKEN_FILE", token.to_str().unwrap()),
            ]),
        )
    };
    let (config, otel) = set(headers.path(), token.path()).unwrap();
    assert_eq!(config.otlp_headers_file.as_deref(), Some(headers.path()));
    for settings in [&otel.traces, &otel.metrics, &otel.profiles] {
        assert!(settings.credentials.is_some());
    }
    assert!(!format!("{config:?} {otel:?}").contains("s3cret"));

    // The one holds no header, the other is not there.
    let mistakes = set(token.path(), Path::new("/does/not/exist")).unwrap_err();
    let origins: Vec<&str> = mistakes.iter().map(|it| it.origin.as_str()).collect();
    let expected = ["REMORA_OTLP_HEADERS_FILE", "REMORA_OTLP_BEARER_TOKEN_FILE"];
    assert_eq!(origins, expected);
    let told = failure(&mistakes).to_string();
    assert!(
        told.contains("line 1 is not name=value") && told.contains("name a file"),
        "{told}"
    );
    assert!(!told.contains("s3cret"));
}
