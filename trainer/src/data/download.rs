//! Official archives over HTTP: resumed where they broke off, kept only if the checksum is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use basin_shared::file::container::hex;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, StatusCode, header};

use super::DataError;

/// A file that its authors offer, and what is known of it.
pub(super) struct Archive<'a> {
    pub(super) url: &'a str,
    /// File name on disk.
    pub(super) name: &'a str,
    pub(super) bytes: u64,
    /// In lower-case hexadecimal digits.
    pub(super) sha256: &'a str,
}

/// How long a server may be silent; tests have less patience.
const SILENCE: Duration = match cfg!(test) {
    true => Duration::from_millis(400),
    false => Duration::from_secs(60),
};
/// Connections that bring nothing new before giving up.
const FRUITLESS_ATTEMPTS: u32 = 3;

/// The archive in `directory`, downloaded unless a good copy is there.
///
/// Bytes arrive in a `.part` file, which a later call goes on with; it gets its name only when its
/// SHA-256 is right. Calls from several processes wait for each other.
pub(super) fn fetch(
    archive: &Archive,
    directory: &Path,
    progress: &MultiProgress,
) -> Result<PathBuf, DataError> {
    let path = directory.join(archive.name);
    if is_intact(&path, archive)? {
        return Ok(path);
    }
    let part_path = directory.join(format!("{}.part", archive.name));
    let io = |action| {
        let path = part_path.clone();
        move |source| DataError::Io {
            path,
            action,
            source,
        }
    };
    fs::create_dir_all(directory).map_err(io("make the folder of"))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut part = options.open(&part_path).map_err(io("open"))?;
    part.lock().map_err(io("lock"))?;
    if is_intact(&path, archive)? {
        // Another process finished it while this one waited; `part` may be that very file.
        return Ok(path);
    }

    receive(archive, &mut part, &io, progress)?;
    let found = sha256(&mut part).map_err(io("read"))?;
    if found != archive.sha256 {
        part.set_len(0).map_err(io("empty"))?;
        return Err(DataError::Checksum {
            url: archive.url.into(),
            found,
            expected: archive.sha256.into(),
        });
    }
    part.sync_all().map_err(io("write"))?;
    fs::rename(&part_path, &path).map_err(io("rename"))?;
    Ok(path)
}

/// Whether the file is there with the right length and checksum.
fn is_intact(path: &Path, archive: &Archive) -> Result<bool, DataError> {
    let io = |source| DataError::Io {
        path: path.into(),
        action: "read",
        source,
    };
    match File::open(path) {
        Ok(mut file) => Ok(file.metadata().map_err(io)?.len() == archive.bytes
            && sha256(&mut file).map_err(io)? == archive.sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(error)),
    }
}

/// Appends to `part` until it has the archive's length.
fn receive<E: FnOnce(io::Error) -> DataError>(
    archive: &Archive,
    part: &mut File,
    io: &impl Fn(&'static str) -> E,
    progress: &MultiProgress,
) -> Result<(), DataError> {
    let mut received = part.metadata().map_err(io("read"))?.len();
    if received > archive.bytes {
        part.set_len(0).map_err(io("empty"))?;
        received = 0;
    }
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    )
    .expect("the template is valid");
    let bar = ProgressBar::new(archive.bytes)
        .with_style(style)
        .with_prefix(archive.name.to_string());
    let bar = progress.add(bar.with_position(received));
    bar.reset_eta();

    let agent: ureq::Agent = ureq::Agent::config_builder()
        .user_agent(concat!("basin/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into();
    let mut fruitless = 0;
    while received < archive.bytes {
        let before = received;
        match connect(archive, &agent, received) {
            Ok((mut body, start)) => {
                part.set_len(start).map_err(io("shorten"))?;
                part.seek(SeekFrom::Start(start)).map_err(io("seek in"))?;
                received = start;
                let mut buffer = vec![0; 64 * 1024];
                let broken = loop {
                    let wanted = (archive.bytes - received).min(buffer.len() as u64) as usize;
                    match body.read(&mut buffer[..wanted]) {
                        Ok(0) => break io::Error::from(io::ErrorKind::UnexpectedEof),
                        Ok(count) => {
                            part.write_all(&buffer[..count]).map_err(io("write"))?;
                            received += count as u64;
                            bar.set_position(received);
                        }
                        Err(error) => break error,
                    }
                };
                if received > before {
                    fruitless = 0;
                    continue;
                }
                fruitless += 1;
                if received < archive.bytes && fruitless == FRUITLESS_ATTEMPTS {
                    return Err(network(archive, received, broken));
                }
            }
            Err(Refusal::Broken(error)) => {
                fruitless += 1;
                if fruitless == FRUITLESS_ATTEMPTS {
                    return Err(network(archive, received, error));
                }
            }
            Err(Refusal::Final(error)) => return Err(error),
        }
        std::thread::sleep(Duration::from_millis(500) * fruitless);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Why a connection gave no bytes.
enum Refusal {
    /// Another attempt may do better.
    Broken(ureq::Error),
    Final(DataError),
}

/// The bytes of the archive from some offset on, and that offset: `received` if the server can.
fn connect(
    archive: &Archive,
    agent: &ureq::Agent,
    received: u64,
) -> Result<(impl Read + use<>, u64), Refusal> {
    let mut request = agent.get(archive.url);
    if received > 0 {
        request = request.header(header::RANGE, format!("bytes={received}-"));
    }
    let response = request.call().map_err(Refusal::Broken)?;
    let headers = response.headers();
    let (start, length) = match response.status() {
        StatusCode::OK => (0, response.body().content_length()),
        StatusCode::PARTIAL_CONTENT if content_range(headers).is_some_and(|r| r.0 == received) => {
            (received, content_range(headers).and_then(|range| range.1))
        }
        status => {
            let (url, status) = (archive.url.into(), status.as_u16());
            return Err(Refusal::Final(DataError::Status { url, status }));
        }
    };
    if let Some(found) = length.filter(|&length| length != archive.bytes) {
        let (url, expected) = (archive.url.into(), archive.bytes);
        return Err(Refusal::Final(DataError::DownloadLength {
            url,
            found,
            expected,
        }));
    }
    Ok((response.into_body().into_reader(), start))
}

/// Start and total length in `Content-Range: bytes 100-199/200`; the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

fn network(
    archive: &Archive,
    received: u64,
    source: impl std::error::Error + Send + Sync + 'static,
) -> DataError {
    DataError::Network {
        url: archive.url.into(),
        received,
        source: Box::new(source),
    }
}

/// SHA-256 of the whole file, in lower-case hexadecimal digits.
fn sha256(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    /// What the test server does with one connection.
    #[derive(Clone, Copy)]
    enum Answer {
        /// All that is asked for.
        Honest,
        /// As many bytes of it, then the connection ends.
        CutAfter(usize),
        /// As many bytes of it, then nothing, while the connection stays.
        StallAfter(usize),
        /// The whole file, whatever range is asked for.
        Whole,
        /// A partial answer that starts elsewhere.
        WrongRange,
        Status(u16),
        /// The connection ends without an answer.
        HangUp,
    }

    /// A server on the loopback that gives these answers, one a connection, and returns the offset
    /// that each request asked for.
    fn serve(data: Vec<u8>, answers: Vec<Answer>) -> (String, JoinHandle<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/archive", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut offsets = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut offset = 0;
                for line in BufReader::new(&stream).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(range) = line.strip_prefix("range: bytes=") {
                        offset = range.trim_end_matches('-').parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                offsets.push(offset);
                let (start, stated) = match answer {
                    Answer::Whole => (0, 0),
                    Answer::WrongRange => (offset, offset + 1),
                    _ => (offset, offset),
                };
                let rest = &data[start.min(data.len())..];
                let head = match answer {
                    Answer::HangUp => continue,
                    Answer::Status(status) => {
                        format!("HTTP/1.1 {status} no\r\nContent-Length: 0\r\n")
                    }
                    _ if stated > 0 => format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\
                         Content-Range: bytes {stated}-{}/{}\r\n",
                        rest.len(),
                        data.len() - 1,
                        data.len()
                    ),
                    _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", rest.len()),
                };
                let body = match answer {
                    Answer::Status(_) => &[],
                    Answer::CutAfter(count) | Answer::StallAfter(count) => &rest[..count],
                    _ => rest,
                };
                // A client that has read enough may have gone.
                let _ = write!(stream, "{head}Connection: close\r\n\r\n");
                let _ = stream.write_all(body);
                if let Answer::StallAfter(_) = answer {
                    // Until the client has had enough.
                    let _ = stream.read(&mut [0]);
                }
            }
            offsets
        });
        (url, server)
    }

    fn data() -> Vec<u8> {
        (0..300_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect()
    }

    fn hash(data: &[u8]) -> String {
        hex(&Sha256::digest(data))
    }

    #[test]
    fn downloads_end_with_the_official_bytes_or_an_error() {
        struct Case {
            name: &'static str,
            answers: Vec<Answer>,
            /// Bytes that an earlier run left behind.
            part: usize,
            /// Offsets asked for.
            offsets: Vec<usize>,
            /// What the error says and how much of the archive is kept; none if all is well.
            failure: Option<(&'static [&'static str], usize)>,
        }
        let good = |name, part, answers, offsets| Case {
            name,
            answers,
            part,
            offsets,
            failure: None,
        };
        let cases = [
            good("at once", 0, vec![Answer::Honest], vec![0]),
            good(
                "left by an earlier run",
                70_000,
                vec![Answer::Honest],
                vec![70_000],
            ),
            good(
                "broken off twice",
                0,
                vec![
                    Answer::CutAfter(100_000),
                    Answer::CutAfter(50_000),
                    Answer::Honest,
                ],
                vec![0, 100_000, 150_000],
            ),
            good(
                "stalled twice",
                0,
                vec![
                    Answer::StallAfter(100_000),
                    Answer::StallAfter(0),
                    Answer::Honest,
                ],
                vec![0, 100_000, 100_000],
            ),
            good("no ranges", 70_000, vec![Answer::Whole], vec![70_000]),
            good(
                "hung up once",
                0,
                vec![Answer::HangUp, Answer::Honest],
                vec![0, 0],
            ),
            good("all but the name", 300_000, vec![], vec![]),
            good("too long a rest", 300_001, vec![Answer::Honest], vec![0]),
            Case {
                name: "not there",
                answers: vec![Answer::Status(404)],
                part: 10,
                offsets: vec![10],
                failure: Some((&["status 404", "--data-dir"], 10)),
            },
            Case {
                name: "another range than asked for",
                answers: vec![Answer::WrongRange],
                part: 10,
                offsets: vec![10],
                failure: Some((&["status 206"], 10)),
            },
            Case {
                name: "broken off for good",
                answers: vec![
                    Answer::CutAfter(1_000),
                    Answer::HangUp,
                    Answer::CutAfter(0),
                    Answer::HangUp,
                ],
                part: 0,
                offsets: vec![0, 1_000, 1_000, 1_000],
                failure: Some((&["cannot download", "byte 1000"], 1_000)),
            },
        ];
        let data = data();
        let sha256 = hash(&data);
        for case in cases {
            let (url, server) = serve(data.clone(), case.answers);
            let archive = Archive {
                url: &url,
                name: "set.gz",
                bytes: data.len() as u64,
                sha256: &sha256,
            };
            let folder = tempfile::tempdir().unwrap();
            // The folder that a first run finds is not there yet.
            let directory = folder.path().join("cache");
            let part = directory.join("set.gz.part");
            if case.part > 0 {
                fs::create_dir(&directory).unwrap();
                let longer: Vec<u8> = data.iter().copied().chain([0]).collect();
                fs::write(&part, &longer[..case.part]).unwrap();
            }
            let result = fetch(&archive, &directory, &MultiProgress::new());
            assert_eq!(server.join().unwrap(), case.offsets, "{}", case.name);
            match (result, case.failure) {
                (Ok(path), None) => {
                    assert_eq!(fs::read(path).unwrap(), data, "{}", case.name);
                    assert!(!part.exists(), "{}", case.name);
                }
                (Err(error), Some((parts, kept))) => {
                    let message = error.to_string();
                    for part in parts.iter().chain([&url.as_str()]) {
                        assert!(message.contains(part), "{}: {message}", case.name);
                    }
                    assert_eq!(fs::read(&part).unwrap(), data[..kept], "{}", case.name);
                    assert!(!directory.join("set.gz").exists(), "{}", case.name);
                }
                (result, _) => panic!("{}: {result:?}", case.name),
            }
        }
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing_behind() {
        let mut wrong = data();
        wrong[1_000] ^= 1;
        let sha256 = hash(&data());
        let folder = tempfile::tempdir().unwrap();
        let (url, server) = serve(wrong.clone(), vec![Answer::Honest]);
        let archive = Archive {
            url: &url,
            name: "set.gz",
            bytes: wrong.len() as u64,
            sha256: &sha256,
        };
        let error = fetch(&archive, folder.path(), &MultiProgress::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&sha256) && error.contains(&hash(&wrong)),
            "{error}"
        );
        server.join().unwrap();
        assert!(
            fs::read(folder.path().join("set.gz.part"))
                .unwrap()
                .is_empty()
        );

        // The next run starts anew and gets the good file.
        let (url, server) = serve(data(), vec![Answer::Honest]);
        let archive = Archive {
            url: &url,
            ..archive
        };
        let path = fetch(&archive, folder.path(), &MultiProgress::new()).unwrap();
        assert_eq!(
            (fs::read(path).unwrap(), server.join().unwrap()),
            (data(), vec![0])
        );
    }

    #[test]
    fn another_length_is_refused_before_the_bytes() {
        let (url, server) = serve(data(), vec![Answer::Honest]);
        let archive = Archive {
            url: &url,
            name: "set.gz",
            bytes: 7,
            sha256: "",
        };
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(&archive, folder.path(), &MultiProgress::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("found 300000 bytes, expected 7"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn a_good_copy_is_kept_and_a_bad_one_replaced() {
        let sha256 = hash(&data());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.gz");
        let mut damaged = data();
        damaged[5] ^= 1;
        for (copy, answers) in [(data(), vec![]), (damaged, vec![Answer::Honest])] {
            fs::write(&path, copy).unwrap();
            let connections = answers.len();
            let (url, server) = serve(data(), answers);
            let archive = Archive {
                url: &url,
                name: "set.gz",
                bytes: 300_000,
                sha256: &sha256,
            };
            fetch(&archive, folder.path(), &MultiProgress::new()).unwrap();
            assert_eq!(server.join().unwrap().len(), connections);
            assert_eq!(fs::read(&path).unwrap(), data());
        }
    }
}
