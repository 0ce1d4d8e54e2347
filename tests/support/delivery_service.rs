//! A service that the host calls out to, as a stand-in of our own on 127.0.0.1: it keeps what it was sent and answers as it is told.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use crate::service::{Request, header, listen};

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

impl DeliveryService {
    /// Starts one. `answer` gives status and body for what was said; nothing closes the connection without a word.
    pub fn start(answer: impl Fn(&Said) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let heard = Arc::<Mutex<Vec<Said>>>::default();
        let kept = Arc::clone(&heard);
        Self { address: listen("127.0.0.1", move |socket| serve(socket, &kept, &answer)), heard }
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
        header(&self.head, name)
    }
}

fn serve(
    socket: TcpStream,
    heard: &Mutex<Vec<Said>>,
    answer: &dyn Fn(&Said) -> Option<(u16, String)>,
) {
    let Ok(writer) = socket.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(socket), writer);
    while let Some(request) = Request::read(&mut reader) {
        let said = Said { body: request.text(), head: request.head };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(said.clone());
        let Some((status, body)) = answer(&said) else { return };
        let head = format!(
            "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if writer.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}
