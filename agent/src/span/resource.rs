//! OTLP resources: who a group of spans is about.

use std::collections::HashSet;

use uuid::Uuid;

use crate::host::discovery::host::HostInfo;
use crate::model::exchange::ProcessInfo;
use crate::span::wire;

/// Schema of all attributes written.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";
/// Name of the agent: `telemetry.distro.name`, and the instrumentation scope.
pub const NAME: &str = "remora";
/// Version of the agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Namespace the conventions prescribe for `service.instance.id` derived from other ids.
const INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63_009a_8d0f_11ee_aad7_4c79_6ed8_e320);

/// `service.name` of a process about which nothing is known, as the conventions have it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What the resources of all processes share: the host, and what the user says about
/// everything on it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HostResource {
    /// The host.
    pub host: HostInfo,
    /// Attributes of every resource (the agent's own `OTEL_RESOURCE_ATTRIBUTES`). Those of
    /// a process win, and `service.*` is not taken from here: the agent is no part of
    /// the services it sees.
    pub attributes: Vec<(String, String)>,
}

/// Encodes the `resource` field of a `ResourceSpans` for a process. Every key is written
/// once; the first of these to give it wins: the process's own resource attributes, what
/// was found out about it, the host, the user's attributes for all.
#[must_use]
pub fn encode(process: &ProcessInfo, shared: &HostResource) -> Box<[u8]> {
    let host = &shared.host;
    let mut resource = Resource::default();
    resource.service(process);
    resource.string("service.instance.id", &instance_id(process, host));
    resource.int("process.pid", u64::from(process.tgid));
    let executable = process
        .executable
        .as_deref()
        .filter(|path| !path.is_empty());
    let name = executable
        .and_then(|path| path.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or(&process.comm);
    resource.optional("process.executable.name", Some(name));
    resource.optional("process.executable.path", executable);
    resource.rest(process, shared);
    resource.field()
}

/// The same for a service as a whole, whatever processes it has in its container: for metrics,
/// which are counted over all of them.
#[must_use]
pub fn encode_service(process: &ProcessInfo, shared: &HostResource) -> Box<[u8]> {
    let host = &shared.host;
    let mut resource = Resource::default();
    resource.service(process);
    resource.string("service.instance.id", &service_instance_id(process, host));
    resource.rest(process, shared);
    resource.field()
}

/// A UUID (version 5) of host, container and process id: the same after a restart of the
/// agent, another one for every process.
fn instance_id(process: &ProcessInfo, host: &HostInfo) -> String {
    let source = format!(
        "{}/{}/{}",
        host_id(host),
        process.container_id.as_deref().unwrap_or_default(),
        process.tgid,
    );
    Uuid::new_v5(&INSTANCE_NAMESPACE, source.as_bytes()).to_string()
}

/// The same of host, container and service name.
fn service_instance_id(process: &ProcessInfo, host: &HostInfo) -> String {
    let source = format!(
        "{}/{}/{}/{}",
        host_id(host),
        process.container_id.as_deref().unwrap_or_default(),
        process.service_namespace.as_deref().unwrap_or_default(),
        process.service,
    );
    Uuid::new_v5(&INSTANCE_NAMESPACE, source.as_bytes()).to_string()
}

fn host_id(host: &HostInfo) -> &str {
    (host.id.as_deref())
        .or(host.name.as_deref())
        .unwrap_or_default()
}

#[derive(Default)]
struct Resource<'a> {
    bytes: Vec<u8>,
    keys: HashSet<&'a str>,
}

impl<'a> Resource<'a> {
    fn service(&mut self, process: &'a ProcessInfo) {
        let service = Some(process.service.as_str()).filter(|name| !name.is_empty());
        self.string("service.name", service.unwrap_or(UNKNOWN_SERVICE));
        self.optional("service.namespace", process.service_namespace.as_deref());
        for (key, value) in &process.resource {
            self.string(key, value);
        }
    }

    fn rest(&mut self, process: &ProcessInfo, shared: &'a HostResource) {
        let HostResource { host, attributes } = shared;
        self.optional("container.id", process.container_id.as_deref());
        self.optional("k8s.pod.uid", process.pod_uid.as_deref());
        self.optional("host.name", host.name.as_deref());
        self.optional("host.id", host.id.as_deref());
        self.string("os.type", "linux");
        self.string("telemetry.distro.name", NAME);
        self.string("telemetry.distro.version", VERSION);
        for (key, value) in attributes {
            if !key.starts_with("service.") {
                self.string(key, value);
            }
        }
    }

    fn field(self) -> Box<[u8]> {
        let mut field = Vec::with_capacity(self.bytes.len() + 4);
        wire::bytes(&mut field, 1, &self.bytes);
        field.into_boxed_slice()
    }

    fn string(&mut self, key: &'a str, value: &str) {
        if !key.is_empty() && self.keys.insert(key) {
            wire::resource_string(&mut self.bytes, key, value);
        }
    }

    fn optional(&mut self, key: &'a str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.string(key, value);
        }
    }

    fn int(&mut self, key: &'a str, value: u64) {
        if self.keys.insert(key) {
            wire::resource_int(&mut self.bytes, key, value);
        }
    }
}
