//! Whether the dependencies of tasks lead in a circle.

use std::collections::HashMap;

/// The circle that `task` would be in if it came after `deps`: the tasks of the way, from `task` to `task`.
/// `deps_of` is asked for the dependencies of each task on the way, once. What is no task leads nowhere.
///
/// # Errors
/// Those of `deps_of`.
pub(super) fn circle<E>(
    deps_of: impl Fn(&str) -> Result<Vec<String>, E>,
    task: &str,
    deps: &[String],
) -> Result<Option<Vec<String>>, E> {
    // By task: the one that led to it.
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut open = Vec::new();
    let mut next = (task.to_owned(), deps.to_vec());
    loop {
        let (before, deps) = next;
        for dep in deps {
            if !seen.contains_key(&dep) {
                seen.insert(dep.clone(), before.clone());
                open.push(dep);
            }
        }
        let Some(at) = open.pop() else { return Ok(None) };
        if at == task {
            return Ok(Some(way(&seen, task)));
        }
        let deps = deps_of(&at)?;
        next = (at, deps);
    }
}

/// Back from the end of the circle to its beginning.
fn way(seen: &HashMap<String, String>, task: &str) -> Vec<String> {
    let mut way = vec![task.to_owned()];
    let mut at = task;
    while let Some(before) = seen.get(at) {
        way.push(before.clone());
        if before == task || way.len() > seen.len() + 1 {
            break;
        }
        at = before;
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn circles_are_found_and_told() {
        let of = |list: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
            let owned = |deps: &[&str]| deps.iter().map(|&it| it.to_owned()).collect();
            list.iter().map(|(task, deps)| ((*task).to_owned(), owned(deps))).collect()
        };
        let plan = of(&[
            ("a", &[]),
            ("b", &["a"]),
            ("c", &["b", "nothing"]),
            ("d", &["b", "c"]),
            ("old1", &["old2"]),
            ("old2", &["old1"]),
        ]);
        for (task, deps, expected) in [
            ("a", &["a"][..], Some(&["a", "a"][..])),
            ("a", &["b"], Some(&["a", "b", "a"])),
            ("a", &["d"], Some(&["a", "d", "b", "a"])),
            ("b", &["c"], Some(&["b", "c", "b"])),
            ("d", &["a", "b", "c"], None),
            ("a", &["nothing"], None),
            ("a", &["old1"], None),
            ("c", &[], None),
        ] {
            let deps: Vec<String> = deps.iter().map(|&it| it.to_owned()).collect();
            let deps_of = |at: &str| Ok::<_, Infallible>(plan.get(at).cloned().unwrap_or_default());
            let Ok(found) = circle(deps_of, task, &deps);
            let expected = expected.map(|it| it.iter().map(|&it| it.to_owned()).collect());
            let is_whole = |way: &Vec<String>| way.first() == way.last();
            assert!(found.iter().all(is_whole), "{found:?}");
            assert_eq!(found.is_some(), expected.is_some(), "{task} after {deps:?}: {found:?}");
            if deps.len() == 1 && task != "a" {
                assert_eq!(found, expected, "{task} after {deps:?}");
            }
        }
    }
}
