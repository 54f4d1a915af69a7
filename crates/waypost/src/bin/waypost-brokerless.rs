//! A server that is a node of the mesh itself.

#[cfg(not(any(
    feature = "couchbase",
    feature = "embedded",
    feature = "redis",
    feature = "riak"
)))]
compile_error!(
    "waypost-brokerless needs a datastore: choose one or more of the features `couchbase`, `embedded`, `redis` and \
     `riak`, for example `cargo build -p waypost --no-default-features --features brokerless,redis`"
);

fn main() -> std::process::ExitCode {
    waypost::app::main(waypost::app::Program::Brokerless)
}
