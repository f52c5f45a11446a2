//! Apache httpd.

use std::fs;

use super::Server;
use crate::harness::process::command;

/// Starts Apache httpd with the given multi-processing module (`event`, `worker`,
/// `prefork`) and additional directives.
pub(crate) fn start(mpm: &str, extra: &str) -> Server {
    Server::start(|port, dir| {
        let root = dir.join("root");
        for part in ["hello", "big", "upload"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("hello.txt"), "hello\n").unwrap();
        fs::write(root.join("big.bin"), vec![b'b'; 300_000]).unwrap();
        let modules: String = ["authz_core", "alias", "proxy", "proxy_connect"]
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        let (dir_text, root) = (dir.display(), root.display());
        let text = format!(
            "ServerRoot {dir_text}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {dir_text}/pid
ErrorLog {dir_text}/error.log
DefaultRuntimeDir {dir_text}
Mutex file:{dir_text}
LoadModule mpm_{mpm}_module /usr/lib/apache2/modules/mod_mpm_{mpm}.so
{modules}
User www-data
Group www-data
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
EnableSendfile On
DocumentRoot {root}
<Directory />
  Require all granted
</Directory>
AliasMatch ^/hello/ {root}/hello.txt
AliasMatch ^/big/ {root}/big.bin
AliasMatch ^/upload/ {root}/hello.txt
{extra}
"
        );
        fs::write(dir.join("httpd.conf"), text).unwrap();
        // Workers give up root and must still reach the files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir, open).unwrap();
        let mut apache = command("apache2", &["-D", "FOREGROUND", "-f"]);
        apache.arg(dir.join("httpd.conf"));
        apache
    })
}
