use super::child::exit_now;
use rustix::process::getpid;
use rustix::system::{RebootCommand, reboot};

/// How a machine ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// It is switched off.
    #[default]
    Off,
    /// It starts anew.
    Restart,
    /// It stands still.
    Halt,
}

/// Are we the init of a machine, and not of a container? reboot(2) in another pid
/// namespace than the first knows only the ends of that namespace, and refuses to
/// say what Ctrl-Alt-Del does. From now on that is to signal us (SIGINT).
// Out of line: inlined it is larger.
#[inline(never)]
pub fn is_machines_init() -> bool {
    getpid().is_init() && reboot(RebootCommand::CadOff).is_ok()
}

/// Ends this process, or the machine if we are its init: the kernel panics when
/// that ends.
pub fn end(status: i32, power: Power) -> ! {
    if is_machines_init() {
        rustix::fs::sync();
        let _ = reboot(match power {
            Power::Off => RebootCommand::PowerOff,
            Power::Restart => RebootCommand::Restart,
            Power::Halt => RebootCommand::Halt,
        });
        // What cannot be switched off stands still.
        let _ = reboot(RebootCommand::Halt);
        loop {
            super::time::pause(super::time::SECOND);
        }
    }
    exit_now(status)
}
