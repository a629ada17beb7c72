//! What the twin says: by simple rules from what it was told, or by a script.

use serde_json::Value;

/// Where answers come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Brain {
    /// Simple rules over the last thing the user said.
    #[default]
    Rules,
    /// These answers, in order, and from the start again.
    Script(Vec<Vec<Said>>),
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Thinking. Its text is kept back where the request, or the model, says so.
    Thinking(String),
    /// Text.
    Text(String),
    /// A tool call with its input.
    Tool {
        /// The tool.
        name: String,
        /// Its input.
        input: Value,
    },
}

impl Brain {
    /// The answer to a request; `turn` counts the answers so far.
    pub(super) fn answer(&self, request: &Value, turn: usize) -> Vec<Said> {
        match self {
            Self::Rules => with_tools(request).unwrap_or_else(|| vec![Said::Text(rules(last_said(request)))]),
            Self::Script(script) if script.is_empty() => Vec::new(),
            Self::Script(script) => script[turn % script.len()].clone(),
        }
    }
}

/// Calls a tool that the user names, and tells what a tool answered.
fn with_tools(request: &Value) -> Option<Vec<Said>> {
    let last = request["messages"].as_array()?.last()?;
    let blocks = last["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(result) = blocks.iter().find(|block| block["type"] == "tool_result") {
        let told = result["content"].as_str().or(result["content"][0]["text"].as_str()).unwrap_or_default();
        return Some(vec![Said::Text(format!("The tool says: {told}"))]);
    }
    let said = last_said(request);
    let tool = request["tools"]
        .as_array()?
        .iter()
        .find_map(|tool| tool["name"].as_str().filter(|name| said.contains(*name)))?;
    let call = Said::Tool { name: tool.to_owned(), input: serde_json::json!({ "request": said }) };
    Some(vec![Said::Text("Let me look. ".into()), call])
}

/// The last text of the user.
fn last_said(request: &Value) -> &str {
    let Some(message) = request["messages"].as_array().and_then(|messages| messages.last()) else {
        return "";
    };
    match &message["content"] {
        Value::String(text) => text.lines().last().unwrap_or_default(),
        Value::Array(blocks) => {
            let text = blocks.iter().rev().find_map(|block| block["text"].as_str());
            text.and_then(|text| text.lines().last()).unwrap_or_default()
        }
        _ => "",
    }
}

const STORY: &str = "Gladly, here is one. There was once a lighthouse keeper who had never seen the sea by day. He slept while the sun was \
    up, and every night he climbed the stairs and lit the lamp. The ships knew his light, and he knew their horns, but nobody knew his face. \
    One morning the fog was so thick that the night would not end, and he stayed awake. When it lifted at noon he saw the water for the first \
    time, green and wide and full of sails. He stood there until evening and forgot to light the lamp. That night every ship in the harbour \
    lit a lantern for him instead. Since then, they say, he has slept at night, and the ships take turns keeping watch. And if you sail past \
    that coast on a clear evening, you can still count the lanterns along the shore.";

fn rules(said: &str) -> String {
    let plain: String =
        said.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
    if words.is_empty() {
        return "I am here, go ahead. What would you like to know?".into();
    }
    if has(&["story", "tale"]) {
        return STORY.into();
    }
    if let Some(sum) = arithmetic(&words) {
        return sum;
    }
    if has(&["count"]) {
        return "Sure, here we go. One, two, three, four, five, six, seven, eight, nine, ten.".into();
    }
    if has(&["thanks", "thank"]) {
        return "You are welcome. Just ask when you need me.".into();
    }
    if has(&["bye", "goodbye"]) {
        return "Goodbye for now. It was nice talking to you.".into();
    }
    if has(&["light", "lights", "lamp"]) {
        let state = if has(&["off"]) { "off" } else { "on" };
        return format!("All right, the light is {state}. At least it would be, if I were real.");
    }
    if has(&["weather"]) {
        return "I would say sunny, but I am only a simulation. Look out of the window to be sure.".into();
    }
    let asks_after_it = words.windows(3).any(|window| window == ["how", "are", "you"]);
    if has(&["hello", "hi", "hey"]) || asks_after_it {
        return "Hello there, I am doing well. I am a simulated model, so ask me for a story, or a little arithmetic.".into();
    }
    if has(&["who", "name"]) {
        return "I am a stand-in, nothing more. Give me an API key and a real model will answer you.".into();
    }
    format!(
        "You said: {}. I am a simulated model, so that is all I can say about it.",
        said.trim().trim_end_matches(['.', '!', '?'])
    )
}

const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// "what is two plus three", in words or digits.
fn arithmetic(words: &[&str]) -> Option<String> {
    let number = |word: &str| {
        NUMBERS.iter().position(|name| *name == word).map(|n| n as i64).or_else(|| word.parse().ok())
    };
    words.windows(3).find_map(|window| {
        let (a, b) = (number(window[0])?, number(window[2])?);
        let result = match window[1] {
            "plus" | "and" => a.checked_add(b)?,
            "minus" => a.checked_sub(b)?,
            "times" => a.checked_mul(b)?,
            _ => return None,
        };
        let spoken = usize::try_from(result)
            .ok()
            .and_then(|n| NUMBERS.get(n))
            .map_or_else(|| result.to_string(), |name| (*name).to_owned());
        Some(format!("That makes {spoken}. I worked it out all by myself."))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(text: &str) -> String {
        let request =
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }] });
        match &Brain::Rules.answer(&request, 0)[..] {
            [Said::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_answers_from_what_it_heard() {
        assert!(said("What is two plus three?").starts_with("That makes five."));
        assert!(said("Hello, how are you?").starts_with("Hello there"));
        assert!(said("how do you make tea").starts_with("You said: how do you make tea."));
        assert!(said("please tell me a long story about the sea").len() > 700);
        assert!(said("the cat sat on the mat").starts_with("You said: the cat sat on the mat."));
        assert!(said("turn off the kitchen light").contains("the light is off"));
    }

    #[test]
    fn a_script_goes_round() {
        let brain = Brain::Script(vec![vec![Said::Text("a".into())], vec![Said::Text("b".into())]]);
        assert_eq!(brain.answer(&json!({}), 3), [Said::Text("b".into())]);
    }
}
