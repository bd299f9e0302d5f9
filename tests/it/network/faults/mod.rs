//! Peers over HTTP that are slow, deaf, gone, or too many: bounded, answered, counted.

mod floods;
mod gone;
mod slow;

use std::time::Duration;

use super::raw::Site;
use crate::process::support::proc_fs::descriptors;
use crate::process::support::program::{Host, PATIENCE, Place, until_some};

const OPERATOR: &str = "fedcba9876543210fedcba9876543210";

/// Longer than any limit of the host that a peer here runs into.
const LONG: Duration = PATIENCE.saturating_mul(8);

/// A host with a token for its operator, and its address without and with it.
fn host(place: &Place, more: &str) -> (Host, Site, Site) {
    let (host, site) = super::host(place, &format!("operator_token: {OPERATOR}\n{more}"));
    let operator = Site { address: site.address.clone(), token: Some(OPERATOR) };
    (host, site, operator)
}

/// The descriptors of a host when those of its last answers are closed.
fn rested(host: &Host) -> usize {
    let mut last = 0;
    until_some(PATIENCE, "it rests", || {
        std::thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut last, descriptors(host.pid()));
        (before == last).then_some(last)
    })
}

/// The value of a metric, with its labels as they stand; 0 when it is not there.
fn metric(operator: &Site, name: &str) -> u64 {
    let page = operator.get("/metrics", &[]).body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}
