//! Whether a person sees the text of an element: what its attributes and the style sheets of the
//! mail say about display, visibility, size, place and colour.
//!
//! Senders hide text for the preview of a mailbox, and attackers hide instructions for a machine
//! that reads the mail. Only what surely hides is followed; rules that hold for some screens or
//! states, and selectors that need a tree, are not, so that in doubt the text is shown.

use super::element::Tag;

/// The most rules that are kept. 500: mails have some dozen that hide.
const MAX_RULES: usize = 500;
/// The most bytes of style sheets that are read. 256 KiB.
const MAX_SHEET: usize = 256 << 10;

/// How the text of an element is shown. What one element says is inherited by those in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    /// Not shown, and nothing in it either.
    dropped: bool,
    /// Not shown, but an element in it may be.
    invisible: bool,
    size: Size,
    color: Paint,
    background: Paint,
    /// Whether spaces and line breaks are shown as written.
    pub keeps_space: bool,
}

/// Whether letters are large enough to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Size {
    #[default]
    Readable,
    Tiny,
}

/// A colour, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Paint {
    #[default]
    Unknown,
    Transparent,
    Rgb(u8, u8, u8),
}

impl Paint {
    /// Whether nobody could read letters of this colour on the other.
    fn blends_into(self, background: Self) -> bool {
        const CLOSE: u8 = 8;
        match (self, background) {
            (Self::Rgb(r, g, b), Self::Rgb(red, green, blue)) => {
                r.abs_diff(red) <= CLOSE && g.abs_diff(green) <= CLOSE && b.abs_diff(blue) <= CLOSE
            }
            _ => false,
        }
    }
}

impl Style {
    pub fn is_shown(self) -> bool {
        let blends = self.color == Paint::Transparent || self.color.blends_into(self.background);
        !(self.dropped || self.invisible || self.size == Size::Tiny || blends)
    }

    pub fn drop_all(&mut self) {
        self.dropped = true;
    }

    /// The style of an element in one of this style.
    pub fn with(mut self, sheet: &Sheet, tag: &Tag) -> Self {
        let mut tricks = Tricks::default();
        tricks.set(Trick::Display, tag.attribute("hidden").is_some());
        if let Some(color) = tag.attribute("bgcolor") {
            self.background = paint(color);
        }
        if tag.attribute("background").is_some() {
            self.background = Paint::Unknown;
        }
        if let Some(color) = tag.attribute("color").filter(|_| tag.name == "font") {
            self.color = paint(color);
        }
        let inline = tag.attribute("style").map(declarations).unwrap_or_default();
        let ruled: Vec<&Declaration> = sheet.of(tag).collect();
        let ordered = ruled.iter().filter(|one| !one.important).copied();
        let ordered = ordered.chain(inline.iter().filter(|one| !one.important));
        let ordered = ordered.chain(ruled.iter().filter(|one| one.important).copied());
        for one in ordered.chain(inline.iter().filter(|one| one.important)) {
            self.apply(one, &mut tricks);
        }
        self.dropped |= tricks.hide();
        self
    }

    fn apply(&mut self, one: &Declaration, tricks: &mut Tricks) {
        let value = one.value.as_str();
        match one.name.as_str() {
            "visibility" => self.invisible = matches!(value, "hidden" | "collapse"),
            "font-size" => self.resize(value),
            "font" => {
                let sizes = value
                    .split(' ')
                    .filter(|part| part.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
                sizes.for_each(|part| self.resize(part.split('/').next().unwrap_or_default()));
            }
            "white-space" => self.keeps_space = value.starts_with("pre"),
            "color" | "-webkit-text-fill-color" if value != "inherit" => self.color = paint(value),
            "background-color" | "background" => match paint(value.split(' ').next().unwrap_or_default()) {
                _ if value.contains("url(") => self.background = Paint::Unknown,
                Paint::Transparent => {}
                _ if matches!(value, "none" | "inherit" | "initial") => {}
                color => self.background = color,
            },
            "background-image" if value != "none" => self.background = Paint::Unknown,
            name => tricks.read(name, value),
        }
    }

    /// A size of one pixel or point is a trick; sizes that depend on the one around it keep it.
    fn resize(&mut self, value: &str) {
        let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
        let (digits, unit) = value.split_at(end);
        self.size = match (digits.parse::<f32>(), unit) {
            (Ok(size), "px" | "pt" | "") if size <= 1.0 => Size::Tiny,
            (Ok(size), "em" | "rem" | "%" | "ex" | "vw" | "vh") if size <= 0.0 => Size::Tiny,
            (Ok(_), "em" | "%" | "ex") => self.size,
            (Err(_), "inherit" | "smaller" | "larger") => self.size,
            _ => Size::Readable,
        };
    }
}

/// The ways in which one element hides itself together with everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trick {
    /// `display: none`, or the attribute for it.
    Display,
    Opacity,
    /// What is beyond the box is cut off.
    Clips,
    /// The box has no height.
    Flat,
    /// The box has no width.
    Narrow,
    /// The box is out of the flow.
    Moved,
    /// The box, if it is out of the flow, is off the page.
    Far,
    /// The text is moved or clipped out of sight.
    Outside,
}

#[derive(Debug, Default)]
struct Tricks(Vec<Trick>);

impl Tricks {
    /// A later declaration of a property replaces the one before.
    fn set(&mut self, trick: Trick, on: bool) {
        self.0.retain(|known| *known != trick);
        self.0.extend(on.then_some(trick));
    }

    fn read(&mut self, name: &str, value: &str) {
        match name {
            "display" => self.set(Trick::Display, value == "none"),
            "opacity" => self.set(Trick::Opacity, number(value).is_some_and(|opacity| opacity <= 0.01)),
            "overflow" | "overflow-x" | "overflow-y" => {
                self.set(Trick::Clips, matches!(value, "hidden" | "clip"));
            }
            "height" | "max-height" => self.set(Trick::Flat, is_nothing(value)),
            "width" | "max-width" => self.set(Trick::Narrow, is_nothing(value)),
            "position" => self.set(Trick::Moved, matches!(value, "absolute" | "fixed")),
            "left" | "right" | "top" | "bottom" if is_far(value) => self.set(Trick::Far, true),
            "text-indent" | "margin-left" | "margin-top" | "margin" if is_far(value) => {
                self.set(Trick::Outside, true);
            }
            // Only what is out of the flow can be clipped.
            "clip" if value.starts_with("rect(0") => self.set(Trick::Far, true),
            "clip-path"
                if ["inset(50%", "inset(100%", "circle(0"].iter().any(|all| value.starts_with(all)) =>
            {
                self.set(Trick::Outside, true);
            }
            "transform" if value.starts_with("scale(0)") => self.set(Trick::Outside, true),
            _ => {}
        }
    }

    fn hide(&self) -> bool {
        let has = |trick| self.0.contains(&trick);
        let clipped = has(Trick::Clips) && (has(Trick::Flat) || has(Trick::Narrow));
        let moved = has(Trick::Moved) && has(Trick::Far);
        has(Trick::Display) || has(Trick::Opacity) || has(Trick::Outside) || clipped || moved
    }
}

/// A property and its value, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Declaration {
    name: String,
    value: String,
    important: bool,
}

fn declarations(text: &str) -> Vec<Declaration> {
    const MOST: usize = 64;
    let one = |text: &str| {
        let (name, value) = text.split_once(':')?;
        let value = value.to_lowercase();
        let (value, important) = match value.split_once('!') {
            Some((value, rest)) => (value, rest.trim() == "important"),
            None => (value.as_str(), false),
        };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Declaration { name: name.trim().to_lowercase(), value, important })
    };
    without_comments(text).split(';').take(MOST).filter_map(one).collect()
}

/// The rules of a mail's style sheets whose selectors name a tag, classes or an id.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    rules: Vec<(Selector, Vec<Declaration>)>,
    bytes: usize,
    /// Whether a rule that is not followed sets a background.
    unknown_background: bool,
}

impl Sheet {
    /// The style of the page, before its first element: mail readers show white.
    pub fn initial(&self) -> Style {
        let white = Paint::Rgb(255, 255, 255);
        let background = if self.unknown_background { Paint::Unknown } else { white };
        Style { background, ..Style::default() }
    }

    /// Adds the text of a style element.
    pub fn read(&mut self, text: &str) {
        let text = without_comments(&text[..text.floor_char_boundary(MAX_SHEET - self.bytes)]);
        self.bytes += text.len();
        let mut rest = text.as_str();
        while let Some((selectors, after)) = rest.split_once('{').filter(|_| self.rules.len() < MAX_RULES) {
            let selectors = selectors.rsplit(['}', ';']).next().unwrap_or_default().trim();
            let (block, after) = if selectors.starts_with('@') {
                ("", after_block(after))
            } else {
                after.split_once('}').unwrap_or((after, ""))
            };
            let said = declarations(block);
            for selector in selectors.split(',').map(Selector::parse) {
                match selector {
                    Some(selector) => self.rules.push((selector, said.clone())),
                    None => {
                        self.unknown_background |= said.iter().any(|one| one.name.starts_with("background"));
                    }
                }
            }
            rest = after;
        }
    }

    fn of<'a>(&'a self, tag: &'a Tag) -> impl Iterator<Item = &'a Declaration> {
        let matching = self.rules.iter().filter(|(selector, _)| selector.matches(tag));
        matching.flat_map(|(_, said)| said)
    }
}

/// What comes after a block with blocks in it.
fn after_block(text: &str) -> &str {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[at + 1..],
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

/// Style sheets in mails are often wrapped in comments of HTML, which mean nothing there.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        kept.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept.replace("<!--", "").replace("-->", "")
}

/// A selector without relations: `td.hidden.small#x`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selector {
    tag: Option<String>,
    classes: Vec<String>,
    id: Option<String>,
}

impl Selector {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.contains([' ', '>', '+', '~', ':', '[', '*', '@', '(']) {
            return None;
        }
        let mut selector = Self { tag: None, classes: Vec::new(), id: None };
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '#'));
            let (one, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
            match one.split_at_checked(1) {
                Some((".", class)) => selector.classes.push(class.to_owned()),
                Some(("#", id)) => selector.id = Some(id.to_owned()),
                _ => selector.tag = Some(one.to_lowercase()),
            }
            rest = after;
        }
        Some(selector)
    }

    fn matches(&self, tag: &Tag) -> bool {
        let has = |class: &String| {
            tag.attribute("class").is_some_and(|own| own.split_whitespace().any(|one| one == class))
        };
        self.tag.as_ref().is_none_or(|name| *name == tag.name)
            && self.id.as_ref().is_none_or(|id| tag.attribute("id") == Some(id))
            && self.classes.iter().all(has)
    }
}

fn number(value: &str) -> Option<f32> {
    value.trim_end_matches('%').trim().parse().ok()
}

/// A height or a width that leaves no room: zero, or one pixel.
fn is_nothing(value: &str) -> bool {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    digits.parse::<f32>().is_ok_and(|size| size <= if value.ends_with("px") { 1.0 } else { 0.0 })
}

/// A distance that leads off the page.
fn is_far(value: &str) -> bool {
    let first = value.split(' ').next().unwrap_or_default();
    let digits = first.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    digits.parse::<f32>().is_ok_and(|distance| distance <= -500.0)
}

fn paint(value: &str) -> Paint {
    let value = value.trim().to_lowercase();
    if value == "transparent" {
        return Paint::Transparent;
    }
    if let Some(hex) = value.strip_prefix('#') {
        return hex_paint(hex);
    }
    if let Some(parts) = value.strip_prefix("rgb(").or(value.strip_prefix("rgba(")) {
        return rgb_paint(parts.trim_end_matches(')'));
    }
    match value.as_str() {
        "white" => Paint::Rgb(255, 255, 255),
        "black" => Paint::Rgb(0, 0, 0),
        _ => Paint::Unknown,
    }
}

fn hex_paint(hex: &str) -> Paint {
    let Ok(bits) = u32::from_str_radix(hex, 16) else { return Paint::Unknown };
    let byte = |shift: u32| u8::try_from(bits >> shift & 0xff).unwrap_or_default();
    let double = |shift: u32| u8::try_from((bits >> shift & 0xf) * 0x11).unwrap_or_default();
    match hex.len() {
        3 => Paint::Rgb(double(8), double(4), double(0)),
        6 => Paint::Rgb(byte(16), byte(8), byte(0)),
        _ => Paint::Unknown,
    }
}

fn rgb_paint(parts: &str) -> Paint {
    let parts: Vec<&str> = parts.split([',', ' ', '/']).filter(|part| !part.is_empty()).collect();
    let part = |at: usize| parts.get(at).and_then(|part| part.trim().parse::<u8>().ok());
    if parts.get(3).and_then(|alpha| number(alpha)).is_some_and(|alpha| alpha <= 0.01) {
        return Paint::Transparent;
    }
    match (part(0), part(1), part(2)) {
        (Some(red), Some(green), Some(blue)) => Paint::Rgb(red, green, blue),
        _ => Paint::Unknown,
    }
}
