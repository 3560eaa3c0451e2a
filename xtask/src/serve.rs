//! A server of static files, for this machine alone.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::release::{ENCODINGS, beside};
use anyhow::{Result, anyhow};
use percent_encoding::percent_decode_str;
use tiny_http::{Header, Method, Request, Response, Server};

/// Where the page is looked for first.
const PORT: u16 = 8080;
const THREADS: usize = 4;

/// Serves `folder` on 127.0.0.1 until the process ends.
pub(crate) fn serve(folder: &Path, port: Option<u16>) -> Result<()> {
    let server = match port {
        Some(port) => listen(port)?,
        None => listen(PORT).or_else(|_| listen(0))?,
    };
    println!(
        "Basin is at http://{} (Ctrl-C stops it)",
        server.server_addr()
    );
    let server = Arc::new(server);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (server, folder) = (Arc::clone(&server), folder.to_path_buf());
            thread::spawn(move || {
                for request in server.incoming_requests() {
                    answer(request, &folder);
                }
            })
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow!("a thread of the server panicked"))?;
    }
    Ok(())
}

fn listen(port: u16) -> Result<Server> {
    Server::http(("127.0.0.1", port)).map_err(|error| anyhow!("cannot listen on {port}: {error}"))
}

fn answer(request: Request, folder: &Path) {
    let is_read = matches!(request.method(), Method::Get | Method::Head);
    let file = resolve(request.url())
        .filter(|_| is_read)
        .map(|path| folder.join(path));
    let encoded = file.as_ref().and_then(|path| encoded(path, &request));
    let opened = match (&encoded, &file) {
        (Some((path, _)), _) | (None, Some(path)) => Some(File::open(path)),
        (None, None) => None,
    };
    // A visitor who goes away in the middle is no fault.
    let _ = match (file, opened) {
        (Some(path), Some(Ok(file))) if path.is_file() => {
            let mut response = Response::from_file(file)
                .with_header(header("Content-Type", content_type(&path)))
                .with_header(header("Cache-Control", "no-cache"))
                .with_header(header("Vary", "Accept-Encoding"))
                .with_header(header("X-Content-Type-Options", "nosniff"));
            if let Some((_, encoding)) = encoded {
                response.add_header(header("Content-Encoding", encoding));
            }
            request.respond(response)
        }
        (_, Some(Err(error))) if error.kind() != ErrorKind::NotFound => {
            request.respond(Response::from_string(format!("{error}\n")).with_status_code(500))
        }
        _ if !is_read => request.respond(Response::empty(405)),
        _ => request.respond(Response::from_string("not found\n").with_status_code(404)),
    };
}

/// What a file is compressed, in a way that the browser takes, where that lies beside it; and the way.
fn encoded(file: &Path, request: &Request) -> Option<(PathBuf, &'static str)> {
    let accepted = request
        .headers()
        .iter()
        .find(|header| header.field.equiv("Accept-Encoding"))?;
    let accepts = |encoding: &str| {
        let mut ways = accepted.value.as_str().split(',');
        // `br;q=0` refuses it.
        ways.any(|way| {
            way.trim() == encoding || way.trim().starts_with(&format!("{encoding};q=0."))
        })
    };
    ENCODINGS
        .into_iter()
        .filter(|(_, encoding)| accepts(encoding))
        .map(|(ending, encoding)| (beside(file, ending), encoding))
        .find(|(path, _)| path.is_file())
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("our headers are ASCII")
}

/// The file that a request names, relative to the folder; none if it points out of it.
fn resolve(url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.trim_start_matches('/');
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = PathBuf::from(path.as_ref());
    let is_inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_folder = path.as_os_str().is_empty() || url.ends_with('/');
    is_inside.then(|| {
        if is_folder {
            path.join("index.html")
        } else {
            path
        }
    })
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn addresses_name_files_inside_the_folder_or_nothing() {
        for (url, expected) in [
            ("/", Some("index.html")),
            ("/?model=x", Some("index.html")),
            ("/basin-cpu_bg.wasm", Some("basin-cpu_bg.wasm")),
            (
                "/models/a%20b.safetensors?v=1",
                Some("models/a b.safetensors"),
            ),
            ("/../Cargo.toml", None),
            ("/models/%2e%2e/%2e%2e/Cargo.toml", None),
            ("//etc/passwd", Some("etc/passwd")),
            ("/%2fetc/passwd", None),
            ("/%zz", Some("%zz")),
            ("/%2", Some("%2")),
        ] {
            assert_eq!(resolve(url), expected.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn files_are_served_with_their_types() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), "<!doctype html>").unwrap();
        std::fs::write(folder.path().join("engine.wasm"), b"\0asm").unwrap();
        let server = Arc::new(listen(0).unwrap());
        let address = server.server_addr().to_ip().unwrap();
        let get_as = |method: &str, url: &str, accepts: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(
                stream,
                "{method} {url} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accepts}\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            answer(server.recv().unwrap(), folder.path());
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.to_lowercase()
        };
        let get = |method: &str, url: &str| get_as(method, url, "identity");
        for (method, url, parts) in [
            (
                "GET",
                "/",
                &[
                    "200",
                    "content-type: text/html; charset=utf-8",
                    "<!doctype html>",
                ][..],
            ),
            (
                "GET",
                "/engine.wasm",
                &["200", "content-type: application/wasm"],
            ),
            (
                "HEAD",
                "/engine.wasm",
                &["200", "content-type: application/wasm"],
            ),
            ("GET", "/absent.js", &["404"]),
            ("GET", "/../xtask/Cargo.toml", &["404"]),
            ("POST", "/", &["405"]),
        ] {
            let answer = get(method, url);
            for part in parts {
                assert!(
                    answer.contains(part),
                    "{method} {url}: {answer:?} lacks {part:?}"
                );
            }
        }
        std::fs::write(folder.path().join("engine.wasm.br"), "packed").unwrap();
        for (accepts, packed) in [("gzip, br", true), ("br;q=0", false), ("gzip", false)] {
            let answer = get_as("GET", "/engine.wasm", accepts);
            assert_eq!(answer.contains("content-encoding: br"), packed, "{answer}");
            assert_eq!(answer.ends_with("packed"), packed, "{answer}");
            assert!(answer.contains("content-type: application/wasm"));
        }
    }
}
