//! Signals to processes that were started here.

use std::io;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};

pub use rustix::process::Signal;

/// Sends a signal to a child of this process. One that is to stop has stopped when this returns: only once one of its threads has run
/// again do the others stop, which takes a while on a busy machine, and meanwhile it goes on.
///
/// # Errors
/// When there is no such child.
pub fn signal_child(pid: u32, signal: Signal) -> io::Result<()> {
    let no_process = || io::Error::new(io::ErrorKind::InvalidInput, "not a process id");
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(no_process)?;
    kill_process(pid, signal)?;
    if signal == Signal::STOP {
        // One that has ended meanwhile is not waited for either, and stays for its owner to see.
        let until = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(pid), until))?;
    }
    Ok(())
}
