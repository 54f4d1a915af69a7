//! The broker: servers attach to it, and it passes their messages on.

#[cfg(not(any(
    feature = "couchbase",
    feature = "embedded",
    feature = "redis",
    feature = "riak"
)))]
compile_error!(
    "waypost-broker needs a datastore: choose one or more of the features `couchbase`, `embedded`, `redis` and \
     `riak`, for example `cargo build -p waypost --no-default-features --features broker,redis`"
);

fn main() -> std::process::ExitCode {
    waypost::app::main(waypost::app::Program::Broker)
}
