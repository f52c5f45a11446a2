//! Shells: the script they run, or what the code of `sh -c` comes down to.
//!
//! A shell that was given code often only prepares for one program (`cd /srv && exec shop`),
//! and is that service to whoever looks at it. One that loops, or of whose code only
//! builtins would be left, is doing the work itself and keeps its own name: a word of the
//! code (`done`, `fi`) would name nothing.

use super::Command;
use super::operands::{is_assignment, operands};

/// Name of what a shell runs; `args` are those behind its own name. `None` if the shell
/// itself does the work.
pub(super) fn name(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let operands = operands(args, &["-o", "-O", "+O", "--rcfile", "--init-file"]);
    let (code, rest) = operands.split_first()?;
    let is_code = args
        .iter()
        .take_while(|arg| *arg != code)
        .any(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains('c'));
    if !is_code {
        return Some(command.script(code));
    }
    match chosen(&parse(code)?)? {
        // `sh -c 'exec "$@"' sh shop --port 1`: the first operand behind the code is `$0`.
        [all] if matches!(all.as_str(), "$@" | "$*") => command.inner(rest.get(1..)?),
        words => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let name = command.inner(&words)?;
            // Of a variable, the value is not known.
            (!name.contains(['$', '`'])).then_some(name)
        }
    }
}

/// What stands on the outermost level of shell code.
#[derive(Debug)]
enum Item {
    /// Words without assignments and redirections.
    Simple { words: Vec<String>, exec: bool },
    /// A loop, a condition or a function.
    Compound,
}

/// Commands that only go before another one.
const PREFIXES: &[&str] = &["!", "builtin", "command", "exec", "nohup", "setsid", "time"];

/// What a shell does itself, and so is never what it runs.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "[[", "alias", "bg", "break", "cd", "continue", "declare", "eval", "exit",
    "export", "fg", "getopts", "hash", "jobs", "kill", "let", "local", "popd", "pushd", "read",
    "readonly", "return", "set", "shift", "shopt", "source", "test", "times", "trap", "type",
    "typeset", "ulimit", "umask", "unalias", "unset", "wait",
];

/// Programs that a script uses on the way; they name it only if there is nothing else.
const UTILITIES: &[&str] = &[
    "cat", "chmod", "chown", "cp", "date", "echo", "env", "export", "false", "ln", "ls", "mkdir",
    "mv", "printf", "rm", "sleep", "tee", "touch", "true",
];

/// The command that the code comes down to.
fn chosen(items: &[Item]) -> Option<&[String]> {
    let executed = items.iter().rev().find_map(|item| match item {
        Item::Simple { words, exec: true } => Some(words.as_slice()),
        _ => None,
    });
    if executed.is_some() {
        return executed;
    }
    // What comes last is what stays.
    for passed_over in [&[BUILTINS, UTILITIES][..], &[BUILTINS][..]] {
        for item in items.iter().rev() {
            match item {
                Item::Compound => return None,
                Item::Simple { words, .. } => {
                    let first = words.first()?.as_str();
                    let first = first.rsplit('/').next().unwrap_or(first);
                    if !passed_over.iter().any(|names| names.contains(&first)) {
                        return Some(words);
                    }
                }
            }
        }
    }
    None
}

#[derive(PartialEq, Eq, Debug)]
enum Token {
    /// A word, and whether it was quoted, if only in part.
    Word(String, bool),
    /// The end of a command.
    End,
    Pipe,
    Open,
    Close,
    /// `>`, `<` and the like: the next word is a file.
    Redirect,
}

/// The commands of shell code; `None` where they cannot be told.
fn parse(code: &str) -> Option<Vec<Item>> {
    let mut parser = Parser::default();
    for token in tokens(code)?.into_iter().chain([Token::End]) {
        parser.take(token)?;
    }
    parser.open.is_empty().then_some(parser.items)
}

#[derive(Default)]
struct Parser {
    items: Vec<Item>,
    /// How the structures begin that have not ended yet.
    open: Vec<&'static str>,
    /// Names of functions.
    functions: Vec<String>,
    /// Words of the command under way.
    words: Vec<String>,
    /// The command under way: whether it began, follows one of [`PREFIXES`], replaces the
    /// shell, and takes the output of another one.
    begun: bool,
    prefixed: bool,
    exec: bool,
    piped: bool,
    /// The next word belongs to what came before it.
    skip: bool,
    /// The next structure is the body of a function.
    body: bool,
}

impl Parser {
    fn take(&mut self, token: Token) -> Option<()> {
        match token {
            Token::Word(..) if self.skip => self.skip = false,
            Token::Word(word, quoted) => self.word(word, quoted)?,
            Token::Redirect => {
                // `2>` and `>&2`: the number before is no word of the command.
                self.words.pop_if(|word| is_number(word));
                self.skip = true;
            }
            Token::Open => {
                self.body = !self.words.is_empty();
                self.functions.extend(self.words.drain(..).next());
                self.enter("(")?;
            }
            Token::Close | Token::Pipe | Token::End => {
                self.end();
                self.piped = token == Token::Pipe;
                // Patterns of `case` end with one as well.
                if token == Token::Close && self.open.last() != Some(&"case") {
                    (self.open.pop()? == "(").then_some(())?;
                }
            }
        }
        Some(())
    }

    fn word(&mut self, word: String, quoted: bool) -> Option<()> {
        if self.begun || quoted {
            self.keep(word);
        } else if let Some(structure) = opens(&word) {
            // The body of a function is not run where it stands.
            let body = std::mem::take(&mut self.body);
            self.enter(if body { "function" } else { structure })?;
        } else if let Some(structure) = closes(&word) {
            let closed = self.open.pop()?;
            match closed {
                "function" | "{" => (structure == "{").then_some(())?,
                closed => {
                    (structure == closed).then_some(())?;
                    if !self.hidden() {
                        self.items.push(Item::Compound);
                    }
                }
            }
        } else if PREFIXES.contains(&word.as_str()) {
            self.exec |= word == "exec";
            self.prefixed = true;
        } else if self.prefixed && word.starts_with('-') {
            // `exec -a NAME`
            self.skip = word == "-a";
        } else if !is_assignment(&word) && !matches!(&*word, "then" | "else" | "elif" | "do") {
            self.keep(word);
        }
        Some(())
    }

    fn keep(&mut self, word: String) {
        self.begun = true;
        if !self.piped && !self.hidden() {
            self.words.push(word);
        }
    }

    fn enter(&mut self, structure: &'static str) -> Option<()> {
        self.open.push(structure);
        (self.open.len() <= MAX_OPEN).then_some(())
    }

    /// Whether what stands here runs more or less often than once.
    fn hidden(&self) -> bool {
        self.open.iter().any(|word| !matches!(*word, "(" | "{"))
    }

    /// A command ends.
    fn end(&mut self) {
        let words = std::mem::take(&mut self.words);
        let function = words.first().map(|first| self.functions.contains(first));
        match function {
            Some(true) => self.items.push(Item::Compound),
            Some(false) => self.items.push(Item::Simple {
                words,
                exec: self.exec,
            }),
            None => {}
        }
        (self.begun, self.prefixed, self.exec, self.skip) = (false, false, false, false);
    }
}

/// Structures within structures that are followed.
const MAX_OPEN: usize = 64;

/// Reserved words that begin a structure.
fn opens(word: &str) -> Option<&'static str> {
    Some(match word {
        "if" => "if",
        "for" | "select" | "until" | "while" => "for",
        "case" => "case",
        "{" => "{",
        _ => return None,
    })
}

/// What a reserved word ends.
fn closes(word: &str) -> Option<&'static str> {
    Some(match word {
        "fi" => "if",
        "done" => "for",
        "esac" => "case",
        "}" => "{",
        _ => return None,
    })
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Words and operators (POSIX.1-2017, Shell Command Language, 2.3). `None` of what is not
/// whole, and of here-documents, whose text is not code.
fn tokens(code: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        let operator = match c {
            ' ' | '\t' | '\r' => None,
            '#' if word.is_none() => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            '\n' | ';' => Some(Token::End),
            '&' if chars.peek() == Some(&'>') => continue,
            '&' => {
                chars.next_if_eq(&'&');
                Some(Token::End)
            }
            '|' if chars.next_if_eq(&'|').is_some() => Some(Token::End),
            '|' => {
                chars.next_if_eq(&'&');
                Some(Token::Pipe)
            }
            // `LIST=(a b)`
            '(' if word.as_ref().is_some_and(|(text, _)| text.ends_with('=')) => {
                substituted(&mut chars, &mut word.get_or_insert_default().0)?;
                continue;
            }
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '<' if chars.peek() == Some(&'<') => return None,
            '<' | '>' if chars.next_if_eq(&'(').is_some() => {
                substituted(&mut chars, &mut word.get_or_insert_default().0)?;
                continue;
            }
            '<' | '>' => {
                while chars.next_if(|c| matches!(c, '>' | '|' | '&')).is_some() {}
                Some(Token::Redirect)
            }
            _ => {
                let (text, quoted) = word.get_or_insert_default();
                *quoted |= matches!(c, '\'' | '"' | '\\');
                part(c, &mut chars, text)?;
                continue;
            }
        };
        tokens.extend(word.take().map(|(text, quoted)| Token::Word(text, quoted)));
        tokens.extend(operator);
    }
    tokens.extend(word.map(|(text, quoted)| Token::Word(text, quoted)));
    Some(tokens)
}

/// One more character of a word, or everything between quotes or brackets.
fn part(
    c: char,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    text: &mut String,
) -> Option<()> {
    match c {
        '\\' => match chars.next() {
            Some('\n') | None => {}
            Some(c) => text.push(c),
        },
        '\'' => loop {
            match chars.next()? {
                '\'' => break,
                c => text.push(c),
            }
        },
        '"' => loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.extend(chars.next()),
                '$' if chars.next_if_eq(&'(').is_some() => substituted(chars, text)?,
                c => text.push(c),
            }
        },
        '$' if chars.next_if_eq(&'(').is_some() => substituted(chars, text)?,
        '`' => {
            text.push('`');
            while chars.next()? != '`' {}
        }
        c => text.push(c),
    }
    Some(())
}

/// Passes over what stands in parentheses, of which the first was read: `$(…)`, `<(…)`. Only
/// `$` stays in the word.
fn substituted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    text: &mut String,
) -> Option<()> {
    text.push('$');
    let mut depth = 1usize;
    while depth > 0 {
        match chars.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' => while chars.next()? != '\'' {},
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    Some(())
}
