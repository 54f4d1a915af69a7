//! Writing to the terminal without a panic when it has gone.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

/// Prints a line on stdout; a failure is an error of the calling function.
macro_rules! say {
    ($($argument:tt)*) => { $crate::output::line(&format!($($argument)*))? };
}
pub(crate) use say;

/// Writes `text` and a newline to stdout and flushes.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Writes a line to stderr. Nothing better can be done where that fails too.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether the error comes from a closed stdout.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// Whether the reader of our stdout has gone. Asked even when there is nothing to write: a cluster must not outlive
/// the pipe that shows it.
pub(crate) fn stdout_is_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&at_once)) {
        Ok(_) => fds[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
        Err(_) => false,
    }
}

/// Whether to colour what goes to stdout: `NO_COLOR` forbids it, `CLICOLOR_FORCE` demands it, a terminal decides.
pub(crate) fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced =
        set("CLICOLOR_FORCE") && std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    choose_colour(set("NO_COLOR"), forced, std::io::stdout().is_terminal())
}

fn choose_colour(forbidden: bool, forced: bool, terminal: bool) -> bool {
    !forbidden && (forced || terminal)
}

/// A name's prefix before each of its lines; `index` picks the colour.
pub(crate) fn prefix(name: &str, index: usize, coloured: bool) -> String {
    // Readable on dark and on light ground; red stays free for errors.
    const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 96];
    if coloured {
        format!("\x1b[{}m{name} |\x1b[0m ", COLOURS[index % COLOURS.len()])
    } else {
        format!("{name} | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_wins_over_everything() {
        assert!(!choose_colour(true, true, true));
        assert!(choose_colour(false, true, false));
        assert!(choose_colour(false, false, true));
        assert!(!choose_colour(false, false, false));
    }

    #[test]
    fn prefix_without_colour_is_name_bar_space() {
        assert_eq!(prefix("server-1", 0, false), "server-1 | ");
        assert_eq!(prefix("server-1", 0, true), "\x1b[36mserver-1 |\x1b[0m ");
    }

    #[test]
    fn broken_pipe_is_found_below_context() {
        let error = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe)).context("printing");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
