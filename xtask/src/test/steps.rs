//! The steps of `test`, the quick ones first, and those that install something after
//! those that must work on a machine with nothing but Rust.

use super::{Outcome, Step, libtest};
use crate::process::run;
use crate::{deny, deps, ebpf, layering, peers, vm, workspace};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All steps, in order.
pub(super) const STEPS: [Step; 16] = [
    Step {
        name: "fmt",
        about: "source is formatted",
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "no lint warns",
        run: clippy,
    },
    Step {
        name: "rustdoc",
        about: "documentation builds without a warning",
        run: rustdoc,
    },
    Step {
        name: "layering",
        about: "modules import only earlier stages",
        run: layers,
    },
    Step {
        name: "check-ebpf",
        about: "the kernel object belongs to its sources",
        run: check_ebpf,
    },
    Step {
        name: "demo",
        about: "`remora demo` traces its own services",
        run: demo,
    },
    Step {
        name: "unit",
        about: "tests that need no privilege",
        run: unit,
    },
    Step {
        name: "deny",
        about: "licences, duplicates, sources, advisories",
        run: dependencies,
    },
    Step {
        name: "rebuild-ebpf",
        about: "the kernel object builds from its sources",
        run: rebuild_ebpf,
    },
    Step {
        name: "manifests",
        about: "files in deploy/ match their schemas",
        run: manifests,
    },
    Step {
        name: "collector",
        about: "a third-party collector takes what is exported",
        run: collector,
    },
    Step {
        name: "readers",
        about: "profiles, read by programs of others",
        run: readers,
    },
    Step {
        name: "privileged",
        about: "real servers and clients, traced",
        run: privileged,
    },
    Step {
        name: "peers",
        about: "frameworks and proxies of others, built and traced",
        run: real_peers,
    },
    Step {
        name: "profiling",
        about: "programs with known stacks, and real ones, profiled",
        run: profiling,
    },
    Step {
        name: "kernels",
        about: "the kernel matrix",
        run: kernels,
    },
];

/// Steps that run only when they are asked for by name: what they build takes minutes.
pub(super) const ON_DEMAND: [Step; 1] = [Step {
    name: "peers-slow",
    about: "Dapr's sidecars and Spring Boot, built and traced",
    run: slow_peers,
}];

/// Test target that needs root.
const PRIVILEGED: &str = "privileged";

/// Test target that profiles and needs root as well.
const PROFILING: &str = "profiling";

/// Test target that traces programs of others, built for it, and its part on demand.
const PEERS: &str = "peers";
const SLOW: &str = "on_demand::";

/// Test target that needs the collector, and the collector.
const COLLECTOR: &str = "rotel";
const COLLECTOR_VERSION: &str = "0.0.1a15";

/// Test target that needs readers of others.
const READERS: &str = "readers";
const MESSAGES: &str = "opentelemetry-proto==1.45.2";

fn fmt() -> Result<Outcome> {
    deps::rustup_component("rustfmt")?;
    for manifest in ["Cargo.toml", "ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        let path = workspace::root().join(manifest);
        if path.exists() {
            run(cargo("fmt")
                .arg("--manifest-path")
                .arg(path)
                .args(["--all", "--check"]))?;
        }
    }
    Ok(Outcome::one())
}

fn clippy() -> Result<Outcome> {
    deps::rustup_component("clippy")?;
    run(cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Outcome::one())
}

fn rustdoc() -> Result<Outcome> {
    let mut doc = cargo("doc");
    doc.args([
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::one())
}

fn layers() -> Result<Outcome> {
    layering::check().map(|()| Outcome::one())
}

fn check_ebpf() -> Result<Outcome> {
    ebpf::check().map(|()| Outcome::one())
}

fn rebuild_ebpf() -> Result<Outcome> {
    let remark = ebpf::rebuild()?;
    Ok(Outcome {
        remarks: remark.into_iter().collect(),
        ..Outcome::one()
    })
}

fn dependencies() -> Result<Outcome> {
    let remark = deny::check()?;
    Ok(Outcome {
        remarks: remark.into_iter().collect(),
        ..Outcome::one()
    })
}

fn demo() -> Result<Outcome> {
    run(cargo("run").args(["--release", "--locked", "--", "demo"]))?;
    Ok(Outcome::one())
}

/// Everything but the tests that have a step of their own.
fn unit() -> Result<Outcome> {
    let mut tests = cargo("test");
    tests.args([
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--lib",
        "--bins",
    ]);
    for name in test_targets()? {
        if ![PRIVILEGED, PROFILING, PEERS, COLLECTOR, READERS].contains(&name.as_str()) {
            tests.arg("--test").arg(name);
        }
    }
    let mut outcome = libtest::run(&mut tests)?;
    // Documentation tests cannot be named together with other targets.
    let mut docs = cargo("test");
    let docs = libtest::run(docs.args(["--workspace", "--locked", "--no-fail-fast", "--doc"]))?;
    outcome.passed += docs.passed;
    outcome.failed += docs.failed;
    outcome.remarks.extend(docs.remarks);
    Ok(outcome)
}

/// The integration tests of all packages.
fn test_targets() -> Result<Vec<String>> {
    let metadata = crate::process::output(cargo("metadata").args([
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let targets = packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten();
    let tests = targets.filter(|target| target["kind"][0] == "test");
    Ok(tests
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

/// Installs the collector. Returns where its program is.
fn rotel() -> Result<PathBuf> {
    let venv = deps::venv("collector", &format!("rotel=={COLLECTOR_VERSION}"))?;
    let python = venv.join("bin/python3");
    // The wheel holds the program beside its Python modules.
    let find =
        "import importlib.util as u; print(u.find_spec('rotel').submodule_search_locations[0])";
    let package = crate::process::output(Command::new(python).args(["-c", find]))?;
    Ok(Path::new(&package).join("rotel-agent"))
}

fn collector() -> Result<Outcome> {
    let mut tests = cargo("test");
    tests.args([
        "-p",
        "remora",
        "--locked",
        "--no-fail-fast",
        "--test",
        COLLECTOR,
    ]);
    tests.env("REMORA_TEST_ROTEL", rotel()?);
    libtest::run(tests.env("REMORA_TEST_ALL", "1"))
}

fn readers() -> Result<Outcome> {
    deps::apt(&["golang-go", "chromium"])?;
    let venv = deps::venv("readers", MESSAGES)?;
    let mut tests = cargo("test");
    tests.args([
        "-p",
        "remora",
        "--locked",
        "--no-fail-fast",
        "--test",
        READERS,
    ]);
    tests.env("REMORA_TEST_PROTO_PYTHON", venv.join("bin/python3"));
    libtest::run(tests.env("REMORA_TEST_ALL", "1"))
}

fn privileged() -> Result<Outcome> {
    needs_root(PRIVILEGED)
}

fn real_peers() -> Result<Outcome> {
    const BUILT: [&str; 7] = [
        "gin",
        "kratos",
        "gozero",
        "grpcserver",
        "grpcclient",
        "httpclient",
        "envoy",
    ];
    trace_peers(&BUILT, &["--skip", SLOW])
}

fn slow_peers() -> Result<Outcome> {
    const BUILT: [&str; 7] = [
        "gin",
        "grpcserver",
        "grpcclient",
        "httpclient",
        "daprd",
        "spring-tomcat",
        "spring-webflux",
    ];
    trace_peers(&BUILT, &[SLOW])
}

/// Builds programs, and traces them in the tests of [`PEERS`] that `filter` leaves.
fn trace_peers(programs: &[&str], filter: &[&str]) -> Result<Outcome> {
    deps::apt(&["wrk"])?;
    let mut tests = cargo("test");
    tests.args(["--workspace", "--locked", "--no-fail-fast", "--test", PEERS]);
    tests.arg("--").args(filter);
    for name in programs {
        let variable = name.to_uppercase().replace('-', "_");
        tests.env(
            format!("REMORA_TEST_PEER_{variable}"),
            peers::program(name)?,
        );
    }
    ebpf::builds_agent(&mut tests);
    libtest::run(tests.env("REMORA_TEST_ALL", "1"))
}

fn profiling() -> Result<Outcome> {
    needs_root(PROFILING)
}

/// Runs a test target on this system, with the Debian packages it lists.
fn needs_root(target: &str) -> Result<Outcome> {
    let list = workspace::root().join(format!("agent/tests/{target}/packages.txt"));
    let list = fs::read_to_string(&list).with_context(|| format!("{}", list.display()))?;
    let mut packages: Vec<&str> = list
        .lines()
        .map(str::trim)
        .filter(|l| is_entry(l))
        .collect();
    // Not in the list: other sources of Node bring it along and exclude Debian's package.
    if deps::which("npm").is_none() {
        packages.push("npm");
    }
    deps::apt(&packages)?;
    let mut tests = cargo("test");
    tests.args([
        "-p",
        "remora",
        "--locked",
        "--no-fail-fast",
        "--test",
        target,
    ]);
    ebpf::builds_agent(&mut tests);
    tests.env("REMORA_TEST_ROTEL", rotel()?);
    libtest::run(tests.env("REMORA_TEST_ALL", "1"))
}

fn is_entry(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn manifests() -> Result<Outcome> {
    let script = workspace::root().join("deploy/check.sh");
    ensure!(script.exists(), "deploy/check.sh is missing");
    run(Command::new("sh")
        .arg(script)
        .current_dir(workspace::root()))?;
    Ok(Outcome::one())
}

fn kernels() -> Result<Outcome> {
    let outcome = vm::run_all()?;
    Ok(Outcome {
        passed: outcome.passed,
        failed: outcome.failed,
        remarks: Vec::new(),
    })
}

fn cargo(task: &str) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).arg(task);
    command
}
