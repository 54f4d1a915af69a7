//! Names are opaque: whatever is in them, they are kept as they are and never mistaken for one another.

use waypost_session::{Released, Renewal};
use waypost_types::{
    ADDRESS_BYTES_MAX, Address, IDENTITY_BYTES_MAX, LOCATION_BYTES_MAX, Location, Owner, Session,
};

use super::leases::lease_of;
use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// Names that datastores, scripts, URLs and shells tend to take for something else.
const AWKWARD: [&str; 44] = [
    "\0",
    "a\0b",
    "\n",
    "\r\n",
    "\t",
    " ",
    "a b",
    "a b ",
    "%",
    "%2F",
    "%2f",
    "%00",
    "%%",
    "/",
    "//",
    "a/b",
    "../x",
    "\\",
    "+",
    "&",
    "?",
    "#",
    "=",
    ";",
    ",",
    ":",
    "::",
    "|",
    "{}",
    "{a}b",
    "}{",
    "*",
    "[a]",
    "'",
    "\"",
    "`",
    "$x",
    "$(x)",
    "<x>",
    "é",
    "e\u{301}",
    "日本語",
    "🦀",
    "\u{202e}\u{feff}",
];

/// Awkward addresses are claimed, found and released like any other, and each is an address of its own.
pub async fn awkward_addresses_are_opaque(ctx: &Ctx) -> Result<(), Stop> {
    let addresses = AWKWARD
        .iter()
        .map(|name| ctx.address(name))
        .collect::<Result<Vec<_>, _>>()?;
    all_are_their_own(ctx, &addresses).await
}

/// Addresses that a path would normalise away are addresses too.
pub async fn addresses_that_look_like_paths_are_opaque(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    // Without the prefix, which would hide what makes them awkward: others may use them too.
    for name in [
        ".", "..", "/", "//", "./", "../..", "%2E", "~", "-", "0", "null", "nil", "*",
    ] {
        let address = Address::new(name)?;
        let claimed = ctx.store().claim(&owner, &address).await?;
        let held = ctx.store().lookup(&address).await?;
        check_eq!(
            held,
            Some(Session::new(owner.clone(), claimed.seq)),
            "{name:?} looked up"
        );
        let released = ctx.store().release(&owner, &address, claimed.seq).await?;
        check_eq!(released, Released::Released, "{name:?} released");
    }
    Ok(())
}

/// Addresses of the greatest length are taken, and told apart by their last byte.
pub async fn longest_addresses_are_taken(ctx: &Ctx) -> Result<(), Stop> {
    let room = ADDRESS_BYTES_MAX - ctx.prefix().len();
    let mut names = Vec::new();
    for (filler, last) in [
        ("x", "y"),
        ("x", "z"),
        ("\0", "y"),
        ("%", "y"),
        ("/", "y"),
        (" ", "y"),
    ] {
        names.push(filler.repeat(room - 1) + last);
    }
    // Three bytes a character, which percent-encoding makes nine.
    names.push(format!("{}{}", "語".repeat(room / 3), "x".repeat(room % 3)));
    names.push("x".repeat(room - 1));
    let addresses = names
        .iter()
        .map(|name| ctx.address(name))
        .collect::<Result<Vec<_>, _>>()?;
    all_are_their_own(ctx, &addresses).await
}

/// Addresses that differ only in case, in encoding or in what surrounds them are different addresses.
pub async fn similar_addresses_are_different_addresses(ctx: &Ctx) -> Result<(), Stop> {
    let names = [
        "a", "A", "a ", " a", "a\0", "a\n", "a/", "/a", "%61", "a%", "a%20", "a+", "a:", "a:a", "aa", "é",
        "e\u{301}", "É", "ss", "ß", "i", "ı", "İ", "1", "01", "1.0", "{a}", "{a}{b}", "-", "_", "ff", "ﬀ",
    ];
    let addresses = names
        .iter()
        .map(|name| ctx.address(name))
        .collect::<Result<Vec<_>, _>>()?;
    all_are_their_own(ctx, &addresses).await
}

async fn all_are_their_own(ctx: &Ctx, addresses: &[Address]) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let mut expected = Vec::new();
    for address in addresses {
        let claimed = ctx.store().claim(&owner, address).await?;
        check_eq!(
            claimed.displaced,
            None,
            "displaced by the only claim of {address:?}"
        );
        expected.push(Some(Session::new(owner.clone(), claimed.seq)));
    }
    for (address, expected) in addresses.iter().zip(&expected) {
        check_eq!(
            ctx.store().lookup(address).await?,
            *expected,
            "{address:?} looked up"
        );
    }
    check_eq!(
        ctx.store().lookup_many(addresses).await?,
        expected,
        "all looked up at once"
    );
    for (index, address) in addresses.iter().enumerate() {
        let seq = expected[index]
            .as_ref()
            .map(|session| session.seq)
            .unwrap_or_default();
        let released = ctx.store().release(&owner, address, seq).await?;
        check_eq!(released, Released::Released, "{address:?} released");
        expected[index] = None;
        check_eq!(
            ctx.store().lookup_many(addresses).await?,
            expected,
            "after the release of {address:?}"
        );
    }
    Ok(())
}

/// Awkward and longest identities are kept as they are, in leases and in sessions.
pub async fn awkward_identities_are_opaque(ctx: &Ctx) -> Result<(), Stop> {
    let room = IDENTITY_BYTES_MAX - ctx.prefix().len();
    let longest = [
        format!("{}y", "x".repeat(room - 1)),
        format!("{}z", "x".repeat(room - 1)),
        "\0".repeat(room),
    ];
    let names = AWKWARD
        .into_iter()
        .chain(longest.iter().map(String::as_str))
        .chain(["a#1", "a:1", "a|1", "a 1", "a\u{1f}1"]);
    let mut owners: Vec<Owner> = Vec::new();
    for name in names {
        owners.push(ctx.server(name).await?);
    }
    let addresses = ctx.addresses("a", owners.len())?;
    for (owner, address) in owners.iter().zip(&addresses) {
        ctx.store().claim(owner, address).await?;
    }
    let peers = ctx.store().peers().await?;
    let held = ctx.store().lookup_many(&addresses).await?;
    for (owner, session) in owners.iter().zip(held) {
        check_eq!(
            session.map(|session| session.owner),
            Some(owner.clone()),
            "holder"
        );
        check!(
            peers.iter().any(|lease| lease.owner == *owner),
            "{owner:?} is no peer"
        );
    }
    let renewals = ctx.store().renew(&owners, &ctx.location()?).await?.renewals;
    check_eq!(renewals, vec![Renewal::Renewed; owners.len()], "renewals");
    for (owner, address) in owners.iter().zip(&addresses) {
        ctx.store().deregister(owner).await?;
        check_eq!(
            ctx.store().lookup(address).await?,
            None,
            "looked up after {owner:?} was deregistered"
        );
    }
    Ok(())
}

/// Awkward and longest locations are kept as they are, from the registration and from a renewal.
pub async fn awkward_locations_are_opaque(ctx: &Ctx) -> Result<(), Stop> {
    let longest = "y".repeat(LOCATION_BYTES_MAX);
    for (index, text) in AWKWARD.into_iter().chain([longest.as_str()]).enumerate() {
        let location = Location::new(text)?;
        let identity = ctx.identity(&format!("server-{index}"))?;
        let term = core::time::Duration::from_secs(60);
        let incarnation = ctx.store().register(&identity, &location, term).await?;
        let owner = Owner::new(identity, incarnation);
        let lease = lease_of(&**ctx.store(), &owner).await?;
        check_eq!(
            lease.map(|lease| lease.location),
            Some(location.clone()),
            "registered location"
        );
        ctx.store()
            .renew(core::slice::from_ref(&owner), &ctx.location()?)
            .await?;
        ctx.store()
            .renew(core::slice::from_ref(&owner), &location)
            .await?;
        let lease = lease_of(&**ctx.store(), &owner).await?;
        check_eq!(
            lease.map(|lease| lease.location),
            Some(location),
            "renewed location"
        );
        ctx.store().deregister(&owner).await?;
    }
    Ok(())
}
