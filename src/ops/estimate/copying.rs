//! Will copying keep up? Production per day against the rate of the disks, when they are full, and what would help.

use serde::Serialize;

/// Seconds of a day.
pub const DAY: f64 = 86_400.0;
/// The beamline's rule of thumb: bytes per day of beamtime.
pub const RULE_PER_DAY: f64 = 10e12;

/// A disk of this size as sold (powers of 1000) after formatting as NTFS: bytes for files.
///
/// NTFS keeps one bit per cluster of 4 KiB, a log of 64 MiB, and 1 KiB per file; Windows sets 16 MiB aside besides, and
/// partitions begin and end on a MiB.
pub fn formatted_ntfs(nominal: u64, files: u64) -> u64 {
    let system = nominal / (8 * 4096) + (64 << 20) + (16 << 20) + (2 << 20);
    nominal.saturating_sub(system).saturating_sub(files.saturating_mul(1024))
}

/// How the data come and where they go.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Everything to be copied, bytes.
    pub bytes: f64,
    /// Days in which it is produced.
    pub days: f64,
    /// Disks copied to at the same time.
    pub parallel: u64,
    /// Room on one disk, bytes.
    pub disk_bytes: f64,
}

/// Copying at one rate.
#[derive(Clone, Debug, Serialize)]
pub struct AtRate {
    /// Bytes per second to one disk.
    pub bytes_per_s: f64,
    /// Hours to copy everything.
    pub hours: f64,
    /// Copied per day, all parallel disks together; bytes.
    pub per_day: f64,
    /// True where copying is as fast as producing; `None` where the days are not known.
    pub keeps_up: Option<bool>,
    /// Bytes waiting at the end of the beamtime.
    pub backlog: Option<f64>,
    /// Hours until they are copied.
    pub hours_after: Option<f64>,
    /// Disks in parallel that keep up.
    pub parallel_needed: Option<u64>,
    /// Days after the start at which one disk after the other is full (those copied to at the same time fill together).
    pub full_after_days: Vec<f64>,
}

/// Most disks that are listed one by one.
const LISTED: usize = 64;

/// Works it out for one rate; `days` is not finite where nobody told.
pub fn at_rate(flow: &Flow, bytes_per_s: f64) -> AtRate {
    let per_day = bytes_per_s * DAY * flow.parallel as f64;
    let hours = flow.bytes / (bytes_per_s * flow.parallel as f64) / 3600.0;
    let known = flow.days.is_finite() && flow.days > 0.0;
    let produced = flow.bytes / flow.days;
    let backlog = known.then(|| ((produced - per_day) * flow.days).max(0.0));
    // Copied by day t: as fast as it can, never more than there is.
    let speed = if known { per_day.min(produced) } else { per_day };
    let mut full_after_days = Vec::new();
    let group = flow.disk_bytes * flow.parallel as f64;
    let mut filled = group;
    while filled <= flow.bytes && full_after_days.len() < LISTED && group > 0.0 {
        full_after_days.extend(std::iter::repeat_n(filled / speed, flow.parallel as usize));
        filled += group;
    }
    full_after_days.truncate(LISTED);
    AtRate {
        bytes_per_s,
        hours,
        per_day,
        keeps_up: known.then_some(per_day >= produced),
        backlog,
        hours_after: backlog.map(|b| b / (per_day / 24.0)),
        parallel_needed: known.then(|| (produced / (bytes_per_s * DAY) - 1e-9).ceil().max(1.0) as u64),
        full_after_days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_usb_disk_cannot_carry_ten_terabytes_a_day() {
        let flow = Flow { bytes: 30e12, days: 3.0, parallel: 1, disk_bytes: 4e12 };
        let slow = at_rate(&flow, 40e6);
        assert!((slow.per_day - 3.456e12).abs() < 1.0 && slow.keeps_up == Some(false));
        assert!((slow.backlog.unwrap() - 3.0 * (10e12 - 3.456e12)).abs() < 1e3);
        assert_eq!((slow.parallel_needed, slow.full_after_days.len()), (Some(3), 7));
        assert!((slow.full_after_days[0] - 4e12 / 3.456e12).abs() < 1e-9);
        assert!((slow.hours - 30e12 / 40e6 / 3600.0).abs() < 1e-9);
        assert_eq!(at_rate(&flow, 100e6).parallel_needed, Some(2));
        let three = at_rate(&Flow { parallel: 3, ..flow }, 40e6);
        assert_eq!((three.keeps_up, three.backlog, three.hours_after), (Some(true), Some(0.0), Some(0.0)));
        // Copying waits for the data: disks fill no faster than those are produced.
        assert!((three.full_after_days[0] - 1.2).abs() < 1e-9);
        let unknown = at_rate(&Flow { days: f64::INFINITY, ..flow }, 40e6);
        assert_eq!((unknown.keeps_up, unknown.parallel_needed, unknown.backlog), (None, None, None));
        assert_eq!(unknown.full_after_days.len(), 7);
    }

    #[test]
    fn a_disk_is_a_little_smaller_than_it_says() {
        let real = formatted_ntfs(4_000_000_000_000, 0);
        assert!(real < 4_000_000_000_000 && real > 3_999_000_000_000, "{real}");
        assert_eq!(formatted_ntfs(1 << 20, 5), 0);
    }
}
