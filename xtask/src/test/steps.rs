//! The steps of `test`.

use super::{Lane, Outcome, Step, libtest, programs};
use crate::process::run;
use crate::{deny, deps, ebpf, layering, peers, vm, workspace};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All steps: those of a lane run in this order.
pub(super) static STEPS: &[Step] = &[
    Step {
        name: "fetch",
        about: "all that is installed, while the build runs",
        lane: Lane::Fetch,
        after: &[],
        run: fetch,
    },
    Step {
        name: "layering",
        about: "modules import only earlier stages",
        lane: Lane::Tools,
        after: &[],
        run: layers,
    },
    Step {
        name: "check-ebpf",
        about: "the kernel object belongs to its sources",
        lane: Lane::Tools,
        after: &[],
        run: check_ebpf,
    },
    Step {
        name: "rebuild-ebpf",
        about: "the kernel object builds from its sources",
        lane: Lane::Tools,
        after: &[],
        run: rebuild_ebpf,
    },
    Step {
        name: "fmt",
        about: "source is formatted",
        lane: Lane::Tools,
        after: &[],
        run: fmt,
    },
    Step {
        name: "manifests",
        about: "files in deploy/ match their schemas",
        lane: Lane::Tools,
        after: &[],
        run: manifests,
    },
    Step {
        name: "deny",
        about: "licences, duplicates, sources, advisories",
        lane: Lane::Tools,
        after: &[],
        run: dependencies,
    },
    Step {
        name: "clippy",
        about: "no lint warns",
        lane: Lane::Build,
        after: &[],
        run: clippy,
    },
    Step {
        name: "build",
        about: "all test programs, with the kernel object that was built",
        lane: Lane::Build,
        after: &["rebuild-ebpf"],
        run: build,
    },
    Step {
        name: "release",
        about: "the agent as it is shipped",
        lane: Lane::Build,
        after: &["rebuild-ebpf"],
        run: release,
    },
    Step {
        name: "doctests",
        about: "examples in the documentation",
        lane: Lane::Build,
        after: &[],
        run: doctests,
    },
    Step {
        name: "rustdoc",
        about: "documentation builds without a warning",
        lane: Lane::Build,
        after: &[],
        run: rustdoc,
    },
    Step {
        name: "unit",
        about: "tests that need no privilege",
        lane: Lane::Tests,
        after: &["build"],
        run: unit,
    },
    Step {
        name: "collector",
        about: "collectors of others take what is exported",
        lane: Lane::Tests,
        after: &["build"],
        run: collector,
    },
    Step {
        name: "readers",
        about: "profiles, read by programs of others",
        lane: Lane::Tests,
        after: &["build"],
        run: readers,
    },
    Step {
        name: "privileged",
        about: "real servers and clients, traced",
        lane: Lane::Tests,
        after: &["build"],
        run: privileged,
    },
    Step {
        name: "profiling",
        about: "programs with known stacks, and real ones, profiled",
        lane: Lane::Tests,
        after: &["build"],
        run: profiling,
    },
    Step {
        name: "demo",
        about: "`remora demo` traces its own services",
        lane: Lane::Tests,
        after: &["release"],
        run: demo,
    },
    Step {
        name: "kernels",
        about: "the kernel matrix",
        lane: Lane::Kernels,
        after: &["release"],
        run: kernels,
    },
];

/// Steps that run only when they are asked for by name.
pub(super) static ON_DEMAND: &[Step] = &[];

/// Test target that needs root.
const PRIVILEGED: &str = "privileged";

/// Test target that profiles and needs root as well.
const PROFILING: &str = "profiling";

/// Test target that needs collectors of others, and the one that PyPI has.
const COLLECTOR: &str = "gateways";
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
    run(ebpf::builds_agent(&mut doc).env("RUSTDOCFLAGS", "-D warnings"))?;
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

/// Installs what the later steps need, so that they do not wait for the network.
fn fetch() -> Result<Outcome> {
    // First what the other lanes begin with.
    ebpf::install()?;
    let mut packages = vec!["python3-venv", "systemd", "golang-go", "chromium"];
    let lists = [packages_of(PRIVILEGED)?, packages_of(PROFILING)?];
    packages.extend(lists.iter().flatten().map(String::as_str));
    packages.extend(vm::PACKAGES);
    deps::apt(&packages)?;
    rotel()?;
    deps::venv("readers", MESSAGES)?;
    vm::fetch()?;
    peers::program("collector")?;
    Ok(Outcome::one())
}

fn build() -> Result<Outcome> {
    programs::all().map(|_| Outcome::one())
}

fn release() -> Result<Outcome> {
    vm::build_shipped().map(|_| Outcome::one())
}

fn demo() -> Result<Outcome> {
    run(Command::new(vm::build_shipped()?).arg("demo"))?;
    Ok(Outcome::one())
}

/// Everything but the tests that have a step of their own.
fn unit() -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for program in programs::all()? {
        if ![PRIVILEGED, PROFILING, COLLECTOR, READERS].contains(&program.name.as_str()) {
            outcome.add(libtest::run_program(&mut program.command())?);
        }
    }
    Ok(outcome)
}

fn doctests() -> Result<Outcome> {
    let mut docs = cargo("test");
    docs.args(["--workspace", "--locked", "--no-fail-fast", "--doc"]);
    libtest::run(ebpf::builds_agent(&mut docs))
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
    let mut tests = programs::named(COLLECTOR)?.command();
    tests.env("REMORA_TEST_ROTEL", rotel()?);
    tests.env("REMORA_TEST_COLLECTOR", peers::program("collector")?);
    libtest::run_program(tests.env("REMORA_TEST_ALL", "1"))
}

fn readers() -> Result<Outcome> {
    deps::apt(&["golang-go", "chromium"])?;
    let venv = deps::venv("readers", MESSAGES)?;
    let mut tests = programs::named(READERS)?.command();
    tests.env("REMORA_TEST_PROTO_PYTHON", venv.join("bin/python3"));
    libtest::run_program(tests.env("REMORA_TEST_ALL", "1"))
}

fn privileged() -> Result<Outcome> {
    needs_root(PRIVILEGED)
}

fn profiling() -> Result<Outcome> {
    needs_root(PROFILING)
}

/// Runs a test target on this system, with the Debian packages it lists.
fn needs_root(target: &str) -> Result<Outcome> {
    let packages = packages_of(target)?;
    deps::apt(&packages.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut tests = programs::named(target)?.command();
    tests.env("REMORA_TEST_ROTEL", rotel()?);
    tests.env("REMORA_TEST_COLLECTOR", peers::program("collector")?);
    libtest::run_program(tests.env("REMORA_TEST_ALL", "1"))
}

/// The Debian packages that a test target lists.
fn packages_of(target: &str) -> Result<Vec<String>> {
    let list = workspace::root().join(format!("agent/tests/{target}/packages.txt"));
    let list = fs::read_to_string(&list).with_context(|| format!("{}", list.display()))?;
    let entries = list.lines().map(str::trim).filter(|line| is_entry(line));
    let mut packages: Vec<String> = entries.map(str::to_owned).collect();
    // Not in the list: other sources of Node bring it along and exclude Debian's package.
    if deps::which("npm").is_none() {
        packages.push("npm".to_owned());
    }
    Ok(packages)
}

fn is_entry(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn manifests() -> Result<Outcome> {
    let script = workspace::root().join("deploy/check.sh");
    ensure!(script.exists(), "deploy/check.sh is missing");
    deps::apt(&["python3-venv", "systemd"])?;
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
        ..Outcome::default()
    })
}

fn cargo(task: &str) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).arg(task);
    command
}
