//! The programs of the suite do what the other tests rely on, without any agent.

use crate::clients::{self, curl, wrk};
use crate::harness::expect::plan;
use crate::harness::require_privilege;
use crate::servers::nginx::Nginx;
use crate::servers::{Server, apache, programs};

fn check(server: &Server) {
    let plan = plan("truth", 3);
    for client in [
        curl::kept,
        curl::fresh,
        clients::node,
        clients::python,
        clients::go,
    ] {
        let work = client(server.port, &plan);
        assert_eq!(work.done.len(), plan.len());
    }
}

#[test]
fn servers_answer_all_clients() {
    require_privilege!();
    let nginx = Nginx::start();
    check(&nginx.server);
    let url = format!("http://127.0.0.1:{}/hello/wrk", nginx.port());
    assert_eq!(
        wrk::exactly(&url, 300, nginx.server.dir.path()).requests,
        300
    );
    assert_eq!(nginx.log(375).len(), 375);
    check(&apache::start("event", ""));
    check(&apache::start("prefork", ""));
    check(&programs::node());
    check(&programs::python("HTTP/1.1"));
    check(&programs::python("HTTP/1.0"));
    check(&programs::gunicorn("gthread", &["--threads", "4"]));
    check(&programs::gunicorn("sync", &[]));
    check(&programs::go());
    check(&programs::java());
}
