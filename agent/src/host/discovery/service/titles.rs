//! Programs that write what they are into their own command line (setproctitle).

use super::{Command, application, base, interpreters, meaningful_directory, unversioned};

/// Name from the title, if the command line is one.
pub(super) fn name(command: &Command<'_>, program: &str) -> Option<String> {
    let title = command.args.first()?.trim();
    let overwritten = command.args.len() == 1 && interpreters::is_interpreter(program);
    let Some((first, rest)) = title.split_once(' ') else {
        // `process.title = 'orders-api'`; an interpreter by another name is none.
        let own = unversioned(base(title)) == unversioned(program) || title.starts_with('-');
        let alias = interpreters::is_interpreter(base(title));
        return (overwritten && !own && !alias)
            .then(|| command.script(title.trim_end_matches(':')));
    };
    let is = |name: &str| unversioned(base(first.trim_end_matches(':'))) == name;
    if is("gunicorn") {
        // `gunicorn: worker [app:main]`
        let app = bracketed(rest)?;
        return Some(application::module(app).unwrap_or_else(|| app.to_owned()));
    }
    if is("php-fpm") {
        // `php-fpm: pool shop`; `www` is the pool everybody has.
        let pool = rest.trim().strip_prefix("pool ").map(str::trim);
        return Some(
            pool.filter(|pool| *pool != "www")
                .unwrap_or("php-fpm")
                .to_owned(),
        );
    }
    if is("puma") {
        // `puma 5.6.5 (tcp://0.0.0.0:3000) [shop]`, `puma: cluster worker 0: 71 [shop]`
        return Some(bracketed(rest).unwrap_or("puma").to_owned());
    }
    if is("Passenger") {
        // `Passenger RubyApp: /srv/shop (production)`
        let path = rest.split_once(": ")?.1.split(' ').next()?;
        return Some(meaningful_directory(path).unwrap_or("passenger").to_owned());
    }
    if is("uvicorn") || is("hypercorn") || is("celery") || is("flask") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        return Some(application::name(command, unversioned(base(first)), &words));
    }
    if is("next-server") || is("npm") || is("yarn") || is("pnpm") {
        let package = command.cwd.and_then(|cwd| (command.package)(cwd));
        return Some(package.unwrap_or_else(|| base(first).to_owned()));
    }
    // `[celeryd: celery@host:MainProcess] -active- (worker -A shop)`
    if first.starts_with("[celeryd") {
        let words: Vec<&str> = title.split([' ', '(', ')']).collect();
        return Some(application::name(command, "celery", &words));
    }
    // A command line as the title: `node /srv/shop/app.js`, `starman worker orders.psgi`.
    if overwritten {
        let words: Vec<&str> = title.split_whitespace().collect();
        if unversioned(base(first)) == unversioned(program) {
            return command.inner(&words);
        }
        let server = unversioned(base(first.trim_end_matches(':')));
        if application::SERVERS.contains(&server) {
            return Some(application::name(command, server, &words[1..]));
        }
    }
    // `nginx: worker process`, `unicorn worker[0] -c …`: the program's own name is in front,
    // and the executable may be an interpreter.
    let label = first
        .strip_suffix(':')
        .or_else(|| (overwritten || is("unicorn")).then_some(first))?;
    let plain = label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    (plain && command.args.len() == 1 && unversioned(program) != "busybox")
        .then(|| base(label).to_owned())
}

fn bracketed(text: &str) -> Option<&str> {
    let inner = text.rsplit_once('[')?.1.split_once(']')?.0.trim();
    (!inner.is_empty()).then_some(inner)
}
