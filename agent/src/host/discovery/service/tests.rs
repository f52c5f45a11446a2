use super::*;

/// Packages on the imagined disk.
fn package(directory: &str) -> Option<String> {
    match directory {
        "/srv/shop" | "/work/svc" => Some("@acme/shop".to_owned()),
        _ => None,
    }
}

fn named(exe: &str, args: &[&str], cwd: &str) -> String {
    name(&Command {
        args,
        exe: Some(exe).filter(|exe| !exe.is_empty()),
        comm: "comm",
        cwd: Some(cwd),
        package: &package,
        file: &|_| None,
        read: &|_| None,
        declared: None,
        depth: 0,
    })
}

#[test]
fn real_command_lines_give_sensible_names() {
    // Executable, command line (one space between arguments), working directory, name.
    const CASES: &[(&str, &str, &str, &str)] = &[
        // Native programs.
        ("/usr/sbin/nginx", "nginx: worker process", "/", "nginx"),
        (
            "/usr/sbin/nginx",
            "nginx: master process /usr/sbin/nginx -g daemon off;",
            "/",
            "nginx",
        ),
        (
            "/usr/sbin/apache2",
            "/usr/sbin/apache2 -k start",
            "/",
            "apache2",
        ),
        (
            "/usr/sbin/httpd",
            "/usr/sbin/httpd -DFOREGROUND",
            "/",
            "httpd",
        ),
        ("/usr/bin/curl", "curl -s http://localhost", "/root", "curl"),
        (
            "/usr/bin/redis-check-rdb",
            "/usr/bin/redis-server 127.0.0.1:6379",
            "/",
            "redis-check-rdb",
        ),
        (
            "/opt/shop/shopd (deleted)",
            "/opt/shop/shopd --port 80",
            "/",
            "shopd",
        ),
        (
            "/usr/sbin/haproxy",
            "haproxy -f /etc/haproxy/haproxy.cfg",
            "/",
            "haproxy",
        ),
        ("", "/usr/local/bin/wrk -c 10 http://x", "/", "wrk"),
        ("", "", "/", "comm"),
        // Python.
        (
            "/usr/bin/python3.11",
            "python3 -m http.server 8000",
            "/srv/files",
            "http.server",
        ),
        (
            "/usr/bin/python3.11",
            "python3 -Im http.server",
            "/",
            "http.server",
        ),
        (
            "/usr/bin/python3.11",
            "python3 -W ignore -u /opt/billing.py",
            "/",
            "billing",
        ),
        (
            "/usr/bin/python3.11",
            "python3 /usr/bin/gunicorn app:main",
            "/srv/x",
            "app",
        ),
        (
            "/usr/bin/python3.11",
            "/usr/bin/python3 /usr/bin/gunicorn -w 4 -b localhost:8000 shop.wsgi:application",
            "/",
            "shop",
        ),
        (
            "/usr/bin/python3.11",
            "/usr/bin/python3 /usr/bin/gunicorn -b unix:/run/x.sock -k gthread orders",
            "/",
            "orders",
        ),
        (
            "/usr/bin/python3.11",
            "gunicorn: worker [app:main]",
            "/",
            "app",
        ),
        (
            "/usr/bin/python3.11",
            "gunicorn: master [shop.wsgi]",
            "/",
            "shop",
        ),
        (
            "/usr/bin/python3.11",
            "python3 -m gunicorn app:main",
            "/",
            "app",
        ),
        (
            "/usr/local/bin/python3.12",
            "/venv/bin/python /venv/bin/uvicorn --host 0.0.0.0 --port 80 orders.main:app",
            "/app",
            "orders",
        ),
        (
            "/usr/local/bin/python3.12",
            "python -m uvicorn orders.api:create_app --factory",
            "/app",
            "orders.api",
        ),
        (
            "/usr/local/bin/python3.12",
            "/venv/bin/python /venv/bin/hypercorn asgi:app",
            "/app",
            "asgi",
        ),
        (
            "/usr/local/bin/python3.12",
            "/venv/bin/python /venv/bin/flask --app hello run -p 80",
            "/",
            "hello",
        ),
        (
            "/usr/local/bin/python3.12",
            "/venv/bin/python /venv/bin/flask run",
            "/srv/guestbook",
            "guestbook",
        ),
        (
            "/usr/local/bin/python3.12",
            "/venv/bin/python /venv/bin/celery -A proj worker -l INFO",
            "/",
            "proj",
        ),
        (
            "/usr/local/bin/python3.12",
            "[celeryd: celery@host:MainProcess] -active- (worker -A proj)",
            "/",
            "proj",
        ),
        (
            "/usr/local/bin/python3.12",
            "python manage.py runserver",
            "/srv/guestbook",
            "guestbook",
        ),
        (
            "/usr/local/bin/python3.12",
            "python main.py",
            "/app",
            "main",
        ),
        (
            "/usr/bin/uwsgi-core",
            "uwsgi --http :80 --module shop.wsgi:application",
            "/",
            "shop",
        ),
        // JavaScript.
        ("/usr/bin/node", "node server.js", "/srv/shop", "@acme/shop"),
        (
            "/usr/bin/node",
            "node --require ./otel.js dist/src/index.js",
            "/work/svc",
            "@acme/shop",
        ),
        ("/usr/bin/node", "node /srv/cart/index.js", "/", "cart"),
        (
            "/usr/bin/node",
            "/usr/bin/nodejs --max-old-space-size=512 worker.js",
            "/srv/cart",
            "worker",
        ),
        ("/usr/bin/node", "node server.js", "/srv/cart", "cart"),
        (
            "/usr/bin/node",
            "node /srv/shop/node_modules/.bin/next start",
            "/srv/shop",
            "@acme/shop",
        ),
        ("/usr/bin/node", "npm run start", "/srv/shop", "@acme/shop"),
        (
            "/usr/bin/deno",
            "deno run -A --port 80 main.ts",
            "/srv/cart",
            "cart",
        ),
        ("/usr/bin/bun", "bun run start", "/srv/shop", "@acme/shop"),
        ("/usr/bin/bun", "bun orders.ts", "/", "orders"),
        // The JVM.
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -Xmx1g -jar /opt/orders-1.4.2-SNAPSHOT.jar --port=1",
            "/",
            "orders",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -jar app.jar",
            "/srv/cart",
            "cart",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -cp /a.jar:/b.jar -ea com.acme.orders.OrderService x",
            "/",
            "OrderService",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -p mods -m acme.orders/com.acme.Main",
            "/",
            "Main",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java Server.java",
            "/",
            "Server",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -Dotel.service.name=checkout -jar x.jar",
            "/",
            "checkout",
        ),
        (
            "/usr/lib/jvm/java-17/bin/java",
            "java -Dx=1 -classpath /c org.apache.catalina.startup.Bootstrap start",
            "/",
            "tomcat",
        ),
        // Ruby, PHP, .NET, Perl.
        (
            "/usr/bin/ruby3.1",
            "puma 5.6.5 (tcp://0.0.0.0:3000) [shop]",
            "/srv/shop",
            "shop",
        ),
        (
            "/usr/bin/ruby3.1",
            "puma: cluster worker 0: 71 [shop]",
            "/",
            "shop",
        ),
        (
            "/usr/bin/ruby3.1",
            "ruby /usr/bin/bundle exec puma -C config/puma.rb",
            "/srv/cart",
            "cart",
        ),
        (
            "/usr/bin/ruby3.1",
            "ruby bin/rails server",
            "/srv/cart",
            "cart",
        ),
        (
            "/usr/bin/ruby3.1",
            "ruby -I lib /opt/mailer.rb",
            "/",
            "mailer",
        ),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool shop", "/", "shop"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "/", "php-fpm"),
        (
            "/usr/bin/php8.2",
            "php -S 0.0.0.0:80 -t public",
            "/srv/cart",
            "cart",
        ),
        ("/usr/bin/php8.2", "php artisan serve", "/srv/cart", "cart"),
        (
            "/usr/bin/dotnet",
            "dotnet /app/Orders.Api.dll --urls http://+:80",
            "/app",
            "Orders.Api",
        ),
        (
            "/usr/bin/dotnet",
            "dotnet exec --depsfile a.json Shop.dll",
            "/app",
            "Shop",
        ),
        (
            "/usr/bin/perl",
            "/usr/bin/perl -w -I lib /usr/local/bin/report.pl",
            "/",
            "report",
        ),
        (
            "/usr/bin/perl",
            "perl /usr/bin/plackup -p 80 shop.psgi",
            "/",
            "shop",
        ),
        // Shells, applets, loaders.
        ("/usr/bin/dash", "sh /opt/poll.sh", "/", "poll"),
        ("/usr/bin/bash", "-bash", "/root", "bash"),
        ("/bin/busybox", "httpd -f -p 80", "/", "httpd"),
        ("/bin/busybox", "busybox wget -q http://x", "/", "wget"),
        (
            "/lib64/ld-linux-x86-64.so.2",
            "/lib64/ld-linux-x86-64.so.2 --library-path /x /opt/shopd -v",
            "/",
            "shopd",
        ),
    ];
    assert!(CASES.len() >= 60);
    for (exe, line, cwd, expected) in CASES {
        // Titles are one argument.
        let title = line.contains(": ") || line.contains(" [") || line.starts_with("npm ");
        let args: Vec<&str> = if title {
            vec![*line]
        } else {
            line.split(' ').collect()
        };
        assert_eq!(named(exe, &args, cwd), *expected, "{line}");
    }
}

#[test]
fn shell_code_is_seen_through() {
    for (code, expected) in [
        ("exec /usr/bin/shop --port 1", "shop"),
        ("cd /srv && A=1 exec python3 -m http.server", "http.server"),
        ("sleep 1; exec 'node' /srv/cart/index.js > log", "cart"),
        ("cd /srv && exec shop | logger", "shop"),
        ("nginx -g 'daemon off;' & exec /opt/app/shopd", "shopd"),
        ("shop 2>&1 >/dev/null; echo it ended", "shop"),
        ("nginx & shop & wait", "shop"),
        ("(cd /srv; umask 027; { shop --all; })", "shop"),
        ("/usr/bin/shop # not exec this", "shop"),
        ("while ! nc -z db 5432; do sleep 1; done; shop", "shop"),
        ("if [ -f /env ]; then . /env; fi\nexec shop", "shop"),
        ("[ -x /opt/a ] && exec /opt/a; exec -a x \"shop\"", "shop"),
        ("log() { echo \"$@\"; }; log begins; PORT=1 shop", "shop"),
        ("nohup shop > /var/log/shop 2>&1 &", "shop"),
        ("case $1 in a|b) echo b;; *) c;; esac; shop", "shop"),
        ("echo `date` \"$(shop; echo ')')\"; time -p stock", "stock"),
        ("sleep 3600", "sleep"),
        // The shell does the work itself.
        ("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done", "sh"),
        ("while true; do curl http://x; sleep 1; done", "sh"),
        ("for i in 1 2 3; do gzip $i; done", "sh"),
        ("make all; until test -e x; do :; done", "sh"),
        ("if true; then shop; else stock; fi", "sh"),
        ("trap 'kill 0' EXIT; wait", "sh"),
        (":", "sh"),
        ("exit 7", "sh"),
        ("x=1", "sh"),
        ("# nothing", "sh"),
        // It cannot be told.
        ("exec $SHOP --port 1", "sh"),
        ("exec python3 \"$APP\"", "sh"),
        ("$(which shop) --port 1", "sh"),
        ("shop <<END\ndone\nEND", "sh"),
        ("shop 'unfinished", "sh"),
        ("shop; fi", "sh"),
        ("done", "sh"),
        ("shop)", "sh"),
    ] {
        assert_eq!(
            named("/bin/sh", &["sh", "-c", code], "/"),
            expected,
            "{code}"
        );
        assert_eq!(
            named("/bin/busybox", &["sh", "-c", code], "/"),
            expected,
            "{code}"
        );
    }
    // Options with values, operands behind the code.
    for (args, expected) in [
        (
            &["bash", "-ec", "exec \"$@\"", "bash", "shop", "-p"][..],
            "shop",
        ),
        (&["sh", "-c", "exec \"$@\""], "sh"),
        (&["bash", "-o", "pipefail", "-c", "shop | tee log"], "shop"),
        (&["bash", "-ce", "shop"], "shop"),
        (&["bash", "--norc", "-c", "sh -c 'exec shop'"], "shop"),
    ] {
        let exe = format!("/bin/{}", args[0]);
        assert_eq!(named(&exe, args, "/"), expected, "{args:?}");
    }
}

#[test]
fn hostile_command_lines_are_bounded() {
    let long = "x".repeat(100_000);
    assert_eq!(named("", &[&long], "/").len(), MAX_NAME);
    assert_eq!(named("/bin/e\u{1b}[31mvil\n", &["x"], "/"), "e[31mvil");
    for part in [
        "(",
        "{ ",
        "if ",
        "case a in ",
        "$(",
        "`",
        "f() { ",
        "a|",
        "\\",
    ] {
        let many = part.repeat(10_000);
        assert!(!named("/bin/sh", &["sh", "-c", &many], "/").is_empty());
    }
    let nested = "sh -c ".repeat(1000);
    assert!(!named("/bin/sh", &["sh", "-c", &nested], "/").is_empty());
    assert_eq!(named("", &["/"], "/"), "comm");
}

proptest::proptest! {
    #[test]
    fn any_command_line_gives_a_name(
        program in 0usize..24,
        args in proptest::collection::vec("(-{0,2}[a-zA-Zé:/.\\[\\]()= ]{0,12}|-m|-c|exec|run|--)", 0..8),
        cwd in "[a-z/. ]{0,12}",
    ) {
        let exe = ["python3", "node", "bun", "java", "ruby", "php", "dotnet", "perl", "sh",
            "busybox", "env", "gunicorn", "uwsgi", "", "é", "deno"].get(program).copied().unwrap_or("x");
        let mut line = vec![exe];
        line.extend(args.iter().map(String::as_str));
        let named = named(exe, &line, &cwd);
        proptest::prop_assert!(!named.is_empty() && named.len() <= MAX_NAME);
    }
}

/// Names a command of a process that has these files in its working directory.
fn with_files(exe: &str, args: &[&str], files: &[(&str, &str)]) -> String {
    let found = |path: &str| files.iter().find(|(name, _)| *name == path);
    name(&Command {
        args,
        exe: Some(exe),
        comm: "comm",
        cwd: Some("/srv/place"),
        package: &|_| None,
        file: &|path| Some(found(path.trim_start_matches("./")).is_some()),
        read: &|path| found(path).map(|(_, text)| text.as_bytes().to_vec()),
        declared: None,
        depth: 0,
    })
}

#[test]
fn values_of_unknown_options_are_no_scripts() {
    const CASES: &[(&str, &str, &[&str], &str)] = &[
        (
            "/usr/bin/node",
            "node --env-file .env orders.js",
            &[".env", "orders.js"],
            "orders",
        ),
        (
            "/usr/bin/node",
            "node --inspect-port 9229 orders.js",
            &["orders.js"],
            "orders",
        ),
        (
            "/usr/bin/node",
            "node --new-option value orders",
            &["orders.js"],
            "orders",
        ),
        (
            "/usr/bin/node",
            "node --inspect orders.js next.js",
            &["orders.js", "next.js"],
            "orders",
        ),
        (
            "/usr/bin/node",
            "node --import ./hook.mjs orders.js",
            &["hook.mjs", "orders.js"],
            "orders",
        ),
        (
            "/usr/bin/node",
            "node --cert ca.pem orders.js --port 80",
            &["ca.pem", "orders.js"],
            "orders",
        ),
        (
            "/usr/bin/python3",
            "python3 -X dev -W error orders.py",
            &["orders.py"],
            "orders",
        ),
        (
            "/usr/bin/perl",
            "perl -I lib orders.pl",
            &["orders.pl"],
            "orders",
        ),
        (
            "/usr/bin/perl",
            "perl -Mstrict -I lib orders",
            &["orders"],
            "orders",
        ),
        (
            "/usr/bin/ruby",
            "ruby --encoding UTF-8 orders.rb",
            &["orders.rb"],
            "orders",
        ),
        (
            "/usr/bin/guile-3.0",
            "guile --no-auto-compile orders.scm",
            &["orders.scm"],
            "orders",
        ),
        (
            "/usr/bin/swipl",
            "swipl -g main orders.pl",
            &["orders.pl"],
            "orders",
        ),
        (
            "/usr/bin/sbcl",
            "sbcl --script orders.lisp",
            &["orders.lisp"],
            "orders",
        ),
        (
            "/usr/lib/R/bin/exec/R",
            "/usr/lib/R/bin/exec/R --no-echo --no-restore --file=orders.R",
            &["orders.R"],
            "orders",
        ),
        ("/usr/bin/gunicorn-py3", "orders.zig", &[], "gunicorn-py3"),
        (
            "/usr/bin/novel",
            "novel orders.scm",
            &["orders.scm"],
            "orders",
        ),
        (
            "/usr/bin/wrk",
            "wrk -s load.lua http://127.0.0.1",
            &["load.lua"],
            "wrk",
        ),
        (
            "/usr/sbin/nginx",
            "nginx -c nginx.conf",
            &["nginx.conf"],
            "nginx",
        ),
    ];
    for (exe, line, files, expected) in CASES {
        let args: Vec<&str> = line.split(' ').collect();
        let files: Vec<(&str, &str)> = files.iter().map(|name| (*name, "")).collect();
        assert_eq!(with_files(exe, &args, &files), *expected, "{line}");
        // Where the disk is out of sight, a number is no script all the same.
        if !matches!(*exe, "/usr/bin/novel") && !line.contains("value orders") {
            assert_eq!(named(exe, &args, "/srv/place"), *expected, "unseen: {line}");
        }
    }
}

#[test]
fn servers_are_seen_through_to_what_they_serve() {
    const CASES: &[(&str, &[&str])] = &[
        (
            "python3 /usr/bin/gunicorn orders -c conf.py",
            &["conf.py", "orders.py"],
        ),
        ("python3 /usr/bin/gunicorn --preload orders", &["orders.py"]),
        (
            "python3 /usr/bin/gunicorn -w 4 -b 127.0.0.1:80 orders:app",
            &[],
        ),
        ("python3 /venv/bin/sanic orders:app --port 80", &[]),
        ("python3 /venv/bin/sanic orders.app", &["orders/app.py"]),
        ("python3 /venv/bin/quart --app orders run", &["orders.py"]),
        ("python3 -m cheroot orders:app", &[]),
        (
            "python3 /venv/bin/twist web --wsgi orders.app",
            &["orders.py"],
        ),
        (
            "python3 /venv/bin/brand-new-server --port 80 orders:app",
            &[],
        ),
        ("python3 -m brand_new orders:app", &[]),
        (
            "perl /usr/bin/plackup -o 127.0.0.1 -p 80 orders.psgi",
            &["orders.psgi"],
        ),
        (
            "perl /usr/bin/twiggy --listen 127.0.0.1:80 orders.psgi",
            &["orders.psgi"],
        ),
        ("perl /usr/bin/starman -a orders.psgi", &["orders.psgi"]),
    ];
    for (line, files) in CASES {
        let args: Vec<&str> = line.split(' ').collect();
        let files: Vec<(&str, &str)> = files.iter().map(|name| (*name, "")).collect();
        let name = with_files(&format!("/usr/bin/{}", args[0]), &args, &files);
        assert_eq!(name, "orders", "{line}");
    }
    let tool = ["python3", "/usr/bin/supervisord", "-c", "orders.conf"];
    assert_eq!(
        with_files("/usr/bin/python3", &tool, &[("orders.conf", "")]),
        "supervisord"
    );
}

#[test]
fn titles_are_read_as_what_they_are() {
    const CASES: &[(&str, &str, &str)] = &[
        ("/usr/bin/node", "orders-api", "orders-api"),
        ("/usr/bin/node", "node /srv/orders/app.js", "orders"),
        (
            "/usr/bin/node",
            "PM2 v5.3.0: God Daemon (/root/.pm2)",
            "PM2",
        ),
        ("/usr/bin/node", "node", "node"),
        ("/usr/bin/python3.11", "orders: worker 3", "orders"),
        (
            "/usr/bin/python3.11",
            "gunicorn: worker [orders:app]",
            "orders",
        ),
        (
            "/usr/bin/perl",
            "starman worker --listen 127.0.0.1:80 orders.psgi",
            "orders",
        ),
        ("/usr/bin/perl", "orders", "orders"),
        ("/usr/bin/perl", "orders.pl", "orders"),
        ("/usr/bin/perl", "/usr/bin/twiggy", "twiggy"),
        ("/usr/bin/bash", "-bash", "bash"),
        ("/usr/bin/python3.11", "/venv/bin/python", "python3.11"),
        (
            "/usr/lib/postgresql/15/bin/postgres",
            "postgres: checkpointer",
            "postgres",
        ),
    ];
    for (exe, title, expected) in CASES {
        assert_eq!(named(exe, &[title], "/"), *expected, "{title}");
    }
}

#[test]
fn java_is_named_by_class_archive_or_what_its_options_say() {
    let java = |line: &str, files: &[(&str, &str)]| {
        let args: Vec<&str> = line.split(' ').collect();
        with_files("/usr/lib/jvm/bin/java", &args, files)
    };
    for line in [
        "java -cp cls --enable-native-access ALL-UNNAMED Orders",
        "java -cp cls --add-opens java.base/java.lang=ALL-UNNAMED Orders --port 80",
        "java --enable-preview Orders",
        "java --any-new java.se Orders",
        "java -XX:+UseSerialGC com.acme.Orders",
        "java -m shop/com.acme.Orders",
        "java --module=shop/com.acme.Orders",
        "java src/Orders.java",
    ] {
        assert_eq!(java(line, &[]), "Orders", "{line}");
    }
    let file = [("args", "-Xmx1g\n# the archive\n-jar \"orders-1.2.3.jar\"\n")];
    assert_eq!(java("java @args", &file), "orders");
    assert_eq!(java("java @gone Orders @args", &file), "Orders");
}

#[test]
fn erlang_is_named_by_node_release_or_directory() {
    for (line, expected) in [
        (
            "beam.smp -- -root /usr/lib/erlang -progname erl -- -home /root -- -sname orders -noshell",
            "orders",
        ),
        (
            "beam.smp -- -progname erl -- -name orders@10.0.0.1",
            "orders",
        ),
        (
            "beam.smp -- -root /opt/orders -progname bin/orders -- -home /",
            "orders",
        ),
        (
            "beam.smp -- -progname erl -- -extra /usr/bin/mix phx.server",
            "place",
        ),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(
            with_files("/usr/lib/erlang/erts/bin/beam.smp", &args, &[]),
            expected,
            "{line}"
        );
    }
}
