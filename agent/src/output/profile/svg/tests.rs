use super::*;
use crate::output::profile::collapse::Collapsed;
use crate::sample_profile::profile;

fn drawn(compared: &Compared) -> String {
    let mut out = Vec::new();
    let title = Title {
        title: "CPU <profile>",
        subtitle: "98 samples & 2 lost",
    };
    write(&mut out, compared, &title).unwrap();
    String::from_utf8(out).unwrap()
}

/// What a frame says of itself.
fn attribute(line: &str, name: &str) -> f64 {
    let from = line.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    line[from..].split('"').next().unwrap().parse().unwrap()
}

fn frames(svg: &str) -> Vec<&str> {
    svg.lines()
        .filter(|line| line.starts_with("<g class="))
        .collect()
}

#[test]
fn children_lie_within_their_parents() {
    let svg = drawn(&Compared::alone(&Collapsed::new(&profile(false), None)));
    let frames: Vec<(f64, f64, f64)> = frames(&svg)
        .into_iter()
        .map(|line| {
            let of = |name| attribute(line, name);
            (of("data-d"), of("data-x"), of("data-w"))
        })
        .collect();
    // all; node, shop; cut, render, main; [unknown]'s caller, serve, bare; …
    assert_eq!(frames.len(), 14, "{svg}");
    for (depth, x, width) in &frames[1..] {
        let holder = frames.iter().find(|(d, from, w)| {
            *d == depth - 1.0 && *from <= x + 0.01 && from + w >= x + width - 0.01
        });
        assert!(holder.is_some(), "{depth} {x} {width}");
    }
    let at_depth = |depth: f64| -> f64 {
        let level = frames.iter().filter(|(d, ..)| *d == depth);
        level.map(|(.., width)| width).sum()
    };
    assert!((at_depth(0.0) - 1180.0).abs() < 0.1);
    assert!((at_depth(1.0) - 1180.0).abs() < 0.1);
}

#[test]
fn names_of_traced_programs_are_text_and_nothing_else() {
    let mut stacks = Collapsed::default();
    let hostile = "</title><script>alert(1)</script>\u{1}]]>\"&";
    let id = stacks.name(hostile, Some(crate::profile::model::Kind::Native));
    stacks.add(&[id], 5);
    let svg = drawn(&Compared::alone(&stacks));
    assert_eq!(svg.matches("<script>").count(), 1);
    assert_eq!(svg.matches("]]>").count(), 1);
    assert!(!svg.contains('\u{1}'));
    assert!(svg.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt; ]]&gt;&quot;&amp;"));
    assert!(svg.contains("<title>CPU &lt;profile&gt;</title>"));
}

#[test]
fn comparisons_are_red_where_it_grew_and_blue_where_it_shrank() {
    assert_eq!(change_colour([50.0, 50.0]), "rgb(255,255,255)");
    assert_eq!(change_colour([0.0, 50.0]), "rgb(255,65,65)");
    assert_eq!(change_colour([50.0, 25.0]), "rgb(160,160,255)");
    let new = Collapsed::new(&profile(false), None);
    let svg = drawn(&Compared::between(&new, &new));
    assert!(svg.contains("before 61.22 %"), "{svg}");
    assert_eq!(svg.matches("fill=\"rgb(255,255,255)\"").count(), 13);
}

#[test]
fn huge_profiles_give_pictures_of_bounded_size() {
    let mut stacks = Collapsed::default();
    for n in 0..200_000u32 {
        let stack: Vec<u32> = [n / 2_000, n / 20, n]
            .map(|part| stacks.name(&format!("f{part}"), None))
            .to_vec();
        stacks.add(&stack, 1);
    }
    let svg = drawn(&Compared::alone(&stacks));
    assert!(frames(&svg).len() <= MAX_FRAMES + 1);
    assert!(svg.contains("too narrow to be drawn"));
    let empty = drawn(&Compared::alone(&Collapsed::default()));
    assert_eq!(frames(&empty).len(), 1);
}

#[test]
fn labels_are_cut_to_their_frame() {
    assert_eq!(cut("serve", 100.0), "serve");
    assert_eq!(cut("a_very_long_name", 50.0), "a_ve..");
    assert_eq!(
        cut("&lt;&lt;&lt;&lt;&lt;&lt;&lt;", 50.0),
        "&lt;&lt;&lt;&lt;.."
    );
    assert_eq!(cut("serve", 20.0), "");
}
