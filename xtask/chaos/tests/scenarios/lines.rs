//! Lines that are no operations, and a stdout that nobody reads.

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Options, Store, rss_kib};

use crate::{REST, broker, mesh, on};

fn bad_lines_give_errors_and_nothing_else(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("l", 3)?;
    let server = &cluster.servers()[0];
    let huge = [
        &br#"{"op":"send","from":"l0","to":"l1","body":""#[..],
        &vec![b'x'; 5 << 20],
        b"\"}",
    ]
    .concat();
    let deep = [&b"["[..], &vec![b'['; 100_000]].concat();
    let bad: [&[u8]; 12] = [
        b"hello",
        b"{}",
        b"[]",
        br#"{"op":"fly"}"#,
        br#"{"op":"connect"}"#,
        br#"{"op":"connect","client":""}"#,
        br#"{"op":"send","from":"l0","to":"l1"}"#,
        br#"{"op":"send","from":"l0","to":"l1","body":"x","id":{}}"#,
        b"{\"op\":\"connect\",\"client\":\"\xff\xfe\"}",
        b"\xff\xff\xff",
        &huge,
        &deep,
    ];
    // Line 1 connected a client.
    for line in bad {
        server.write(&[line, b"\n"].concat());
    }
    let errors = cluster
        .world()
        .wait("every bad line is complained of", REST, |oracle| {
            let errors = oracle.errors(server.id());
            (errors.len() >= bad.len()).then_some(errors)
        })?;
    let numbers: Vec<u64> = errors.iter().map(|(number, _)| *number).collect();
    let expected: Vec<u64> = (2..).take(bad.len()).collect();
    ensure!(numbers == expected, "errors name their lines: {errors:?}");
    let id = cluster.servers()[1].send("l1", "l0");
    cluster.all_end(&[id], "delivered")?;
    cluster.await_held(&clients)?;
    ensure!(
        cluster.world().oracle().held().len() == 3,
        "nothing else happened"
    );
    cluster.settle(REST)?;
    Ok(())
}

on! { bad_lines_give_errors_and_nothing_else:
    bad_lines_give_errors_and_nothing_else_in_a_mesh = mesh(Store::Embedded);
    bad_lines_give_errors_and_nothing_else_behind_a_broker = broker(Store::Embedded);
}

/// A server whose stdout is not read: those who send to it are told `overloaded`, its memory is bounded, others do not
/// notice.
fn an_unread_stdout_harms_nobody_else(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("u", 30)?;
    let pid = cluster.servers()[2].pid();
    let before = rss_kib(pid)?;
    cluster.servers()[2].set_reading(false);
    let padding = "x".repeat(32 << 10);
    let mut refused = false;
    for _ in 0..40 {
        let ids: Vec<u64> = (0..40)
            .map(|_| cluster.servers()[0].send_padded("u0", "u2", &padding))
            .collect();
        // Nobody reads what is delivered, so that only outcomes can be waited for.
        let outcomes = cluster
            .world()
            .wait("every send has its outcome", REST, |oracle| {
                oracle.outcomes_of(&ids)
            })?;
        refused |= outcomes.contains_key("overloaded");
        ensure!(
            outcomes
                .keys()
                .all(|outcome| matches!(&**outcome, "delivered" | "overloaded" | "expired" | "unknown")),
            "sends to a server that does not read: {outcomes:?}"
        );
        let ids: Vec<u64> = (0..100).map(|_| cluster.servers()[1].send("u1", "u0")).collect();
        cluster.all_end(&ids, "delivered")?;
        if refused {
            break;
        }
    }
    ensure!(
        refused,
        "40 MiB to a server that does not read, and nothing was overloaded"
    );
    let grown = rss_kib(pid)?.saturating_sub(before);
    ensure!(grown < 64 << 10, "{grown} KiB at a server that does not read");
    cluster.servers()[2].set_reading(true);
    cluster.settle(REST)?;
    let ids: Vec<u64> = clients
        .iter()
        .map(|(client, at)| cluster.servers()[*at].send(client, "u2"))
        .collect();
    cluster.all_end(&ids, "delivered")?;
    Ok(())
}

on! { an_unread_stdout_harms_nobody_else:
    an_unread_stdout_harms_nobody_else_in_a_mesh = Options { lease_term: std::time::Duration::from_secs(10), ..mesh(Store::Embedded) };
    an_unread_stdout_harms_nobody_else_behind_a_broker = Options { lease_term: std::time::Duration::from_secs(10), ..broker(Store::Embedded) };
}
