//! The addresses of links, as they are shown behind their label.

/// The longest address that is shown whole, in bytes. 2,048, as browsers and servers allow.
const MAX_ADDRESS: usize = 2048;

/// What is shown of a link's target; `None` if it leads nowhere that a reader could go.
pub(super) fn address(target: &str) -> Option<String> {
    // Browsers drop line breaks inside of an address and control characters around it.
    let target: String = target.trim().chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let target = target.trim().replace(' ', "%20");
    let lower = target.get(..target.floor_char_boundary(12))?.to_ascii_lowercase();
    let shown =
        if lower.starts_with("http://") || lower.starts_with("https://") || lower.starts_with("ftp://") {
            target
        } else if target.starts_with("//") {
            format!("https:{target}")
        } else if lower.starts_with("mailto:") {
            target.get(7..)?.split('?').next()?.to_owned()
        } else if ["tel:", "sms:"].iter().any(|scheme| lower.starts_with(scheme)) {
            target.get(4..)?.to_owned()
        } else {
            return None;
        };
    match shown.len() {
        0 => None,
        1..=MAX_ADDRESS => Some(shown),
        _ => Some(format!("{}…", &shown[..shown.floor_char_boundary(MAX_ADDRESS)])),
    }
}

/// Whether a label is nothing but its address, so that showing both would say the same twice.
pub(super) fn is_same(label: &str, address: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim();
        let text = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text).to_lowercase()
    };
    bare(label) == bare(address)
}

/// Characters that change how an address looks without being seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
