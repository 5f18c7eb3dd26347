//! When to look again: after a while, and at once where the system reports changes.

use crate::stream::Cancel;
use notify::{RecursiveMode, Watcher};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Asks the system to report changes. Where it cannot (network drives, too many folders) looking regularly is all there is.
pub(super) fn watch(sources: &[PathBuf]) -> (Receiver<()>, Option<notify::RecommendedWatcher>) {
    let (tx, rx) = channel();
    let heard = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| {
            !matches!(
                e.kind,
                notify::EventKind::Access(notify::event::AccessKind::Open(_) | notify::event::AccessKind::Read)
            )
        }) {
            let _ = tx.send(());
        }
    };
    let watcher = notify::recommended_watcher(heard).and_then(|mut w| {
        for s in sources {
            w.watch(s, RecursiveMode::Recursive)?;
        }
        Ok(w)
    });
    match watcher {
        Ok(w) => (rx, Some(w)),
        Err(e) => {
            log::warn!("changes are not reported here, the source is looked through regularly: {e}");
            (rx, None)
        }
    }
}

/// Waits for the time of the next look, or a little after a report of a change.
pub(super) fn wait(events: &Receiver<()>, pause: Duration, cancel: &Cancel) {
    let until = Instant::now() + pause;
    // Not at each of a thousand reports.
    let earliest = Instant::now() + (pause / 4).min(Duration::from_secs(1));
    let mut heard = false;
    while !cancel.is_cancelled() {
        let now = Instant::now();
        if now >= until || (heard && now >= earliest) {
            break;
        }
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(()) => heard = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    while events.try_recv().is_ok() {}
}
