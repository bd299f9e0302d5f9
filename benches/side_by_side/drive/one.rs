//! The tightest loop: one link, and a whole window fits into it, so that writes never wait for long.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::link::ended;
use super::{BLOCK, Link, Measured, Meter, Work, now};

/// For so long a driver that stays awake watches for a reply before it sleeps after all.
const AWAKE: Duration = Duration::from_millis(1);

/// Writes what is free, waits for some replies, and so on; one write and one read for each batch.
pub fn exchange_one(link: &mut Link, work: &mut Work<'_>) -> io::Result<Measured> {
    link.set_waiting(true)?;
    let mut measured = Measured::default();
    let mut meter = Meter::new(work, 1);
    let mut block = vec![0; BLOCK];
    let mut time = now();
    loop {
        while !meter.is_over && link.in_flight < work.window {
            let (range, count) = work.ring.take(work.window - link.in_flight, time);
            (&*link.input).write_all(work.ring.bytes(range))?;
            link.in_flight += count;
        }
        if link.in_flight == 0 {
            return Ok(measured);
        }
        if work.is_awake {
            link.watch(AWAKE)?;
        }
        let read = (&*link.output).read(&mut block)?;
        if read == 0 {
            return Err(ended());
        }
        let ended = link.counter.feed(block.get(..read).unwrap_or_default());
        let before = time;
        time = now();
        if work.window == 1 && ended == 1 && !meter.is_over {
            measured.times.add(time - before);
        }
        link.in_flight = link.in_flight.saturating_sub(ended);
        if let Some(reply) = link.counter.take_kept() {
            measured.look_at(reply, work, time);
            // Looking is no part of the next request's time.
            time = now();
        }
        if meter.note(ended, time, &mut measured) {
            link.counter.keep_next();
        }
        if work.window == 1 && ended == 0 {
            // Part of a reply: its time goes on.
            time = before;
        }
    }
}
