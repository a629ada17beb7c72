//! The text that is being written: words, line breaks, and frames for rows, cells, items and
//! quotes, whose text is put into shape when they end.

use super::link::is_same;

/// Frames inside of each other. 64: a cell in a row takes two, and mails are laid out by tables in
/// tables.
const MAX_FRAMES: usize = 64;
/// Items and quotes inside of each other that are indented. 12: more would only move text away.
const MAX_PREFIXES: usize = 12;

/// Text that is being written.
#[derive(Default)]
struct Frame {
    form: Form,
    text: String,
    /// Line breaks before the next word: none, a new line, or an empty line.
    breaks: u8,
    /// A space before the next word.
    space: bool,
}

/// What is made of a frame's text when it ends.
#[derive(Default)]
enum Form {
    #[default]
    Plain,
    /// The cells of the row that have ended.
    Row(Vec<String>),
    Cell,
    /// What stands before its first line and before the others.
    Prefixed(String, String),
}

pub(super) struct Output {
    frames: Vec<Frame>,
    /// Bytes that may still be written.
    room: usize,
    most: usize,
    full: bool,
}

impl Output {
    pub fn new(most: usize) -> Self {
        Self { frames: vec![Frame::default()], room: most, most, full: false }
    }

    /// Whether nothing more can be written.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Words. Without `keeps_space` all white space is one space, as browsers show it.
    pub fn text(&mut self, text: &str, keeps_space: bool) {
        if keeps_space {
            for (n, line) in text.split('\n').enumerate() {
                if n > 0 {
                    self.line_feed();
                }
                self.write(line.trim_end_matches('\r'));
            }
            return;
        }
        let mut first = true;
        for word in text.split(|c: char| c.is_whitespace()) {
            if !first {
                self.top().space = true;
            }
            first = false;
            self.write(word);
        }
    }

    /// A piece of a line, as it is.
    pub fn write(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        let fits = self.take(piece);
        let top = self.top();
        top.flush();
        top.text.push_str(&piece[..fits]);
    }

    /// A line break that the mail asks for. Two make an empty line, more make no more.
    pub fn line_feed(&mut self) {
        let top = self.top();
        top.space = false;
        if !top.text.is_empty() {
            top.breaks = (top.breaks + 1).min(2);
        }
    }

    /// The edge of a block: at least so many line breaks.
    pub fn block(&mut self, breaks: u8) {
        let top = self.top();
        if breaks > 0 {
            top.space = false;
            if !top.text.is_empty() {
                top.breaks = top.breaks.max(breaks);
            }
        }
    }

    /// Where the next text will stand, for [`Output::link`].
    pub fn mark(&mut self) -> usize {
        self.top().text.len()
    }

    pub fn last_char(&mut self) -> Option<char> {
        let top = self.top();
        top.text.chars().next_back().filter(|_| top.breaks == 0 && !top.space)
    }

    /// The address of a link whose label began at `from`.
    pub fn link(&mut self, address: &str, from: usize) {
        let label = self.top().text.get(from..).unwrap_or_default().trim().to_owned();
        if label.is_empty() {
            self.top().space = true;
            self.write(address);
        } else if !is_same(&label, address) && !label.ends_with(&format!("({address})")) {
            let shown = format!(" ({address})");
            let fits = self.take(&shown);
            // Directly behind the label, before line breaks that come after it.
            self.top().text.push_str(&shown[..fits]);
        }
    }

    pub fn open_row(&mut self) -> bool {
        self.open(Form::Row(Vec::new()))
    }

    pub fn open_cell(&mut self) -> bool {
        let top = self.top();
        if let Form::Row(cells) = &mut top.form {
            // Text between cells has no business there, but it is text.
            let between = std::mem::take(&mut top.text);
            cells.extend(Some(between).filter(|text| !text.is_empty()));
            (top.breaks, top.space) = (0, false);
        }
        self.open(Form::Cell)
    }

    pub fn open_prefixed(&mut self, first: String, others: String) -> bool {
        let prefixed = self.frames.iter().filter(|frame| matches!(frame.form, Form::Prefixed(..)));
        prefixed.count() < MAX_PREFIXES && self.open(Form::Prefixed(first, others))
    }

    fn open(&mut self, form: Form) -> bool {
        let fits = self.frames.len() < MAX_FRAMES;
        if fits {
            self.frames.push(Frame { form, ..Frame::default() });
        }
        fits
    }

    pub fn close_frame(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        let Some(frame) = self.frames.pop() else { return };
        let text = frame.text.trim_matches([' ', '\n']);
        match frame.form {
            Form::Plain => self.take_over(text),
            Form::Cell => match &mut self.top().form {
                Form::Row(cells) => cells.push(text.to_owned()),
                _ => self.take_over(text),
            },
            Form::Row(mut cells) => {
                if !text.is_empty() {
                    cells.push(text.to_owned());
                }
                self.take_over(&row(&cells));
            }
            Form::Prefixed(first, others) => self.take_over(&prefixed(text, &first, &others)),
        }
    }

    /// The text, and whether something did not fit.
    pub fn finish(mut self) -> (String, bool) {
        while self.frames.len() > 1 {
            self.close_frame();
        }
        let mut text = self.frames.pop().map(|frame| frame.text).unwrap_or_default();
        if text.len() > self.most {
            text.truncate(text.floor_char_boundary(self.most));
            self.full = true;
        }
        text.truncate(text.trim_end().len());
        (text, self.full)
    }

    /// The text of a frame that ended, as lines of the one around it.
    fn take_over(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let top = self.top();
        top.space = false;
        top.breaks = top.breaks.max(u8::from(!top.text.is_empty()));
        top.flush();
        top.text.push_str(text);
    }

    /// How many bytes of a text may still be written.
    fn take(&mut self, text: &str) -> usize {
        let fits = text.floor_char_boundary(self.room);
        self.full |= fits < text.len();
        self.room = self.room.saturating_sub(text.len() + 1);
        fits
    }

    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }
}

impl Frame {
    /// Writes the line breaks or the space that is due.
    fn flush(&mut self) {
        if self.breaks > 0 {
            self.text.truncate(self.text.trim_end_matches([' ', '\n']).len());
            self.text.extend(std::iter::repeat_n('\n', self.breaks.into()));
        } else if self.space && !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
        (self.breaks, self.space) = (0, false);
    }
}

/// Cells of one line stand on one line; if one has more lines, each cell has its own.
fn row(cells: &[String]) -> String {
    let filled: Vec<&str> = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
    let apart = if filled.iter().any(|cell| cell.contains('\n')) { "\n" } else { "  " };
    filled.join(apart)
}

fn prefixed(text: &str, first: &str, others: &str) -> String {
    let mut lines = String::with_capacity(text.len() + first.len());
    for (n, line) in text.lines().enumerate() {
        match (n, line.is_empty()) {
            (0, true) => return lines,
            (0, false) => lines.push_str(first),
            (_, true) => lines.push_str(others.trim_end()),
            (_, false) => lines.push_str(others),
        }
        lines.push_str(line);
        lines.push('\n');
    }
    lines.truncate(lines.trim_end_matches('\n').len());
    lines
}
