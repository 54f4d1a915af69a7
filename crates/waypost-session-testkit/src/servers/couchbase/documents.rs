//! Where the documents are: here, or in `memcached`.

use std::io;

use super::bucket::{Bucket, Name};
use super::frame::{Answer, Request};
use super::memcached::{Link, Memcached};
use super::opcode::status;
use super::options::Manners;

/// Where the documents are.
#[derive(Debug)]
pub(super) enum Documents {
    Own(Bucket),
    Memcached(Memcached),
}

impl Documents {
    pub(super) async fn start(in_memcached: bool, manners: Manners) -> io::Result<Self> {
        Ok(if in_memcached {
            Self::Memcached(Memcached::start().await?)
        } else {
            Self::Own(Bucket::new(manners))
        })
    }

    pub(super) fn clear(&self) {
        if let Self::Own(bucket) = self {
            bucket.clear();
        }
    }

    pub(super) fn create_anew(&self) {
        if let Self::Own(bucket) = self {
            bucket.create_anew();
        }
    }

    pub(super) fn lose(&self, part: &str) {
        if let Self::Own(bucket) = self {
            bucket.lose(part);
        }
    }

    pub(super) fn write_over(&self, part: &str, value: &[u8]) {
        if let Self::Own(bucket) = self {
            bucket.write_over(part, value);
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        match self {
            Self::Own(bucket) => bucket.keys(),
            Self::Memcached(_) => Vec::new(),
        }
    }

    /// Does what a request asks. `link` is the connection's own to `memcached`, made when it is needed.
    pub(super) async fn serve(&self, link: &mut Option<Link>, name: Name, request: &Request) -> Answer {
        let memcached = match self {
            Self::Own(bucket) => return bucket.serve(name, request),
            Self::Memcached(memcached) => memcached,
        };
        let answer = async {
            let link = match link {
                Some(link) => link,
                None => link.insert(memcached.connect().await?),
            };
            link.serve(&name, request).await
        };
        answer.await.unwrap_or_else(|_| {
            // The tests see it as the server's failure.
            Answer::status(status::INTERNAL)
        })
    }
}
