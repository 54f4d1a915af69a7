//! A server attached to a broker. The broker has the datastore; this program needs none.

fn main() -> std::process::ExitCode {
    waypost::app::main(waypost::app::Program::Server)
}
