//! The README's section for operators: its commands are run, and say what it shows.

use super::support::program::{Host, Place, a2e, outcome, workspace};

/// The lines of the section's console: each command with what it prints.
fn console() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let section = readme.split("## Operate it").nth(1).unwrap();
    let block = section.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    commands
}

/// Ids, hashes and times are others in each run.
fn without_chance(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() || character == '.' {
            word.push(character);
            continue;
        }
        let is_hex = word.len() >= 32 && word.chars().all(|it| it.is_ascii_hexdigit());
        let is_time = word.parse::<f64>().is_ok_and(|it| it > 1e9);
        // A slow machine seals these three records one by one.
        let is_place = text.contains("last seal") && word.parse::<u64>().is_ok();
        plain += if is_hex || is_time || is_place { "…" } else { &word };
        word.clear();
        plain.push(character);
    }
    plain.trim_end().to_owned()
}

#[test]
fn what_the_readme_shows_operators_is_what_they_see() {
    let place = Place::new();
    let example = workspace().join("a2e-server/examples/operated.yaml");
    std::fs::copy(example, place.path("a2e.yaml")).unwrap();
    let socket = place.socket();
    let mut serve = a2e(&["serve", "-c", "a2e.yaml", "--listen", &socket]);
    let host = Host::start(serve.current_dir(place.path("")));
    host.addresses(1);
    let commands = console();
    assert_eq!(commands.len(), 5);
    let mut seen = String::new();
    for (command, shown) in &commands {
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| word.replace("$PWD/a2e.sock", &place.text("a2e.sock")))
            .collect();
        assert_eq!(words[0], "a2e", "{command}");
        if words[1] == "audit" {
            // The seal over the last records comes within 100 ms.
            std::thread::sleep(std::time::Duration::from_millis(400));
        }
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let (code, stdout, stderr) = outcome(a2e(&args).current_dir(place.path("")));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
        seen.push_str(&["$ ", command, "\n", &stdout].concat());
        if without_chance(&stdout) != without_chance(shown) {
            seen += "^^^ the README shows something else\n";
        }
    }
    drop(host);
    assert!(!seen.contains("^^^"), "put this into the README:\n{seen}");
}
