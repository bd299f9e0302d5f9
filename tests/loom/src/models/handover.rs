//! Threads that append to one buffer and write it in turns. Every line is written once, in order,
//! by one writer at a time, and none is left.
//!
//! The outbox here is the kernel's without audit, ring and bounds: its steps on the hand-over are the
//! same.

use std::sync::Arc;

use checker::thread;

use super::{Notes, explore};
use crate::handover::{Begun, Handover, Turn};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Where lines go, and whether a thread is writing there.
struct Sink {
    written: Notes<u32>,
    is_busy: AtomicBool,
}

impl Sink {
    fn new() -> Arc<Self> {
        Arc::new(Self { written: Notes::empty(), is_busy: AtomicBool::new(false) })
    }

    fn write(&self, lines: &[u32]) {
        assert!(!self.is_busy.swap(true, Ordering::Acquire), "one writes at a time");
        for line in lines {
            self.written.push(*line);
        }
        self.is_busy.store(false, Ordering::Release);
    }
}

struct Lines {
    pending: Vec<u32>,
    /// Every line so far: what the kernel's ring keeps.
    kept: Vec<u32>,
    sink: Option<Arc<Sink>>,
}

struct Outbox {
    lines: Handover<Lines>,
    /// The transport takes one line at a time, and a task writes the rest.
    is_slow: bool,
    tasks: Notes<thread::JoinHandle<()>>,
}

impl Outbox {
    fn new(sink: &Arc<Sink>, is_slow: bool) -> Arc<Self> {
        let sink = Some(Arc::clone(sink));
        let lines = Lines { pending: Vec::new(), kept: Vec::new(), sink };
        Arc::new(Self { lines: Handover::new(lines), is_slow, tasks: Notes::empty() })
    }

    /// Appends the next line; true when it is to be written at once, as a large batch is.
    fn append_only(&self) -> bool {
        let mut shared = self.lines.lock();
        let is_free = shared.is_free();
        let Lines { pending, kept, sink } = &mut shared.buffer;
        let line = u32::try_from(kept.len()).expect("few");
        kept.push(line);
        if sink.is_none() {
            return false;
        }
        pending.push(line);
        is_free
    }

    fn append(self: &Arc<Self>) {
        if self.append_only() {
            self.write_pending();
        }
    }

    fn append_and_flush(self: &Arc<Self>) {
        let _is_due = self.append_only();
        self.flush();
    }

    fn flush(self: &Arc<Self>) {
        if !self.lines.is_held() {
            self.write_pending();
        }
    }

    fn release(self: &Arc<Self>) {
        self.lines.release();
        self.write_pending();
    }

    fn write_pending(self: &Arc<Self>) {
        loop {
            let taken = self.lines.begin(|lines| {
                let sink = lines.sink.clone().filter(|_| !lines.pending.is_empty())?;
                Some((std::mem::take(&mut lines.pending), sink))
            });
            let Begun::Mine(turn, (batch, sink)) = taken else { return };
            if self.is_slow {
                let this = Arc::clone(self);
                self.tasks.push(thread::spawn(move || this.write_rest(turn, &batch, &sink)));
                return;
            }
            sink.write(&batch);
            if !self.lines.end(turn) {
                return;
            }
        }
    }

    /// A task goes on in the writer's place.
    fn write_rest(self: &Arc<Self>, turn: Turn, batch: &[u32], sink: &Sink) {
        for line in batch.chunks(1) {
            if !self.lines.is_mine(turn) {
                return;
            }
            sink.write(line);
        }
        if self.lines.end(turn) {
            self.write_pending();
        }
    }

    /// Another connection takes over: all that was kept is sent again.
    fn attach(self: &Arc<Self>, sink: &Arc<Sink>) {
        self.lines.interrupt(|lines| {
            lines.pending.clone_from(&lines.kept);
            lines.sink = Some(Arc::clone(sink));
        });
        self.write_pending();
    }

    fn detach(&self) {
        self.lines.interrupt(|lines| {
            lines.sink = None;
            lines.pending.clear();
        });
    }

    fn kill(&self) {
        self.lines.close(|lines| {
            lines.pending.clear();
            lines.sink = None;
        });
    }

    /// Waits for the tasks; every line has gone to this sink, in order.
    fn check(&self, sink: &Sink, lines: usize) {
        self.finish();
        let shared = self.lines.lock();
        assert!(shared.buffer.pending.is_empty(), "nothing is left");
        assert!(shared.is_free(), "no turn is left");
        assert_eq!(shared.buffer.kept.len(), lines);
        assert_eq!(sink.written.take(), shared.buffer.kept, "each line once, in order");
    }

    fn finish(&self) {
        while let Some(task) = self.tasks.pop() {
            task.join().expect("it runs through");
        }
    }
}

/// Two threads append and flush.
pub fn two_writers() {
    explore("two writers", || {
        let sink = Sink::new();
        let outbox = Outbox::new(&sink, false);
        let other = Arc::clone(&outbox);
        let other = thread::spawn(move || {
            other.append();
            other.append_and_flush();
        });
        outbox.append_and_flush();
        outbox.append_and_flush();
        other.join().expect("it runs through");
        outbox.check(&sink, 4);
    });
}

/// The reader holds the buffer over a batch while two others answer.
pub fn held_by_the_reader() {
    explore("held by the reader", || {
        let sink = Sink::new();
        let outbox = Outbox::new(&sink, false);
        let (first, second) = (Arc::clone(&outbox), Arc::clone(&outbox));
        let first = thread::spawn(move || first.append_and_flush());
        let second = thread::spawn(move || second.append_and_flush());
        outbox.lines.hold();
        outbox.append_only();
        outbox.release();
        first.join().expect("it runs through");
        second.join().expect("it runs through");
        outbox.check(&sink, 3);
    });
}

/// The transport is slow: a task goes on, and what comes meanwhile is left to it.
pub fn handed_to_a_task() {
    explore("handed to a task", || {
        let sink = Sink::new();
        let outbox = Outbox::new(&sink, true);
        let other = Arc::clone(&outbox);
        let other = thread::spawn(move || other.append_and_flush());
        outbox.append_and_flush();
        other.join().expect("it runs through");
        outbox.check(&sink, 2);
    });
}

/// Another connection comes while two threads write: it is sent every line once, in order, and
/// nothing of the turn that was taken away reaches it.
pub fn taken_over() {
    explore("taken over", || {
        let (old, new) = (Sink::new(), Sink::new());
        let outbox = Outbox::new(&old, false);
        let (first, second) = (Arc::clone(&outbox), Arc::clone(&outbox));
        let first = thread::spawn(move || first.append_and_flush());
        let second = thread::spawn(move || second.append_and_flush());
        outbox.attach(&new);
        first.join().expect("it runs through");
        second.join().expect("it runs through");
        outbox.check(&new, 2);
        let old = old.written.take();
        assert!((0..).zip(&old).all(|(number, line)| number == *line), "no gap before the loss");
    });
}

/// The connection is lost and another comes while a thread writes.
pub fn lost_and_taken_over() {
    explore("lost and taken over", || {
        let (old, new) = (Sink::new(), Sink::new());
        let outbox = Outbox::new(&old, false);
        let (writer, front) = (Arc::clone(&outbox), Arc::clone(&outbox));
        let writer = thread::spawn(move || {
            writer.append_and_flush();
            writer.append_and_flush();
        });
        let sink = Arc::clone(&new);
        let front = thread::spawn(move || {
            front.detach();
            front.attach(&sink);
        });
        writer.join().expect("it runs through");
        front.join().expect("it runs through");
        outbox.check(&new, 2);
    });
}

/// The connection is given up for good while two threads write, and another comes too late.
pub fn closed() {
    explore("closed", || {
        let (sink, late) = (Sink::new(), Sink::new());
        let outbox = Outbox::new(&sink, false);
        let (writer, other) = (Arc::clone(&outbox), Arc::clone(&outbox));
        let writer = thread::spawn(move || {
            writer.append_and_flush();
            writer.append_and_flush();
        });
        let other = thread::spawn(move || other.kill());
        outbox.append_and_flush();
        other.join().expect("it runs through");
        let before = outbox.lines.lock().is_free();
        assert!(!before, "nobody begins after the end");
        outbox.attach(&late);
        writer.join().expect("it runs through");
        assert_eq!(late.written.len(), 0, "nothing is sent after the end");
        let sent = sink.written.take();
        assert!((0..).zip(&sent).all(|(number, line)| number == *line), "in order up to the end");
    });
}
