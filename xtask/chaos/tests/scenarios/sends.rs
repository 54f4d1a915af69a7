//! Every way to send, and bodies of every kind.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waypost_chaos::{Cluster, Store};

use crate::{REST, broker, mesh, on};

fn requests_are_answered(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("r", 30)?;
    let ids: Vec<u64> = clients
        .iter()
        .map(|(client, at)| cluster.servers()[*at].request(client, "r0"))
        .collect();
    cluster.all_end(&ids, "replied")?;
    let id = cluster.servers()[0].request("r0", "nobody");
    cluster.all_end(&[id], "not_connected")?;
    let unacked: Vec<u64> = (0..100)
        .map(|_| cluster.servers()[1].send_unacked("r1", "r0"))
        .collect();
    cluster
        .world()
        .wait("what is sent without acknowledgement arrives", REST, |oracle| {
            unacked
                .iter()
                .all(|id| oracle.seen_at(*id).len() == 1)
                .then_some(())
        })?;
    cluster.settle(REST)?;
    Ok(())
}

on! { requests_are_answered:
    requests_are_answered_in_a_mesh = mesh(Store::Embedded);
    requests_are_answered_behind_a_broker = broker(Store::Embedded);
}

fn broadcasts_count_right(cluster: &mut Cluster) -> Result<()> {
    cluster.spread("b", 300)?;
    let id = cluster.servers()[0].broadcast("b0");
    let reached = cluster
        .world()
        .wait("a broadcast ends", REST, |oracle| oracle.reached(id))?;
    ensure!(reached == (3, 299, Vec::new()), "all but the sender: {reached:?}");
    cluster.world().wait("all clients have it", REST, |oracle| {
        (oracle.broadcast_seen(id) == 299).then_some(())
    })?;
    cluster.server_mut(2).kill()?;
    let id = cluster.servers()[0].broadcast("b0");
    let (servers, clients, unreached) = cluster
        .world()
        .wait("it ends", REST, |oracle| oracle.reached(id))?;
    ensure!(
        (servers, clients) == (2, 199) && (unreached.is_empty() || unreached == ["s3"]),
        "after a kill: {servers} servers, {clients} clients, not {unreached:?}"
    );
    ensure!(
        unreached == ["s3"],
        "a killed server whose lease lasts was not reached"
    );
    cluster.await_nobody(1, "b2", REST)?;
    let id = cluster.servers()[1].broadcast("b1");
    let reached = cluster
        .world()
        .wait("it ends", REST, |oracle| oracle.reached(id))?;
    ensure!(reached == (2, 199, Vec::new()), "after the lease: {reached:?}");
    cluster.restart_killed(2)?;
    cluster.settle(REST)?;
    Ok(())
}

on! { broadcasts_count_right:
    broadcasts_count_right_in_a_mesh = mesh(Store::Embedded);
    broadcasts_count_right_behind_a_broker = broker(Store::Embedded);
}

fn bodies_of_every_kind_arrive(cluster: &mut Cluster) -> Result<()> {
    cluster.spread("y", 6)?;
    for body in [
        &b""[..],
        b"\0",
        b"\xff\xfe\0",
        "\u{1F980} \n\t\"\\".as_bytes(),
        &[0xff; 100_000],
    ] {
        let encoded = STANDARD.encode(body);
        let line = format!("{{\"op\":\"send\",\"from\":\"y0\",\"to\":\"y1\",\"body_b64\":\"{encoded}\"}}\n");
        cluster.servers()[0].write(line.as_bytes());
        let expected = String::from_utf8(body.to_vec()).unwrap_or(encoded);
        cluster.world().wait("the body arrives", REST, |oracle| {
            (oracle.last_body() == Some(&*expected)).then_some(())
        })?;
    }
    let id = cluster.servers()[0].send_padded("y0", "y1", &"x".repeat((1 << 20) - 4096));
    cluster.all_end(&[id], "delivered")?;
    // Beyond the largest frame: refused with a reason, and the link lives on.
    let line = format!(
        "{{\"op\":\"send\",\"from\":\"y0\",\"to\":\"y1\",\"ack\":true,\"body\":\"{}\"}}\n",
        "x".repeat(1 << 20)
    );
    cluster.servers()[0].write(line.as_bytes());
    let first = cluster.servers()[0].id();
    let errors = cluster
        .world()
        .wait("the large body is refused", REST, |oracle| {
            Some(oracle.errors(first)).filter(|errors| !errors.is_empty())
        })?;
    let (_, message) = errors.first().context("no error")?;
    ensure!(
        message.contains("bytes"),
        "the error says what is wrong: {message}"
    );
    let id = cluster.servers()[0].send("y0", "y1");
    cluster.all_end(&[id], "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { bodies_of_every_kind_arrive:
    bodies_of_every_kind_arrive_in_a_mesh = mesh(Store::Embedded);
    bodies_of_every_kind_arrive_behind_a_broker = broker(Store::Embedded);
}
