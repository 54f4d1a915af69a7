//! Servers of neighbouring versions at a running broker.

use anyhow::{Context as _, Result, ensure};
use waypost_chaos::{Cluster, Neighbour, Store};
use waypost_wire::{Attached, CloseCode, Frame, Message, Outcomes};

use crate::{REST, broker, on, play};

/// A server that speaks these versions attaches, connects a client, and messages go both ways.
fn works(cluster: &mut Cluster, versions: (u16, u16), is_newer: bool) -> Result<()> {
    cluster.spread("v", 3)?;
    let mut neighbour = Neighbour::open(&cluster.broker_endpoints()[0], versions, is_newer)?;
    neighbour.until(|frame| matches!(frame, Frame::Hello(_)).then_some(()))?;
    neighbour.say(&Frame::Attach {
        attachment: 0,
        identity: "neighbour".parse()?,
        resume: None,
    })?;
    neighbour.until(|frame| matches!(frame, Frame::Attached(Attached::Attached { .. })).then_some(()))?;
    neighbour.say(&Frame::Claim(vec!["next-door".parse()?]))?;
    neighbour.until(|frame| match frame {
        Frame::Claimed(claimed) => claimed[0].1,
        _ => None,
    })?;
    cluster.world().oracle().cannot_see("next-door");
    // To it, with an acknowledgement.
    let sent = cluster.servers()[0].send("v0", "next-door");
    let mut introduced = Vec::new();
    let message = neighbour.until(|frame| match frame {
        Frame::Name { alias, owner, .. } => {
            introduced.push((*alias, owner.clone()));
            None
        }
        Frame::Message(message) => Some(message.clone()),
        _ => None,
    })?;
    let origin = introduced.iter().find(|(alias, _)| *alias == message.origin);
    let (_, origin) = origin.context("its origin was not introduced")?;
    ensure!(
        (message.to(), message.from()) == ("next-door", "v0"),
        "another message: {message:?}"
    );
    // Numbers are a direction's own.
    neighbour.say(&Frame::Name {
        attachment: 0,
        alias: 1,
        owner: origin.clone(),
    })?;
    neighbour.say(&Frame::Outcomes(Outcomes {
        origin: 1,
        delivered: vec![message.id],
        failed: Vec::new(),
    }))?;
    cluster.world().wait("it is acknowledged", REST, |oracle| {
        let outcomes = oracle.outcomes_of(&[sent])?;
        outcomes.contains_key("delivered").then_some(())
    })?;
    // And from it. Its body is none of the oracle's own.
    let mut message = Message::new("next-door", "v1", "from next door".into())?;
    message.id = 1;
    message.floor = 1;
    neighbour.say(&Frame::Message(message))?;
    neighbour.until(|frame| match frame {
        Frame::Outcomes(outcomes) => outcomes.delivered.contains(&1).then_some(()),
        _ => None,
    })?;
    cluster.world().wait("it is printed", REST, |oracle| {
        (oracle.last_body() == Some("from next door")).then_some(())
    })?;
    Ok(())
}

fn a_server_of_the_next_version_works(cluster: &mut Cluster) -> Result<()> {
    works(cluster, (1, 2), true)
}

fn a_server_of_this_version_works(cluster: &mut Cluster) -> Result<()> {
    works(cluster, (1, 1), false)
}

on! { a_server_of_the_next_version_works:
    a_server_of_the_next_version_works_at_a_broker = broker(Store::Embedded);
}
on! { a_server_of_this_version_works:
    a_server_of_this_version_works_at_a_broker = broker(Store::Embedded);
}

/// One that has given up this version is told so, in words and by a code, and harms nobody.
#[test]
fn a_server_of_a_version_too_far_away_is_told() {
    play(broker(Store::Embedded), |cluster| {
        let clients = cluster.spread("v", 3)?;
        for versions in [(2, 3), (0, 0)] {
            let endpoint = cluster.broker_endpoints()[0].clone();
            let mut neighbour = Neighbour::open(&endpoint, versions, false)?;
            let close = neighbour.until(|frame| match frame {
                Frame::Close(close) => Some(close.clone()),
                _ => None,
            })?;
            ensure!(
                close.code == CloseCode::Protocol,
                "another code: {:?}",
                close.code
            );
            ensure!(
                close.text.contains(&format!("{} to {}", versions.0, versions.1)),
                "the versions are not named: {}",
                close.text
            );
        }
        let ids: Vec<u64> = clients
            .iter()
            .map(|(client, at)| cluster.servers()[*at].send(client, "v0"))
            .collect();
        cluster.all_end(&ids, "delivered")
    });
}
