//! `cluster up`: build, start, show, and drain at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::launch::Cluster;
use super::options::UpOptions;
use super::shutdown;
use super::state::{Home, Role, State};
use super::store::{StoreChoice, redacted};
use super::tail::Tail;
use crate::interrupt::Interrupt;
use crate::needs;
use crate::output::{self, complain, say};
use crate::workspace::Workspace;

const POLL: Duration = Duration::from_millis(20);

/// So many messages does each server of the demo receive.
const DEMO_MESSAGES: usize = 7;

pub(crate) fn run(workspace: &Workspace, home: &Home, options: &UpOptions) -> Result<ExitCode> {
    home.check_free()?;
    if options.store == StoreChoice::StartRedis {
        needs::redis_server()?;
    }
    if let StoreChoice::Container(service) = options.store {
        // Before anything is built.
        service.way()?;
    }
    let interrupt = Interrupt::install()?;
    let executables = super::build::build(workspace, options, &interrupt)?;
    let store = match &options.store {
        StoreChoice::Embedded => "embedded".to_owned(),
        StoreChoice::StartRedis => "redis".to_owned(),
        StoreChoice::Container(service) => redacted(service.url()),
        StoreChoice::Url { url, .. } => redacted(url),
    };
    let state = home.begin(options.topology.name(), &store)?;
    let mut cluster = Cluster::new(home, &interrupt, state);
    let shown = cluster.start(options, &executables).and_then(|()| {
        let printed = print_members(home, &cluster.state);
        if options.detach {
            // It is up and meant to stay, whoever reads about it.
            return detach(home, &mut cluster);
        }
        printed.and_then(|()| follow(&mut cluster, &interrupt))
    });
    match shown {
        Ok(End::Detached) => Ok(ExitCode::SUCCESS),
        Ok(End::Stopped { code, shown: view }) => stop(home, &mut cluster, &interrupt, Some(view))
            .map(|clean| if clean { code } else { ExitCode::FAILURE }),
        Err(error) => {
            // What went wrong first is what the user wants to read, whatever becomes of the clean-up.
            if let Err(second) = stop(home, &mut cluster, &interrupt, None) {
                complain(&format!("error while stopping: {second:#}"));
            }
            if output::is_broken_pipe(&error) || interrupt.requested() {
                return Ok(ExitCode::SUCCESS);
            }
            Err(error)
        }
    }
}

enum End {
    Detached,
    Stopped { code: ExitCode, shown: View },
}

fn detach(home: &Home, cluster: &mut Cluster<'_>) -> Result<End> {
    cluster.state.owner = None;
    home.save(&cluster.state)?;
    let _ = output::line("cluster | It runs in the background. What to try next:");
    let _ = print_next(cluster);
    Ok(End::Detached)
}

fn print_next(cluster: &Cluster<'_>) -> Result<()> {
    for command in ["status", "logs server-1", "kill server-2", "down"] {
        say!("cluster |   cargo xtask cluster {command}");
    }
    say!("cluster |   {}", cluster.join);
    say!("cluster |     and then on its stdin, for example: {EXAMPLE}");
    Ok(())
}

/// A client of the guest's, which anybody in the cluster then reaches.
const EXAMPLE: &str = r#"{"op":"connect","client":"me"}"#;

fn print_members(home: &Home, state: &State) -> Result<()> {
    say!("cluster | topology {}, store {}", state.topology, state.store);
    for member in &state.members {
        let address = if member.address.is_empty() {
            "-"
        } else {
            &member.address
        };
        say!(
            "cluster | {:<10} pid {:<8} {:<28} {}",
            member.name,
            member.id.pid(),
            address,
            home.shown(&member.log)
        );
    }
    Ok(())
}

/// What the terminal shows of the processes' stdout.
struct View {
    tails: Vec<(String, Tail)>,
    received: BTreeMap<String, usize>,
}

impl View {
    fn open(state: &State) -> Result<Self> {
        let coloured = output::colour();
        let mut view = Self {
            tails: Vec::new(),
            received: BTreeMap::new(),
        };
        for (index, member) in state
            .members
            .iter()
            .filter(|member| member.role != Role::Datastore)
            .enumerate()
        {
            view.tails.push((
                output::prefix(&member.name, index, coloured),
                Tail::open(&member.out)?,
            ));
            if member.role == Role::Server {
                view.received
                    .insert(output::prefix(&member.name, index, coloured), 0);
            }
        }
        Ok(view)
    }

    /// Prints what is new; with `rest`, also what has no line's end yet.
    fn show(&mut self, rest: bool) -> Result<()> {
        for (prefix, tail) in &mut self.tails {
            for line in if rest { tail.rest()? } else { tail.lines()? } {
                say!("{prefix}{line}");
                if line.starts_with("Received: ")
                    && let Some(count) = self.received.get_mut(prefix)
                {
                    *count += 1;
                }
            }
        }
        Ok(())
    }

    fn demo_is_complete(&self) -> bool {
        self.received.values().all(|count| *count >= DEMO_MESSAGES)
    }
}

/// Shows what the processes print until a signal comes, nobody reads any longer, or no server is left.
fn follow(cluster: &mut Cluster<'_>, interrupt: &Interrupt) -> Result<End> {
    let mut view = View::open(&cluster.state)?;
    let mut told = false;
    let code = loop {
        if interrupt.requested() || output::stdout_is_closed() {
            break ExitCode::SUCCESS;
        }
        view.show(false)?;
        for (name, status) in cluster.newly_ended()? {
            say!(
                "cluster | {name} has ended ({status}){}",
                cluster.last_words(&name)
            );
        }
        if !cluster
            .state
            .members
            .iter()
            .any(|member| member.role == Role::Server && member.id.is_alive())
        {
            say!("cluster | no server is left");
            break ExitCode::FAILURE;
        }
        if !told && view.demo_is_complete() {
            told = true;
            let servers = view.received.len();
            say!(
                "cluster | all {servers} servers have received their {DEMO_MESSAGES} messages and keep running."
            );
            say!("cluster | Ctrl-C drains all. What to try next, in another terminal:");
            print_next(cluster)?;
        }
        std::thread::sleep(POLL);
    };
    Ok(End::Stopped { code, shown: view })
}

/// Stops everything and removes what is left; says whether all went of their own accord.
fn stop(home: &Home, cluster: &mut Cluster<'_>, interrupt: &Interrupt, view: Option<View>) -> Result<bool> {
    // From here on a closed stdout must not keep a process alive, so its errors count for nothing.
    let _ = output::line("cluster | stopping: servers, then brokers, then the datastore");
    let killed = shutdown::stop_all(&cluster.state, || interrupt.insisted());
    let _ = cluster.newly_ended();
    if let Some(mut view) = view {
        let _ = view.show(true);
    }
    home.end(&cluster.state)?;
    let killed = killed?;
    if killed.is_empty() {
        let _ = output::line(&format!(
            "cluster | stopped; nothing is left but the logs in {}",
            home.shown(&cluster.state.dir)
        ));
    } else {
        complain(&format!(
            "cluster | stopped, but {} did not drain in time and had to be killed",
            killed.join(", ")
        ));
    }
    Ok(killed.is_empty())
}
