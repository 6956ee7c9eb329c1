use super::time::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// What can wake us.
#[derive(Debug)]
pub struct Sources<'a> {
    /// See [`open_signals`](super::signals::open_signals).
    pub signals: &'a OwnedFd,
    /// Polls POLLPRI when pressure rises; or, POLLERR with it, when a cgroup's events
    /// have changed since they were read.
    pub trigger: Option<BorrowedFd<'a>>,
    /// The victim's pidfd.
    pub victim: Option<BorrowedFd<'a>>,
}

/// What woke us; nothing of it when the time was up.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Pressure, or an event.
    pub trigger_fired: bool,
    /// The trigger's source is gone; of events, only reading them tells.
    pub trigger_gone: bool,
    /// There is a signal to take.
    pub signal: bool,
}

/// Waits for an event, or for `sleep_us`.
pub fn wait(sources: &Sources<'_>, sleep_us: u64) -> Woken {
    let fds = [Some(sources.signals.as_fd()), sources.trigger, sources.victim];
    let masks = [PollFlags::IN, PollFlags::PRI, PollFlags::IN];
    // A missing source is replaced by the signals, which are polled anyway.
    let entry = |at: usize| match fds[at] {
        Some(fd) => PollFd::from_borrowed_fd(fd, masks[at]),
        None => PollFd::from_borrowed_fd(sources.signals.as_fd(), PollFlags::empty()),
    };
    let mut polled = [entry(0), entry(1), entry(2)];
    // EINTR and ENOMEM: as if the time were up, the loop looks at everything.
    if poll(&mut polled, Some(&timespec(sleep_us))).is_err() {
        return Woken::default();
    }
    let trigger = if sources.trigger.is_some() { polled[1].revents() } else { PollFlags::empty() };
    let gone = PollFlags::ERR | PollFlags::NVAL;
    Woken {
        signal: polled[0].revents().contains(PollFlags::IN),
        trigger_gone: trigger.intersects(gone),
        trigger_fired: trigger.contains(PollFlags::PRI) && !trigger.intersects(gone),
    }
}
