//! A service that the host calls out to, as a stand-in of our own on 127.0.0.1: it keeps what it was sent and answers as it is told.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What it was sent.
#[derive(Clone, Debug)]
pub struct Said {
    /// Request line and headers.
    pub head: String,
    /// Body.
    pub body: String,
}

/// A service that runs as long as the test does.
pub struct DeliveryService {
    address: String,
    heard: Arc<Mutex<Vec<Said>>>,
}

#[expect(clippy::unwrap_used, reason = "a stand-in that cannot listen is a failed test")]
impl DeliveryService {
    /// Starts one. `answer` gives status and body for what was said; nothing closes the connection without a word.
    pub fn start(answer: impl Fn(&Said) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, answer) = (Arc::<Mutex<Vec<Said>>>::default(), Arc::new(answer));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || serve(socket, &kept, &*answer));
            }
        });
        Self { address, heard }
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was sent so far.
    pub fn heard(&self) -> Vec<Said> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Said {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn serve(socket: TcpStream, heard: &Mutex<Vec<Said>>, answer: &dyn Fn(&Said) -> Option<(u16, String)>) {
    let Ok(writer) = socket.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(socket), writer);
    while let Some(said) = read(&mut reader) {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(said.clone());
        let Some((status, body)) = answer(&said) else { return };
        let head =
            format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if writer.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Said> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut said = Said { head, body: String::new() };
    let length: usize = said.header("content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    said.body = String::from_utf8_lossy(&body).into_owned();
    Some(said)
}
