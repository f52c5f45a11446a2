//! OTLP JSON lines.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use remora::delivery::export::exporter::{Destination, Exporter, StartError};

use crate::receiver::{ids, push, settings, start};

#[test]
fn one_request_a_line_appended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    for round in 0..2 {
        let mut settings = settings(&[]);
        settings.destination = Destination::File(path.clone());
        let (exporter, mut sink) = start(settings);
        push(&mut sink, round * 100, 10);
        push(&mut sink, round * 100 + 10, 5);
        drop(sink);
        assert_eq!(exporter.shutdown(Duration::from_secs(5)).delivered, 15);
    }
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let requests: Vec<ExportTraceServiceRequest> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(requests.len(), 4);
    let spans: Vec<_> = requests
        .iter()
        .flat_map(|request| request.resource_spans[0].scope_spans[0].spans.clone())
        .collect();
    let expected: Vec<u64> = (0..15).chain(100..115).collect();
    assert_eq!(ids(&spans), expected);
    // As the OTLP JSON encoding wants it: ids in hexadecimal, integers as strings.
    assert!(text.contains("\"traceId\":\"30313233343536373839616263646566\""));
    assert!(text.contains("\"startTimeUnixNano\":\"1767323045123456789\""));
}

#[test]
fn a_file_that_cannot_be_opened() {
    let mut settings = settings(&[]);
    settings.destination = Destination::File("/does/not/exist/spans".into());
    let error = Exporter::start(settings).map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::File { .. }), "{error}");
}
