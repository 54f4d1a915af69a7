//! The options of `cluster up`.

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

use super::store::StoreChoice;

/// More than this many processes of one kind is a mistake on one machine.
const COUNT_MAX: u32 = 200;

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Servers attached to one or more brokers.
    Broker,
    /// Servers that are the mesh themselves.
    Brokerless,
}

impl Topology {
    /// Its name on the command line, which is also the Cargo feature of `waypost` that it needs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Brokerless => "brokerless",
        }
    }
}

/// What `cluster up` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpOptions {
    pub(crate) topology: Topology,
    pub(crate) store: StoreChoice,
    pub(crate) servers: u32,
    /// None at all in the brokerless topology.
    pub(crate) brokers: u32,
    pub(crate) detach: bool,
    pub(crate) release: bool,
}

impl UpOptions {
    pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Self> {
        let mut topology = None;
        let mut store = StoreChoice::Embedded;
        let (mut servers, mut brokers) = (3, None);
        let (mut detach, mut release) = (false, false);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("topology") => {
                    topology = Some(match parser.value()?.to_string_lossy().as_ref() {
                        "broker" => Topology::Broker,
                        "brokerless" => Topology::Brokerless,
                        other => bail!("unknown topology '{other}': there are broker and brokerless"),
                    });
                }
                Arg::Long("store") => store = parser.value()?.to_string_lossy().parse()?,
                Arg::Long("servers") => servers = count("--servers", parser)?,
                Arg::Long("brokers") => brokers = Some(count("--brokers", parser)?),
                Arg::Long("detach") | Arg::Short('d') => detach = true,
                Arg::Long("release") => release = true,
                other => return Err(other.unexpected().into()),
            }
        }
        let (topology, brokers) = match (topology, brokers) {
            (Some(Topology::Brokerless), Some(_)) => bail!("--brokers needs --topology broker"),
            (Some(Topology::Brokerless) | None, None) => (Topology::Brokerless, 0),
            (Some(Topology::Broker) | None, brokers) => (Topology::Broker, brokers.unwrap_or(1)),
        };
        Ok(Self {
            topology,
            store,
            servers,
            brokers,
            detach,
            release,
        })
    }

    /// The features that the executables are built with: these and no others.
    pub(crate) fn features(&self) -> String {
        format!("{},{}", self.topology.name(), self.store.feature())
    }
}

fn count(option: &str, parser: &mut lexopt::Parser) -> Result<u32> {
    let value = parser.value()?;
    let text = value.to_string_lossy();
    let count: u32 = text
        .parse()
        .with_context(|| format!("{option} takes a number, not '{text}'"))?;
    if count == 0 || count > COUNT_MAX {
        bail!("{option} takes 1 to {COUNT_MAX}, not {count}");
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<UpOptions> {
        UpOptions::parse(&mut lexopt::Parser::from_args(line.split_ascii_whitespace()))
    }

    #[test]
    fn default_is_three_brokerless_servers_on_the_embedded_store() {
        let options = parse("").unwrap();
        assert_eq!((options.servers, options.brokers, options.detach), (3, 0, false));
        assert_eq!(options.features(), "brokerless,embedded");
    }

    #[test]
    fn every_option_is_understood() {
        let options =
            parse("--topology broker --store redis --servers 7 --brokers=2 --detach --release").unwrap();
        assert_eq!((options.servers, options.brokers), (7, 2));
        assert!(options.detach && options.release);
        assert_eq!(options.features(), "broker,redis");
    }

    #[test]
    fn broker_topology_has_one_broker_unless_told() {
        assert_eq!(parse("--topology broker").unwrap().brokers, 1);
    }

    #[test]
    fn who_asks_for_brokers_gets_them_without_naming_the_topology() {
        let options = parse("--brokers 3").unwrap();
        assert_eq!((options.topology, options.brokers), (Topology::Broker, 3));
        assert_eq!(options.features(), "broker,embedded");
        assert!(
            parse("--brokers 3 --topology brokerless")
                .unwrap_err()
                .to_string()
                .contains("--topology broker")
        );
    }

    #[test]
    fn nonsense_is_refused_with_the_choices() {
        assert!(
            parse("--topology ring")
                .unwrap_err()
                .to_string()
                .contains("broker and brokerless")
        );
        assert!(parse("--servers 0").unwrap_err().to_string().contains("1 to 200"));
        assert!(parse("--servers many").is_err());
        assert!(parse("--frobnicate").is_err());
        assert!(parse("extra").is_err());
    }
}
