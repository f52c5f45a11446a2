//! Flame graphs: one SVG file that needs nothing else. Roots are at the top, where the
//! page begins: stacks of fifty frames and more are common, and higher than screens. In
//! a browser, a click zooms, Ctrl-F searches, and everything can be done with the
//! keyboard; without scripts it still is a picture whose frames say what they are.

use super::collapse::Name;
use super::diff::Compared;
use super::tree::{Node, Tree};
use crate::profile::model::Kind;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write};

/// Width of the picture.
const WIDTH: f64 = 1200.0;
/// Room at the left and the right.
const MARGIN: f64 = 10.0;
/// Height of a frame.
const ROW: f64 = 17.0;
/// Room above, for title, search and details.
const TOP: f64 = 76.0;
/// Room below.
const BOTTOM: f64 = 10.0;
/// Frames narrower than this are not drawn.
const NARROWEST: f64 = 0.1;
/// Width of a letter, about.
const LETTER: f64 = 7.1;
/// Most frames drawn: more make a browser slow.
const MAX_FRAMES: usize = 50_000;

/// What is written above the picture.
#[derive(Clone, Debug)]
pub struct Title<'a> {
    /// Big.
    pub title: &'a str,
    /// Small, below.
    pub subtitle: &'a str,
}

struct Drawing<'a> {
    compared: &'a Compared,
    tree: &'a Tree,
    /// Width of one sample.
    unit: f64,
    height: f64,
    left_out: usize,
    body: String,
    drawn: usize,
}

/// Writes a flame graph; frames are coloured by what changed if there is an old profile.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, compared: &Compared, title: &Title<'_>) -> io::Result<()> {
    let tree = Tree::new(compared);
    let all = whole(compared, tree.total);
    let unit = if all > 0.0 {
        (WIDTH - 2.0 * MARGIN) / all
    } else {
        0.0
    };
    let mut drawing = Drawing {
        compared,
        tree: &tree,
        unit,
        height: 0.0,
        left_out: 0,
        body: String::new(),
        drawn: 0,
    };
    drawing.frames();
    let height = drawing.height;
    write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{WIDTH:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
         data-margin=\"{MARGIN}\" data-letter=\"{LETTER}\">\n\
         <title>{}</title>\n<style>{}</style>\n\
         <rect id=\"ground\" width=\"100%\" height=\"100%\"/>\n\
         <text id=\"title\" x=\"{}\" y=\"24\">{}</text>\n\
         <text id=\"subtitle\" x=\"{}\" y=\"42\">{}</text>\n\
         <text id=\"reset\" class=\"button\" x=\"{MARGIN}\" y=\"24\" tabindex=\"0\">Reset zoom</text>\n\
         <text id=\"search\" class=\"button\" x=\"{}\" y=\"24\" tabindex=\"0\">Search (Ctrl-F)</text>\n\
         <text id=\"matched\" x=\"{}\" y=\"{}\"></text>\n\
         <text id=\"details\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n\
         <g id=\"frames\">\n{}</g>\n\
         <script><![CDATA[\n{}]]></script>\n</svg>\n",
        escaped(title.title),
        include_str!("svg/style.css"),
        WIDTH / 2.0,
        escaped(title.title),
        WIDTH / 2.0,
        escaped(title.subtitle),
        WIDTH - MARGIN,
        WIDTH - MARGIN,
        TOP - 12.0,
        TOP - 12.0,
        drawing.note(),
        drawing.body,
        include_str!("svg/script.js"),
    )
}

/// Samples that fill the width.
fn whole(compared: &Compared, total: [f64; 2]) -> f64 {
    if compared.old().is_some() {
        total[0].max(total[1])
    } else {
        total[1]
    }
}

/// Samples that a frame is wide. In a comparison it is the new profile's, so that the
/// picture is of what is there now; frames that are gone are not in it.
fn samples(node: &Node) -> f64 {
    node.total[1]
}

impl Drawing<'_> {
    fn frames(&mut self) {
        let mut rows: Vec<(usize, usize, f64)> = Vec::new();
        let mut deepest = 0;
        // Level by level: what is left out when there are too many is what is deepest.
        let mut at = std::collections::VecDeque::new();
        let mut x = MARGIN;
        for &root in &self.tree.roots {
            at.push_back((root, 1, x));
            x += samples(&self.tree.nodes[root]) * self.unit;
        }
        while let Some((index, depth, x)) = at.pop_front() {
            let node = &self.tree.nodes[index];
            if samples(node) * self.unit < NARROWEST || rows.len() >= MAX_FRAMES {
                self.left_out += 1;
                continue;
            }
            deepest = deepest.max(depth);
            rows.push((index, depth, x));
            let mut child_x = x;
            for &child in &node.children {
                at.push_back((child, depth + 1, child_x));
                child_x += samples(&self.tree.nodes[child]) * self.unit;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "stacks are a few hundred deep")]
        let levels = (deepest + 1) as f64;
        self.height = TOP + levels * ROW + BOTTOM;
        self.all();
        for (index, depth, x) in rows {
            self.frame(index, depth, x);
        }
    }

    /// The frame that holds all others.
    fn all(&mut self) {
        let total = self.tree.total;
        let width = WIDTH - 2.0 * MARGIN;
        self.rect(
            0,
            MARGIN,
            width,
            "all",
            "all",
            "n",
            total,
            "rgb(205,205,205)",
        );
    }

    fn frame(&mut self, index: usize, depth: usize, x: f64) {
        let node = &self.tree.nodes[index];
        let Some(name) = self.compared.text(node.name) else {
            return;
        };
        let compared = self.compared;
        let fill = if compared.old().is_some() {
            change_colour(node.total)
        } else {
            colour(name)
        };
        let what = match name.kind {
            None => "",
            Some(kind) => kind.name(),
        };
        let width = samples(node) * self.unit;
        self.rect(depth, x, width, &name.text, what, "f", node.total, &fill);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one element")]
    #[expect(clippy::cast_precision_loss, reason = "stacks are a few hundred deep")]
    fn rect(
        &mut self,
        depth: usize,
        x: f64,
        width: f64,
        name: &str,
        what: &str,
        class: &str,
        total: [f64; 2],
        fill: &str,
    ) {
        self.drawn += 1;
        let y = TOP + depth as f64 * ROW;
        let name = escaped(name);
        let all = whole(self.compared, self.tree.total).max(1.0);
        let mut details = format!("{:.0} samples, {:.2} %", total[1], 100.0 * total[1] / all);
        if self.compared.old().is_some() {
            let _ = write!(details, ", before {:.2} %", 100.0 * total[0] / all);
        }
        if !what.is_empty() && class == "f" {
            let _ = write!(details, ", {what}");
        }
        let label = cut(&name, width);
        let _ = writeln!(
            self.body,
            "<g class=\"{class}\" data-x=\"{x:.3}\" data-w=\"{width:.3}\" data-d=\"{depth}\">\
             <title>{name} ({details})</title>\
             <rect x=\"{x:.2}\" y=\"{y:.0}\" width=\"{width:.2}\" height=\"{:.0}\" rx=\"2\" fill=\"{fill}\"/>\
             <text x=\"{:.2}\" y=\"{:.0}\">{label}</text></g>",
            ROW - 1.0,
            x + 3.0,
            y + 12.0,
        );
    }

    fn note(&self) -> String {
        match self.left_out {
            0 => String::new(),
            count => format!("{count} frames are too narrow to be drawn"),
        }
    }
}

/// As much of an escaped name as fits.
fn cut(name: &str, width: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of letters"
    )]
    let room = ((width - 6.0) / LETTER).max(0.0) as usize;
    if room < 3 {
        return String::new();
    }
    // Entities count as the one letter they are.
    let plain = unescaped(name);
    if plain.chars().count() <= room {
        return name.to_owned();
    }
    let kept: String = plain.chars().take(room - 2).collect();
    format!("{}..", escaped(&kept))
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Text for XML. Characters that XML 1.0 has no way to write are shown as spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A colour that says what code it is; functions of the same name have the same.
fn colour(name: &Name) -> String {
    let mut hasher = rustc_hash::FxHasher::default();
    name.text.hash(&mut hasher);
    let hash = hasher.finish();
    let part = |shift: u32, range: u64| (hash >> shift) % range;
    let (a, b) = (part(40, 50), part(50, 45));
    let (red, green, blue) = match name.kind {
        None => (195, 195, 200 + b % 20),
        Some(Kind::Native) => (205 + a, 90 + 2 * b, 40 + b / 2),
        Some(Kind::Kernel) => (225 + a / 2, 150 + a, 20 + b),
        Some(Kind::Jit) => (90 + a, 190 + b, 80 + a / 2),
        Some(Kind::Interpreted) => (110 + a, 160 + b, 215 + a / 2),
        Some(Kind::Unknown) => (170 + b / 2, 170 + b / 2, 170 + b / 2),
    };
    format!("rgb({red},{green},{blue})")
}

/// White if nothing changed, red for what grew, blue for what shrank; twice as much, or
/// half as much, is half way to full colour.
fn change_colour([old, new]: [f64; 2]) -> String {
    let most = old.max(new).max(1.0);
    let change = (new - old) / most;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 255"
    )]
    let pale = (255.0 - 190.0 * change.abs().min(1.0)) as u8;
    if change >= 0.0 {
        format!("rgb(255,{pale},{pale})")
    } else {
        format!("rgb({pale},{pale},255)")
    }
}

#[cfg(test)]
#[path = "svg/tests.rs"]
mod tests;
