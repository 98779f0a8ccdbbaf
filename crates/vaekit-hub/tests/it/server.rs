//! A real HTTP server on loopback, one thread a connection, that can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(stream: &TcpStream) -> Option<Request> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = BTreeMap::new();
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Some(Request { method, path, headers })
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether it says how long the body is.
    pub(crate) says_length: bool,
    /// Bytes of the body after which the connection breaks.
    pub(crate) cut: Option<usize>,
    /// Whether nothing more comes at the cut, instead of an end.
    pub(crate) silent: bool,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Vec::new(), says_length: true, cut: None, silent: false }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn write(&self, mut stream: &TcpStream, is_head: bool) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {} X\r\nConnection: close\r\n", self.status)?;
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        if self.says_length {
            write!(stream, "Content-Length: {}\r\n", self.body.len())?;
        }
        write!(stream, "\r\n")?;
        if !is_head {
            stream.write_all(&self.body[..self.cut.unwrap_or(self.body.len()).min(self.body.len())])?;
            if self.silent {
                thread::sleep(Duration::from_secs(20));
            }
        }
        stream.shutdown(Shutdown::Write)
    }
}

/// A server that runs until the process ends.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(&stream, &log, &*answer));
            }
        });
        Server { address, requests }
    }

    /// What was asked since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let Some(request) = Request::read(stream) else { return };
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    // A client that hangs up is no failure of the server's.
    let _ = reply.write(stream, request.method == "HEAD");
    // Closing with unread input would reset the connection under the answer.
    let _ = (&mut &*stream).read(&mut [0; 64]);
}
