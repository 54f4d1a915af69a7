//! One client's connection.

use core::ops::Range;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::bucket::Name;
use super::frame::{Answer, Request};
use super::memcached::Link;
use super::opcode::{self, status};
use super::options::{Manners, Pace};
use super::scram::{Conversation, MECHANISM};
use super::trouble::Trouble;
use super::{Shared, config, topology};
use crate::Rng;

/// Answers waiting to be written.
const QUEUE: usize = 1024;

/// What clients may ask for by HELLO and get: sequence numbers, error details, buckets, JSON, answers out of order,
/// durability and its framing, collections, kept expiry.
const FEATURES: [u16; 9] = [0x04, 0x07, 0x08, 0x0b, 0x0e, 0x10, 0x11, 0x12, 0x14];
const FEATURE_SEQUENCE: u16 = 0x04;
const FEATURE_DURABILITY: u16 = 0x11;
const FEATURE_COLLECTIONS: u16 = 0x12;

/// What a client may do again, by the map of errors that servers give: as theirs, as far as it is of use here.
const ERROR_MAP: &str = r#"{"version":2,"revision":1,"errors":{
"7":{"name":"NOT_MY_VBUCKET","desc":"another node has it","attrs":["fetch-config","invalid-input"]},
"9":{"name":"LOCKED","desc":"it is locked","attrs":["item-locked","item-only","retry-now"]},
"82":{"name":"ENOMEM","desc":"no memory left","attrs":["temp","retry-later"]},
"84":{"name":"EINTERNAL","desc":"internal error","attrs":["internal","conn-state-invalidated"]},
"85":{"name":"EBUSY","desc":"busy","attrs":["temp","retry-now"]},
"86":{"name":"ETMPFAIL","desc":"temporary failure","attrs":["temp","retry-now"]},
"a1":{"name":"DurabilityImpossible","desc":"too few nodes","attrs":["item-only","retry-later"]},
"a2":{"name":"SyncWriteInProgress","desc":"it is being written","attrs":["item-only","retry-later"]},
"a3":{"name":"SyncWriteAmbiguous","desc":"the outcome is unknown","attrs":["item-only"]}}}"#;

/// The only bit of how a value is encoded that is agreed on: that it is JSON.
const DATATYPE_JSON: u8 = 1;
/// Longest key, and in a named collection.
const KEY_MAX: usize = 250;
const KEY_MAX_NAMED: usize = 246;

/// Time that requests take is passed in pieces of this: shorter ones would last many times as long on a busy machine.
const OWED_MAX: Duration = Duration::from_millis(20);

/// A password in the clear.
const PLAIN: &str = "PLAIN";

/// The first identifier of a named collection.
const COLLECTIONS_FROM: u32 = 8;

struct Connection {
    shared: Arc<Shared>,
    node: usize,
    link: Option<Link>,
    features: Vec<u16>,
    conversation: Option<Conversation>,
    authenticated: bool,
    bucket_selected: bool,
    rng: Rng,
    /// How long what was served should have taken longer than it has.
    owed: Duration,
}

/// Serves requests until the client goes or a trouble cuts it off.
pub(super) async fn serve(shared: Arc<Shared>, node: usize, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    match &shared.tls {
        None => serve_stream(shared, node, stream).await,
        Some(tls) => {
            // Who does not trust us goes.
            if let Ok(stream) = tls.acceptor.accept(stream).await {
                serve_stream(Arc::clone(&shared), node, stream).await;
            }
        }
    }
}

async fn serve_stream(shared: Arc<Shared>, node: usize, stream: impl AsyncRead + AsyncWrite) {
    let (reader, writer) = tokio::io::split(stream);
    let (answers, waiting) = mpsc::channel(QUEUE);
    let mut connection = Connection {
        shared,
        node,
        link: None,
        features: Vec::new(),
        conversation: None,
        authenticated: false,
        bucket_selected: false,
        rng: Rng::new(Rng::fresh_seed()),
        owed: Duration::ZERO,
    };
    let reading = async {
        let mut reader = BufReader::new(reader);
        while let Ok(Some(request)) = Request::read(&mut reader).await {
            if !connection.take(request, &answers).await {
                return;
            }
        }
    };
    // Both halves end together: a connection is cut by ending its reading.
    tokio::select! {
        () = reading => {}
        _ = write(writer, waiting) => {}
    }
}

/// Writes what is waiting, several answers at a time.
async fn write(writer: impl AsyncWrite + Unpin, mut waiting: mpsc::Receiver<Vec<u8>>) -> std::io::Result<()> {
    let mut writer = BufWriter::with_capacity(64 << 10, writer);
    while let Some(answer) = waiting.recv().await {
        writer.write_all(&answer).await?;
        while let Ok(answer) = waiting.try_recv() {
            writer.write_all(&answer).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

impl Connection {
    /// Serves one request; says whether the connection goes on.
    async fn take(&mut self, request: Request, answers: &mpsc::Sender<Vec<u8>>) -> bool {
        self.shared.goes_on(self.node).await;
        let (opcode, opaque) = (request.opcode, request.opaque);
        let Some(name) = opcode::name(opcode) else {
            let answer = self.manage(&request);
            let doubled = self.is_caves()
                && opcode == opcode::GET_COLLECTION_ID
                && matches!(answer.status, status::UNKNOWN_COLLECTION | status::UNKNOWN_SCOPE);
            let sent = answers.send(answer.encode(opcode, opaque)).await;
            if doubled {
                let nothing = Answer {
                    extras: vec![0; 12],
                    ..Answer::default()
                };
                return answers.send(nothing.encode(opcode, opaque)).await.is_ok();
            }
            return sent.is_ok();
        };
        let (id, key) = match self
            .document(&request.key)
            .and_then(|name| well_formed(&request, name))
        {
            Ok(document) => document,
            Err(status) => {
                let answer = Answer::status(status);
                return answers.send(answer.encode(opcode, opaque)).await.is_ok();
            }
        };
        let misplaced = if request.vbucket != topology::vbucket(&key) {
            Some(Answer::status(status::INVALID))
        } else if self.shared.topology().owner(request.vbucket) != self.node {
            Some(self.not_mine())
        } else {
            None
        };
        if let Some(answer) = misplaced {
            return answers.send(answer.encode(opcode, opaque)).await.is_ok();
        }
        self.shared.count(name);
        let trouble = self.shared.troubles.take(name, &key);
        let answer = match trouble {
            Some(Trouble::CutBefore) => return false,
            Some(Trouble::TemporaryFailure) => Answer::status(status::TEMPORARY_FAILURE),
            Some(Trouble::Status(status)) => Answer::status(status),
            Some(Trouble::NotMyVbucket) => self.not_mine(),
            _ => {
                let documents = &self.shared.documents;
                let answer = documents.serve(&mut self.link, (id, key), &request).await;
                self.with_sequence(&request, answer)
            }
        };
        let answer = answer.encode(opcode, opaque);
        let trouble = match (trouble, &self.shared.options.pace) {
            (None, Pace::Latency(range)) => Some(Trouble::Late(between(&mut self.rng, range))),
            (trouble, Pace::OneByOne(range)) => {
                self.owed += between(&mut self.rng, range);
                if self.owed >= OWED_MAX {
                    let slept = Instant::now();
                    tokio::time::sleep(self.owed).await;
                    self.owed = self.owed.saturating_sub(slept.elapsed());
                }
                trouble
            }
            (trouble, _) => trouble,
        };
        match trouble {
            Some(Trouble::CutAfter) => false,
            Some(Trouble::Unanswered) => true,
            Some(Trouble::Late(by)) => {
                let answers = answers.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    let _ = answers.send(answer).await;
                });
                true
            }
            _ => answers.send(answer).await.is_ok(),
        }
    }

    /// Another node has the document: the configuration says which.
    fn not_mine(&self) -> Answer {
        if self.is_caves() {
            return Answer::status(status::NOT_MY_VBUCKET);
        }
        Answer {
            status: status::NOT_MY_VBUCKET,
            ..Answer::value(config::cluster(&self.shared, true))
        }
    }

    fn is_caves(&self) -> bool {
        self.shared.options.manners == Manners::Caves
    }

    /// What a client that has not said who it is gets.
    fn stranger(&self) -> u16 {
        if self.is_caves() {
            status::AUTH_ERROR
        } else {
            status::ACCESS
        }
    }

    /// Requests that are not for a document.
    fn manage(&mut self, request: &Request) -> Answer {
        match request.opcode {
            opcode::HELLO => self.hello(&request.value),
            opcode::GET_ERROR_MAP => Answer::value(ERROR_MAP),
            opcode::SASL_LIST if self.is_caves() => {
                Answer::value("PLAIN SCRAM-SHA1 SCRAM-SHA256 SCRAM-SHA512")
            }
            opcode::SASL_LIST => Answer::value(match (self.takes_scram(), self.takes_plain()) {
                (true, true) => "SCRAM-SHA512 PLAIN",
                (true, false) => MECHANISM,
                (false, _) => PLAIN,
            }),
            opcode::SASL_AUTH if request.key == PLAIN.as_bytes() => {
                self.shared.count("plain_password");
                self.authenticated = self.takes_plain() && self.shared.verifier.plain(&request.value);
                Answer::status(if self.authenticated {
                    status::OK
                } else {
                    status::AUTH_ERROR
                })
            }
            opcode::SASL_AUTH if request.key == MECHANISM.as_bytes() && self.takes_scram() => {
                match self.shared.verifier.begin(&request.value) {
                    None => Answer::status(status::AUTH_ERROR),
                    Some((conversation, reply)) => {
                        self.conversation = Some(conversation);
                        Answer {
                            status: status::AUTH_CONTINUE,
                            ..Answer::value(reply)
                        }
                    }
                }
            }
            opcode::SASL_AUTH => Answer::status(status::AUTH_ERROR),
            opcode::SASL_STEP => {
                let signature = self
                    .conversation
                    .take()
                    .and_then(|conversation| self.shared.verifier.end(&conversation, &request.value));
                self.authenticated = signature.is_some();
                signature.map_or_else(|| Answer::status(status::AUTH_ERROR), Answer::value)
            }
            _ if !self.authenticated => Answer::status(self.stranger()),
            opcode::SELECT_BUCKET => {
                self.bucket_selected = request.key == self.shared.options.bucket.as_bytes();
                Answer::status(if self.bucket_selected {
                    status::OK
                } else {
                    status::MISSING
                })
            }
            opcode::GET_CLUSTER_CONFIG => Answer::value(config::cluster(&self.shared, self.bucket_selected)),
            opcode::GET_COLLECTION_ID if self.features.contains(&FEATURE_COLLECTIONS) => {
                self.collection_id(&request.value)
            }
            opcode::NOOP => Answer::default(),
            _ => Answer::status(status::UNKNOWN_COMMAND),
        }
    }

    fn takes_scram(&self) -> bool {
        !self.shared.options.plain_only
    }

    fn takes_plain(&self) -> bool {
        self.shared.options.plain_only || self.shared.tls.is_some() || self.is_caves()
    }

    fn hello(&mut self, asked: &[u8]) -> Answer {
        self.features = asked
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|feature| match *feature {
                FEATURE_DURABILITY => self.shared.options.durability,
                FEATURE_COLLECTIONS => self.shared.options.knows_collections,
                feature => FEATURES.contains(&feature),
            })
            .collect();
        let granted: Vec<u8> = self
            .features
            .iter()
            .flat_map(|feature| feature.to_be_bytes())
            .collect();
        Answer::value(granted)
    }

    fn collection_id(&self, name: &[u8]) -> Answer {
        let name = String::from_utf8_lossy(name);
        let Some((scope, collection)) = name.split_once('.') else {
            return Answer::status(status::INVALID);
        };
        let or_default = |name: &str| if name.is_empty() { "_default" } else { name }.to_owned();
        let (scope, collection) = (or_default(scope), or_default(collection));
        let collections = &self.shared.options.collections;
        let id = if scope == "_default" && collection == "_default" {
            0
        } else if let Some(at) = collections
            .iter()
            .position(|known| *known == (scope.clone(), collection.clone()))
            && self.shared.has_collections()
        {
            COLLECTIONS_FROM + u32::try_from(at).unwrap_or(u32::MAX)
        } else if scope == "_default" || collections.iter().any(|(known, _)| *known == scope) {
            return Answer::status(status::UNKNOWN_COLLECTION);
        } else {
            return Answer::status(status::UNKNOWN_SCOPE);
        };
        let mut extras = 1_u64.to_be_bytes().to_vec();
        extras.extend_from_slice(&id.to_be_bytes());
        Answer {
            extras,
            ..Answer::default()
        }
    }

    /// Which document a key names, with its collection in front where that was agreed on.
    fn document(&self, key: &[u8]) -> Result<Name, u16> {
        if !self.authenticated {
            return Err(self.stranger());
        }
        if !self.bucket_selected {
            return Err(status::NO_BUCKET);
        }
        if !self.features.contains(&FEATURE_COLLECTIONS) {
            return Ok((0, key.to_vec()));
        }
        let (mut id, mut rest) = (0_u32, key);
        for shift in (0..32).step_by(7) {
            let (byte, after) = rest.split_first().ok_or(status::INVALID)?;
            rest = after;
            id |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let named = id
            .checked_sub(COLLECTIONS_FROM)
            .and_then(|at| usize::try_from(at).ok())
            .is_some_and(|at| at < self.shared.options.collections.len() && self.shared.has_collections());
        if id == 0 || named {
            Ok((id, rest.to_vec()))
        } else {
            Err(status::UNKNOWN_COLLECTION)
        }
    }

    /// Writes are answered with their place in the vbucket's history where that was agreed on.
    fn with_sequence(&self, request: &Request, mut answer: Answer) -> Answer {
        let writes = matches!(
            request.opcode,
            opcode::SET
                | opcode::ADD
                | opcode::REPLACE
                | opcode::DELETE
                | opcode::INCREMENT
                | opcode::DECREMENT
                | opcode::APPEND
                | opcode::PREPEND
        );
        let told = self.is_caves() || self.features.contains(&FEATURE_SEQUENCE);
        if writes && answer.status == status::OK && told {
            answer.extras = 1_u64.to_be_bytes().to_vec();
            answer.extras.extend_from_slice(&answer.cas.to_be_bytes());
        }
        answer
    }
}

/// Some time of the range.
fn between(rng: &mut Rng, range: &Range<Duration>) -> Duration {
    let most = range.end.saturating_sub(range.start);
    let micros = usize::try_from(most.as_micros()).unwrap_or(usize::MAX);
    range.start + Duration::from_micros(u64::try_from(rng.below(micros)).unwrap_or(0))
}

/// Refuses what servers refuse: other lengths than they expect, and encodings that nobody agreed on.
fn well_formed(request: &Request, (collection, key): Name) -> Result<Name, u16> {
    let key_max = if collection == 0 { KEY_MAX } else { KEY_MAX_NAMED };
    let is_wrong = request.extras.len() != opcode::extras(request.opcode)
        || request.datatype & !DATATYPE_JSON != 0
        || (request.opcode == opcode::ADD && request.cas != 0)
        || !(1..=key_max).contains(&key.len());
    if is_wrong {
        return Err(status::INVALID);
    }
    Ok((collection, key))
}
