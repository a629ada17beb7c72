//! Text whose lines were broken for the way and flow together again when it is shown (RFC 3676).

/// The lines of a flowed text, put together. `drops_spaces` if the space at the end of a line is
/// not part of the text, as in scripts without spaces.
pub(super) fn unflowed(text: &str, drops_spaces: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut flows_from: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let line = line.strip_suffix('\r').unwrap_or(line);
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        // A space was put before lines that would mean something else.
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = content == "-- ";
        match flows_from {
            Some(before) if before == depth && !is_signature => {}
            Some(_) => {
                out.push('\n');
                begin_line(&mut out, depth);
            }
            None => begin_line(&mut out, depth),
        }
        let flows = content.ends_with(' ') && !is_signature && !end.is_empty();
        out.push_str(if flows && drops_spaces { &content[..content.len() - 1] } else { content });
        if !flows {
            out.push_str(end);
        }
        flows_from = flows.then_some(depth);
    }
    out
}

fn begin_line(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n('>', depth));
    if depth > 0 {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_flow_together_within_their_quote() {
        for (text, drops, shown) in [
            ("one \r\ntwo\r\nthree\r\n", false, "one two\nthree\n"),
            ("> one \n> two\n>> deep \n> up\nown \n", false, "> one two\n>> deep \n> up\nown "),
            ("東 \n京\n", true, "東京\n"),
            ("text \n-- \nAnna\n", false, "text \n-- \nAnna\n"),
            (" >no quote\n From here\n", false, ">no quote\nFrom here\n"),
            ("", false, ""),
        ] {
            assert_eq!(unflowed(text, drops), shown, "{text:?}");
        }
    }
}
