//! Certificates and proxies.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::s3::free_port;
use super::site::{Site, object};
use crate::driver::data::pattern;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

/// A server with a certificate that an authority of its own signed.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    fn start(content: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let openssl = |line: &str| {
            let mut command = Command::new("openssl");
            command
                .args(line.split_whitespace())
                .current_dir(folder.path());
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for line in [
            &format!("req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem -days 2"),
            &format!(
                "req {key} -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout \
                 own.key -out own.csr"
            ),
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
             -out own.pem -days 2",
        ] {
            assert!(openssl(line).status().unwrap().success(), "{line}");
        }
        fs::write(folder.path().join("disk.raw"), content).unwrap();
        let port = free_port();
        let serve = format!("s_server -accept {port} -cert own.pem -key own.key -WWW");
        let child = openssl(&serve).spawn().unwrap();
        eventually("openssl answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            child,
            port,
            folder,
        }
    }

    fn authority(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run a line, with variables.
fn run(daemon: &Daemon, line: &str, set: &[(&str, &Path)]) -> (bool, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = daemon.command(&words);
    for (name, value) in set {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    (output.status.success(), text(&output.stderr))
}

#[test]
fn a_certificate_that_is_not_trusted_is_one_line_and_a_trusted_one_works() {
    let content = pattern(1 << 20, 3);
    let server = Server::start(&content);
    let daemon = Daemon::start();
    let line = format!(
        "create a --size 1M --image https://localhost:{}/disk.raw",
        server.port
    );
    let (made, said) = run(&daemon, &line, &[]);
    assert!(!made && said.lines().count() == 1, "{said}");
    assert!(
        said.contains("SSL_CERT_FILE") && said.contains("UnknownIssuer"),
        "{said}"
    );
    let (made, said) = run(&daemon, &line, &[("SSL_CERT_FILE", &server.authority())]);
    assert!(made, "{said}");
    assert!(daemon.run("export a -").stdout == content);
    // A certificate for another name is none.
    let line = line.replace("localhost", "127.0.0.1").replace(" a ", " b ");
    let (made, said) = run(&daemon, &line, &[("SSL_CERT_FILE", &server.authority())]);
    assert!(!made && said.contains("certificate"), "{said}");
    daemon.refused("show b", 3);
}

#[test]
fn a_proxy_is_used_and_named_where_it_is_the_reason() {
    let content: &'static [u8] = Box::leak(pattern(1 << 20, 3).into_boxed_slice());
    let proxy = Site::start(move |_, request| {
        assert_eq!(request.path, "http://images.invalid/disk.raw");
        object(request, content, "\"v1\"")
    });
    let daemon = Daemon::start();
    let line = "create a --image http://images.invalid/disk.raw";
    let url = proxy.url("");
    let (made, said) = run(&daemon, line, &[("http_proxy", Path::new(&url))]);
    assert!(made, "{said}");
    assert!(daemon.run("export a -").stdout == content);
    let line = line.replace(" a ", " b ");
    let (made, said) = run(
        &daemon,
        &line,
        &[("http_proxy", Path::new("http://127.0.0.1:1"))],
    );
    assert!(
        !made && said.contains("the proxy that http_proxy names"),
        "{said}"
    );
}
