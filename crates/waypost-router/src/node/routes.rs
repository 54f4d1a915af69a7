//! Where each address is: the table that every message goes by, and the messages that wait for an entry.
//!
//! ```text
//!   (none) --message--> looking up --found--> at a server --bounce--> clearing the path --echo--> looking up
//!                           |                     ^                                                  |
//!                           +--nobody: NotConnected                claim, release <-- from an attached peer
//! ```
//!
//! Messages to an address whose place is not settled wait in its hold-back queue and go on in the order in which they
//! came. An entry never changes from one server to another while messages may still be on the way to the first: either
//! the first says with an [`Echo`](Frame::Echo) that everything before it has been delivered or sent back, or its link is
//! gone.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::{Address, HOPS_MAX, MonoTime, Outcome, Seq, Session};
use waypost_wire::Frame;

use super::claims::Said;
use super::messages::Parcel;
use crate::claim::claim_of;
use crate::gate::Room;

use super::{LinkId, OwnerKey, Relay, RelayGoal, Router};

#[derive(Debug)]
pub(crate) enum Route {
    /// `seq` is 0 for a server of which only the store says so, be it that it is attached here or has denied it.
    At {
        owner: OwnerKey,
        seq: Seq,
    },
    Waiting(Box<Waiting>),
}

/// An address whose place is not settled.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Claims by attached peers that are not finished.
    pub(crate) claims: u32,
    /// Releases by attached peers that are not finished.
    pub(crate) releases: u32,
    /// Sessions that a peer has announced anew and that have not been checked.
    pub(crate) restoring: u32,
    /// Messages of other nodes have waited for that: those that follow wait too.
    pub(super) keeps: bool,
    /// The newest claim known.
    pub(crate) known: Option<(OwnerKey, Seq)>,
    /// It was learned while its server was attached elsewhere.
    is_hearsay: bool,
    /// The claim by which messages went before this began.
    went_by: Option<(OwnerKey, Seq)>,
    /// The newest claim that has beaten one of this server's which is not finished.
    beaten: Option<(OwnerKey, Seq)>,
    pub(crate) looking_up: bool,
    /// A look-up is due later.
    pub(crate) again: bool,
    /// The path to a server is being cleared, to this one.
    pub(crate) clearing: bool,
    clearing_to: Option<OwnerKey>,
    /// A server that has sent messages back while something else was under way, and the claim that they named. Others may
    /// still be on their way there or back, so nothing goes on before that path has been cleared too.
    uncleared: Option<(Option<OwnerKey>, u32)>,
    /// What was known when that began, and is to be forgotten when it ends.
    void: Option<(OwnerKey, Seq)>,
    /// Messages wait for a fresh view of the leases.
    stranded: bool,
    /// They wait for this server, whose node cannot be reached.
    pub(super) away: Option<OwnerKey>,
    /// The server that has sent messages back, and the claim that they named.
    bounced_from: Option<(OwnerKey, u32)>,
    /// The claim by which the store names that server, which has sent back what named this very claim.
    denied: Option<Seq>,
    /// Messages that came back: older than those held.
    pub(super) bounced: VecDeque<Parcel>,
    pub(super) held: VecDeque<Parcel>,
    /// How many messages that waited when the look-up under way was made still do: its answer is for them alone.
    pub(super) asked: usize,
    pub(super) held_bytes: usize,
    /// Since when the queue has been full.
    full_since: Option<MonoTime>,
}

impl Waiting {
    const fn is_settled(&self) -> bool {
        self.claims == 0
            && self.releases == 0
            && self.restoring == 0
            && !self.stranded
            && self.away.is_none()
            && !self.looking_up
            && !self.again
            && !self.clearing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.bounced.is_empty()
    }

    /// Bytes of what waits and has not been sent on before.
    pub(super) fn fresh_bytes(&self) -> usize {
        self.held.iter().map(|parcel| parcel.message.cost()).sum()
    }

    /// A look-up is made now.
    pub(super) fn note_asked(&mut self) {
        self.asked = self.bounced.len() + self.held.len();
    }

    fn take(&mut self) -> impl Iterator<Item = Parcel> + use<> {
        self.held_bytes = 0;
        let bounced = core::mem::take(&mut self.bounced);
        bounced.into_iter().chain(core::mem::take(&mut self.held))
    }

    /// Whether another message may wait here.
    pub(crate) fn room(&mut self, now: MonoTime, bytes_max: usize, stall: Duration) -> Room {
        if self.held_bytes < bytes_max {
            return Room::Yes;
        }
        let since = *self.full_since.get_or_insert(now);
        if now.since(since) < stall {
            Room::Wait
        } else {
            Room::No
        }
    }

    /// The path to the server that is known is cleared: nothing more goes there, whatever is known.
    pub(super) const fn begin_clearing(&mut self, to: Option<OwnerKey>) {
        self.clearing = true;
        self.clearing_to = to;
        self.void = self.known;
    }

    /// A server that is attached here has said by which claim it holds the client: clearing the path does not make that void.
    pub(super) const fn said(&mut self, owner: OwnerKey, seq: Seq) {
        self.known = Some((owner, seq));
        self.is_hearsay = false;
        self.void = None;
    }

    /// A claim of this server's is under way, if any is, and a newer one has the client already.
    pub(super) fn beat(&mut self, owner: OwnerKey, by: Seq) {
        if self.claims > 0 && self.beaten.is_none_or(|(_, newest)| newest < by) {
            self.beaten = Some((owner, by));
        }
    }

    /// Notes a claim, said by its server or heard of elsewhere; the newest one counts.
    pub(crate) fn learn(&mut self, owner: OwnerKey, seq: Seq, is_hearsay: bool) {
        let is_beaten = self.beaten.is_some_and(|(of, by)| of == owner && seq < by);
        if !is_beaten && self.known.is_none_or(|(_, known)| known < seq) {
            self.known = Some((owner, seq));
            self.is_hearsay = is_hearsay;
        }
    }
}

/// How long to wait before an address is looked up again whose server, named by the store, does not hold it.
const BOUNCE_PAUSE: Duration = Duration::from_millis(20);
/// The same for one that nobody holds, while servers may still be about to put back what they hold.
const COME_BACK_PAUSE: Duration = Duration::from_millis(100);

impl Router {
    /// Sends a message on to where its address is, or keeps it until that is known.
    pub(super) fn resolve(&mut self, now: MonoTime, mut parcel: Parcel) {
        if parcel.message.hops > HOPS_MAX {
            return self.fail(&parcel, Outcome::Unreachable);
        }
        match self.routes.get_mut(parcel.message.to()) {
            Some(Route::At { owner, seq }) => {
                let (owner, seq) = (*owner, *seq);
                if parcel.message.id == 0
                    && parcel.message.claim == 0
                    && parcel.back_from == Some(owner)
                    && seq.0 != 0
                {
                    // It has claimed the client since, and may have had later ones, which were on their way already and
                    // named no claim either.
                    return self.fail(&parcel, Outcome::Unreachable);
                }
                parcel.message.claim = claim_of(seq);
                self.forward(now, owner, parcel);
            }
            Some(Route::Waiting(_)) => self.hold(now, parcel),
            None => {
                let Ok(address) = Address::new(parcel.message.to()) else {
                    return;
                };
                let waiting = Waiting {
                    looking_up: true,
                    went_by: self.gone.way(address.as_str()),
                    ..Waiting::default()
                };
                self.routes
                    .insert(address.clone(), Route::Waiting(Box::new(waiting)));
                self.queues.lookups.push_back(address);
                self.hold(now, parcel);
            }
        }
    }

    /// Keeps a message of another node until the place of its client is settled, and with it all that come after it.
    pub(super) fn keep(&mut self, now: MonoTime, parcel: Parcel) {
        if let Some(Route::Waiting(waiting)) = self.routes.get_mut(parcel.message.to())
            && !core::mem::replace(&mut waiting.keeps, true)
        {
            self.queues.restoring += 1;
        }
        self.hold(now, parcel);
    }

    fn hold(&mut self, now: MonoTime, parcel: Parcel) {
        let bytes_max = self.settings.queue_bytes_max;
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(parcel.message.to()) else {
            return;
        };
        let (away, held_bytes) = (waiting.away, waiting.held_bytes);
        let has_room = match away {
            Some(key) => self.has_room_for_away(key),
            None => self.queues.held_bytes < bytes_max * 16,
        };
        if held_bytes >= bytes_max || !has_room {
            return self.fail(&parcel, Outcome::Overloaded);
        }
        let cost = parcel.message.cost();
        self.copies.note(&parcel);
        self.charge(away, cost, 0);
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(parcel.message.to()) else {
            return;
        };
        if waiting.is_empty()
            && let Ok(address) = Address::new(parcel.message.to())
        {
            self.queues.holding.insert(address);
        }
        waiting.held_bytes += cost;
        waiting.held.push_back(parcel.unpinned());
        self.want_tick(now);
    }

    /// A message came back: its server does not hold the client.
    pub(super) fn came_back(&mut self, now: MonoTime, from: Option<OwnerKey>, mut parcel: Parcel) {
        if parcel.message.hops > HOPS_MAX {
            return self.fail(&parcel, Outcome::NotConnected);
        }
        let Ok(address) = Address::new(parcel.message.to()) else {
            return;
        };
        let by = parcel.message.claim;
        let went_elsewhere = self.went_elsewhere(&parcel, from);
        if went_elsewhere && parcel.message.id == 0 {
            return self.fail(&parcel, Outcome::Unreachable);
        }
        if went_elsewhere && matches!(self.routes.get(&address), Some(Route::At { .. })) {
            return self.resolve(now, parcel);
        }
        if let Some(Route::At { owner, seq: Seq(0) }) = self.routes.get(&address)
            && from == Some(*owner)
        {
            // Only the store says that this server holds it, and the server says no.
            self.audit_later(now, address.clone(), Said::No);
        }
        let (waiting, was_at) = self.unsettle(&address);
        parcel.back_from = from;
        waiting.bounced_from = from.map(|from| (from, by));
        let fresh = was_at || waiting.is_settled();
        let is_cleared = waiting.clearing && waiting.clearing_to == from;
        if fresh {
            waiting.begin_clearing(from);
        } else if !is_cleared {
            waiting.uncleared = Some((from, by));
        }
        self.put_back(now, &address, parcel, false);
        if fresh {
            self.clear_path(now, &address, from);
        }
    }

    /// Whether a message has come back, or was never written, that was to go to another server, or by another claim, than
    /// others have since. A best-effort one must not follow them: nothing there would notice that it is late.
    pub(super) fn went_elsewhere(&self, parcel: &Parcel, was_for: Option<OwnerKey>) -> bool {
        if self.entry(parcel.origin).attached.is_none() {
            // Its order is seen to by the node that chose its way.
            return false;
        }
        let by = parcel.message.claim;
        let went_by = match self.routes.get(parcel.message.to()) {
            Some(Route::At { owner, seq }) => Some((*owner, *seq)),
            Some(Route::Waiting(waiting)) => waiting.went_by,
            None => self.gone.way(parcel.message.to()),
        };
        went_by.is_some_and(|(owner, seq)| {
            let is_claimed_since = by != 0 && seq.0 != 0 && claim_of(seq) != by;
            is_claimed_since || was_for.is_some_and(|it| it != owner)
        })
    }

    /// Puts a message that has been sent on before in front of those that have not; true when it is the first that is
    /// stranded.
    pub(super) fn put_back(
        &mut self,
        now: MonoTime,
        address: &Address,
        parcel: Parcel,
        is_stranded: bool,
    ) -> bool {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return false;
        };
        self.copies.note(&parcel);
        let is_first = is_stranded && !waiting.stranded;
        waiting.stranded |= is_stranded;
        let cost = parcel.message.cost();
        waiting.held_bytes += cost;
        waiting.bounced.push_back(parcel.unpinned());
        let away = waiting.away;
        self.charge(away, cost, 0);
        self.queues.holding.insert(address.clone());
        self.want_tick(now);
        is_first
    }

    /// The leases have been read, or could not be: what was stranded goes on.
    pub(super) fn float(&mut self, now: MonoTime, address: &Address, store_answered: bool) {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        waiting.stranded = false;
        if store_answered {
            self.settle(now, address);
        } else {
            self.nobody(now, address, Outcome::StoreUnavailable);
        }
    }

    /// Makes an address's entry a waiting one; says whether it was at a server before.
    pub(super) fn unsettle(&mut self, address: &Address) -> (&mut Waiting, bool) {
        let mut was_at = false;
        let fresh = match self.routes.get(address) {
            Some(Route::Waiting(_)) => None,
            Some(Route::At { owner, seq }) => {
                was_at = true;
                Some(Some((*owner, *seq)))
            }
            None => Some(None),
        };
        if let Some(known) = fresh {
            let mut is_hearsay = false;
            if let Some((owner, _)) = known {
                self.count_out(owner);
                is_hearsay = self.entry(owner).attached.is_none();
            }
            let waiting = Waiting {
                known,
                is_hearsay,
                went_by: known.or_else(|| self.gone.way(address.as_str())),
                ..Waiting::default()
            };
            self.routes
                .insert(address.clone(), Route::Waiting(Box::new(waiting)));
        }
        match self.routes.get_mut(address) {
            Some(Route::Waiting(waiting)) => (waiting, was_at),
            _ => unreachable!("a waiting entry was put in above"),
        }
    }

    /// Clears the path to a server that has sent messages back while something else was under way. What has become known
    /// meanwhile stands, unless it is the claim that the server has denied.
    fn clear_late(&mut self, now: MonoTime, address: &Address, from: Option<OwnerKey>, by: u32) {
        let (waiting, _) = self.unsettle(address);
        waiting.begin_clearing(from);
        waiting.void = waiting
            .void
            .filter(|(owner, seq)| Some(*owner) == from && (by == 0 || claim_of(*seq) == by));
        self.clear_path(now, address, from);
    }

    /// Asks the server that an address was at to say when everything sent to it has been dealt with.
    fn clear_path(&mut self, now: MonoTime, address: &Address, owner: Option<OwnerKey>) {
        let link = owner.and_then(|owner| {
            let entry = self.entry(owner);
            let peer = entry.attached.map(|link| (link, None));
            peer.or_else(|| Some((*self.places.get(entry.location.as_ref()?)?, Some(owner))))
        });
        let Some((link, owner)) = link else {
            return self.path_clear(now, address);
        };
        let Some(owner) = owner.map_or(Some(0), |owner| self.alias(link, owner)) else {
            return self.path_clear(now, address);
        };
        let token = self.token();
        self.relays.insert(
            token,
            Relay {
                link,
                goal: RelayGoal::Clear {
                    address: address.clone(),
                },
            },
        );
        let address = Some(address.clone());
        self.push(
            link,
            Frame::Barrier {
                token,
                owner,
                address,
            },
        );
    }

    /// Nothing is on the way to the address's former server any more.
    pub(super) fn path_clear(&mut self, now: MonoTime, address: &Address) {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        waiting.clearing = false;
        // A claim that was heard of meanwhile stands.
        let void = waiting.void.take();
        if void.is_some() && waiting.known == void {
            waiting.known = None;
        }
        self.settle(now, address);
    }

    /// Another node asks to be told when everything it has sent to a server has been dealt with.
    pub(super) fn on_barrier(&mut self, id: LinkId, token: u64, owner: u32, address: Option<Address>) {
        let owner = self.links.get(&id).and_then(|link| link.names.heard(owner));
        let attached = owner.and_then(|owner| self.entry(owner).attached);
        let kept = match (&address, owner) {
            (Some(address), Some(owner)) => self.take_kept(address, owner),
            _ => Vec::new(),
        };
        match attached {
            Some(peer) => {
                let ours = self.token();
                let goal = RelayGoal::Answer {
                    link: id,
                    token,
                    kept,
                };
                self.relays.insert(ours, Relay { link: peer, goal });
                let barrier = Frame::Barrier {
                    token: ours,
                    owner: 0,
                    address,
                };
                self.push(peer, barrier);
            }
            None => self.answer_barrier(id, token, kept),
        }
    }

    /// What was kept goes back first.
    pub(super) fn answer_barrier(&mut self, id: LinkId, token: u64, kept: Vec<(OwnerKey, Parcel)>) {
        for (owner, parcel) in kept {
            self.send_back(parcel, owner);
        }
        self.push(id, Frame::Echo { token });
    }

    /// Takes out what other nodes have sent to a client of this server, and what is kept until its place is settled.
    fn take_kept(&mut self, address: &Address, owner: OwnerKey) -> Vec<(OwnerKey, Parcel)> {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return Vec::new();
        };
        let mut kept = Vec::new();
        for queue in [&mut waiting.bounced, &mut waiting.held] {
            for parcel in core::mem::take(queue) {
                if parcel.meant == Some(owner) {
                    kept.push((owner, parcel));
                } else {
                    queue.push_back(parcel);
                }
            }
        }
        let bytes = kept
            .iter()
            .map(|(_, parcel)| parcel.message.cost())
            .sum::<usize>();
        waiting.held_bytes -= bytes.min(waiting.held_bytes);
        waiting.asked = waiting.asked.min(waiting.bounced.len() + waiting.held.len());
        let away = waiting.away;
        self.charge(away, 0, bytes);
        kept
    }

    /// Lets an address's messages go on if nothing is under way for it any more.
    pub(super) fn settle(&mut self, now: MonoTime, address: &Address) {
        if let Some(Route::Waiting(waiting)) = self.routes.get(address)
            && let (Some(away), Some((known, _))) = (waiting.away, waiting.known)
            && known != away
        {
            // Another server has claimed it meanwhile.
            self.wait_no_more(address);
        }
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        if !waiting.is_settled() {
            return;
        }
        if let Some((from, by)) = waiting.uncleared.take()
            && !waiting.is_empty()
        {
            return self.clear_late(now, address, from, by);
        }
        if (waiting.known.is_some() || waiting.is_empty()) && core::mem::take(&mut waiting.keeps) {
            self.queues.restoring = self.queues.restoring.saturating_sub(1);
        }
        let is_hearsay = waiting.is_hearsay;
        if let Some((owner, seq)) = waiting.known {
            // It has come here since, and says itself what it holds.
            let seq = if is_hearsay && self.entry(owner).attached.is_some() {
                Seq(0)
            } else {
                seq
            };
            let parcels = self.take_held(address);
            self.routes.insert(address.clone(), Route::At { owner, seq });
            self.count_in(owner, address);
            for parcel in parcels {
                match parcel.meant {
                    // It is for its own node to send it on, in one order with what follows.
                    Some(meant) if meant != owner => self.send_back(parcel, meant),
                    _ => self.resolve(now, parcel),
                }
            }
        } else if waiting.is_empty() {
            if let Some(way) = waiting.went_by {
                self.gone.note(address.clone(), way);
            }
            self.routes.remove(address);
        } else {
            waiting.looking_up = true;
            self.queues.lookups.push_back(address.clone());
        }
    }

    fn take_held(&mut self, address: &Address) -> Vec<Parcel> {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return Vec::new();
        };
        if waiting.is_empty() {
            return Vec::new();
        }
        let (away, bytes) = (waiting.away, waiting.held_bytes);
        let parcels = waiting.take().collect();
        self.charge(away, 0, bytes);
        self.queues.holding.remove(address);
        self.room_freed = true;
        parcels
    }

    /// The datastore has answered a look-up.
    pub(super) fn looked_up(&mut self, now: MonoTime, address: &Address, found: Result<Option<Session>, ()>) {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        waiting.looking_up = false;
        let was_checked = self.leases.checked.remove(address);
        let is_restoring = waiting.restoring > 0;
        let session = match found {
            Ok(Some(session)) => session,
            // It has been announced since the store was asked: the restore tells.
            Ok(None) if is_restoring => return,
            Ok(None) if self.are_leases_coming_back(now) => {
                return self.look_up_soon(now, address, COME_BACK_PAUSE);
            }
            Ok(None) => return self.nobody_for_asked(now, address),
            Err(()) => return self.nobody(now, address, Outcome::StoreUnavailable),
        };
        let key = self.intern(&session.owner);
        let entry = self.entry(key);
        let is_attached = entry.attached.is_some();
        if !is_attached && entry.location.is_none() {
            // Newer than the view of the leases: look again when that has been read anew.
            if was_checked {
                return self.nobody(now, address, Outcome::NotConnected);
            }
            if let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) {
                waiting.again = true;
            }
            let round = self.refresh_peers();
            self.leases.unknown_owners.push_back((round, address.clone()));
            return;
        }
        let is_down = entry
            .location
            .clone()
            .filter(|location| entry.attached.is_none() && *location != self.location)
            .is_some_and(|location| self.is_down(now, &location));
        if is_down {
            return self.keep_for_away(now, address, key, session.seq);
        }
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        if let Some((from, by)) = waiting.bounced_from.take()
            && from == key
        {
            waiting.denied = (by == claim_of(session.seq)).then_some(session.seq);
            // The store still names the server that says no: what that is doing will be there in a moment. If not, the
            // messages come back until they have used up their hops.
            self.look_up_soon(now, address, BOUNCE_PAUSE);
            // Or the server has gone to another node.
            self.refresh_peers();
            return;
        }
        // A peer has told of all that it holds: of what the store alone says of it, the seq is not taken as known. Nor is it if
        // the server has denied it: the store may have lost a newer claim, by which it holds the client.
        let is_denied = waiting.denied == Some(session.seq);
        let seq = if is_attached || is_denied {
            Seq(0)
        } else {
            session.seq
        };
        waiting.learn(key, seq, !is_attached);
        if is_attached {
            self.ask_peer(key, address);
        }
        self.settle(now, address);
    }

    fn look_up_soon(&mut self, now: MonoTime, address: &Address, pause: Duration) {
        if let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) {
            waiting.again = true;
            self.again.insert((now + pause, address.clone()));
        }
    }

    /// The leases have been read: addresses whose owners were unknown are looked up again.
    pub(super) fn look_up_again(&mut self, address: &Address) {
        if let Some(Route::Waiting(waiting)) = self.routes.get_mut(address)
            && core::mem::take(&mut waiting.again)
            && !core::mem::replace(&mut waiting.looking_up, true)
        {
            self.queues.lookups.push_back(address.clone());
        }
    }

    /// Nobody holds the address, or it cannot be found out: what waits for it ends here.
    pub(super) fn nobody(&mut self, now: MonoTime, address: &Address, outcome: Outcome) {
        let parcels = self.take_held(address);
        for parcel in parcels {
            self.fail(&parcel, outcome);
        }
        self.settle(now, address);
    }

    /// Nobody held the address when it was asked for: those messages end that waited then. The client may have come before
    /// the others were sent.
    fn nobody_for_asked(&mut self, now: MonoTime, address: &Address) {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        let count = waiting.bounced.len() + waiting.held.len();
        if waiting.asked >= count {
            return self.nobody(now, address, Outcome::NotConnected);
        }
        let asked = waiting.asked;
        let mut over = Vec::new();
        for _ in 0..asked {
            let parcel = waiting.bounced.pop_front().or_else(|| waiting.held.pop_front());
            over.extend(parcel);
        }
        let bytes = over.iter().map(|parcel| parcel.message.cost()).sum::<usize>();
        waiting.held_bytes -= bytes.min(waiting.held_bytes);
        let away = waiting.away;
        self.charge(away, 0, bytes);
        self.room_freed |= bytes > 0;
        for parcel in over {
            self.fail(&parcel, Outcome::NotConnected);
        }
        self.settle(now, address);
    }

    /// Takes an entry out if it names this server.
    pub(super) fn forget_route(&mut self, address: &str, owner: OwnerKey) {
        if let Some(Route::At { owner: at, seq }) = self.routes.get(address)
            && *at == owner
        {
            let way = (owner, *seq);
            self.count_out(owner);
            if let Some((address, _)) = self.routes.remove_entry(address) {
                self.gone.note(address, way);
            }
        }
    }

    /// Entries for clients of other nodes are a cache, and bounded: when it is full some make room.
    /// This one does not: its messages are about to go by it.
    fn count_in(&mut self, owner: OwnerKey, new: &Address) {
        self.entry_mut(owner).routes += 1;
        if self.entry(owner).attached.is_some() {
            return;
        }
        self.remote_routes += 1;
        let over = self.remote_routes.saturating_sub(self.settings.routes_max);
        if over == 0 {
            return;
        }
        let some: Vec<(Address, OwnerKey)> = self
            .routes
            .iter()
            .filter_map(|(address, route)| match route {
                Route::At { owner, .. } if self.entry(*owner).attached.is_none() && address != new => {
                    Some((address.clone(), *owner))
                }
                _ => None,
            })
            .take(over + self.settings.routes_max / 16)
            .collect();
        for (address, owner) in some {
            self.forget_route(address.as_str(), owner);
        }
    }

    fn count_out(&mut self, owner: OwnerKey) {
        let entry = self.entry_mut(owner);
        entry.routes -= 1;
        if entry.attached.is_none() {
            self.remote_routes -= 1;
        }
    }

    /// A server is attached here now, or is not any more: whether entries for its clients count as those of others.
    pub(super) fn count_as(&mut self, owner: OwnerKey, attached: Option<LinkId>) -> Option<LinkId> {
        let entry = &mut self.owners[owner.0 as usize];
        let before = core::mem::replace(&mut entry.attached, attached);
        match (before, attached) {
            (None, Some(_)) => self.remote_routes -= entry.routes,
            (Some(_), None) => self.remote_routes += entry.routes,
            _ => {}
        }
        before
    }

    /// A server comes here from elsewhere. What is known of its clients is what the store said or what it held once; it says
    /// itself what it holds now.
    pub(super) fn doubt_routes(&mut self, key: OwnerKey) {
        if self.entry(key).routes == 0 {
            return;
        }
        for route in self.routes.values_mut() {
            match route {
                Route::At { owner, seq } if *owner == key => *seq = Seq(0),
                Route::Waiting(waiting) if waiting.known.is_some_and(|(owner, _)| owner == key) => {
                    waiting.is_hearsay = true;
                }
                _ => {}
            }
        }
    }

    /// Ends messages that have waited for longer than their senders.
    pub(super) fn expire_waiting(&mut self, now: MonoTime) {
        let mut over = Vec::new();
        let mut freed = Vec::new();
        let mut empty = Vec::new();
        for address in &self.queues.holding {
            let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
                empty.push(address.clone());
                continue;
            };
            for queue in [&mut waiting.bounced, &mut waiting.held] {
                while queue.front().is_some_and(|parcel| parcel.expires <= now) {
                    let Some(parcel) = queue.pop_front() else { break };
                    waiting.asked = waiting.asked.saturating_sub(1);
                    freed.push((waiting.away, parcel.message.cost()));
                    waiting.held_bytes -= parcel.message.cost().min(waiting.held_bytes);
                    over.push(parcel);
                }
            }
            if waiting.is_empty() {
                empty.push(address.clone());
            }
        }
        self.room_freed |= !freed.is_empty();
        for (away, bytes) in freed {
            self.charge(away, 0, bytes);
        }
        for address in empty {
            self.queues.holding.remove(&address);
            self.settle(now, &address);
        }
        for parcel in over {
            // One that has come back was certainly not delivered, and one that waits has never been sent on.
            self.fail(&parcel, Outcome::Expired);
        }
        if !self.queues.holding.is_empty() {
            self.want_tick(now);
        }
    }
}
