//! Ranks the processes of this machine as a guard would that has just started, best
//! victim first: `cargo run --example rank`. Kills nobody.

use bustd::act::capability::Prospects;
use bustd::choose::observer::{Observer, StallSource};
use bustd::choose::scope::Scope;
use bustd::choose::selector::Selector;
use bustd::config::policy::Policy;
use bustd::config::scope::Asked;
use bustd::read::kfile::{ReadError, Tree};
use bustd::sys::time::now_us;
use rustix::process::getpid;

fn main() -> Result<(), ReadError> {
    let tree = Tree::open_live()?;
    let scope = Scope::find(&tree, Asked::Auto, false)?;
    let mut observer = Observer::new(&tree, &scope, StallSource::KernelAverage);
    let snapshot = observer.read(now_us())?;

    // Only those that we might kill; --prefer and the like would stand here too.
    let Prospects { only_uid, believed, .. } = Prospects::probe(&tree, &scope);
    let policy = Policy { only_uid, believed, ..Policy::default() };
    let mut selector = Selector::new(&tree, &scope, policy, getpid(), observer.page_kib());
    selector.survey(&snapshot, now_us())?;

    for candidate in selector.candidates() {
        let comm = String::from_utf8_lossy(candidate.job.comm.as_bytes());
        println!("{:>8} {:>12} KiB  {comm}", candidate.id.pid, candidate.freeable_kib);
    }
    Ok(())
}
