//! Tests of the ring, by hand and against a model.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A line of this many bytes, and whether it is to be kept.
    Send(usize, bool),
    /// Resume this many lines before the last one that was sent.
    Resume(u64),
    Empty,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..40_usize, proptest::bool::weighted(0.95)).prop_map(|(it, kept)| Step::Send(it, kept)),
        1 => (0..12_u64).prop_map(Step::Resume),
        1 => Just(Step::Empty),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Every line ever sent, and how many of the first may no longer be kept.
#[derive(Default)]
struct Model {
    lines: Vec<Vec<u8>>,
    gone: usize,
}

impl Model {
    fn kept(&self, limit: usize) -> usize {
        let mut bytes = 0;
        let rest = self.lines[self.gone..].iter().rev();
        rest.take_while(|line| {
            bytes += line.len();
            bytes <= limit
        })
        .count()
    }
}

fn line(number: usize, length: usize) -> Vec<u8> {
    let digit = b'a' + u8::try_from(number % 26).unwrap();
    let mut line = vec![digit; length - 1];
    line.push(b'\n');
    line
}

proptest! {
    #[test]
    fn r25_a_ring_gives_back_the_longest_tail_that_fits(steps in steps(), limit in 0..200_usize) {
        let budget = RingBudget::new(usize::MAX);
        let mut ring = Ring::new(&budget, limit);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Send(length, is_kept) => {
                    let line = line(model.lines.len(), length);
                    ring.push(&line, is_kept);
                    model.lines.push(line);
                    if !is_kept {
                        model.gone = model.lines.len();
                    }
                }
                Step::Resume(back) => {
                    let sent = model.lines.len() as u64;
                    let received = sent.saturating_sub(back);
                    let kept = model.kept(limit) as u64;
                    let gap = (sent - kept).saturating_sub(received);
                    prop_assert_eq!(ring.gap(received), Some(gap));
                    prop_assert_eq!(ring.gap(sent + 1 + back), None);
                    let (mut out, mut copy) = (Vec::new(), Vec::new());
                    ring.copy_after(received, &mut copy);
                    ring.replay(received, &mut out);
                    prop_assert_eq!(&copy, &out);
                    let from = usize::try_from(received + gap).unwrap();
                    prop_assert_eq!(out, model.lines[from..].concat());
                    model.gone = model.gone.max(usize::try_from(received).unwrap());
                }
                Step::Empty => {
                    ring.empty();
                    model.gone = model.lines.len();
                }
            }
            prop_assert_eq!(ring.sent(), model.lines.len() as u64);
            prop_assert!(ring.bytes() <= limit);
            prop_assert_eq!(budget.bytes(), ring.bytes());
        }
        drop(ring);
        prop_assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn r20_rings_of_a_host_share_one_bound(
        sends in proptest::collection::vec((0..3_usize, 1..40_usize), 1..200),
        most in 0..150_usize,
    ) {
        let budget = RingBudget::new(most);
        let mut rings = [0; 3].map(|_| Ring::new(&budget, 100));
        let mut sent = [const { Vec::new() }; 3];
        for (place, length) in sends {
            let line = line(sent[place].len(), length);
            rings[place].push(&line, true);
            sent[place].push(line);
            let held: usize = rings.iter().map(Ring::bytes).sum();
            prop_assert!(budget.bytes() == held && held <= most);
            prop_assert!(rings[place].bytes() <= most / 3);
        }
        for ring in &mut rings {
            ring.trim();
            prop_assert!(ring.bytes() <= most / 3);
        }
        let mut lost = 0;
        for (ring, sent) in rings.iter_mut().zip(&sent) {
            let gap = ring.gap(0).unwrap();
            let mut out = Vec::new();
            ring.replay(0, &mut out);
            prop_assert_eq!(out, sent[usize::try_from(gap).unwrap()..].concat());
            lost += gap;
        }
        prop_assert_eq!(budget.dropped.get(), lost, "each lost line is counted once");
    }
}
