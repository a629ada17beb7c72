//! The elements of HTML, by what they do to the flow of text.

use html5gum::StartTag;

/// A start tag with its attributes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tag {
    pub name: String,
    attributes: Vec<(String, String)>,
}

/// The most attributes of one element that are looked at.
const MAX_ATTRIBUTES: usize = 64;

impl From<StartTag<()>> for Tag {
    fn from(tag: StartTag<()>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = tag.attributes.iter().take(MAX_ATTRIBUTES);
        Self {
            name: text(&tag.name),
            attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
        }
    }
}

impl Tag {
    /// A tag that was left out in the HTML.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), attributes: Vec::new() }
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.trim().parse().ok()
    }

    /// An image too small to be seen, which counts readers.
    pub fn is_pixel(&self) -> bool {
        ["width", "height"].iter().any(|side| matches!(self.attribute(side), Some("0" | "1" | "0px" | "1px")))
    }
}

/// What an element does to the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its content is never shown.
    Dropped,
    /// A line break, `br`.
    Break,
    /// A line across the page.
    Rule,
    /// Shown as its alternative text.
    Image,
    /// Nothing that is shown.
    Empty,
    Paragraph,
    Heading,
    Preformatted,
    Quote,
    List,
    Item,
    Term,
    Table,
    /// A group of rows.
    Rows,
    Row,
    Cell,
    /// Lines of its own.
    Block,
    Link,
    Struck,
    Raised,
    Reading,
    Quotation,
    /// Part of a line.
    Inline,
}

impl Kind {
    pub fn of(name: &str) -> Self {
        match name {
            "script" | "style" | "title" | "template" | "iframe" | "noembed" | "noframes" | "xml" | "rp" => {
                Self::Dropped
            }
            "br" => Self::Break,
            "hr" => Self::Rule,
            "img" | "area" => Self::Image,
            "input" | "meta" | "link" | "base" | "col" | "embed" | "source" | "track" | "wbr" | "param" => {
                Self::Empty
            }
            "p" => Self::Paragraph,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Self::Heading,
            "pre" | "xmp" | "listing" | "plaintext" | "textarea" => Self::Preformatted,
            "blockquote" => Self::Quote,
            "ul" | "ol" | "menu" | "dir" => Self::List,
            "li" => Self::Item,
            "dt" | "dd" => Self::Term,
            "table" => Self::Table,
            "tbody" | "thead" | "tfoot" => Self::Rows,
            "tr" => Self::Row,
            "td" | "th" => Self::Cell,
            "div" | "section" | "article" | "header" | "footer" | "main" | "nav" | "aside" | "address"
            | "center" | "figure" | "figcaption" | "form" | "fieldset" | "legend" | "dl" | "details"
            | "summary" | "caption" | "option" | "optgroup" | "select" | "body" | "html" | "head"
            | "dialog" | "hgroup" | "search" => Self::Block,
            "a" => Self::Link,
            "s" | "strike" | "del" => Self::Struck,
            "sup" | "sub" => Self::Raised,
            "rt" => Self::Reading,
            "q" => Self::Quotation,
            _ => Self::Inline,
        }
    }

    /// Whether it has no content and no end tag.
    pub fn is_void(self) -> bool {
        matches!(self, Self::Break | Self::Rule | Self::Image | Self::Empty)
    }

    /// The line breaks before and after it: none, a new line, or an empty line.
    pub fn space_around(self, in_item: bool) -> u8 {
        match self {
            Self::List if in_item => 1,
            Self::Paragraph | Self::Heading | Self::Preformatted | Self::Quote | Self::List => 2,
            Self::Item | Self::Term | Self::Table | Self::Rows | Self::Row | Self::Block => 1,
            _ => 0,
        }
    }

    /// What is written around its text, so that the meaning of its form is not lost: `19` and a
    /// raised `99` are not `1999`.
    pub fn marks(self, before: Option<char>) -> (&'static str, &'static str) {
        match self {
            Self::Struck => ("~~", "~~"),
            Self::Reading => ("(", ")"),
            Self::Quotation => ("\"", "\""),
            Self::Raised if before.is_some_and(|c| c.is_ascii_digit()) => ("^", ""),
            _ => ("", ""),
        }
    }

    fn is_block(self) -> bool {
        self.space_around(false) > 0 || self == Self::Rule
    }

    /// Whether the start of this element ends one of the `open` kind.
    pub fn closes(self, open: Self) -> bool {
        match self {
            Self::Rows => matches!(open, Self::Rows | Self::Row | Self::Cell),
            Self::Row => matches!(open, Self::Row | Self::Cell),
            Self::Cell => open == Self::Cell,
            Self::Item => matches!(open, Self::Item | Self::Paragraph),
            Self::Term => matches!(open, Self::Term | Self::Paragraph),
            Self::Link => open == Self::Link,
            _ => self.is_block() && open == Self::Paragraph,
        }
    }

    /// Whether nothing outside of an element of the `open` kind is ended by the start of this one.
    pub fn stops_at(self, open: Self) -> bool {
        match self {
            Self::Rows | Self::Row | Self::Cell => open == Self::Table,
            Self::Item => matches!(open, Self::List | Self::Cell | Self::Table),
            _ => matches!(open, Self::Cell | Self::Table | Self::Item),
        }
    }

    /// Whether an end tag of this element, without a start tag inside of one of the `open` kind,
    /// says nothing.
    pub fn ends_within(self, open: Self) -> bool {
        match self {
            Self::Table => false,
            Self::Rows | Self::Row | Self::Cell => open == Self::Table,
            _ => matches!(open, Self::Cell | Self::Table),
        }
    }
}
