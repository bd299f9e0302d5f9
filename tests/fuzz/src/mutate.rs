//! Mutations of scripts: whole lines are doubled, dropped and moved, and values go from one line to
//! another, so that most mutants still are messages.

use crate::random::Random;

/// Changes a script that keeps below `most` bytes; false: nothing was changed.
pub fn lines(script: &mut Vec<u8>, most: usize, seed: u32) -> bool {
    let mut random = Random::of(&seed.to_le_bytes());
    let mut lines: Vec<Vec<u8>> =
        script.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return false;
    }
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(5) {
        0 => lines.insert(to, lines[from].clone()),
        1 => drop(lines.remove(from)),
        2 => lines.swap(from, to),
        _ => {
            let (Some(old), Some(new)) =
                (value(&lines[to], &mut random), value(&lines[from], &mut random))
            else {
                return false;
            };
            let new = lines[from][new].to_vec();
            lines[to].splice(old, new);
        }
    }
    if lines.iter().map(Vec::len).sum::<usize>() > most {
        return false;
    }
    *script = lines.concat();
    true
}

/// Where one of the values of a line stands, up to the next comma or end of an object or array.
fn value(line: &[u8], random: &mut Random) -> Option<std::ops::Range<usize>> {
    let colons: Vec<usize> =
        line.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at + 1).collect();
    let start = *colons.get(random.below(colons.len().max(1)))?;
    let (mut depth, mut is_text) = (0_usize, false);
    for (length, byte) in line[start..].iter().enumerate() {
        match byte {
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b',' | b'}' | b']' if !is_text && depth == 0 => return Some(start..start + length),
            b'}' | b']' if !is_text => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_mostly_messages() {
        let script = b"{\"type\":\"a\",\"x\":{\"y\":[1,2]}}\n{\"type\":\"b\",\"id\":\"i,}\"}\n";
        let (mut changed, mut good) = (0, 0);
        for seed in 0..1000 {
            let mut mutant = script.to_vec();
            changed += usize::from(lines(&mut mutant, 200, seed));
            assert!(mutant.len() <= 200);
            let parts = mutant.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let mut parsed = parts.map(serde_json::from_slice::<serde_json::Value>);
            good += usize::from(parsed.all(|line| line.is_ok()));
        }
        assert!(changed > 800 && good > 900, "{changed} changed, {good} good");
    }
}
