//! Answers, and those that all nodes give alike.

/// How much of a body is in one chunk: little, so that boundaries and numbers are torn.
const CHUNK: usize = 7;

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether the connection is closed thereafter. Nothing in the answer says so.
    pub(super) close: bool,
}

impl Response {
    pub(super) const fn new(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            headers: Vec::new(),
            body: Vec::new(),
            close: false,
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut response = self.header("Content-Type", content_type);
        response.body = body.into();
        response
    }

    /// As it goes out.
    pub(super) fn encode(&self, date: &str, head_only: bool, chunked: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Server: stand-in for MochiWeb/3.2.2 WebMachine/3.4.0\r\n");
        head.push_str(&format!("Date: {date}\r\n"));
        let bodiless = self.status == 204 || self.status == 304;
        let chunked = chunked && !bodiless && !head_only;
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if !bodiless {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if chunked {
            for chunk in self.body.chunks(CHUNK) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    pub(super) const fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

pub(super) fn text(status: u16, reason: &'static str, body: &str) -> Response {
    Response::new(status, reason).body("text/plain", body)
}

pub(super) fn html(status: u16, reason: &'static str, title: &str) -> Response {
    let body = format!(
        "<html><head><title>{status} {title}</title></head><body><h1>{title}</h1><p><hr><address>mochiweb+webmachine \
         web server</address></body></html>"
    );
    Response::new(status, reason).body("text/html", body)
}

pub(super) fn no_route() -> Response {
    let body = "<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD><BODY><H1>Not Found</H1>The requested document was not \
                found on this server.<P><HR><ADDRESS>mochiweb+webmachine web server</ADDRESS></BODY></HTML>";
    Response::new(404, "Object Not Found")
        .body("text/html", body)
        .closing()
}

pub(super) fn crash(cause: &str) -> Response {
    let body = format!(
        "<html><head><title>500 Internal Server Error</title></head><body><h1>Internal Server Error</h1>The server \
         encountered an error while processing this request:<br><pre>{cause}</pre><P><HR><ADDRESS>mochiweb+webmachine \
         web server</ADDRESS></body></html>"
    );
    Response::new(500, "Internal Server Error").body("text/html", body)
}
