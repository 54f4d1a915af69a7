//! A process's machines put together: a broker (router alone), a server of the mesh (router and endpoint in one process),
//! or a server attached to a broker (endpoint alone).

use waypost_types::{Location, MonoTime};
use waypost_wire::{Frame, Message};

use crate::endpoint::{Endpoint, Refusal};
use crate::gate::Room;
use crate::node::{LinkId, Router};
use crate::settings::Settings;

/// The pure machines of one process. A driver owns one, feeds it and carries out what comes out of it.
///
/// The router and the endpoint of a mesh server exchange the same frames as a broker and its peer, through memory.
#[derive(Debug)]
pub struct Core<T> {
    /// The router, in a broker and in a server of the mesh.
    pub router: Option<Router>,
    /// The endpoint, in a server.
    pub endpoint: Option<Endpoint<T>>,
    shuttle: Vec<Frame>,
}

impl<T> Core<T> {
    /// A broker that is reached at `location`.
    #[must_use]
    pub fn broker(settings: Settings, location: Location) -> Self {
        Self {
            router: Some(Router::new(settings, location, true)),
            endpoint: None,
            shuttle: Vec::new(),
        }
    }

    /// A server that is itself a node, reached at `location`.
    #[must_use]
    pub fn mesh(now: MonoTime, settings: Settings, location: Location) -> Self {
        let mut router = Router::new(settings.clone(), location, false);
        let mut endpoint = Endpoint::new(settings);
        router.open_local(now);
        endpoint.link_up(now);
        Self {
            router: Some(router),
            endpoint: Some(endpoint),
            shuttle: Vec::new(),
        }
    }

    /// A server that is attached to a broker.
    #[must_use]
    pub fn attached(settings: Settings) -> Self {
        Self {
            router: None,
            endpoint: Some(Endpoint::new(settings)),
            shuttle: Vec::new(),
        }
    }

    /// Sends a best-effort message of the program's. It is taken out of `message` unless it is refused.
    ///
    /// # Errors
    /// [`Refusal::Full`] when it has to wait for the link or for room on its way; others when there is no identity.
    pub fn send(&mut self, now: MonoTime, message: &mut Option<Message>) -> Result<(), Refusal> {
        self.check_room(now, message.as_ref(), |room| room == Room::Yes)?;
        match (&mut self.endpoint, message.take()) {
            (Some(endpoint), Some(message)) => endpoint.send(now, message),
            _ => Ok(()),
        }
    }

    /// Sends a message whose outcome or reply comes with a token, by `deadline` at the latest. It is taken out of `message`
    /// unless it is refused.
    ///
    /// # Errors
    /// [`Refusal::Full`] when it has to wait for room on its way; others when there is no identity. No token is made then.
    pub fn send_acked(
        &mut self,
        now: MonoTime,
        message: &mut Option<Message>,
        request: bool,
        deadline: MonoTime,
        token: impl FnOnce() -> T,
    ) -> Result<(), Refusal> {
        // Without a link the endpoint keeps it until there is one.
        self.check_room(now, message.as_ref(), |room| room != Room::Wait)?;
        if self
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| !endpoint.takes_sends())
        {
            return Err(Refusal::Full);
        }
        match (&mut self.endpoint, message.take()) {
            (Some(endpoint), Some(taken)) => endpoint.send_acked(now, taken, request, deadline, token()),
            _ => Ok(()),
        }
    }

    fn check_room(
        &mut self,
        now: MonoTime,
        message: Option<&Message>,
        is_enough: impl Fn(Room) -> bool,
    ) -> Result<(), Refusal> {
        let Some(endpoint) = &mut self.endpoint else {
            return Err(Refusal::NotRegistered);
        };
        endpoint.can_send(now, &is_enough)?;
        match message {
            Some(message) if !is_enough(self.room_to_take(now, message.to())) => Err(Refusal::Full),
            _ => Ok(()),
        }
    }

    /// Whether this process's router may take a message to this address in now, be it from its own endpoint or from a link.
    /// `Wait`: the link should not be read for a moment, and pumping may help. Without a router it always may: where the
    /// message goes is the broker's to know, also when it is to come back here.
    pub fn room_to_take(&mut self, now: MonoTime, to: &str) -> Room {
        let Some(router) = &mut self.router else {
            return Room::Yes;
        };
        match (router.room(now, to), &mut self.endpoint) {
            (Room::Yes, Some(endpoint)) => endpoint.inbox_room(now, to),
            (room, _) => room,
        }
    }

    /// Carries frames between the two machines until neither has any, and turns what has gathered into commands. Call it
    /// after every batch of inputs.
    pub fn pump(&mut self, now: MonoTime) {
        match (&mut self.router, &mut self.endpoint) {
            (Some(router), Some(endpoint)) => loop {
                let mut moved = false;
                endpoint.flush(now);
                endpoint.take_frames(now, &mut self.shuttle, usize::MAX);
                for frame in self.shuttle.drain(..) {
                    moved = true;
                    router.handle_frame(now, LinkId::LOCAL, frame);
                }
                router.take_frames(LinkId::LOCAL, &mut self.shuttle, usize::MAX);
                for frame in self.shuttle.drain(..) {
                    moved = true;
                    endpoint.handle_frame(now, frame);
                }
                if !moved {
                    router.flush(now);
                    break;
                }
            },
            (Some(router), None) => router.flush(now),
            (None, Some(endpoint)) => endpoint.flush(now),
            (None, None) => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&mut self) -> Option<MonoTime> {
        let router = self.router.as_ref().and_then(Router::next_timeout);
        let endpoint = self.endpoint.as_mut().and_then(Endpoint::next_timeout);
        [router, endpoint].into_iter().flatten().min()
    }

    /// Does what has come due in either machine.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        if let Some(router) = &mut self.router {
            router.handle_timeout(now);
        }
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.handle_timeout(now);
        }
        self.pump(now);
    }
}
