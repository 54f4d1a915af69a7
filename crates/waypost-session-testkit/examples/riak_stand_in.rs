//! Runs the stand-in for Riak nodes until its stdin ends: `riak_stand_in [NODES] [LONGEST_DELAY_MS] [LEAST_LATENCY_MS] [MOST_LATENCY_MS]`.
//! Prints its store URL. **Not Riak**: for trying things out where there is none.
#![expect(clippy::print_stdout, reason = "its url is what it is run for")]

use std::time::Duration;

use waypost_session_testkit::servers::riak::RiakOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let nodes = args.next().map_or(Ok(1), |text| text.parse())?;
    let mut millis = || {
        args.next()
            .map_or(Ok(Duration::ZERO), |text| text.parse().map(Duration::from_millis))
    };
    let (delay, least, most) = (millis()?, millis()?, millis()?);
    let stand_in = RiakOptions::new()
        .nodes(nodes)
        .delay(delay)
        .latency(least, most)
        .start()
        .await?;
    println!("{}", stand_in.url());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}
