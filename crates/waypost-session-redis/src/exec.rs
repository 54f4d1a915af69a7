//! Running commands where their keys are, in one round trip for each server, and following redirections.

use core::time::Duration;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, sleep};
use waypost_session::{ErrorKind, StoreError};

use crate::fault::{Fault, Verb};
use crate::node::Node;
use crate::scripts::Script;
use crate::topology::Topology;

/// How often a command is sent on before it is given up: to the node that has the slot, with the script, once more
/// while a slot moves.
const ROUNDS: u32 = 8;

/// One command, whose keys are all at one place.
pub(crate) struct Call {
    place: usize,
    command: Cmd,
    script: Option<&'static Script>,
}

impl Call {
    /// A script with its keys; arguments follow by [`arg`](Self::arg).
    pub(crate) fn script<K: AsRef<str>>(place: usize, script: &'static Script, keys: &[K]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.digest()).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        Self {
            place,
            command,
            script: Some(script),
        }
    }

    /// A plain command.
    pub(crate) fn command(place: usize, name: &str) -> Self {
        Self {
            place,
            command: redis::cmd(name),
            script: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<T: redis::ToRedisArgs>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        for arg in args {
            self.command.arg(arg);
        }
        self
    }
}

/// A call that waits to be sent.
struct Pending {
    index: usize,
    call: Call,
    /// Where a node said that the slot is, for one try.
    redirect: Option<Redirect>,
}

/// What `MOVED` and `ASK` say.
struct Redirect {
    node: Arc<Node>,
    /// The node has the slot only for those who say that they were sent.
    asking: bool,
}

/// What one node is sent in one round.
struct Group {
    node: Arc<Node>,
    asking: bool,
    pending: Vec<Pending>,
}

impl Topology {
    /// Runs all calls and gives their answers in order.
    ///
    /// # Errors
    /// The first failure; it says whether any part may have been applied.
    pub(crate) async fn run(&self, verb: Verb, calls: Vec<Call>) -> Result<Vec<Value>, StoreError> {
        let deadline = Instant::now() + self.timeout();
        let results = self.run_each(calls, deadline).await;
        let applied = results.iter().any(Result::is_ok);
        let sent = results
            .iter()
            .any(|result| result.as_ref().is_err_and(|fault| fault.sent));
        results
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|fault| fault.into_error(verb, applied || sent))
    }

    /// Runs one call.
    pub(crate) async fn run_one(&self, verb: Verb, call: Call) -> Result<Value, StoreError> {
        let mut answers = self.run(verb, vec![call]).await?;
        answers
            .pop()
            .ok_or_else(|| crate::reply::strange().into_error(verb, true))
    }

    /// Runs all calls until the deadline; each has its own result.
    pub(crate) async fn run_each(&self, calls: Vec<Call>, deadline: Instant) -> Vec<Result<Value, Fault>> {
        let mut results: Vec<_> = calls.iter().map(|_| Err(not_settled())).collect();
        let mut pending: Vec<_> = calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| Pending {
                index,
                call,
                redirect: None,
            })
            .collect();
        for round in 0..ROUNDS {
            let groups = match self.groups(&mut pending, &mut results, deadline).await {
                Ok(groups) => groups,
                Err(fault) => {
                    for waiting in pending {
                        results[waiting.index] = Err(fault.clone());
                    }
                    break;
                }
            };
            let answers = match <[Group; 1]>::try_from(groups) {
                Ok([group]) => vec![send(group, round, deadline).await],
                Err(groups) => join_all(groups.into_iter().map(|group| send(group, round, deadline))).await,
            };
            for (node, answer) in answers {
                match answer {
                    Ok(answers) => {
                        for (waiting, answer) in answers {
                            self.settle(&node, waiting, answer, &mut results, &mut pending);
                        }
                    }
                    Err((waiting, fault)) => {
                        if fault.moved {
                            self.doubt();
                        }
                        for index in waiting {
                            results[index] = Err(fault.clone());
                        }
                    }
                }
            }
            if pending.is_empty() {
                break;
            }
            if round > 0 {
                // A slot moves or a master changes: a moment later it has.
                sleep(Duration::from_millis(10) * round).await;
            }
        }
        results
    }

    /// Sorts what waits by the node that holds it. What nobody holds fails.
    async fn groups(
        &self,
        pending: &mut Vec<Pending>,
        results: &mut [Result<Value, Fault>],
        deadline: Instant,
    ) -> Result<Vec<Group>, Fault> {
        let view = self.view(deadline).await?;
        let mut groups: Vec<Group> = Vec::with_capacity(view.nodes.len());
        for mut waiting in pending.drain(..) {
            let holder = view.holders[waiting.call.place].map(|index| Arc::clone(&view.nodes[index]));
            let (node, asking) = match (waiting.redirect.take(), holder) {
                (Some(redirect), _) => (redirect.node, redirect.asking),
                (None, Some(node)) => (node, false),
                (None, None) => {
                    self.doubt();
                    let message = "the cluster says that nobody holds a part of the addresses";
                    results[waiting.index] = Err(Fault::new(ErrorKind::Unavailable, message));
                    continue;
                }
            };
            let known = groups
                .iter_mut()
                .find(|group| Arc::ptr_eq(&group.node, &node) && group.asking == asking);
            match known {
                Some(group) => group.pending.push(waiting),
                None => groups.push(Group {
                    node,
                    asking,
                    pending: vec![waiting],
                }),
            }
        }
        Ok(groups)
    }

    /// Takes one answer: a result, or one more try.
    fn settle(
        &self,
        node: &Arc<Node>,
        waiting: Pending,
        answer: Value,
        results: &mut [Result<Value, Fault>],
        pending: &mut Vec<Pending>,
    ) {
        let index = waiting.index;
        let Value::ServerError(error) = answer else {
            results[index] = Ok(answer);
            return;
        };
        // None of these has run the command, so it may be sent again.
        let again = match error.code() {
            "NOSCRIPT" | "TRYAGAIN" => true,
            "READONLY" => {
                // Its connection was made when it was a master.
                node.disconnect();
                true
            }
            "MOVED" | "ASK" if self.is_cluster() => {
                let asking = error.code() == "ASK";
                if !asking {
                    self.doubt();
                }
                if let Some(node) = error.details().and_then(|detail| self.named(node, detail)) {
                    pending.push(Pending {
                        redirect: Some(Redirect { node, asking }),
                        ..waiting
                    });
                    return;
                }
                false
            }
            _ => false,
        };
        let fault = node.redactor().reply(node.addr(), &error);
        if fault.moved {
            self.doubt();
        }
        results[index] = Err(fault);
        if again {
            pending.push(waiting);
        }
    }

    /// The node that a redirection names: `SLOT HOST:PORT`. An empty host is that of the node which says so.
    fn named(&self, by: &Node, detail: &str) -> Option<Arc<Node>> {
        let (host, port) = detail.rsplit(' ').next()?.rsplit_once(':')?;
        let host = if host.is_empty() {
            by.addr().rsplit_once(':')?.0
        } else {
            host
        };
        self.node(host.trim_matches(['[', ']']), port.parse().ok()?).ok()
    }
}

type Answers = Result<Vec<(Pending, Value)>, (Vec<usize>, Fault)>;

/// Sends one group to its node.
async fn send(group: Group, round: u32, deadline: Instant) -> (Arc<Node>, Answers) {
    let Group {
        node,
        asking,
        pending,
    } = group;
    let mut commands = Pipeline::with_capacity(pending.len() * 2);
    // In later rounds the reason may have been a script that the node does not have, or that another node has.
    if round > 0 {
        let mut loaded: Vec<&str> = Vec::new();
        for script in pending.iter().filter_map(|waiting| waiting.call.script) {
            if !loaded.contains(&script.name) {
                loaded.push(script.name);
                commands.cmd("SCRIPT").arg("LOAD").arg(script.code);
            }
        }
    }
    let mut positions = Vec::with_capacity(pending.len());
    let mut waiting = Vec::with_capacity(pending.len());
    for Pending {
        index,
        call: Call {
            place,
            command,
            script,
        },
        ..
    } in pending
    {
        if asking {
            commands.cmd("ASKING");
        }
        positions.push(commands.len());
        commands.add_command(command);
        waiting.push((index, place, script));
    }
    let answer = match node.send(&commands, deadline).await {
        Err(fault) => Err((waiting.into_iter().map(|(index, ..)| index).collect(), fault)),
        Ok(mut values) => {
            let mut answers = Vec::with_capacity(waiting.len());
            let mut commands = commands.cmd_iter().enumerate();
            for ((index, place, script), position) in waiting.into_iter().zip(positions) {
                let value = core::mem::take(&mut values[position]);
                // Only an error may need the command once more.
                let command = match (&value, commands.find(|(at, _)| *at == position)) {
                    (Value::ServerError(_), Some((_, command))) => command.clone(),
                    _ => Cmd::new(),
                };
                answers.push((
                    Pending {
                        index,
                        call: Call {
                            place,
                            command,
                            script,
                        },
                        redirect: None,
                    },
                    value,
                ));
            }
            Ok(answers)
        }
    };
    (node, answer)
}

fn not_settled() -> Fault {
    Fault::new(
        ErrorKind::Unavailable,
        "the servers keep sending the command elsewhere: their roles are changing",
    )
}
