use super::*;
use proptest::prelude::*;

fn parse(head: &str) -> Request<'_> {
    Request::parse(head.as_bytes())
}

fn bytes(text: &str) -> Option<&[u8]> {
    Some(text.as_bytes())
}

#[test]
fn a_usual_request() {
    let request = parse(
        "GET /users/7?x=1 HTTP/1.1\r\nHost: h:8080\r\nAccept: */*\r\nuser-AGENT:\t curl/8 \r\n\
         TraceParent: 00-a\r\ntracestate: a=1\r\nTraceState:b=2\r\n\r\nHost: body\r\n",
    );
    assert_eq!(request.method, bytes("GET"));
    assert_eq!(request.target, bytes("/users/7?x=1"));
    assert_eq!(request.version, Some(Protocol::Http11));
    assert!(request.line_whole);
    assert_eq!(request.host, bytes("h:8080"));
    assert_eq!(request.user_agent, bytes("curl/8"));
    assert_eq!(request.traceparent, bytes("00-a"));
    assert_eq!(request.tracestate, bytes("a=1"));
    assert!(request.more_tracestate);
}

#[test]
fn all_tracestate_headers_are_found_in_order() {
    let head = b"\r\nGET / HTTP/1.1\r\ntracestate: a=1\r\nX: y\r\nTracestate: b=2,c=3\r\n\r\ntracestate: no\r\n\r\n";
    let found: Vec<_> = tracestates(head).collect();
    assert_eq!(found, [&b"a=1"[..], b"b=2,c=3"]);
    assert_eq!(tracestates(b"GET / HTTP/1.1").count(), 0);
}

#[test]
fn request_lines_of_all_kinds() {
    for (line, method, target, version) in [
        (
            "PURGE /c HTTP/1.0\r\n",
            "PURGE",
            Some("/c"),
            Some(Protocol::Http10),
        ),
        (
            "\r\n\nGET / HTTP/1.1\n",
            "GET",
            Some("/"),
            Some(Protocol::Http11),
        ),
        (
            "GET / HTTP/1.7\r\n",
            "GET",
            Some("/"),
            Some(Protocol::Http11),
        ),
        ("GET / HTTP/2.0\r\n", "GET", Some("/"), None),
        (
            "GET /a HTTP/1.1 \r\n",
            "GET",
            Some("/a"),
            Some(Protocol::Http11),
        ),
        (
            "GET /a b HTTP/1.1\r\n",
            "GET",
            Some("/a b"),
            Some(Protocol::Http11),
        ),
        (
            "GET  /  HTTP/1.1 \r\n",
            "GET",
            Some("/"),
            Some(Protocol::Http11),
        ),
        ("GET /old\r\n", "GET", Some("/old"), None),
        ("GET HTTP/1.1\r\n", "GET", Some("HTTP/1.1"), None),
        (
            "CONNECT h:443 HTTP/1.1\r\n",
            "CONNECT",
            Some("h:443"),
            Some(Protocol::Http11),
        ),
        (
            "OPTIONS * HTTP/1.1\r\n",
            "OPTIONS",
            Some("*"),
            Some(Protocol::Http11),
        ),
        ("GET\r\n", "GET", None, None),
    ] {
        let request = parse(line);
        assert_eq!(request.method, bytes(method), "{line:?}");
        assert_eq!(request.target, target.map(str::as_bytes), "{line:?}");
        assert_eq!(request.version, version, "{line:?}");
        assert!(request.line_whole, "{line:?}");
    }
}

#[test]
fn a_cut_head_keeps_what_is_whole_and_no_more() {
    let head = "GET /long HTTP/1.1\r\nHost: example\r\nUser-Agent: curl/8\r\n\r\n";
    for len in 0..head.len() {
        let request = parse(&head[..len]);
        assert_eq!(request.method.is_some(), len > 3, "{len}");
        assert_eq!(request.line_whole, len >= 20, "{len}");
        assert_eq!(request.version.is_some(), len >= 20, "{len}");
        // Whole only once the next line shows that the value is not folded.
        assert_eq!(request.host, (len > 35).then_some(&b"example"[..]), "{len}");
        assert_eq!(
            request.user_agent,
            (len > 55).then_some(&b"curl/8"[..]),
            "{len}"
        );
    }
    // What follows the target in a cut line may be the version or not.
    let request = parse("GET /a HTTP/1.1");
    assert_eq!((request.target, request.version), (bytes("/a"), None));
}

#[test]
fn doubtful_headers_are_left_out() {
    let request = parse(
        "GET / HTTP/1.1\r\nHost:\r\nHost: b\r\nUser-Agent: a\r\n b\r\ntraceparent: 1\r\ntraceparent: 2\r\ntraceparent: 3\r\n\r\n",
    );
    assert_eq!(request.host, bytes("b"));
    assert_eq!(request.user_agent, None);
    assert_eq!(request.traceparent, None);
    let request = parse("GET / HTTP/1.1\r\nHost : a\r\nHosts: b\r\nX-Host: c\r\n\r\n");
    assert_eq!(request.host, None);
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let request = Request::parse(b"GET /\xff\xfe HTTP/1.1\r\nHost: \xe4\r\n\r\n");
    assert_eq!(request.target, Some(&b"/\xff\xfe"[..]));
    assert_eq!(request.host, Some(&b"\xe4"[..]));
}

#[test]
fn status_lines() {
    let status =
        |line: &str| Status::parse(line.as_bytes()).map(|status| (status.version, status.code));
    assert_eq!(status("HTTP/1.1 200 OK\r\n"), Some((Protocol::Http11, 200)));
    assert_eq!(status("HTTP/1.0 404"), Some((Protocol::Http10, 404)));
    assert_eq!(status("HTTP/1.1 999 x"), Some((Protocol::Http11, 999)));
    for bad in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 099",
        "HTTP/2.0 200",
        "HTTP/1.1  200",
        "HTTP/1.1 2x0",
        "http/1.1 200",
    ] {
        assert_eq!(status(bad), None, "{bad}");
    }
}

/// What `httparse`, an independent and strict parser, reads from the same bytes.
fn check_against_httparse(head: &[u8]) -> Result<(), TestCaseError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut strict = httparse::Request::new(&mut headers);
    if !matches!(strict.parse(head), Ok(httparse::Status::Complete(_))) {
        return Ok(());
    }
    let request = Request::parse(head);
    prop_assert_eq!(request.method, strict.method.map(str::as_bytes));
    prop_assert_eq!(request.target, strict.path.map(str::as_bytes));
    let version = strict.version.map(|minor| {
        if minor == 0 {
            Protocol::Http10
        } else {
            Protocol::Http11
        }
    });
    prop_assert_eq!(request.version, version);
    let all = |name: &str| {
        let named = strict
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named
            .map(|header| header.value.trim_ascii())
            .collect::<Vec<_>>()
    };
    prop_assert_eq!(
        request.host,
        all("host").into_iter().find(|value| !value.is_empty())
    );
    prop_assert_eq!(request.user_agent, all("user-agent").first().copied());
    let parents = all("traceparent");
    prop_assert_eq!(
        request.traceparent,
        (parents.len() == 1).then(|| parents[0])
    );
    prop_assert_eq!(tracestates(head).collect::<Vec<_>>(), all("tracestate"));
    prop_assert_eq!(request.more_tracestate, all("tracestate").len() > 1);
    Ok(())
}

fn any_head() -> impl Strategy<Value = String> {
    let method = prop_oneof![
        "GET|POST|HEAD|OPTIONS|CONNECT",
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
    ];
    let name = prop_oneof![
        "(?i:host|user-agent|traceparent|tracestate)",
        "[A-Za-z][A-Za-z0-9-]{0,12}",
    ];
    let header = (name, "[ \t]{0,2}[!-~]{0,9}( [!-~]{1,9})?[ \t]{0,2}");
    (
        method,
        "[/*a-z:?=&%.0-9@-]{1,40}",
        0..2,
        prop::collection::vec(header, 0..8),
    )
        .prop_map(|(method, target, minor, headers)| {
            let mut head = format!("{method} {target} HTTP/1.{minor}\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}:{value}\r\n"));
            }
            head + "\r\n"
        })
}

proptest! {
    #[test]
    fn valid_heads_are_read_as_httparse_reads_them(head in any_head()) {
        check_against_httparse(head.as_bytes())?;
    }

    #[test]
    fn heads_with_one_byte_changed_too(head in any_head(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut head = head.into_bytes();
        let at = at.index(head.len());
        head[at] = byte;
        check_against_httparse(&head)?;
    }

    #[test]
    fn a_prefix_never_says_what_the_whole_does_not(head in any_head(), at in any::<prop::sample::Index>()) {
        let whole = parse(&head);
        let cut = Request::parse(&head.as_bytes()[..at.index(head.len())]);
        prop_assert!(cut.method.is_none() || cut.method == whole.method);
        prop_assert!(cut.version.is_none() || cut.version == whole.version);
        prop_assert!(cut.host.is_none() || cut.host == whole.host);
        prop_assert!(cut.user_agent.is_none() || cut.user_agent == whole.user_agent);
        prop_assert!(cut.tracestate.is_none() || cut.tracestate == whole.tracestate);
        if cut.line_whole {
            prop_assert_eq!(cut.target, whole.target);
        } else if let Some(target) = cut.target {
            prop_assert!(whole.target.is_some_and(|whole| whole.starts_with(target)));
        }
    }

    #[test]
    fn any_bytes_are_safe(head in prop::collection::vec(any::<u8>(), 0..400)) {
        let request = Request::parse(&head);
        if let Some(target) = request.target {
            let _ = Target::parse(&request, target);
        }
        let _ = tracestates(&head).count();
        let _ = Status::parse(&head);
    }
}
