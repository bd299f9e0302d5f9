//! The example of an agent that learns: it becomes better, each run is the same, and its plot is a picture.

use std::path::Path;

use super::example;

/// What a run says and leaves behind: its table, as it is printed and as it is written, and its plot.
fn run(folder: &Path) -> [String; 3] {
    let output = example("agent_loop").arg(folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (table, place) = said.trim_end().rsplit_once('\n').unwrap();
    assert!(place.contains("agent_loop.svg"), "{place}");
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    [table.to_owned(), file("agent_loop.txt"), file("agent_loop.svg")]
}

#[test]
fn the_agent_of_the_example_learns() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [table, written, plot] = run(folders[0].path());
    assert_eq!(run(folders[1].path()), [table.clone(), written.clone(), plot.clone()]);
    assert_eq!(table, written, "the chain came to its last node");
    let mean = |line: &str| -> f64 {
        let cells = line.split_once(" - ").unwrap().1;
        cells.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let means: Vec<f64> = table.lines().skip(1).map(mean).collect();
    assert_eq!(means.len(), 8, "{table}");
    assert!(means[6] > means[0] + 0.2 && means[7] > means[0] + 0.2, "{table}");
    check_picture(&plot);
}

/// Elements are closed in order, texts say what the axes are, and nothing is drawn outside.
fn check_picture(svg: &str) {
    let mut open = Vec::new();
    for piece in svg.trim().strip_prefix('<').unwrap().split('<') {
        let (tag, text) = piece.split_once('>').unwrap();
        assert!(!text.contains('>') && !text.contains('&'), "{piece}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (false, true) => {}
            (false, false) => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="), "{svg}");
    assert!(svg.contains(">episode</text>") && svg.contains(">reward</text>"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let numbers = |name: &str| -> Vec<f64> {
        let before = format!(" {name}=\"");
        let values = svg.split(&before).skip(1);
        values.map(|it| it.split('"').next().unwrap().parse().unwrap()).collect()
    };
    assert!(numbers("cx").len() > 160 && numbers("cx").iter().all(|x| (0.0..720.0).contains(x)));
    assert!(numbers("cy").iter().all(|y| (0.0..420.0).contains(y)));
}
