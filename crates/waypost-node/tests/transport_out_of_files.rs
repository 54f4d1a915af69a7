//! A process that has no files left. It has a test binary of its own, as it takes the files from everybody in it.

use std::fs::File;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;
use waypost_node::transport::{ListenSettings, Listener};

#[tokio::test]
async fn a_listener_without_files_waits_and_goes_on_when_there_are_some() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(128),
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap(), &ListenSettings::default())
        .await
        .unwrap();
    let client = TcpStream::connect(("127.0.0.1", listener.local_url().port().unwrap()))
        .await
        .unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let accepted = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(accepted.is_err(), "there is no file for it");
    drop(taken);
    let accepted = timeout(Duration::from_secs(30), listener.accept()).await.unwrap();
    assert_eq!(
        accepted.remote_addr().to_string(),
        client.local_addr().unwrap().to_string()
    );
}
