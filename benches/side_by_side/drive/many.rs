//! Many links, or windows that do not fit into one: epoll, edge-triggered, nothing waits.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::link::ended;
use super::{BLOCK, Link, Measured, Meter, Work, now};

/// A server that is silent for so long, in milliseconds, has lost a request.
const SILENCE: u16 = 10_000;

/// What fits into any pipe or socket, with room to spare.
const FITS: usize = 32 * 1024;

/// Keeps `window` requests in flight on every link.
pub fn exchange_many(links: &mut [Link], work: &mut Work<'_>) -> io::Result<Measured> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let is_waited_for_room = work.ring.length() * work.window > FITS;
    for (number, link) in (0_u64..).zip(links.iter()) {
        link.set_waiting(false)?;
        let (mut read, room) = (EpollFlags::EPOLLIN, EpollFlags::EPOLLOUT);
        if is_waited_for_room && link.is_socket() {
            read |= room;
        } else if is_waited_for_room {
            epoll.add(link.input.as_fd(), EpollEvent::new(room | EpollFlags::EPOLLET, number))?;
        }
        epoll.add(link.output.as_fd(), EpollEvent::new(read | EpollFlags::EPOLLET, number))?;
    }
    let mut measured = Measured::default();
    let mut meter = Meter::new(work, links.len());
    let mut block = vec![0; BLOCK];
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut in_flight = work.window * links.len();
    for link in links.iter_mut() {
        link.wanted = work.window;
        link.flush(work.ring, now())?;
    }
    while in_flight > 0 {
        let ready = epoll.wait(&mut events, SILENCE)?;
        if ready == 0 {
            let silent = format!("no reply for 10 s, {in_flight} are missing");
            return Err(io::Error::new(io::ErrorKind::TimedOut, silent));
        }
        for event in events.iter().take(ready) {
            let number = usize::try_from(event.data()).unwrap_or_default();
            let Some(link) = links.get_mut(number) else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                link.flush(work.ring, now())?;
            }
            if event.events() == EpollFlags::EPOLLOUT {
                continue;
            }
            let replies = read_all(link, work, &mut meter, &mut measured, &mut block)?;
            if meter.is_over {
                // What is wanted and not taken is not asked for any more.
                in_flight -= replies + std::mem::take(&mut link.wanted);
            } else {
                link.wanted += replies;
                link.flush(work.ring, now())?;
            }
        }
        if meter.is_over {
            in_flight -= links.iter_mut().map(|it| std::mem::take(&mut it.wanted)).sum::<usize>();
        }
    }
    for link in links.iter() {
        link.set_waiting(true)?;
    }
    Ok(measured)
}

/// Reads what is there; gives the number of replies.
fn read_all(
    link: &mut Link,
    work: &Work<'_>,
    meter: &mut Meter,
    measured: &mut Measured,
    block: &mut [u8],
) -> io::Result<usize> {
    let mut replies = 0;
    loop {
        let read = match (&*link.output).read(block) {
            Ok(0) => return Err(ended()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(replies),
            Err(error) => return Err(error),
        };
        let ended = link.counter.feed(block.get(..read).unwrap_or_default());
        let time = now();
        if work.window == 1 && ended == 1 && !meter.is_over {
            measured.times.add(time - link.sent_at);
        }
        link.in_flight = link.in_flight.saturating_sub(ended);
        replies += ended;
        if let Some(reply) = link.counter.take_kept() {
            measured.look_at(reply, work, time);
        }
        if meter.note(ended, time, measured) {
            link.counter.keep_next();
        }
        // A short read has emptied it; what comes later is a new edge.
        if read < block.len() {
            return Ok(replies);
        }
    }
}
