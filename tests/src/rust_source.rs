//! Rust source text as a list of tokens, without comments, literals and test code, for rules about sources.

/// One token and the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// An identifier or keyword, or one character of punctuation; `::` is one token.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
}

/// A path such as `crate::local::fan_out` and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// The segments, with `super` and `self` resolved to `crate` where the file's own module is known.
    pub segments: Vec<String>,
    /// Line, from 1.
    pub line: usize,
}

impl PathUse {
    /// The path as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Tokens of one file.
#[derive(Debug, Clone)]
pub struct RustSource {
    tokens: Vec<Token>,
    test_modules: Vec<String>,
}

impl RustSource {
    /// Reads a file's text. Items under `#[cfg(test)]` are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (tokens, test_modules) = without_tests(&tokenize(text));
        Self { tokens, test_modules }
    }

    /// The tokens that are left.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Names of modules in files of their own that are declared under `#[cfg(test)]`.
    #[must_use]
    pub fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Every path with at least two segments, use trees taken apart. `module` is the file's own module,
    /// such as `["http", "websocket"]`; paths by `super` and `self` come back as `crate::...`.
    #[must_use]
    pub fn paths(&self, module: &[String]) -> Vec<PathUse> {
        let mut found = Vec::new();
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        while at < self.tokens.len() {
            match self.text(at) {
                "mod" if self.text(at + 2) == "{" => {
                    depth += 1;
                    inline.push((self.text(at + 1).to_owned(), depth));
                    at += 3;
                }
                "{" => {
                    depth += 1;
                    at += 1;
                }
                "}" => {
                    if inline.last().is_some_and(|(_, opened)| *opened == depth) {
                        inline.pop();
                    }
                    depth = depth.saturating_sub(1);
                    at += 1;
                }
                _ => {
                    let start = at;
                    let mut raw = Vec::new();
                    at = self.tree(start, &[], &mut raw);
                    let here: Vec<String> =
                        module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                    found.extend(raw.into_iter().map(|mut path| {
                        path.segments = resolve(path.segments, &here);
                        path
                    }));
                }
            }
        }
        found.retain(|path| path.segments.len() > 1);
        found
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// Reads a path or use tree that may begin at `at`; gives the index behind it.
    fn tree(&self, mut at: usize, before: &[String], found: &mut Vec<PathUse>) -> usize {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        let mut segments = before.to_vec();
        if before.is_empty() && self.text(at) == "::" {
            at += 1;
        }
        if !is_word(self.text(at)) {
            return at + 1;
        }
        loop {
            segments.push(self.text(at).to_owned());
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
            if self.text(at) == "{" {
                at += 1;
                while at < self.tokens.len() && self.text(at) != "}" {
                    at = if self.text(at) == "as" { at + 2 } else { self.tree(at, &segments, found) };
                }
                return at + 1;
            }
            if !is_word(self.text(at)) {
                break;
            }
        }
        found.push(PathUse { segments, line });
        at
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn resolve(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let own = segments.first().is_some_and(|segment| segment == "self");
    if supers == 0 && !own {
        return segments;
    }
    let kept = module.len().saturating_sub(supers);
    let skipped = supers.max(usize::from(own));
    let mut path = vec!["crate".to_owned()];
    path.extend(module[..kept].iter().cloned());
    path.extend(segments.into_iter().skip(skipped));
    path
}

fn tokenize(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['\'', '\\', ..] => {
                3 + rest[3.min(rest.len())..].iter().position(|c| *c == '\'').unwrap_or(0) + 1
            }
            ['\'', _, '\'', ..] => 3,
            ['\'', ..] => 1,
            [':', ':', ..] => {
                tokens.push(Token { text: "::".into(), line });
                2
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                let length = word.chars().count();
                match (word.as_str(), rest.get(length)) {
                    ("r" | "br" | "cr", Some('"' | '#')) if is_raw_string(&rest[length..]) => {
                        length + raw_string(&rest[length..])
                    }
                    ("b" | "c", Some('"')) => length + string(&rest[length..]),
                    _ => {
                        tokens.push(Token { text: word, line });
                        length
                    }
                }
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                1
            }
            [] => break,
        };
        let end = (at + length.max(1)).min(chars.len());
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn is_raw_string(rest: &[char]) -> bool {
    rest.iter().find(|c| **c != '#') == Some(&'"')
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    let mut at = hashes + 1;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').take(hashes).count() == hashes
        {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !starts_test_attribute(&tokens[at..]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at = past_attributes(tokens, at);
        let text = |index: usize| tokens.get(index).map_or("", |token: &Token| token.text.as_str());
        let name = (at..tokens.len().min(at + 6)).find(|index| text(*index) == "mod");
        if let Some(index) = name
            && text(index + 2) == ";"
        {
            modules.push(text(index + 1).to_owned());
        }
        at = past_item(tokens, at);
    }
    (kept, modules)
}

fn starts_test_attribute(tokens: &[Token]) -> bool {
    let words: Vec<&str> = tokens.iter().take(6).map(|token| token.text.as_str()).collect();
    matches!(words.as_slice(), ["#", "[", "cfg", "(", "test", ")"])
        || (matches!(words.as_slice(), ["#", "[", "cfg", "(", "all", "("])
            && tokens.get(6).is_some_and(|token| token.text == "test"))
}

fn past_attributes(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        at = past_group(tokens, at + 1);
    }
    at
}

/// The index behind the bracket group that opens at `at`.
fn past_group(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn past_item(tokens: &[Token], mut at: usize) -> usize {
    let import = tokens[at..].iter().take(5).any(|token| token.text == "use");
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at + 1,
            "{" if import => at = past_group(tokens, at),
            "{" => return past_group(tokens, at),
            "(" | "[" => at = past_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let module = ["http".to_owned(), "websocket".to_owned()];
        RustSource::parse(text).paths(&module).iter().map(PathUse::text).collect()
    }

    #[test]
    fn use_trees_are_taken_apart_and_super_is_resolved() {
        assert_eq!(
            paths("use crate::{local::{a, b::C}, routing};\nuse super::super::app; use super::x::Y;"),
            ["crate::local::a", "crate::local::b::C", "crate::routing", "crate::app", "crate::http::x::Y"]
        );
        assert_eq!(
            paths("mod inner { fn f() { super::super::api::g() } } fn h() { super::z::q() }"),
            ["crate::http::api::g", "crate::http::z::q"]
        );
    }

    #[test]
    fn comments_strings_and_test_code_hold_no_paths() {
        let text = r##"
            // crate::a::b
            /* /* crate::c::d */ crate::e::f */
            const A: &str = "crate::g::h \" crate::i::j";
            const B: &str = r#"crate::k::l " crate::m::n"#;
            const C: char = '"'; const D: char = '\''; fn f<'a>(x: &'a str) { std::fs::read(x) }
            #[cfg(test)] mod tests { use crate::o::p; }
            #[cfg(test)] use crate::q::{r, s};
            #[cfg(test)]
            #[path = "x.rs"]
            mod table_tests;
            fn g() { crate::t::u() }
        "##;
        assert_eq!(paths(text), ["std::fs::read", "crate::t::u"]);
        assert_eq!(RustSource::parse(text).test_modules(), ["table_tests"]);
    }

    #[test]
    fn tokens_know_their_line() {
        let source = RustSource::parse("fn a() {}\n\"x\ny\"\nfn b() {}");
        assert_eq!(source.tokens().iter().find(|token| token.text == "b").map(|token| token.line), Some(4));
    }
}
